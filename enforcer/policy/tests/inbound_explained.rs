//! Explanations of frames towards devices.
#![allow(missing_docs, reason = "a test binary")]

use enforcer_policy::explain::heard::Heard;
use enforcer_policy::explain::{Error, Explanation, Request, inbound};
use enforcer_policy::image::Time;
use enforcer_policy::{compile, read, report};
use enforcer_testkit::random;

const POLICY: &str = r#"schema = 1
[devices.bed]
mac = "00:1b:44:11:3a:b7"
ip = "10.20.0.12"
[groups.beds]
members = ["bed"]
inbound = "drop"
allow = [{ to = "10.31.0.50", service = "udp/514" }]
accept = [{ from = "10.30.0.0/24", service = ["tcp/22", "icmp"], reason = "biomed" }]
refuse = [{ from = "any", service = "udp/2000-2100", reason = "CVE-2024-12248" }]
[groups.others]
members = ["10.20.0.13"]
"#;

fn explained(from: &str, to: &str, proto: &str) -> Result<Explanation, Error> {
    let (policy, problems) = read("p.toml", POLICY, &mut |_| unreachable!());
    assert!(!report::has_errors(&problems), "{problems:?}");
    let host = random::host();
    let compiled = compile(&policy, &host).unwrap();
    let request = Request {
        from: from.into(),
        mac: None,
        to: to.into(),
        proto: proto.into(),
        interface: None,
        vlan: None,
    };
    let now = Time::wall(random::NOW);
    inbound(&policy, &host, &Heard::default(), &compiled, &request, now)
}

#[test]
fn what_becomes_of_it_and_why() {
    for (from, to, proto, verdict, reason) in [
        ("10.30.0.9", "bed:22", "tcp", "pass", "accept"),
        ("10.30.0.9", "10.20.0.12:22", "tcp", "pass", "accept"),
        ("10.30.0.9", "bed", "icmp", "pass", "accept"),
        ("10.30.0.9", "bed:23", "tcp", "drop", "inbound-drop"),
        ("10.30.0.9", "bed:2000", "udp", "drop", "refuse"),
        // Nobody has asked.
        ("10.31.0.50", "bed:40000", "udp", "drop", "inbound-drop"),
        ("10.30.0.9", "10.20.0.13:22", "tcp", "pass", "inbound-pass"),
    ] {
        let found = explained(from, to, proto).unwrap();
        assert_eq!((found.verdict, found.reason), (verdict, reason), "{from} {to} {found:?}");
    }
}

#[test]
fn in_words() {
    let refused = explained("10.30.0.9", "bed:2000", "udp").unwrap();
    assert_eq!(refused.frame, "10.30.0.9 to 10.20.0.12 udp/2000, leaving by lan0");
    assert_eq!((refused.device.as_deref(), refused.group.as_str()), (Some("bed"), "beds"));
    let rule = refused.rule.unwrap();
    assert_eq!((rule.action, rule.reason.as_deref()), ("refuse", Some("CVE-2024-12248")));

    let dropped = explained("10.30.0.9", "bed:23", "tcp").unwrap();
    let suggestion = dropped.suggestion.as_deref();
    assert_eq!(suggestion, Some("{ from = \"10.30.0.9\", service = \"tcp/23\" },"));
    let misses: Vec<&str> = dropped.near_misses.iter().map(|miss| miss.why.as_str()).collect();
    assert_eq!(misses, ["right sender, but it accepts tcp/22, icmp, not tcp/23"]);
    assert!(dropped.notes[0].contains("what bed asks 10.30.0.9 for comes in"), "{dropped:?}");

    let stranger = explained("203.0.113.9", "bed:22", "tcp").unwrap();
    let misses: Vec<&str> = stranger.near_misses.iter().map(|miss| miss.why.as_str()).collect();
    assert!(misses.contains(&"right service, but it accepts it from 10.30.0.0/24"), "{misses:?}");

    let other = explained("10.30.0.9", "10.20.0.13:22", "tcp").unwrap();
    assert_eq!(other.text, "no rule is about what is sent to this device");
}

#[test]
fn what_makes_no_sense_is_said() {
    assert!(matches!(explained("bed", "bed:22", "tcp"), Err(Error::Endpoint { .. })));
    assert!(matches!(explained("10.30.0.9", "bed", "tcp"), Err(Error::PortMissing { .. })));
    assert!(matches!(explained("10.30.0.9", "bed:22", "icmp"), Err(Error::PortGiven { .. })));
    assert!(matches!(explained("10.30.0.9", "bad:22", "tcp"), Err(Error::Device { .. })));
    assert!(matches!(explained("2001:db8::9", "bed:22", "tcp"), Err(Error::Family { .. })));
}
