mod lists;
mod parts;

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;

use super::super::{
    DefaultVerdict, End, Mac, Mode, Policy, Problem, Range, Selector, Service, Severity, To,
};
use super::{MAX_DOCUMENT, MAX_PROBLEMS};

fn read_with(text: &str, files: &[(&str, &str)]) -> (Policy, Vec<Problem>) {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    super::read("p.toml", text, &mut |name| match files.get(name) {
        Some(text) => Ok((*text).to_owned()),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    })
}

/// Problems as `file:line:column: severity: message (hint)`, without the file for the document itself.
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

/// Problems of a policy with one good group, followed by `rest` in line 5.
fn with(rest: &str) -> Vec<String> {
    let head = "schema = 1\n[groups.base]\nmembers = [\"192.0.2.1\"]\n\n";
    problems(&format!("{head}{rest}"), &[])
}

/// Problems of a rule, which begins at 4:10.
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
    assert_eq!(update.until, Some(End::Wall(1_801_353_600)));
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
    // The same rule in another notation, or with another reason.
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
    // A contract: counters are stored under this id.
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
            "[interfaces.lan0]\nnext-hop = \"bond\"",
            "6:12: error: `bond` is not a value of `next-hop` (did you mean `bound`?)",
        ),
        (
            "[interfaces.lan0]\nnext-hop = true",
            "6:12: error: `next-hop` must be a string, not a boolean (write `next-hop = \"any\"`)",
        ),
        (
            "[interfaces.\"lan 0\"]",
            "5:13: error: `lan 0` is not a name of an interface (1 to 15 characters without spaces, `/` and `:`)",
        ),
    ] {
        assert_eq!(with(text), [expected], "{text}");
    }
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
    assert_eq!(problems[0].message, "the document is larger than 32 MiB");
    // A single line with many places: a look-up must not scan the line each time.
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
