//! Devices, names, members, claims, rules and sets.

use super::{problems, read_with, rule, with};
use crate::End;

#[test]
fn devices() {
    for (text, expected) in [
        (
            "",
            "5:10: error: the device `d` has neither `mac` nor `ip` (say how to recognise it: `mac = \"00:1b:44:11:3a:b7\"`)",
        ),
        (
            "mac = \"00:1b:44\"",
            "6:7: error: `00:1b:44` is not a MAC address (write six bytes: `00:1b:44:11:3a:b7`)",
        ),
        (
            "mac = \"01:00:5e:00:00:01\"",
            "6:7: error: 01:00:5e:00:00:01 is a multicast address (a device sends from an address whose first byte is even)",
        ),
        (
            "ip = \"10.0.0.5/24\"",
            "6:6: error: `10.0.0.5/24` has address bits set behind its first 24 (write `10.0.0.0/24` for the network, or `10.0.0.5` for the one address)",
        ),
        (
            "ip = []",
            "6:6: error: `ip` is an empty list (leave `ip` out, or write the device's addresses)",
        ),
        (
            "ip = \"10.0.0.5\"\nvlan = 4095",
            "7:8: error: `4095` is not a VLAN id (VLAN ids are 1 to 4094)",
        ),
    ] {
        let text = format!("[devices.d]\n{text}\n[groups.h]\nmembers = [\"d\"]\n");
        assert_eq!(with(&text), [expected], "{text}");
    }
    assert_eq!(
        with("[devices.d]\nip = \"10.0.0.5\""),
        ["5:10: warning: the device `d` is in no group (add \"d\" to the members of a group)"]
    );
    assert_eq!(with("[devices.d]\nip = \"192.0.2.1\""), Vec::<String>::new());
    let two = "[devices.a]\nmac = \"00:1b:44:11:3a:b7\"\n[devices.b]\nmac = \"00-1B-44-11-3A-B7\"\n[groups.h]\nmembers = [\"a\", \"b\"]\n";
    assert_eq!(
        with(two),
        [
            "8:7: error: `b` and `a` have the same MAC (`a` is at p.toml:5:10)",
            "10:17: warning: `b` is a member already (it is listed at p.toml:10:12)",
        ]
    );
    let two = "[devices.\"a\\u001b\"]\nmac = \"00:1b:44:11:3a:b7\"\n[devices.b]\nmac = \"00:1b:44:11:3a:b7\"\n[groups.h]\nmembers = [\"b\"]\n";
    let said = with(two);
    assert!(
        said.iter()
            .any(|line| line.starts_with("8:7: error: `b` and `a\\u{1b}` have the same MAC")),
        "{said:?}"
    );
    let two = "[devices.a]\nip = \"10.0.0.1\"\n[devices.b]\nip = \"10.0.0.1\"\n[groups.h]\nmembers = [\"a\", \"b\"]\n";
    assert_eq!(
        with(two),
        [
            "7:10: error: `a` and `b` have the same address 10.0.0.1 (give them a `mac`; the other one is at p.toml:5:10)"
        ]
    );
}

#[test]
fn names() {
    for (name, expected) in [
        (
            "unknown",
            "5:9: error: `unknown` is a reserved name (it stands for devices that are in no group: see `[unknown]`)",
        ),
        (
            "\"10.0.0.1\"",
            "5:9: error: the name `10.0.0.1` looks like an address (choose another name for the group)",
        ),
        (
            "\"a b\"",
            "5:9: error: `a b` is not a name for a group (names are made of letters, digits, `-`, `_` and `.`)",
        ),
        (
            "\"\\u001b[2J\"",
            "5:9: error: `\\u{1b}[2J` is not a name for a group (names are made of letters, digits, `-`, `_` and `.`)",
        ),
        ("\"\"", "5:9: error: the name of a group has 1 to 64 characters (choose another name)"),
    ] {
        assert_eq!(with(&format!("[groups.{name}]\nmembers = [\"10.0.0.1\"]")), [expected]);
    }
    assert_eq!(
        with("[devices.g]\nip = \"10.0.0.1\"\n[groups.g]\nmembers = [\"g\"]"),
        [
            "7:9: error: a device is named `g` too (the device is at p.toml:5:10; commands take either, so rename one)"
        ]
    );
    assert_eq!(
        with("[sets]\nany = [\"10.0.0.1\"]"),
        ["6:1: error: `any` is a reserved word (rules name it without `@`; choose another name)"]
    );
}

#[test]
fn members() {
    let head = "[devices.bed-12]\nmac = \"02:00:00:00:00:01\"\n[groups.h]\nmembers = ";
    for (members, expected) in [
        (
            "[\"bed-12\", \"bed-21\"]",
            "8:22: error: there is no device `bed-21` (did you mean `bed-12`?)",
        ),
        (
            "[\"bed-12\", \"@feed\"]",
            "8:22: error: `@feed` is a set; a set cannot be a member (write the addresses of `feed` here)",
        ),
        (
            "[\"bed-12\", \"02:00:00:00:00:01\"]",
            "8:22: warning: `02:00:00:00:00:01` is a member already (it is listed at p.toml:8:12)",
        ),
        (
            "[\"bed-12\", \"vlan:4095\"]",
            "8:22: error: `vlan:4095` is not a VLAN (VLAN ids are 1 to 4094: `vlan:20`)",
        ),
        (
            "[\"bed-12\", \"vlan:+20\"]",
            "8:22: error: `vlan:+20` is not a VLAN (VLAN ids are 1 to 4094: `vlan:20`)",
        ),
        (
            "[\"bed-12\", \"00:1b:44:80/24\"]",
            "8:22: error: `00:1b:44:80/24` has bits set behind its first 24 (write `00:1b:44:00:00:00/24`, or a longer length)",
        ),
        (
            "[\"bed-12\", \"00:1b:44\"]",
            "8:22: error: `00:1b:44` is not a MAC address (six bytes, or a prefix: `00:1b:44/24`)",
        ),
        (
            "[\"bed-12\", \"01:00:5e/24\"]",
            "8:22: error: `01:00:5e/24` is a multicast address (a device sends from an address whose first byte is even)",
        ),
        (
            "[\"bed-12\", \"10.0.0.9-10.0.0.1\"]",
            "8:22: error: the range `10.0.0.9-10.0.0.1` ends before it begins (write `10.0.0.1-10.0.0.9`)",
        ),
    ] {
        assert_eq!(with(&format!("{head}{members}")), [expected], "{members}");
    }
    assert_eq!(
        with("[groups.h]"),
        ["5:9: warning: the group `h` has no members (its rules apply to nobody)"]
    );
}

#[test]
fn equal_claims() {
    let device = "[devices.d]\nmac = \"02:00:00:00:00:01\"\n[groups.h]\n";
    for (members, claim) in [
        ("\"192.0.2.1\"", "192.0.2.1"),
        ("\"192.0.2.0-192.0.2.1\"", ""),
        ("\"192.0.2.1-192.0.2.3\"", "192.0.2.1"),
        ("\"192.0.2.0/24\"", ""),
    ] {
        let found = with(&format!("{device}members = [\"d\", {members}]"));
        let expected = format!(
            "8:17: error: the groups `base` and `h` both claim {claim} (`base` claims it at p.toml:3:12; a device belongs to one group)"
        );
        assert_eq!(found, if claim.is_empty() { vec![] } else { vec![expected] }, "{members}");
    }
    for (a, b, claim) in [
        ("d", "02:00:00:00:00:01", "02:00:00:00:00:01"),
        ("02:00:00:00:00:02", "02:00:00:00:00:02/48", "02:00:00:00:00:02"),
        ("00:1b:44/24", "00:1b:44:00:00:00/24", "00:1b:44:00:00:00/24"),
        ("vlan:20", "vlan:20", "vlan:20"),
        ("interface:lan0", "interface:lan0", "interface:lan0"),
        ("2001:db8::/32", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::/32"),
    ] {
        let found =
            with(&format!("{device}members = [\"d\", \"{a}\"]\n[groups.i]\nmembers = [\"{b}\"]"));
        assert!(
            found.iter().any(|problem| problem.starts_with(&format!(
                "10:12: error: the groups `h` and `i` both claim {claim} ("
            ))),
            "{found:#?}"
        );
    }
}

#[test]
fn rules() {
    for (text, expected) in [
        (
            "{ service = \"tcp\" }",
            "4:10: error: the rule has no `to` (write `to = \"10.20.0.10\"`, or `to = \"any\"`)",
        ),
        (
            "{ to = [\"10.0.0.1\"] }",
            "4:17: error: `to` must be a string, not an array (write a rule for each, or make it a set and write `to = \"@name\"`)",
        ),
        ("{ to = \"@feed\" }", "4:17: error: there is no set `feed` (declare it under `[sets]`)"),
        (
            "{ to = \"gatway\" }",
            "4:17: error: `gatway` is not an address (did you mean `gateway`?)",
        ),
        (
            "{ to = \"any\", service = [] }",
            "4:34: error: `service` is an empty list (write `any`, or leave `service` out)",
        ),
        (
            "{ to = \"any\", service = 443 }",
            "4:34: error: `service` must be a string or a list of strings, not an integer (write `service = [\"tcp/443\"]`)",
        ),
        (
            "{ to = \"any\", service = \"tcp/70000\" }",
            "4:34: error: `tcp/70000`: there is no port 70000 (ports are 0 to 65535)",
        ),
        (
            "{ to = \"any\", reason = \"a\\nb\" }",
            "4:33: error: `reason` has control characters (write it in one line)",
        ),
        (
            "{ to = \"any\", until = 2027-01-31 }",
            "4:32: error: `until` needs a date, a time and an offset from UTC (write `2027-01-31T00:00:00Z`, or `+01:00` for `Z`)",
        ),
        (
            "{ to = \"any\", until = 2027-01-31T10:00:00 }",
            "4:32: error: `until` needs a date, a time and an offset from UTC (write `2027-01-31T10:00:00Z`, or `+01:00` for `Z`)",
        ),
        (
            "{ to = \"any\", until = 1999-12-31T00:00:00Z }",
            "4:32: error: the rule cannot end at 1999-12-31T00:00:00Z (years are 2000 to 2199)",
        ),
        (
            "{ to = \"any\", until = \"2027-01-31\" }",
            "4:32: error: `until` must be a date and time, not a string (write `until = 2027-01-31T00:00:00Z`)",
        ),
        (
            "{ to = \"any\" }, { to = \"any\", service = \"any\", reason = \"r\" }",
            "4:26: error: the same allow rule is written twice (the first is at p.toml:4:10)",
        ),
        (
            "\"any\"",
            "4:10: error: `allow` must be a list of tables, not a string (write `allow = [{ to = \"10.20.0.10\" }]`)",
        ),
    ] {
        assert_eq!(rule(text), [expected], "{text}");
    }
}

#[test]
fn ends_of_rules() {
    for (written, seconds) in [
        ("1970-01-01T00:00:00Z", None),
        ("2000-01-01T00:00:00Z", Some(946_684_800)),
        ("2027-01-31T01:00:00+01:00", Some(1_801_353_600)),
        ("2027-01-30T23:30:00.999-00:30", Some(1_801_353_600)),
        ("2016-12-31T23:59:60Z", Some(1_483_228_800)),
    ] {
        let text = format!(
            "schema = 1\n[groups.g]\nmembers = [\"10.0.0.1\"]\ndeny = [{{ to = \"any\", until = {written} }}]"
        );
        let (policy, _) = read_with(&text, &[]);
        let until = policy.groups[0].deny[0].until;
        assert_eq!(until.and_then(End::wall), seconds, "{written}");
    }
}

#[test]
fn sets() {
    for (text, expected) in [
        ("s = []", "6:1: warning: the set `s` is empty (rules that name it match nothing)"),
        (
            "s = [\"@t\"]",
            "6:6: error: `@t` is a set inside a set (write its addresses, or a rule for each set)",
        ),
        (
            "s = [\"any\"]",
            "6:6: error: `any` cannot be part of a set (write a rule with `to = \"any\"`)",
        ),
        ("s = {}", "6:1: error: the set `s` names no file (write `s = { file = \"list.txt\" }`)"),
        (
            "s = { file = \"gone.txt\" }",
            "6:14: error: cannot read `gone.txt`: no such file (file names are relative to the policy's directory)",
        ),
    ] {
        assert_eq!(with(&format!("[sets]\n{text}")), [expected], "{text}");
    }
    let file = "\u{feff}10.0.0.0/8\n  10.0.0.1/8 # no\n\u{e9}\n";
    let text =
        "schema = 1\n[sets]\ns = { file = \"f.txt\" }\n[groups.g]\nmembers = [\"10.0.0.1\"]\n";
    assert_eq!(
        problems(text, &[("f.txt", file)]),
        [
            "f.txt:2:3: error: `10.0.0.1/8` has address bits set behind its first 8 (write `10.0.0.0/8` for the network, or `10.0.0.1` for the one address)",
            "f.txt:3:1: error: `\u{e9}` is not an address (write it in ASCII: `\u{e9}` is U+00E9)",
        ]
    );
    let found = problems(text, &[("f.txt", &"no\n".repeat(50))]);
    assert_eq!(found.len(), 21);
    assert_eq!(
        found[20],
        "f.txt:20:1: error: and 30 more lines of `f.txt` that cannot be read (one address, CIDR or range a line; comments begin with `#`; `skip-invalid = true` leaves such lines out)"
    );
}
