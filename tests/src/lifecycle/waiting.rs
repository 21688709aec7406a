//! Changes by command while a policy waits to be confirmed: they hold whether or not it is
//! confirmed.
use serde_json::Value;

use super::POLICY;
use super::backstop::{forbidden, leaked};
use crate::harness::{
    Daemon, Lab, Sniffer,
    frames::Flood,
    programs::{self, Server},
    topology::{DEV2_MAC, LAN0_MAC, UPDATES},
    wait_until,
};

/// The previous policy: `wing` is only here.
const BEFORE: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [{ to = "198.51.100.10", service = ["udp/5000", "tcp/80"] }]
[groups.wing]
members = ["10.99.0.0/24"]
"#;

/// The waiting policy: `ward` is only here.
const WAITS: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [{ to = "198.51.100.10", service = ["udp/5000", "tcp/81"] }]
[groups.ward]
members = ["10.98.0.0/24"]
"#;

/// How the waiting ends.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Confirm,
    TakeBack,
    Lapse,
    /// The daemon dies, the kernel returns to the previous policy, another daemon starts.
    Kill,
}

#[track_caller]
fn change(daemon: &Daemon<'_>, words: &[&str]) -> (String, String) {
    let answer = daemon.json(words).remove(0);
    let id = answer["change"]["id"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let notes = answer["notes"].as_array().cloned().unwrap_or_default();
    (id.to_owned(), Value::from(notes).to_string())
}

/// Ids of the live changes in force.
#[track_caller]
fn ids(daemon: &Daemon<'_>) -> Vec<String> {
    let status = daemon.status();
    let live = status["live"].as_array().expect("a list").clone();
    let id = |change: &Value| change["id"].as_str().expect("an id").to_owned();
    let mut ids: Vec<String> = live.iter().map(id).collect();
    ids.sort();
    ids
}

/// Before, while it waits, and after one outcome, under a flood of forbidden frames.
fn holds(name: &str, outcome: Outcome) {
    let lab = Lab::gateway(name);
    let _server = Server::start(&lab.internet, "x", &[80, 81, 82, 83, 84, 85], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], BEFORE);
    let sniffer = Sniffer::start(&lab.internet, "eth0");
    let flood = Flood::start(&lab.dev1, "eth0", vec![forbidden(LAN0_MAC, [198, 51, 100, 10])]);
    flood.wait_for(100);
    let one = |port| programs::connects(&lab.dev1, UPDATES, port);
    let two = |port| programs::connects(&lab.dev2, UPDATES, port);
    let all = || ([80, 81, 82, 83, 84].map(one), two(84));

    let (earlier, _) = change(&daemon, &["allow", "beds", UPDATES, "tcp/82"]);
    let (stays, _) = change(&daemon, &["allow", "beds", UPDATES, "tcp/85", "--for", "1h"]);
    let path = daemon.write("policy.toml", WAITS).display().to_string();
    let time = if matches!(outcome, Outcome::Lapse | Outcome::Kill) { "25s" } else { "300s" };
    let applied = daemon.cli(&["apply", "--confirm", time, &path]);
    assert!(applied.success(), "{applied:?}");
    assert_eq!(all(), ([false, true, true, false, false], false));

    let (group, notes) = change(&daemon, &["allow", "beds", UPDATES, "tcp/83"]);
    assert_eq!(notes, "[]");
    change(&daemon, &["revoke", &earlier]);
    // A device gets a group of its own: two new generations.
    let (device, notes) = change(&daemon, &["allow", DEV2_MAC, UPDATES, "tcp/84"]);
    assert_eq!(notes, "[]");
    assert_eq!(all(), ([false, true, false, true, false], true));
    let status = daemon.status();
    assert!(status["confirm_until"].is_string(), "{status}");
    // A change that fits only one of the two is made there, and says so.
    let (new, notes) = change(&daemon, &["allow", "ward", UPDATES, "tcp/80"]);
    assert!(notes.contains("only beside revision 2"), "{notes}");
    let (old, notes) = change(&daemon, &["allow", "wing", UPDATES, "tcp/80"]);
    assert!(notes.contains("only beside revision 1"), "{notes}");
    let neither = daemon.cli(&["allow", "no-group", UPDATES, "tcp/80"]);
    assert_eq!(neither.code, Some(2), "{neither:?}");

    match outcome {
        Outcome::Confirm => assert!(daemon.cli(&["confirm"]).success()),
        Outcome::TakeBack => assert!(daemon.cli(&["rollback"]).success()),
        Outcome::Lapse => wait_until("the policy before returns", || one(80).then_some(())),
        Outcome::Kill => {
            daemon.kill9();
            assert_eq!(all(), ([false, true, false, true, false], true));
            wait_until("the kernel returns by itself", || one(80).then_some(()));
            assert_eq!(all(), ([true, false, false, true, false], true));
            daemon.run();
        }
    }
    let confirmed = outcome == Outcome::Confirm;
    let expected = ([!confirmed, confirmed, false, true, false], true);
    assert_eq!(all(), expected);
    let mut kept = vec![stays, group, device.clone(), if confirmed { new } else { old }];
    kept.sort();
    wait_until("the changes are those", || (ids(&daemon) == kept).then_some(()));
    daemon.restart();
    assert_eq!(all(), expected);
    assert_eq!(ids(&daemon), kept);
    // Nothing is left over that would block further changes.
    change(&daemon, &["revoke", &device]);
    assert!(!two(84) && two(85));
    drop(flood);
    assert_eq!(leaked(&sniffer), 0, "a forbidden frame passed");
}

#[test]
fn changes_hold_when_the_policy_is_confirmed() {
    holds("wait-confirm", Outcome::Confirm);
}

#[test]
fn changes_hold_when_the_policy_is_taken_back() {
    holds("wait-back", Outcome::TakeBack);
}

#[test]
fn changes_hold_when_the_policy_is_not_confirmed() {
    holds("wait-lapse", Outcome::Lapse);
}

#[test]
fn changes_hold_when_the_daemon_is_killed_meanwhile() {
    holds("wait-kill", Outcome::Kill);
}

#[test]
fn an_observed_group_is_observed_by_both_until_its_time_is_over() {
    let lab = Lab::gateway("wait-mode");
    let _server = Server::start(&lab.internet, "x", &[80, 81, 82], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    let path = daemon.write("policy.toml", WAITS).display().to_string();
    assert!(daemon.cli(&["apply", "--confirm", "300s", &path]).success());
    change(&daemon, &["mode", "beds", "observe", "--for", "20s", "--reason", "3 a.m."]);
    assert!(reach(82));
    assert!(daemon.cli(&["rollback"]).success());
    assert!(reach(82), "the policy before is observed as well");
    wait_until("it ends by itself", || (!reach(82)).then_some(()));
    assert!(reach(80));
    // Quarantine ends while it waits, and does not return.
    assert!(daemon.cli(&["apply", "--confirm", "300s", &path]).success());
    change(&daemon, &["mode", "beds", "quarantine", "--for", "2s"]);
    wait_until("the daemon forgets it", || ids(&daemon).is_empty().then_some(()));
    assert!(reach(81));
    assert!(daemon.cli(&["confirm"]).success());
    assert!(reach(81) && ids(&daemon).is_empty());
}
