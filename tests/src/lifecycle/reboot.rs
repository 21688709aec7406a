//! The state after a reboot: files on disk, but no pins, tables or earlier interfaces.
use std::{fs, path::Path, time::Duration};

use super::POLICY;
use super::backstop::{MARKER, forbidden, install, leaked};
use super::watch::reaches;
use crate::harness::{
    Daemon, Lab, Sniffer, frames,
    frames::Flood,
    programs::Server,
    skip,
    topology::{DEV1_MAC, LAN0_MAC},
};

/// Payload that every policy here lets out.
const ALLOWED: &[u8] = b"may-leave-this-gateway";

/// Boots a gateway: backstop, links, daemon, under a flood; nothing passes before the daemon has
/// confirmed, and nothing forbidden afterwards.
#[track_caller]
fn boot<'a>(lab: &'a Lab, state: &Path, expected: [bool; 2]) -> Daemon<'a> {
    lab.gw.ip("link set lan0 down");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let text = fs::read_to_string(daemon.path("enforcer.toml")).expect("it was written");
    let [usual, kept] = [&*daemon.path("state"), state].map(|dir| format!("state_dir = {dir:?}"));
    daemon.settings(&text.replace(&usual, &kept));
    daemon.setting("backstop = \"required\"");
    install(&daemon);
    let allowed =
        frames::ipv4([10, 20, 0, 11], [198, 51, 100, 10], 17, &frames::udp(4000, 5000, ALLOWED));
    let allowed = frames::ethernet(frames::mac(LAN0_MAC), frames::mac(DEV1_MAC), 0x0800, &allowed);
    let sniffer = Sniffer::start(&lab.internet, "eth0");
    let both = vec![forbidden(LAN0_MAC, [198, 51, 100, 10]), allowed];
    let flood = Flood::start(&lab.dev1, "eth0", both);
    lab.gw.ip("link set lan0 up");
    flood.wait_for(1000);
    let early = sniffer.frames(Duration::from_millis(200));
    let ours =
        |frame: &&Vec<u8>| [MARKER, ALLOWED].iter().any(|marker| frames::contains(frame, marker));
    assert_eq!(early.iter().filter(ours).count(), 0, "forwarded before it is protected");
    daemon.begin();
    assert!(
        sniffer
            .find(crate::harness::wait::DEADLINE, |frame| {
                assert!(!frames::contains(frame, MARKER), "a forbidden frame passed");
                frames::contains(frame, ALLOWED)
            })
            .is_some(),
        "the gateway does not open"
    );
    flood.wait_for(500);
    assert_eq!(leaked(&sniffer), 0);
    let status = daemon.status();
    assert_eq!(
        (&status["enforcing"], &status["interfaces"][0]["backstop"]),
        (&true.into(), &"armed".into())
    );
    assert_eq!(reaches(&lab.dev1), expected, "{status}");
    daemon
}

#[test]
fn after_a_reboot_nothing_leaves_before_the_policy_of_the_disk_is_in_force() {
    let state = tempfile::tempdir().expect("a temporary directory can be made");
    let state = state.path().join("state");
    {
        let lab = Lab::gateway("firstboot");
        let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
        let mut daemon = boot(&lab, &state, [true, false]);
        // From another file: after the reset only the state directory has it.
        let other = daemon.write("other.toml", &POLICY.replace("tcp/80", "tcp/81"));
        let applied = daemon.cli(&["apply", &other.display().to_string()]);
        assert!(applied.success(), "{applied:?}");
        assert_eq!(reaches(&lab.dev1), [false, true]);
        daemon.kill9();
    }
    // New namespaces, an empty pin directory, no tables: only the state is the same.
    for _ in 0..3 {
        let lab = Lab::gateway("nextboot");
        let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
        let mut daemon = boot(&lab, &state, [false, true]);
        assert_eq!(daemon.status()["policy"]["revision"], 2);
        daemon.kill9();
    }
}

/// The same for a machine that is reset without warning while the daemon runs: on the first boot of
/// the guest the test resets it, on the second it checks the result.
#[test]
fn after_a_reset_of_the_machine_the_policy_of_the_disk_is_in_force() {
    let test = "after_a_reset_of_the_machine_the_policy_of_the_disk_is_in_force";
    let Some(disk) = std::env::var_os("ENFORCER_DISK") else {
        skip(test, "it resets the machine: `cargo xtask test vm 6.12 lifecycle::reboot`");
        return;
    };
    let disk = Path::new(&disk);
    let (state, was_reset) = (disk.join("state"), disk.join("was-reset"));
    let lab = Lab::gateway("machine");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    if was_reset.exists() {
        let daemon = boot(&lab, &state, [false, true]);
        assert_eq!(daemon.status()["policy"]["revision"], 2);
        return;
    }
    let daemon = boot(&lab, &state, [true, false]);
    let other = daemon.write("other.toml", &POLICY.replace("tcp/80", "tcp/81"));
    let mark = fs::File::create(&was_reset).expect("the disk can be written");
    mark.sync_all().expect("the disk can be written");
    fs::File::open(disk).and_then(|disk| disk.sync_all()).expect("the disk can be written");
    let applied = daemon.cli(&["apply", &other.display().to_string()]);
    assert!(applied.success(), "{applied:?}");
    fs::write("/dev/console", "\nenforcer-vm: reset\n").expect("a guest has a console");
    // Anything that is not on disk by now is lost.
    fs::write("/proc/sysrq-trigger", "b").expect("the kernel can be reset");
    unreachable!("the machine is reset");
}
