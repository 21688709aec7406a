use super::*;
use crate::policy::{compile, read, write};

const TEXT: &str = r#"schema = 1
[sets]
updates = ["198.51.100.0/24"]
[devices.bed-12]
mac = "00:1b:44:11:3a:b7"
[devices.pump]
ip = "10.20.0.99"
[groups.beds]
members = ["bed-12", "00:1b:44:11:3a:b8", "10.20.0.0/24", "00:1b:44/24"]
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

fn change(target: &str, what: What) -> Change {
    let mut change = Change {
        id: String::new(),
        target: target.into(),
        what,
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

fn allow(target: &str, to: &str, service: &str) -> Change {
    change(target, What::Allow(Endpoint { to: to.into(), service: service.into() }))
}

/// Members of each group, as the policy writes them.
fn members(policy: &Policy) -> Vec<(String, Vec<String>)> {
    let groups = policy.groups.iter();
    let texts = |group: &Group| group.members.iter().map(|m| m.selector.text(policy)).collect();
    groups.map(|group| (group.name.clone(), texts(group))).collect()
}

#[test]
fn a_group_gets_rules_behind_its_own() {
    let changes = [
        allow("beds", "192.0.2.7", "tcp/80, udp/53"),
        change("beds", What::Deny(Endpoint { to: "any".into(), service: "icmp".into() })),
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
        ("bed-12", ["00:1b:44:11:3a:b8", "10.20.0.0/24", "00:1b:44:00:00:00/24"].as_slice()),
        ("00:1b:44:11:3a:b8", &["bed-12", "10.20.0.0/24", "00:1b:44:00:00:00/24"]),
    ] {
        let changes = [allow(target, "192.0.2.7", "tcp/80"), allow("beds", "192.0.2.8", "any")];
        let after = with_live(&policy(), &changes).unwrap();
        let own = after.groups.last().unwrap();
        assert_eq!((own.device_of, &*own.name), (Some(0), "beds"), "{target}");
        assert_eq!(members(&after)[0].1, left, "{target}");
        assert_eq!(members(&after)[2].1, [target]);
        // What the whole group has, and its own.
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
        let (at, complaint) = with_live(&policy(), &[allow(target, "any", "any")]).unwrap_err();
        assert_eq!((at, complaint.message), (0, format!("`{target}` is in no group")));
    }
}

#[test]
fn a_mode_has_an_end() {
    let observe = What::Mode { mode: Mode::Observe };
    let change = Change { until: Some(1000), ..change("beds", observe) };
    let after = with_live(&policy(), std::slice::from_ref(&change)).unwrap();
    assert_eq!(after.groups[0].mode_at(Time::wall(999)), Mode::Observe);
    assert_eq!(after.groups[0].mode_at(Time::wall(1000)), Mode::Enforce);
    let ended = |now| change.has_ended(Time::wall(now));
    assert!(!ended(999) && ended(1000));
    let (_, complaint) =
        with_live(&policy(), &[Change { target: "bed-12".into(), ..change }]).unwrap_err();
    assert!(complaint.message.contains("only a group has a mode"), "{complaint:?}");
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
    let mode = What::Mode { mode: Mode::Quarantine };
    let change = Change { until: Some(1000), ..change("unknown", mode) };
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
        let (_, complaint) = with_live(&policy(), &[change]).unwrap_err();
        assert!(complaint.message.contains(message), "{complaint:?}");
        assert!(complaint.hint.is_some(), "{complaint:?}");
    }
    assert!(with_live(&policy(), &[allow("beds", "@updates", "any")]).is_ok());
}

#[test]
fn ids_are_stable_and_apart() {
    let one = allow("beds", "any", "tcp/80");
    assert_eq!(one.id, allow("beds", "any", "tcp/80").id);
    assert!(one.id.starts_with("l-") && one.id.len() == 10, "{}", one.id);
    assert_ne!(one.id, allow("pump", "any", "tcp/80").id);
    // Somebody else's id: one more digit.
    let mut other = allow("pump", "any", "any");
    let taken = Change { id: other.id.clone(), ..one.clone() };
    identify(&mut other, &[taken]);
    assert_eq!(other.id.len(), 12, "{}", other.id);
    assert!(one.replaces(&Change { until: Some(1), ..one.clone() }));
}

/// The whole policy in force as one file says the same as the policy and its changes.
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
