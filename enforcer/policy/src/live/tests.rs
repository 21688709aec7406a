use enforcer_common::flow::{Address, Class, FAMILY_V4, Flow};
use enforcer_common::reason::Verdict;
use proptest::prelude::*;

use super::*;
use crate::image::HostImage;
use crate::{Severity, compile, read, write};

const TEXT: &str = r#"schema = 1
[sets]
updates = ["198.51.100.0/24"]
[devices.bed-12]
mac = "00:1b:44:11:3a:b7"
[devices.pump]
ip = "10.20.0.99"
[devices.cart]
ip = ["10.20.0.50", "10.20.0.51"]
[groups.beds]
members = ["bed-12", "00:1b:44:11:3a:b8", "10.20.0.50", "10.20.0.0/24", "00:1b:44/24"]
allow = [{ to = "@updates", service = "tcp/443" }]
[groups.others]
members = ["10.20.0.0/16"]
mode = "observe"
"#;

fn policy() -> Policy {
    let (policy, problems) = read("p", TEXT, &mut |_| unreachable!());
    assert_eq!(problems, []);
    policy
}

fn change(target: &str, action: LiveAction) -> LiveChange {
    let mut change = LiveChange {
        id: String::new(),
        target: target.into(),
        action,
        reason: None,
        owner: None,
        until: None,
        lasts: None,
        deadline: None,
        left: None,
        since: 0,
        by: "root".into(),
    };
    identify(&mut change, &[]);
    change
}

fn allow(target: &str, to: &str, service: &str) -> LiveChange {
    change(target, LiveAction::Allow(Endpoint { to: to.into(), service: service.into() }))
}

/// Members of each group, in the policy's notation.
fn members(policy: &Policy) -> Vec<(String, Vec<String>)> {
    let groups = policy.groups.iter();
    let texts = |group: &Group| group.members.iter().map(|m| m.selector.text(policy)).collect();
    groups.map(|group| (group.name.clone(), texts(group))).collect()
}

#[test]
fn a_group_gets_rules_behind_its_own() {
    let changes = [
        allow("beds", "192.0.2.7", "tcp/80, udp/53"),
        change("beds", LiveAction::Deny(Endpoint { to: "any".into(), service: "icmp".into() })),
    ];
    let after = with_live(&policy(), &changes).unwrap();
    let beds = &after.groups[0];
    assert_eq!(beds.allow.len(), 2);
    assert_eq!((&beds.allow[1].id, beds.allow[1].live), (&changes[0].id, true));
    assert_eq!(beds.allow[1].services, [Service::ports(6, 80, 80), Service::ports(17, 53, 53)]);
    assert_eq!(beds.deny.len(), 1);
    assert_eq!(after.groups[1], policy().groups[1]);
}

#[test]
fn a_device_gets_a_group_of_its_own() {
    for (target, left) in [
        (
            "bed-12",
            ["00:1b:44:11:3a:b8", "10.20.0.50", "10.20.0.0/24", "00:1b:44:00:00:00/24"].as_slice(),
        ),
        ("00:1b:44:11:3a:b8", &["bed-12", "10.20.0.50", "10.20.0.0/24", "00:1b:44:00:00:00/24"]),
    ] {
        let changes = [allow(target, "192.0.2.7", "tcp/80"), allow("beds", "192.0.2.8", "any")];
        let after = with_live(&policy(), &changes).unwrap();
        let own = after.groups.last().unwrap();
        assert_eq!((own.device_of, &*own.name), (Some(0), "beds"), "{target}");
        assert_eq!(members(&after)[0].1, left, "{target}");
        assert_eq!(members(&after)[2].1, [target]);
        // The rules of the whole group, and the device's own.
        assert_eq!(own.allow.len(), 3, "{own:?}");
        assert_eq!(after.groups[0].allow.len(), 2);
        assert_eq!(compile(&after, &Default::default()).unwrap().rules.len(), 4);
    }
}

#[test]
fn a_device_is_where_its_address_or_prefix_puts_it() {
    for (target, group) in [
        ("pump", 0),
        ("10.20.0.5", 0),
        ("10.20.9.5", 1),
        ("00:1b:44:99:99:99", 0),
        ("00-1B-44-11-3A-B7", 0),
    ] {
        let after = with_live(&policy(), &[allow(target, "any", "any")]).unwrap();
        assert_eq!(after.groups[2].device_of, Some(group), "{target}");
    }
    for target in ["10.99.0.1", "02:00:00:00:00:09", "2001:db8::1"] {
        let (at, error) = with_live(&policy(), &[allow(target, "any", "any")]).unwrap_err();
        assert_eq!((at, error.message), (0, format!("`{target}` is in no group")));
    }
}

#[test]
fn a_mode_has_an_end() {
    let observe = LiveAction::Mode { mode: Mode::Observe };
    let change = LiveChange { until: Some(1000), ..change("beds", observe) };
    let after = with_live(&policy(), std::slice::from_ref(&change)).unwrap();
    assert_eq!(after.groups[0].mode_at(Time::wall(999)), Mode::Observe);
    assert_eq!(after.groups[0].mode_at(Time::wall(1000)), Mode::Enforce);
    let ended = |now| change.has_ended(Time::wall(now));
    assert!(!ended(999) && ended(1000));
    let (_, error) =
        with_live(&policy(), &[LiveChange { target: "bed-12".into(), ..change }]).unwrap_err();
    assert!(error.message.contains("only a group has a mode"), "{error:?}");
}

#[test]
fn a_time_in_words() {
    for (seconds, words) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (598, "9m 58s"),
        (7_500, "2h 5m"),
        (7_201, "2h"),
        (262_800, "3d 1h"),
    ] {
        assert_eq!(span(seconds), words);
    }
}

#[test]
fn devices_in_no_group_have_a_mode() {
    let mode = LiveAction::Mode { mode: Mode::Quarantine };
    let change = LiveChange { until: Some(1000), ..change("unknown", mode) };
    let after = with_live(&policy(), std::slice::from_ref(&change)).unwrap();
    assert_eq!(after.unknown.mode_at(Time::wall(999)), Mode::Quarantine);
    assert_eq!(after.unknown.mode_at(Time::wall(1000)), policy().unknown.mode);
    assert_eq!(after.groups, policy().groups);
}

#[test]
fn what_does_not_fit_is_named() {
    for (change, message) in [
        (allow("bets", "any", "any"), "there is no group and no device `bets`"),
        (allow("beds", "@feed", "any"), "no rule of the policy uses a set `@feed`"),
        (allow("beds", "10.0.0.0/33", "any"), "33"),
        (allow("beds", "any", "tpc/80"), "tpc"),
    ] {
        let (_, error) = with_live(&policy(), &[change]).unwrap_err();
        assert!(error.message.contains(message), "{error:?}");
        assert!(error.hint.is_some(), "{error:?}");
    }
    assert!(with_live(&policy(), &[allow("beds", "@updates", "any")]).is_ok());
}

#[test]
fn ids_are_stable_and_apart() {
    let one = allow("beds", "any", "tcp/80");
    assert_eq!(one.id, allow("beds", "any", "tcp/80").id);
    assert!(one.id.starts_with("l-") && one.id.len() == 10, "{}", one.id);
    assert_ne!(one.id, allow("pump", "any", "tcp/80").id);
    // The id is taken by another change: it gets one more byte.
    let mut other = allow("pump", "any", "any");
    let taken = LiveChange { id: other.id.clone(), ..one.clone() };
    identify(&mut other, &[taken]);
    assert_eq!(other.id.len(), 12, "{}", other.id);
    assert!(one.replaces(&LiveChange { until: Some(1), ..one.clone() }));
}

/// The policy and its live changes, written as one file, decide like before.
#[test]
fn what_is_written_decides_alike() {
    let changes = [allow("bed-12", "192.0.2.7", "tcp/80"), allow("beds", "192.0.2.8", "any")];
    let after = with_live(&policy(), &changes).unwrap();
    let text = write(&after);
    let (again, problems) = read("written", &text, &mut |_| unreachable!());
    assert_eq!(problems, [], "{text}");
    assert_eq!(again.groups.len(), 3);
    assert_eq!(members(&again)[2].1, ["bed-12"]);
    assert_eq!(again.groups[2].allow.len(), 3);
}

/// Verdict and reason of a flow.
fn verdict(policy: &Policy, flow: Flow, now: i64) -> (Verdict, String) {
    let compiled = compile(policy, &Default::default()).expect("it compiles");
    let case = HostImage::new(&compiled.image, now).judge(flow);
    (case.decision.verdict, format!("{:?}", case.decision.reason))
}

fn flow(mac: u64, source: u32, destination: u32, protocol: u8, port: u16) -> Flow {
    let mut flow = Flow::NEW;
    (flow.class, flow.family, flow.ether_type) = (Class::Ip, FAMILY_V4, 0x0800);
    (flow.source_mac, flow.destination_mac) = (mac, 0x0200_0000_0001);
    (flow.source, flow.destination) = (Address::v4(source), Address::v4(destination));
    (flow.protocol, flow.source_port, flow.destination_port) = (protocol, 40_000, port);
    flow
}

/// Valid and invalid words, and words that only look valid.
fn words(known: &'static [&'static str]) -> BoxedStrategy<String> {
    prop_oneof![
        8 => proptest::sample::select(known).prop_map(str::to_owned),
        1 => proptest::sample::select(known).prop_map(|word| format!(" {word}\n")),
        1 => proptest::sample::select(known).prop_map(|word| format!("{word}\u{202e}")),
        1 => "\\PC{0,8}".prop_map(String::from),
    ]
    .boxed()
}

fn remark() -> impl Strategy<Value = Option<String>> {
    let text = prop_oneof![
        4 => "[ -~]{0,40}",
        1 => "\\PC{0,20}",
        1 => any::<String>(),
        1 => "[a-z]{250,260}",
        1 => Just("a\u{2067}b".to_owned()),
    ];
    proptest::option::of(text)
}

fn changes() -> impl Strategy<Value = Vec<LiveChange>> {
    let target = words(&[
        "beds",
        "others",
        "bed-12",
        "pump",
        "00:1b:44:11:3a:b8",
        "001b.4411.3ab7",
        "10.20.0.5",
        "10.20.9.5",
        "10.20.0.99",
        "cart",
        "10.20.0.50",
        "10.20.0.51",
        "unknown",
        "nobody",
    ]);
    let to = words(&[
        "any",
        "gateway",
        "local",
        "@updates",
        "198.51.100.0/24",
        "198.51.100.7",
        "192.0.2.7/32",
        "192.0.2.7-192.0.2.9",
        "2001:db8::/32",
    ]);
    let service = words(&[
        "any",
        "tcp/443",
        "tcp/80, udp/53",
        "udp/53,tcp/80",
        "tcp/80,tcp/80",
        "icmp",
        "proto/47",
    ]);
    let mode = proptest::sample::select(&Mode::ALL[..]);
    let end = || (to.clone(), service.clone()).prop_map(|(to, service)| Endpoint { to, service });
    let what = prop_oneof![
        3 => end().prop_map(LiveAction::Allow),
        2 => end().prop_map(LiveAction::Deny),
        1 => mode.prop_map(|mode| LiveAction::Mode { mode }),
    ];
    let until = prop_oneof![
        4 => Just(None),
        2 => (1_800_000_000_i64..1_900_000_000).prop_map(Some),
        1 => any::<i64>().prop_map(Some),
        1 => Just(Some(i64::MAX)),
    ];
    let one = (target, what, remark(), remark(), until).prop_map(
        |(target, what, reason, owner, until)| LiveChange {
            reason,
            owner,
            until,
            ..change(&target, what)
        },
    );
    proptest::collection::vec(one, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// With any live changes, the active policy can be shown and applied again, and then decides alike.
    #[test]
    fn what_is_shown_is_accepted_and_means_the_same(asked in changes()) {
        let now = 1_700_000_000;
        let mut live: Vec<LiveChange> = Vec::new();
        for mut change in asked {
            if change.check().is_err() {
                continue;
            }
            identify(&mut change, &live);
            let mut next = live.clone();
            next.retain(|other| !change.replaces(other));
            next.push(change);
            if with_live(&policy(), &next).is_ok_and(|policy| compile(&policy, &Default::default()).is_ok()) {
                live = next;
            }
        }
        let after = with_live(&policy(), &live).unwrap();
        let text = write(&after);
        let (again, problems) = read("shown", &text, &mut |_| unreachable!());
        let problems: Vec<_> =
            problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        prop_assert!(problems.is_empty(), "{problems:?}\n{text}");
        prop_assert!(compile(&again, &Default::default()).is_ok(), "{text}");
        prop_assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{text:?}");
        // A temporary mode is written as the mode that follows it.
        let timed = live.iter().any(|c| c.until.is_some() && matches!(c.action, LiveAction::Mode { .. }));
        let macs = [0x001b_4411_3ab7, 0x001b_4411_3ab8, 0x001b_4499_9999, 0x0200_0000_0009];
        let sources = [0x0a14_0005, 0x0a14_0032, 0x0a14_0033, 0x0a14_0063, 0x0a14_0905, 0x0a63_0001];
        let destinations = [0xc633_6407, 0xc000_0207, 0xc000_0208, 0xcb00_7101];
        for time in [now, 1_850_000_000, 1_950_000_000] {
            if timed && time == now {
                continue;
            }
            for (mac, source) in macs.into_iter().flat_map(|mac| sources.map(|source| (mac, source))) {
                for to in destinations {
                    for (protocol, port) in [(6, 443), (6, 80), (17, 53), (1, 0)] {
                        let flow = flow(mac, source, to, protocol, port);
                        let both = [&after, &again].map(|policy| verdict(policy, flow, time));
                        prop_assert_eq!(&both[0], &both[1], "{:?} at {}\n{}", flow, time, text);
                    }
                }
            }
        }
    }
}

#[test]
fn a_repeated_rule_is_shown_once_and_lasts_as_long_as_the_longer_one() {
    let repeated = |until| LiveChange { until, ..allow("beds", "@updates", "tcp/443") };
    for until in [None, Some(1_900_000_000)] {
        let after = with_live(&policy(), &[repeated(until)]).unwrap();
        assert_eq!(after.groups[0].allow.len(), 2);
        let text = write(&after);
        assert_eq!(text.matches("{ to = \"@updates\"").count(), 1, "{text}");
        assert!(!text.contains("until ="), "the rule of the file has no end: {text}");
    }
}

#[test]
fn what_a_policy_refuses_a_command_may_not_bring_in() {
    let fine = allow("beds", "192.0.2.7", "tcp/80, udp/53");
    assert_eq!(fine.check(), Ok(()));
    let remark = |text: &str| Some(text.to_owned());
    for (change, wrong) in [
        (LiveChange { reason: remark("a\nb"), ..fine.clone() }, "`reason` has control characters"),
        (
            LiveChange { owner: remark("a\u{1b}[2J"), ..fine.clone() },
            "`owner` has control characters",
        ),
        (
            LiveChange { reason: remark("a\u{202e}b"), ..fine.clone() },
            "`reason` has the character U+202E",
        ),
        (
            LiveChange { reason: remark(&"x".repeat(60_000)), ..fine.clone() },
            "`reason` is longer than 256",
        ),
        (LiveChange { until: Some(i64::MAX), ..fine.clone() }, "nothing can end at"),
        (LiveChange { until: Some(0), ..fine.clone() }, "nothing can end at 1970-01-01T00:00:00Z"),
        (allow("be\nds", "any", "any"), "the target has control characters"),
        (allow("beds", "any\u{85}", "any"), "`to` has control characters"),
        (allow("beds", "any", "\ntcp/80"), "`service` has control characters"),
    ] {
        assert!(change.check().unwrap_err().message.starts_with(wrong), "{wrong}");
        // Changes stored by an earlier version stay: a rule does not end because of its reason.
        if (&change.target, &change.action) == (&fine.target, &fine.action) {
            assert_eq!(change.mended().check(), Ok(()), "{wrong}");
        }
    }
    let after = with_live(&policy(), &[allow("beds", "192.0.2.7", "tcp/80,udp/53")]).unwrap();
    assert_eq!(after.groups[0].allow[1].service_text, "tcp/80, udp/53");
}
