//! The kernel programs' log, if the settings enable it.
use std::fs;

use super::POLICY;
use super::backstop::forbidden;
use super::watch::reaches;
use crate::harness::{
    Daemon, Lab,
    frames::Flood,
    kernel::bpftool,
    programs::Server,
    topology::{LAN0_MAC, UPDATES},
    wait_until,
};

/// Empties the slot of the active generation while the daemon is stopped, until this many more
/// frames have come; then the daemon restores it.
fn without_a_generation(lab: &Lab, daemon: &Daemon<'_>, flood: &Flood, frames: u64) {
    daemon.process().signal(libc::SIGSTOP);
    let slots = daemon.pin("GENERATIONS").display().to_string();
    bpftool(&["map", "delete", "pinned", &slots, "key", "0", "0", "0", "0"]);
    flood.wait_for(frames);
    daemon.process().signal(libc::SIGCONT);
    wait_until("the slot is filled again", || reaches(&lab.dev1)[0].then_some(()));
}

#[test]
fn programs_speak_when_they_are_asked_to_and_only_then() {
    const SAYS: &str = "WARN: in the kernel: no generation is in force: frame ";
    let lab = Lab::gateway("kernel-log");
    let _server = Server::start(&lab.internet, UPDATES, &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    daemon.run();
    daemon.kill9();
    let silent = fs::read_to_string(daemon.path("enforcer.toml")).expect("it was written");
    daemon.setting("kernel_log = true");
    daemon.run();
    // The generation of the silent daemon is not adopted: it cannot log.
    assert_eq!(daemon.status()["policy"]["generation"], 2);
    let flood = Flood::start(&lab.dev1, "eth0", vec![forbidden(LAN0_MAC, [198, 51, 100, 10])]);
    without_a_generation(&lab, &daemon, &flood, 100);
    let log = wait_until("it is said", || Some(daemon.last_log()).filter(|log| log.contains(SAYS)));
    let frames = daemon.reason("no-policy", "frames");
    let lines = log.lines().filter(|line| line.contains(SAYS)).count();
    assert!((1..=2 * 64).contains(&lines), "{frames} frames: {log}");

    daemon.kill9();
    daemon.settings(&silent);
    daemon.run();
    // Some CPU's counter doubles, and so reaches a power of two.
    without_a_generation(&lab, &daemon, &flood, 2 * frames + 100);
    assert!(daemon.reason("no-policy", "frames") >= 2 * frames);
    daemon.kill9();
    assert!(!daemon.last_log().contains("in the kernel"), "{}", daemon.last_log());
}
