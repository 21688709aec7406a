use proptest::prelude::*;

use super::*;

fn error(text: &str) -> (String, String) {
    let error = Range::parse(text).expect_err(text);
    (error.message, error.hint.unwrap_or_default())
}

#[test]
fn texts_that_are_ranges() {
    for (text, printed) in [
        ("10.20.0.10", "10.20.0.10"),
        ("10.20.0.10/32", "10.20.0.10"),
        ("10.20.0.0/24", "10.20.0.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("10.20.3.5-10.20.3.90", "10.20.3.5-10.20.3.90"),
        ("10.20.3.0 - 10.20.3.255", "10.20.3.0/24"),
        ("10.20.3.7-10.20.3.7", "10.20.3.7"),
        ("2001:db8::1-2001:db8::2", "2001:db8::1-2001:db8::2"),
        ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
    ] {
        assert_eq!(Range::parse(text).expect(text).to_string(), printed);
    }
}

#[test]
fn texts_that_are_not() {
    for (text, message, hint) in [
        (
            "10.20.0.5/24",
            "`10.20.0.5/24` has address bits set behind its first 24",
            "write `10.20.0.0/24` for the network, or `10.20.0.5` for the one address",
        ),
        ("10.20.0.0/33", "`33` is not a prefix length", "a length is a number from 0 to 32"),
        ("10.20.0.0/+8", "`+8` is not a prefix length", "a length is a number from 0 to 32"),
        (
            "10.20.0.0/255.255.255.0",
            "`255.255.255.0` is not a prefix length",
            "write the mask as a length: `10.20.0.0/24`",
        ),
        ("10/8", "`10/8` is not a CIDR", "write all four numbers: `10.0.0.0/8`"),
        ("10.20.0.300", "`10.20.0.300` is not an address", "each of the four numbers is 0 to 255"),
        (
            "10.020.0.3",
            "`10.020.0.3` is not an address",
            "leave out leading zeros: some programs read them as octal",
        ),
        ("10.20.0", "`10.20.0` is not an address", "an IPv4 address has four numbers, this has 3"),
        (
            "10.0.0.9-10.0.0.1",
            "the range `10.0.0.9-10.0.0.1` ends before it begins",
            "write `10.0.0.1-10.0.0.9`",
        ),
        (
            "10.0.0.9-2001:db8::1",
            "the range `10.0.0.9-2001:db8::1` mixes IPv4 and IPv6",
            "both ends of a range are of one family",
        ),
        (
            "::ffff:10.0.0.1",
            "`::ffff:10.0.0.1` is an IPv4-mapped IPv6 address, which no frame carries",
            "write `10.0.0.1`",
        ),
        (
            "::ffff:10.0.0.0/120",
            "`::ffff:10.0.0.0/120` is an IPv4-mapped IPv6 address, which no frame carries",
            "write `10.0.0.0/24`",
        ),
        ("fe80::1%lan0", "`fe80::1%lan0` is not an address", "leave out the zone: `fe80::1`"),
        ("[::1]", "`[::1]` is not an address", "leave out the brackets: `::1`"),
        (
            "10.0.0.1:443",
            "`10.0.0.1:443` is not an address",
            "ports belong into `service`: `tcp/443`",
        ),
        (
            "updates.example.com",
            "`updates.example.com` is not an address",
            "names cannot be used yet; write the addresses, or a set of them",
        ),
    ] {
        assert_eq!(error(text), (message.to_owned(), hint.to_owned()));
    }
}

#[test]
fn mac_addresses() {
    let mac = Mac([0x00, 0x1b, 0x44, 0x11, 0x3a, 0xb7]);
    for text in ["00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7", "001b.4411.3ab7"] {
        assert_eq!(Mac::parse(text), Some(mac));
    }
    assert_eq!(mac.to_string(), "00:1b:44:11:3a:b7");
    for text in ["00:1b:44:11:3a", "00:1b:44:11:3a:b7:00", "0:1b:44:11:3a:b7", "+0:1b:44:11:3a:b7"]
    {
        assert_eq!(Mac::parse(text), None, "{text}");
    }
}

#[test]
fn mac_prefixes() {
    assert_eq!(mac_prefix("00:1b:44/24"), Ok((Mac([0, 0x1b, 0x44, 0, 0, 0]), 24)));
    assert_eq!(mac_prefix("02:00:00:00:00:00/28"), Ok((Mac([2, 0, 0, 0, 0, 0]), 28)));
    assert_eq!(mac_prefix("70:b3:d5:12:30/36"), Ok((Mac([0x70, 0xb3, 0xd5, 0x12, 0x30, 0]), 36)));
    for (text, message) in [
        ("00:1b:44/0", "`0` is not the length of a MAC prefix"),
        ("00:1b:44/49", "`49` is not the length of a MAC prefix"),
        ("00:1b:44/25", "`00:1b:44/25` gives 24 bits, fewer than its length"),
        ("00:1b:44:80/24", "`00:1b:44:80/24` has bits set behind its first 24"),
    ] {
        assert_eq!(mac_prefix(text).expect_err(text).message, message);
    }
}

#[test]
fn prefixes_of_a_range() {
    let text = |range: &str| {
        Range::parse(range)
            .expect(range)
            .prefixes()
            .iter()
            .map(|(address, length)| format!("{address}/{length}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(text("10.0.0.5-10.0.0.8"), "10.0.0.5/32 10.0.0.6/31 10.0.0.8/32");
    assert_eq!(text("0.0.0.0/0"), "0.0.0.0/0");
    assert_eq!(text("::/0"), "::/0");
    assert_eq!(text("255.255.255.255"), "255.255.255.255/32");
    assert_eq!(text("ffff::/16"), "ffff::/16");
}

fn any_range() -> impl Strategy<Value = Range> {
    prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| Range::V4(a.min(b), a.max(b))),
        (any::<u32>(), 0_u32..32).prop_map(|(a, free)| {
            let host = (1_u32 << free) - 1;
            Range::V4(a & !host, a | host)
        }),
        (any::<u128>(), any::<u128>()).prop_map(|(a, b)| Range::V6(a.min(b), a.max(b))),
        (any::<u128>(), 0_u32..128).prop_map(|(a, free)| {
            let host = (1_u128 << free) - 1;
            Range::V6(a & !host, a | host)
        }),
    ]
}

proptest! {
    #[test]
    fn printed_ranges_read_back(range in any_range()) {
        prop_assume!(refuse_mapped(range).is_ok());
        prop_assert_eq!(Range::parse(&range.to_string()), Ok(range));
    }

    #[test]
    fn prefixes_are_the_range(range in any_range()) {
        let pieces: Vec<Range> = range
            .prefixes()
            .iter()
            .map(|(address, length)| cidr("", &address.to_string(), &length.to_string()).expect("prefix"))
            .collect();
        prop_assert!(pieces.len() <= 254);
        let ends = |range: &Range| match *range {
            Range::V4(first, last) => (u128::from(first), u128::from(last)),
            Range::V6(first, last) => (first, last),
        };
        prop_assert_eq!(pieces.first().map(|p| ends(p).0), Some(ends(&range).0));
        prop_assert_eq!(pieces.last().map(|p| ends(p).1), Some(ends(&range).1));
        for pair in pieces.windows(2) {
            prop_assert_eq!(ends(&pair[0]).1 + 1, ends(&pair[1]).0);
        }
    }

    #[test]
    fn printed_macs_read_back(bytes in any::<[u8; 6]>(), length in 1_u8..=48) {
        prop_assert_eq!(Mac::parse(&Mac(bytes).to_string()), Some(Mac(bytes)));
        let text = format!("{}/{length}", Mac(bytes));
        if let Ok((prefix, got)) = mac_prefix(&text) {
            prop_assert_eq!((prefix, got), (Mac(bytes), length));
        }
    }

    #[test]
    fn any_text_is_judged(text in "[0-9a-f:./%\\[\\]+é-]{0,40}") {
        let _ = (Range::parse(&text), mac_prefix(&text), Mac::parse(&text));
        let _ = (looks_like_address(&text), looks_like_mac(&text));
    }
}

#[test]
fn foreign_characters_are_named() {
    for (text, expected) in [
        ("\u{200b}10.0.0.1", "leave out the invisible character U+200B in front of it"),
        ("10.0.0.1\u{feff}", "leave out the invisible character U+FEFF behind it"),
        ("10.0\u{2060}.0.1", "leave out the invisible character U+2060 in it"),
        ("10.0.0.1\u{a0}", "leave out the invisible character U+00A0 behind it"),
        ("1\u{ff10}.0.0.1", "write it in ASCII: `\u{ff10}` is U+FF10"),
        ("10.0.0.1 \u{2212} 10.0.0.2", "write `-` in the place of `\u{2212}` (U+2212)"),
    ] {
        let error = Range::parse(text).expect_err(text);
        assert_eq!(error.hint.as_deref(), Some(expected), "{text}");
        assert!(!error.message.contains(is_invisible), "{}", error.message);
    }
    let service = super::super::Service::parse("tcp/443\u{200b}").expect_err("a service");
    assert_eq!(service.hint.as_deref(), Some("leave out the invisible character U+200B behind it"));
    assert!(mac_prefix("00:1b:44\u{200d}/24").expect_err("a prefix").message.contains("\\u{200d}"));
}
