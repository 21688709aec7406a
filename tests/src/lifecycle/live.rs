//! Changes by command, on top of the policy file.
use serde_json::Value;

use super::POLICY;
use crate::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::{DEV1_MAC, DEV2_MAC, HOSTILE, UPDATES},
    wait_until,
};

/// The answer to a change, as JSON.
#[track_caller]
fn change(daemon: &Daemon<'_>, words: &[&str]) -> Value {
    daemon.json(words).remove(0)
}

/// The id of a change that was made.
#[track_caller]
fn id(answer: &Value) -> String {
    answer["change"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_change_is_in_force_when_the_command_returns() {
    let lab = Lab::gateway("live-rules");
    let _server = Server::start(&lab.internet, "x", &[80, 81, 515], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let one = |port| programs::connects(&lab.dev1, UPDATES, port);
    let two = |port| programs::connects(&lab.dev2, UPDATES, port);
    assert!(one(80) && two(80) && !one(81) && !two(81));
    let generation = daemon.status()["policy"]["generation"].clone();

    // For the group.
    let words = ["allow", "beds", UPDATES, "tcp/81", "--reason", "CHG-1", "--owner", "biomed"];
    let allowed = change(&daemon, &words);
    assert!(one(81) && two(81), "{allowed}");
    // In the active image: no program was loaded.
    assert_eq!(daemon.status()["policy"]["generation"], generation);
    let live = daemon.status()["live"][0].clone();
    assert_eq!((&live["reason"], &live["owner"]), (&"CHG-1".into(), &"biomed".into()));
    // Deny wins, and an ineffective allow rule is reported as such.
    let denied = change(&daemon, &["deny", "beds", "198.51.100.0/24", "tcp/80"]);
    assert!(!one(80) && one(81));
    let idle = change(&daemon, &["allow", "beds", UPDATES, "tcp/80"]);
    assert!(!one(80) && idle["notes"][0].to_string().contains(&id(&denied)), "{idle}");
    // For one device, by its MAC.
    let own = change(&daemon, &["allow", DEV2_MAC, HOSTILE, "tcp/515"]);
    assert!(programs::connects(&lab.dev2, HOSTILE, 515));
    assert!(!programs::connects(&lab.dev1, HOSTILE, 515));
    assert!(two(81) && !two(80), "the rules of its group hold for it");

    let rules = daemon.rules();
    let rule = |id: &str| rules.iter().filter(|rule| rule["id"] == id).count();
    assert_eq!([rule(&id(&allowed)), rule(&id(&denied)), rule(&id(&own))], [1, 1, 1], "{rules:?}");
    assert!(rules.iter().any(|rule| rule["live"] == true && rule["frames"].as_u64() > Some(0)));
    let groups = daemon.status()["groups"].clone();
    assert_eq!(groups.as_array().expect("a list").len(), 2, "beds and unknown: {groups}");

    for made in [&allowed, &denied, &idle, &own] {
        change(&daemon, &["revoke", &id(made)]);
    }
    assert!(one(80) && !one(81) && !two(81));
    assert!(!programs::connects(&lab.dev2, HOSTILE, 515));
    assert_eq!(daemon.status()["live"], serde_json::json!([]));
    let history = daemon.json(&["history"]);
    let said: Vec<&str> = history.iter().filter_map(|row| row["live"].as_str()).collect();
    assert_eq!(said.len(), 8, "{history:?}");
    assert_eq!(said[0], "allow beds: tcp/81 to 198.51.100.10");
    assert_eq!(said[4], "revoked: allow beds: tcp/81 to 198.51.100.10");
    assert_eq!(history[1]["why"], "CHG-1");
    let again = daemon.cli(&["revoke", &id(&own)]);
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("there is no live change"), "{again:?}");
}

#[test]
fn the_same_for_ipv6() {
    use crate::harness::topology::UPDATES_V6;
    let lab = Lab::gateway("live-v6");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let reach = || programs::connects(&lab.dev1, UPDATES_V6, 80);
    assert!(!reach());
    let allowed = change(&daemon, &["allow", "beds", "2001:db8:5::/64", "tcp/80"]);
    assert!(reach());
    let denied = change(&daemon, &["deny", "beds", UPDATES_V6]);
    assert!(!reach());
    change(&daemon, &["revoke", &id(&denied)]);
    assert!(reach());
    change(&daemon, &["revoke", &id(&allowed)]);
    assert!(!reach());
}

#[test]
fn changes_survive_a_restart_and_a_new_policy_file() {
    let lab = Lab::gateway("live-kept");
    let _server = Server::start(&lab.internet, "x", &[80, 81, 515], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let one = |port| programs::connects(&lab.dev1, UPDATES, port);
    change(&daemon, &["allow", "beds", UPDATES, "tcp/81"]);
    change(&daemon, &["allow", DEV1_MAC, HOSTILE, "tcp/515"]);
    change(&daemon, &["mode", "beds", "enforce"]);
    daemon.kill9();
    assert!(one(81) && programs::connects(&lab.dev1, HOSTILE, 515), "with no daemon");
    daemon.run();
    assert!(one(81) && programs::connects(&lab.dev1, HOSTILE, 515));
    assert!(!programs::connects(&lab.dev2, HOSTILE, 515));
    assert_eq!(daemon.status()["live"].as_array().expect("a list").len(), 3);

    // The combined policy in one file gives the same decisions.
    let shown = daemon.cli(&["policy", "show"]).stdout;
    let path = daemon.write("shown.toml", &shown);
    let checked = daemon.cli(&["check", &path.display().to_string()]);
    assert!(checked.success(), "{checked:?}\n{shown}");

    let applied = daemon.apply(&POLICY.replace("tcp/80", "tcp/8080"));
    assert!(applied.success(), "{applied:?}");
    assert!(!one(80) && one(81), "the changes stand beside the new file");
    let applied = daemon.apply(&POLICY.replace("beds", "wards"));
    assert!(applied.success(), "{applied:?}");
    assert!(applied.stderr.contains("there is no group"), "{applied:?}");
    assert!(!one(81));
    assert_eq!(daemon.status()["live"].as_array().expect("a list").len(), 1, "the device's own");
}

#[test]
fn what_ends_ends_on_time_with_the_daemon_dead() {
    let lab = Lab::gateway("live-end");
    let _server = Server::start(&lab.internet, "x", &[81, 82], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    change(&daemon, &["allow", "beds", UPDATES, "tcp/81", "--for", "6s"]);
    assert!(reach(81) && !reach(82));
    change(&daemon, &["mode", "beds", "observe", "--for", "6s", "--reason", "bed 12 alarms"]);
    assert!(reach(82));
    let status = daemon.cli(&["status"]).stdout;
    assert!(status.contains("observe until"), "{status}");
    assert!(status.contains("warning: group beds drops nothing until"), "{status}");
    daemon.kill9();
    assert!(reach(82), "before its end");
    wait_until("the mode and the rule end", || (!reach(81) && !reach(82)).then_some(()));
    daemon.run();
    assert!(!reach(81) && !reach(82));
    assert_eq!(daemon.status()["live"], serde_json::json!([]));
}

#[test]
fn a_mode_returns_by_itself_and_its_events_say_what_it_was() {
    let lab = Lab::gateway("live-mode");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    let made = change(&daemon, &["mode", "beds", "quarantine"]);
    assert!(!reach(80));
    change(&daemon, &["revoke", &id(&made)]);
    assert!(reach(80));
    change(&daemon, &["mode", "beds", "observe", "--for", "3s"]);
    let tail = daemon.tail(&["--verdict", "would-drop"]);
    assert!(reach(81));
    let event = tail.wait_for("port 81", |event| event["dest_port"] == 81);
    assert_eq!(event["enforcer"]["verdict"], "would-drop");
    wait_until("the daemon forgets it", || {
        (daemon.status()["live"] == serde_json::json!([])).then_some(())
    });
    assert!(!reach(81));
    assert!(daemon.log().contains("ended: mode beds: observe"), "{}", daemon.log());
}

/// Also for devices that are in no group.
#[test]
fn unknown_devices_are_shut_out_and_let_in_again() {
    let lab = Lab::gateway("live-unknown");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let policy = POLICY.replace("00:1b:44/24", "02:00:00:00:00:99");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &policy);
    let reach = || programs::connects(&lab.dev1, UPDATES, 80);
    let generation = daemon.status()["policy"]["generation"].clone();
    assert!(reach(), "the default for unknown devices");
    change(&daemon, &["mode", "unknown", "quarantine", "--for", "3s", "--reason", "worm"]);
    assert!(!reach());
    let group = |status: &Value| {
        let groups = status["groups"].as_array().expect("a list");
        groups.iter().find(|group| group["name"] == "unknown").expect("it is listed").clone()
    };
    let status = daemon.status();
    assert_eq!(group(&status)["mode"], "quarantine", "{status}");
    assert!(group(&status)["until"].is_string(), "{status}");
    assert_eq!(status["policy"]["generation"], generation, "no program was loaded");
    wait_until("it ends by itself", || reach().then_some(()));
    wait_until("the daemon forgets it", || {
        (group(&daemon.status())["mode"] == "enforce").then_some(())
    });
}
