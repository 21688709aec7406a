use super::*;
use crate::read;

const BASE: &str = r#"
schema = 1
[sets]
feed = ["203.0.113.0/24", "198.51.100.0/24"]
idle = ["203.0.113.0/24"]
[devices.bed-12]
mac = "00:1b:44:11:3a:b7"
ip = "10.20.0.12"
[groups.monitors]
members = ["bed-12", "10.20.1.0/24"]
allow = [{ to = "10.20.0.10", service = ["tcp/515-520", "tcp/8000"], reason = "central" }]
deny = [{ to = "@feed" }]
[interfaces.lan0]
vlans = [20]
"#;

fn policy(text: &str) -> Policy {
    let (policy, problems) = read("p.toml", text, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    policy
}

/// Differences as `sign kind subject: text`, after replacing a text in [`BASE`].
fn after(from: &str, to: &str) -> Vec<String> {
    assert!(BASE.contains(from), "{from}");
    lines(&diff(&policy(BASE), &policy(&BASE.replace(from, to))))
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| {
            let subject = change.subject.as_deref().unwrap_or("-");
            format!("{} {} {subject}: {}", change.sign, change.kind, change.text)
        })
        .collect()
}

#[test]
fn nothing() {
    assert_eq!(diff(&policy(BASE), &policy(BASE)), []);
    // The same policy in a different notation.
    assert_eq!(after("\"tcp/515-520\", \"tcp/8000\"", "\"tcp/8000\", \"tcp/515-520\""), [""; 0]);
    assert_eq!(
        after("\"203.0.113.0/24\", \"198.51.100.0/24\"", "\"198.51.100.0/24\", \"203.0.113.0/24\""),
        [""; 0]
    );
    assert_eq!(after("idle = [\"203.0.113.0/24\"]", "idle = [\"203.0.113.7\"]"), [""; 0]);
}

#[test]
fn each_kind() {
    for (from, to, expected) in [
        (
            "[groups.monitors]",
            "[groups.monitors]\nmode = \"observe\"",
            vec!["~ mode monitors: enforce → observe"],
        ),
        (
            "[groups.monitors]",
            "[groups.monitors]\ndefault = \"pass\"",
            vec!["~ default monitors: drop → pass"],
        ),
        (
            "\"10.20.1.0/24\"]",
            "\"vlan:20\"]",
            vec!["- member monitors: 10.20.1.0/24", "+ member monitors: vlan:20"],
        ),
        (
            "10.20.0.12",
            "10.20.0.13",
            vec!["~ device bed-12: 00:1b:44:11:3a:b7, 10.20.0.12 → 00:1b:44:11:3a:b7, 10.20.0.13"],
        ),
        (
            "reason = \"central\"",
            "until = 2027-01-31T00:00:00Z, owner = \"biomed\"",
            vec![
                "~ allow monitors: tcp/515-520, tcp/8000 to 10.20.0.10: until none → 2027-01-31T00:00:00Z, reason central → none, owner none → biomed",
            ],
        ),
        (
            "\"tcp/8000\"]",
            "\"tcp/8001\"]",
            vec![
                "- allow monitors: tcp/515-520, tcp/8000 to 10.20.0.10 (central)",
                "+ allow monitors: tcp/515-520, tcp/8001 to 10.20.0.10 (central)",
            ],
        ),
        ("{ to = \"@feed\" }", "", vec!["- deny monitors: any to @feed"]),
        (
            "\"198.51.100.0/24\"]",
            "\"192.0.2.0/24\", \"192.0.2.0/24\"]",
            vec!["~ set -: @feed: 1 added, 1 removed, 3 ranges now"],
        ),
        ("vlans = [20]", "vlans = [20, 30]", vec!["~ interface -: lan0: VLAN 20 → VLANs 20, 30"]),
        ("[interfaces.lan0]\nvlans = [20]\n", "", vec!["- interface -: lan0: VLAN 20"]),
        (
            "vlans = [20]",
            "vlans = [20]\nnext-hop = \"bound\"",
            vec!["~ interface -: lan0: VLAN 20 → VLAN 20, next hops bound"],
        ),
        (
            "schema = 1",
            "schema = 1\nunknown.default = \"drop\"\nessential.stp = true",
            vec!["~ unknown -: default pass → drop", "~ essential -: stp off → on"],
        ),
    ] {
        assert_eq!(after(from, to), expected);
    }
}

#[test]
fn a_group_comes_and_goes() {
    let empty = policy("schema = 1\n[groups.other]\nmembers = [\"10.9.9.9\"]\n");
    let changes = diff(&empty, &policy(BASE));
    assert_eq!(
        lines(&changes),
        [
            "+ interface -: lan0: VLAN 20",
            "+ device bed-12: 00:1b:44:11:3a:b7, 10.20.0.12",
            "- group other: enforce, default drop, 1 member, 0 rules",
            "+ group monitors: enforce, default drop, 2 members, 2 rules",
            "+ member monitors: bed-12",
            "+ member monitors: 10.20.1.0/24",
            "+ deny monitors: any to @feed",
            "+ allow monitors: tcp/515-520, tcp/8000 to 10.20.0.10 (central)",
        ]
    );
    assert!(changes.last().is_some_and(|change| change.rule.is_some()));
}
