//! What is said when no generation is in force; and the kernel programs' own log, if the settings enable it.
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
fn frames_that_no_generation_judges_are_dropped_and_said() {
    const SAYS: &str = "ERROR: no generation was in force: ";
    let lab = Lab::gateway("kernel-log");
    let _server = Server::start(&lab.internet, UPDATES, &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    daemon.run();
    daemon.kill9();
    daemon.setting("kernel_log = true");
    daemon.run();
    // The generation of the first daemon is not adopted: its programs cannot log.
    assert_eq!(daemon.status()["policy"]["generation"], 2);
    let flood = Flood::start(&lab.dev1, "eth0", vec![forbidden(LAN0_MAC, [198, 51, 100, 10])]);
    without_a_generation(&lab, &daemon, &flood, 100);
    let log = wait_until("it is said", || Some(daemon.last_log()).filter(|log| log.contains(SAYS)));
    let said = log.lines().find_map(|line| line.split_once(SAYS)).expect("it was just seen").1;
    let said: u64 = said.split(' ').next().expect("a number").parse().expect("a number");
    assert!((1..=daemon.reason("no-policy", "frames")).contains(&said), "{log}");
    // The programs themselves have nothing to say: the headers of every frame were readable.
    assert!(!log.contains("in the kernel"), "{log}");
}
