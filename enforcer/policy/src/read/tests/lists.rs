//! Lists, encodings and notations from other sources.

use super::{problems, read_with};

/// Reads a set file with this content. Returns the number of ranges, and the problems.
fn list(options: &str, bytes: &[u8]) -> (usize, Vec<String>) {
    let text = format!(
        "schema = 1\n[sets]\nfeed = {{ file = \"f\"{options} }}\n[groups.g]\nmembers = [\"10.0.0.1\"]\n\
         deny = [{{ to = \"@feed\" }}]\n"
    );
    let file = super::super::decode(bytes.to_vec()).expect("text");
    let (policy, _) = read_with(&text, &[("f", &file)]);
    let super::To::Set(set) = &policy.groups[0].deny[0].to else { panic!("{policy:?}") };
    (set.ranges.len(), problems(&text, &[("f", &file)]))
}

#[test]
fn lists_as_they_come() {
    for (bytes, ranges) in [
        (
            &b"\xef\xbb\xbf; list\r\n192.0.2.0/24 ; SBL0\r\n\r\n198.51.100.1 - 198.51.100.9\r\n"[..],
            2,
        ),
        // Latin-1 in a comment, and the line ends of an old Macintosh.
        (b"192.0.2.0/24\n198.51.100.0/24 # caf\xe9\n", 2),
        (b"192.0.2.0/24\r198.51.100.7\r", 2),
        (b"192.0.2.0/24\xc2\xa0\n", 1),
    ] {
        assert_eq!(list("", bytes), (ranges, vec![]), "{bytes:?}");
    }
    let json = "(this is JSON; one address a line is wanted: jq -r '";
    let p2p = "(a name is in front of it; write `192.0.2.0-192.0.2.255`: sed 's/.*://' LIST.p2p > LIST.txt)";
    for (bytes, expected) in [
        (
            &b"192.0.2.0/24\n caf\xe9\n"[..],
            "f:2:2: error: `caf\u{fffd}` is not an address (there is a byte that is not UTF-8; save the file as UTF-8)".to_owned(),
        ),
        (
            "192.0.2.0/24\n\u{200b}198.51.100.7\n".as_bytes(),
            "f:2:1: error: `\\u{200b}198.51.100.7` is not an address (leave out the invisible character U+200B in front of it)".to_owned(),
        ),
        (
            "10.0.0.1\u{2013}10.0.0.9\n".as_bytes(),
            "f:1:1: error: `10.0.0.1\u{2013}10.0.0.9` is not an address (write `-` in the place of `\u{2013}` (U+2013))".to_owned(),
        ),
        (
            b"{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL0\"}\n",
            format!("f:1:1: error: `{{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL0\"}}` is not an address {json}.cidr // empty' LIST.json > LIST.txt)"),
        ),
        (
            b"\"192.0.2.0/24\",\n",
            format!("f:1:1: error: `\"192.0.2.0/24\",` is not an address {json}.[]' LIST.json > LIST.txt)"),
        ),
        (
            b"Example network:192.0.2.0-192.0.2.255\n",
            format!("f:1:1: error: `Example network:192.0.2.0-192.0.2.255` is not an address {p2p}"),
        ),
    ] {
        assert_eq!(list("", bytes).1, [expected], "{bytes:?}");
    }
    assert!(super::super::decode(vec![0xff, 0xfe, b'1', 0]).is_err());
}

#[test]
fn lines_that_are_left_out_are_counted() {
    let feed =
        b"95.0.2.040\n192.0.2.1\n192.0.2.5/24\n192.0.2.0\t192.0.2.255\t24\n198.51.100.0/24\n";
    let (ranges, said) = list(", skip-invalid = true", feed);
    assert_eq!(
        (ranges, said),
        (
            2,
            vec!["3:17: warning: 3 lines are left out of `f`; the first is f:1: `95.0.2.040` is not an address (`skip-invalid` allows it; the set has all the others)".to_owned()]
        )
    );
    assert_eq!(list(", skip-invalid = false", feed).1.len(), 3);
    assert_eq!(list(", skip-invalid = true", b"192.0.2.1\n").1, Vec::<String>::new());
    // An error page of a server must not empty a set.
    let (ranges, said) = list(", skip-invalid = true", b"<html>\n<body>404</body>\n");
    assert_eq!(ranges, 0);
    assert!(
        said[0].starts_with("f:1:1: error: `f` has no line that can be read: f:1: `<html>`"),
        "{said:?}"
    );
    let said = list(", skip-invalid = \"yes\"", b"192.0.2.1\n").1;
    assert!(said[0].starts_with("3:37: error: `skip-invalid` must be a boolean"), "{said:?}");
}

#[test]
fn bytes_that_are_not_utf_8() {
    let text = b"schema = 1 # caf\xe9\n[groups.g]\nmembers = [\"10.0.0.1\"]\nallow = [{ to = \"any\", reason = \"caf\xe9\" }]\n";
    let text = super::super::decode(text.to_vec()).expect("text");
    assert_eq!(
        problems(&text, &[]),
        ["4:37: error: there is a byte that is not UTF-8 (save the file as UTF-8)"]
    );
}

/// Manufacturers' blocks in the notations of the IEEE, Wireshark and switches.
#[test]
fn notations_of_mac_addresses() {
    let members = |member: &str| {
        let text = format!("schema = 1\n[groups.h]\nmembers = [\"{member}\"]\n");
        let (policy, problems) = read_with(&text, &[]);
        let member = policy.groups[0].members.first().map(|member| member.selector.text(&policy));
        (member, problems.iter().filter_map(|problem| problem.hint.clone()).collect::<Vec<_>>())
    };
    for text in [
        "00:1b:44/24",
        "00-1B-44/24",
        "001B44/24",
        "001b.44/24",
        "00:1b:44:*",
        "00:1b:44:xx:xx:xx",
        "00-1B-44-XX-XX-XX",
        "00:1b:44:00:00:00/24",
    ] {
        assert_eq!(members(text), (Some("00:1b:44:00:00:00/24".into()), vec![]), "{text}");
    }
    for text in ["70B3D5112/36", "70:B3:D5:11:2/36", "70:B3:D5:11:20:00/36"] {
        assert_eq!(members(text), (Some("70:b3:d5:11:20:00/36".into()), vec![]), "{text}");
    }
    for text in
        ["001b44113ab7", "001b44-113ab7", "001B-4411-3AB7", "001b.4411.3ab7", "001b44113ab7/48"]
    {
        assert_eq!(members(text), (Some("00:1b:44:11:3a:b7".into()), vec![]), "{text}");
    }
    for (text, hint) in [
        ("001B44", "a MAC prefix has a length: `00:1b:44/24`"),
        ("001b.44", "a MAC prefix has a length: `00:1b:44/24`"),
        ("00:1B:C5:00:0", "six bytes, or a prefix: `00:1b:c5:00:00/36`"),
        ("001B44/36", "write as many bytes as the length covers: `00:1b:44/24`"),
    ] {
        assert_eq!(members(text), (None, vec![hint.to_owned()]), "{text}");
    }
    // Device names stay names.
    let named = "schema = 1\n[devices.001b44113ab7]\nip = \"10.0.0.1\"\n[groups.h]\nmembers = [\"001b44113ab7\"]\n";
    let (policy, problems) = read_with(named, &[]);
    assert_eq!(
        (problems, policy.groups[0].members[0].selector.text(&policy)),
        (vec![], "001b44113ab7".into())
    );
}
