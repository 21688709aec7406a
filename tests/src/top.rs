//! `enforcer top` on a real terminal of 80 columns and 24 lines.
use std::time::Duration;

use crate::harness::{
    Daemon, Lab, lacking,
    programs::{self, Server},
    screen::Screen,
    skip,
    topology::HOSTILE,
    wait_until,
};

const POLICY: &str = r#"schema = 1
[devices.bed-11]
mac = "00:1b:44:11:3a:b6"
[groups.beds]
members = ["bed-11"]
allow = [{ to = "198.51.100.10", service = "tcp/80", reason = "CHG-4711" }]
"#;

fn no_tmux(test: &str) -> bool {
    let missing = !lacking(&["tmux"]).is_empty();
    if missing {
        skip(test, "tmux is not here");
    }
    missing
}

#[test]
fn it_shows_refusals_and_allows_a_destination_for_an_hour() {
    if no_tmux("top::it_shows_who_was_refused_what") {
        return;
    }
    let lab = Lab::gateway("top");
    let _server = Server::start(&lab.internet, "x", &[80, 515], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let screen = Screen::start(&lab.gw, &daemon, "top");
    screen.wait_for("enforcing  revision 1  lan0  0 live");
    assert!(!programs::connects(&lab.dev1, HOSTILE, 515));
    let shown = screen.wait_for(&format!("{HOSTILE} tcp/515"));
    let line = shown.lines().find(|line| line.starts_with("bed-11 ")).expect("the device's line");
    assert!(line.contains("beds") && line.contains(HOSTILE), "{shown}");
    screen.press(&["Enter"]);
    screen.wait_for("group beds (enforce)");
    screen.wait_for("default-drop");

    // Requires a reason and a confirmation.
    screen.press(&["a"]);
    screen.wait_for(&format!("allow bed-11 to reach {HOSTILE}, tcp/515"));
    screen.press(&["Enter"]);
    screen.wait_for("write the reason first");
    screen.press(&["-l", "CHG-4712 vendor is on the phone"]);
    screen.press(&["Enter"]);
    screen.wait_for("for 1h");
    screen.press(&["n"]);
    wait_until("the question is gone", || (!screen.text().contains("for 1h")).then_some(()));
    assert!(!programs::connects(&lab.dev1, HOSTILE, 515));
    assert_eq!(daemon.status()["live"], serde_json::json!([]));

    screen.press(&["a"]);
    screen.press(&["-l", "CHG-4712"]);
    screen.press(&["Enter"]);
    screen.wait_for("Press y to do it");
    screen.press(&["y"]);
    screen.wait_for(&format!("in force: allow bed-11: tcp/515 to {HOSTILE}"));
    assert!(programs::connects(&lab.dev1, HOSTILE, 515), "it is in force");
    let live = daemon.status()["live"][0].clone();
    assert_eq!((&live["reason"], &live["target"]), (&"CHG-4712".into(), &"bed-11".into()));
    let hour = live["until"].as_i64().expect("an end") - live["since"].as_i64().expect("a time");
    assert!((3590..=3610).contains(&hour), "{live}");
    screen.press(&["q"]);
    screen.press(&["q"]);
    screen.wait_for("ended with 0");
}

#[test]
fn it_outlives_the_daemon_and_puts_the_terminal_back() {
    if no_tmux("top::it_outlives_the_daemon") {
        return;
    }
    let lab = Lab::gateway("top-gone");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let screen = Screen::start(&lab.gw, &daemon, "top");
    screen.wait_for("enforcing  revision 1");
    screen.press(&["?"]);
    screen.wait_for("select a line");
    daemon.kill9();
    screen.wait_for("NO ANSWER  the daemon is not running");
    daemon.run();
    screen.wait_for("enforcing  revision 1");
    screen.press(&["C-c"]);
    let after = screen.wait_for("ended with 0");
    assert!(!after.contains("enforcing"), "the screen before is back:\n{after}");
}

#[test]
fn without_a_terminal_it_says_so() {
    let lab = Lab::gateway("top-pipe");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let ended = daemon.command(&["top"]).finish(Duration::from_secs(10));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("needs a terminal") && ended.stdout.is_empty(), "{ended:?}");
}
