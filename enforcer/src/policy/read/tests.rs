use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;

use super::super::{
    DefaultVerdict, Mac, Mode, Policy, Problem, Range, Selector, Service, Severity, To,
};
use super::{MAX_DOCUMENT, MAX_PROBLEMS};

fn read_with(text: &str, files: &[(&str, &str)]) -> (Policy, Vec<Problem>) {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    super::read("p.toml", text, &mut |name| match files.get(name) {
        Some(text) => Ok((*text).to_owned()),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    })
}

/// Problems as `file:line:column: severity: message (hint)`, the file left out if it is the
/// document.
fn problems(text: &str, files: &[(&str, &str)]) -> Vec<String> {
    let (_, problems) = read_with(text, files);
    let line = |problem: &Problem| {
        let place = problem.place.to_string();
        let place = place.strip_prefix("p.toml:").unwrap_or(&place);
        let severity = problem.severity.name();
        match &problem.hint {
            Some(hint) => format!("{place}: {severity}: {} ({hint})", problem.message),
            None => format!("{place}: {severity}: {}", problem.message),
        }
    };
    problems.iter().map(line).collect()
}

/// A policy with one good group, `rest` behind it in line 5.
fn with(rest: &str) -> Vec<String> {
    let head = "schema = 1\n[groups.base]\nmembers = [\"192.0.2.1\"]\n\n";
    problems(&format!("{head}{rest}"), &[])
}

/// One rule, which begins in 4:10.
fn rule(rule: &str) -> Vec<String> {
    problems(&format!("schema = 1\n[groups.g]\nmembers = [\"192.0.2.1\"]\nallow = [{rule}]\n"), &[])
}

const DESIGN: &str = r#"
schema = 1

[sets]
central-station = ["10.20.0.10"]
update-servers  = ["198.51.100.0/24", "2001:db8:5::/48"]
threat-feed     = { file = "feeds/drop.txt" }

[devices.bed-12]
mac = "00:1b:44:11:3a:b7"
ip  = ["10.20.0.12"]
vlan = 20
interface = "lan0"

[groups.patient-monitors]
members = ["bed-12", "10.20.1.0/24", "10.20.3.5-10.20.3.90", "00:1b:44/24", "02:00:00:00:00:00/28", "2001:db8:20::/64", "vlan:20", "interface:lan1"]
mode    = "observe"
default = "pass"
allow = [
  { to = "@central-station", service = ["tcp/515-520", "tcp/8000"], reason = "central station" },
  { to = "@update-servers", service = "tcp/443", until = 2027-01-31T00:00:00Z, reason = "CHG-4711", owner = "biomed" },
]
deny  = [ { to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }, { to = "@threat-feed" } ]

[interfaces.lan0]
vlans = [20, 30]

[unknown]
default = "drop"
mode    = "observe"

[essential]
arp = false
stp = true
"#;

#[test]
fn the_whole_language() {
    let feed =
        "# list\n203.0.113.0/24 ; SBL1\n\n  198.51.100.7  # one\n2001:db8::1-2001:db8::5\r\n";
    let (policy, problems) = read_with(DESIGN, &[("feeds/drop.txt", feed)]);
    assert_eq!(problems, []);
    let device = &policy.devices[0];
    assert_eq!((device.name.as_str(), device.vlan), ("bed-12", Some(20)));
    assert_eq!(device.mac, Some(Mac([0x00, 0x1b, 0x44, 0x11, 0x3a, 0xb7])));
    assert_eq!(device.addresses, [Range::V4(0x0a14_000c, 0x0a14_000c)]);
    assert_eq!((device.place.line, device.place.column), (9, 10));
    let group = &policy.groups[0];
    assert_eq!((group.mode, group.default), (Mode::Observe, DefaultVerdict::Pass));
    let members: Vec<String> =
        group.members.iter().map(|member| member.selector.text(&policy)).collect();
    assert_eq!(
        members,
        [
            "bed-12",
            "10.20.1.0/24",
            "10.20.3.5-10.20.3.90",
            "00:1b:44:00:00:00/24",
            "02:00:00:00:00:00/28",
            "2001:db8:20::/64",
            "vlan:20",
            "interface:lan1"
        ]
    );
    assert_eq!(group.members[0].selector, Selector::Device(0));
    let update = &group.allow[1];
    assert_eq!(update.until, Some(1_801_353_600));
    assert_eq!(
        (update.to_text.as_str(), update.service_text.as_str()),
        ("@update-servers", "tcp/443")
    );
    assert_eq!((update.place.line, update.place.column), (21, 3));
    assert_eq!(
        group.allow[0].services,
        [Service::ports(6, 515, 520), Service::ports(6, 8000, 8000)]
    );
    assert_eq!(group.deny[0].services, [Service::ANY]);
    let To::Set(feed) = &group.deny[1].to else { panic!("not a set") };
    assert_eq!(feed.ranges.len(), 3);
    assert_eq!(policy.interfaces[0].vlans, [20, 30]);
    assert_eq!(policy.unknown.default, DefaultVerdict::Drop);
    assert_eq!(policy.unknown.mode, Mode::Observe);
    assert!(!policy.essential.arp && policy.essential.stp && policy.essential.dhcp);
}

#[test]
fn order_is_that_of_the_document() {
    let (policy, _) = read_with(
        "schema = 1\n[groups.z]\nmembers = [\"10.0.0.1\"]\n[groups.a]\nmembers = [\"10.0.0.2\"]\n",
        &[],
    );
    let names: Vec<&str> = policy.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["z", "a"]);
}

#[test]
fn ids_come_from_the_content() {
    let id = |group: &str, rule: &str| {
        let text = format!("schema = 1\n[groups.{group}]\nmembers = [\"10.0.0.1\"]\n{rule}\n");
        let (policy, problems) = read_with(&text, &[]);
        assert_eq!(problems, [], "{rule}");
        let group = &policy.groups[0];
        group.allow.iter().chain(&group.deny).next().expect("a rule").id.clone()
    };
    let first = id("g", r#"allow = [{ to = "10.0.0.0/24", service = ["tcp/80-81", "udp/5"] }]"#);
    assert_eq!(first.len(), 10);
    assert!(first.starts_with("r-"));
    // Written otherwise, or with another story.
    for same in [
        r#"allow = [{ to = "10.0.0.0-10.0.0.255", service = ["udp/5", "tcp/81", "tcp/80"] }]"#,
        r#"allow = [{ to = "10.0.0.0/24", service = ["tcp/80-81", "udp/5"], reason = "r", owner = "o", until = 2030-01-01T00:00:00Z }]"#,
    ] {
        assert_eq!(id("g", same), first);
    }
    for other in [
        r#"deny = [{ to = "10.0.0.0/24", service = ["tcp/80-81", "udp/5"] }]"#,
        r#"allow = [{ to = "10.0.0.0/25", service = ["tcp/80-81", "udp/5"] }]"#,
        r#"allow = [{ to = "10.0.0.0/24", service = ["tcp/80-81", "udp/6"] }]"#,
    ] {
        assert_ne!(id("g", other), first);
    }
    assert_ne!(
        id("h", r#"allow = [{ to = "10.0.0.0/24", service = ["tcp/80-81", "udp/5"] }]"#),
        first
    );
    // A contract: counters are kept under this id.
    assert_eq!(id("g", r#"deny = [{ to = "202.114.4.0/24" }]"#), "r-df347d7a");
}

#[test]
fn schema() {
    for (text, expected) in [
        ("", "1:1: error: `schema` is missing (begin the document with `schema = 1`)"),
        ("schema = 2", "1:10: error: schema `2` is not known (this version reads `schema = 1`)"),
        (
            "schema = \"1\"",
            "1:10: error: `schema` must be an integer, not a string (write `schema = 1`)",
        ),
    ] {
        let found = problems(text, &[]);
        assert!(found.iter().any(|problem| problem == expected), "{found:#?}");
    }
    assert_eq!(
        problems("schema = 1", &[]),
        ["1:1: warning: the policy has no group, so no rule applies"]
    );
}

#[test]
fn keys_and_types() {
    for (text, expected) in [
        (
            "[essentials]",
            "5:2: error: unknown key `essentials` in a policy (did you mean `essential`?)",
        ),
        (
            "[essential]\nneighbor-discovery = true",
            "6:1: error: unknown key `neighbor-discovery` in `essential` (did you mean `neighbour-discovery`?)",
        ),
        (
            "[essential]\narp = \"yes\"",
            "6:7: error: `arp` must be a boolean, not a string (write `arp = true`)",
        ),
        (
            "[unknown]\nmode = \"enforced\"",
            "6:8: error: `enforced` is not a value of `mode` (did you mean `enforce`?)",
        ),
        (
            "[unknown]\ndefault = \"reject\"",
            "6:11: error: `reject` is not a value of `default` (one of: drop, pass)",
        ),
        (
            "[groups.g]\nmembers = [\"10.0.0.1\"]\nalow = []",
            "7:1: error: unknown key `alow` in a group (did you mean `allow`?)",
        ),
        ("[groups]\ng = 3", "6:5: error: `g` must be a table, not an integer (write `[g]`)"),
        (
            "[groups.g]\nmembers = 5",
            "6:11: error: `members` must be a string or a list of strings, not an integer (write `members = [\"10.20.1.0/24\"]`)",
        ),
        (
            "[groups.g]\nmembers = [5]",
            "6:12: error: `members` must be a list of strings, not an integer (write `members = [\"10.20.1.0/24\"]`)",
        ),
        (
            "[interfaces.lan0]\nvlans = [0]",
            "6:10: error: `0` is not a VLAN id (VLAN ids are 1 to 4094)",
        ),
        ("[interfaces.lan0]\nvlans = [20, 20]", "6:14: warning: VLAN 20 is listed twice"),
        (
            "[interfaces.\"lan 0\"]",
            "5:13: error: `lan 0` is not a name of an interface (1 to 15 characters without spaces, `/` and `:`)",
        ),
    ] {
        assert_eq!(with(text), [expected], "{text}");
    }
}

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
            "{ to = \"any\" }]\ndeny = [{ to = \"any\" }",
            "4:10: warning: this allow rule never decides anything (the deny rule at p.toml:5:9 wins)",
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
        assert_eq!(policy.groups[0].deny[0].until, seconds, "{written}");
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
            "f.txt:3:1: error: `\u{e9}` is not an address (write an address (`10.20.0.10`), a CIDR (`10.20.0.0/24`) or a range (`10.20.0.5-10.20.0.9`))",
        ]
    );
    let found = problems(text, &[("f.txt", &"no\n".repeat(50))]);
    assert_eq!(found.len(), 21);
    assert_eq!(
        found[20],
        "f.txt:20:1: error: and 30 more lines of `f.txt` that cannot be read (one address, CIDR or range a line; comments begin with `#`)"
    );
}

#[test]
fn every_syntax_error_at_once() {
    let text = "schema = 1\n[groups.g]\nmembers = [\"10.0.0.1\"]\nmode = observe\ndefault = = \"drop\"\nallow = [{ to = \"10.0.0.5/24\" }]\n";
    let found = problems(text, &[]);
    let places: Vec<&str> = found.iter().filter_map(|text| text.split(": ").next()).collect();
    assert_eq!(places, ["4:8", "5:11", "6:17"], "{found:#?}");
}

#[test]
fn what_a_syntax_error_ate_is_not_missing() {
    let found =
        problems("schema = \n[devices.d]\nmac = \"02:00\n[groups.g]\nmembers = [\"e\"]\n", &[]);
    assert!(
        found.iter().all(|text| !text.contains("missing") && !text.contains("no device")),
        "{found:#?}"
    );
    assert!(found.iter().any(|text| text.starts_with("1:")), "{found:#?}");
}

#[test]
fn problems_are_bounded() {
    let members: String = (0..5000).map(|at| format!("\"no-{at}\",\n")).collect();
    let text = format!("schema = 1\n[sets]\nempty = []\n[groups.g]\nmembers = [\n{members}]\n");
    let (_, problems) = read_with(&text, &[]);
    assert_eq!(problems.len(), MAX_PROBLEMS + 2);
    assert_eq!(problems[MAX_PROBLEMS].message, "and 4900 more errors");
    assert!(problems[..MAX_PROBLEMS].iter().all(|problem| problem.severity == Severity::Error));
}

#[test]
fn large_documents() {
    let (_, problems) = read_with(&"#".repeat(MAX_DOCUMENT + 1), &[]);
    assert_eq!(problems[0].message, "the document is larger than 16 MiB");
    // A single line with many places: nothing may walk it for each of them.
    let members: Vec<String> =
        (0..50_000).map(|at| format!("\"10.{}.{}.1\"", at >> 8 & 255, at & 255)).collect();
    let text = format!("schema = 1\n[groups.g] # \u{e9}\nmembers = [{}]\n", members.join(", "));
    let (policy, problems) = read_with(&text, &[]);
    assert_eq!((policy.groups[0].members.len(), problems.len()), (50_000, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_documents_do_not_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, "[\\[\\]{}=\"',.#\n a-f0-9:/@-]{0,4}"), 1..8)
    ) {
        let mut text: Vec<char> = DESIGN.chars().collect();
        for (at, kind, insert) in edits {
            let at = at.index(text.len().max(1)).min(text.len());
            match kind {
                0 => { text.splice(at..at, insert.chars()); }
                1 => { text.drain(at..(at + insert.len() * 8).min(text.len())); }
                2 => { text.truncate(at); }
                _ => { let copy: Vec<char> = text[at..(at + 60).min(text.len())].to_vec(); text.splice(at..at, copy); }
            }
        }
        let text: String = text.into_iter().collect();
        let (_, problems) = read_with(&text, &[("feeds/drop.txt", "10.0.0.0/8\n")]);
        prop_assert!(problems.len() <= MAX_PROBLEMS + 2);
        for problem in &problems {
            prop_assert!(problem.place.line >= 1 && problem.place.column >= 1);
            prop_assert!(!problem.message.is_empty() && !problem.message.contains(char::is_control), "{:?}", problem);
        }
        let shown = super::super::report::render(&problems, &|_| Some(&text), false);
        prop_assert_eq!(shown.is_empty(), problems.is_empty());
    }

    #[test]
    fn any_text_does_not_panic(text in "\\PC{0,200}") {
        let _ = read_with(&text, &[]);
    }
}
