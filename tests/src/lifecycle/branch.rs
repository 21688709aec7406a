//! The operator's own session, which no change may cut off by mistake.
use std::time::Duration;

use super::POLICY;
use crate::harness::{
    Daemon, Finished, Lab,
    programs::{self, Server},
    topology::{DEV1, HOSTILE, UPDATES},
};

/// The command as an operator types it over SSH from a device.
fn over_ssh(daemon: &Daemon<'_>, lab: &Lab, words: &[&str]) -> Finished {
    let socket = daemon.path("enforcer.sock").display().to_string();
    let session = format!("SSH_CONNECTION={DEV1} 51234 {UPDATES} 80");
    let binary = crate::harness::daemon::binary();
    let fixed = [session.as_str(), &binary, "--socket", &socket];
    lab.gw.run("env", &[&fixed, words].concat(), Duration::from_secs(20))
}

#[test]
fn a_change_that_would_cut_off_the_operator_is_refused() {
    let lab = Lab::gateway("branch");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let reach = || programs::connects(&lab.dev1, UPDATES, 80);
    assert!(reach());
    let cut = daemon.write("cut.toml", &POLICY.replace("tcp/80", "tcp/8080"));
    let cut = cut.display().to_string();
    for words in [
        ["apply", &cut].as_slice(),
        &["deny", "beds", UPDATES],
        &["mode", "beds", "quarantine"],
        &["mode", "beds", "quarantine", "--for", "1h"],
    ] {
        let refused = over_ssh(&daemon, &lab, words);
        assert_eq!(refused.code, Some(1), "{words:?}: {refused:?}");
        assert!(refused.stderr.contains("cut off your own session from 10.20.0.11"), "{refused:?}");
        assert!(refused.stderr.contains("--force"), "{refused:?}");
        assert!(reach(), "{words:?}");
    }
    assert_eq!(daemon.status()["policy"]["revision"], 1);
    let refused = over_ssh(&daemon, &lab, &["deny", "beds", UPDATES]);
    assert!(!refused.stderr.contains("--confirm"), "deny has no such option: {refused:?}");
    // Changes that do not cut it off, and changes from elsewhere.
    assert!(over_ssh(&daemon, &lab, &["allow", "beds", HOSTILE]).success());
    assert!(over_ssh(&daemon, &lab, &["deny", "beds", HOSTILE]).success());
    let meant = over_ssh(&daemon, &lab, &["mode", "beds", "quarantine", "--force"]);
    assert!(meant.success(), "{meant:?}");
    assert!(!reach());
    // It is already cut off: nothing to protect.
    assert!(over_ssh(&daemon, &lab, &["deny", "beds", UPDATES]).success());
    assert!(over_ssh(&daemon, &lab, &["mode", "beds", "enforce"]).success());
    assert!(over_ssh(&daemon, &lab, &["apply", "--confirm", "60s", &cut]).success());
}

/// Going back may cut it off too: a revoked allow, an earlier revision.
#[test]
fn the_way_back_is_looked_at_too() {
    let lab = Lab::gateway("branch-back");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let cut = POLICY.replace("tcp/80", "tcp/8080");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &cut);
    let reach = || programs::connects(&lab.dev1, UPDATES, 80);
    assert!(!reach());

    let words = ["allow", "beds", UPDATES, "tcp/80"];
    let allowed = daemon.json(&words).remove(0);
    let id = allowed["change"]["id"].as_str().expect("an id");
    let refused = over_ssh(&daemon, &lab, &["revoke", id]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("cut off your own session"), "{refused:?}");
    assert!(reach());
    assert!(over_ssh(&daemon, &lab, &["revoke", id, "--force"]).success());
    assert!(!reach());

    assert!(daemon.apply(POLICY).success());
    assert!(reach());
    for words in [["rollback"].as_slice(), &["rollback", "1"]] {
        let refused = over_ssh(&daemon, &lab, words);
        assert_eq!(refused.code, Some(1), "{words:?}: {refused:?}");
        assert!(refused.stderr.contains("cut off your own session"), "{refused:?}");
        assert!(reach());
    }
    assert!(over_ssh(&daemon, &lab, &["rollback", "1", "--force"]).success());
    assert!(!reach());
}

/// A session over a bridge arrives at one of its ports.
#[test]
fn a_session_over_a_bridge_is_spared() {
    let lab = Lab::gateway("branch-bridge");
    lab.gw.ip("link add br0 type bridge forward_delay 0");
    lab.gw.ip("link set br0 up");
    lab.gw.ip("address flush dev lan0");
    lab.gw.ip("link set lan0 master br0");
    lab.gw.address("br0", "10.20.0.1/24");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let reach = || programs::connects(&lab.dev1, UPDATES, 80);
    assert!(reach());
    let refused = over_ssh(&daemon, &lab, &["deny", "beds", UPDATES]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("arrives on lan0"), "{refused:?}");
    assert!(reach());
}
