//! VLAN tags that an interface would strip before XDP sees the frame.
use std::time::{Duration, Instant};

use super::POLICY;
use crate::harness::{Daemon, Lab, Netns, wait_until};

/// Both features of a veth: for 802.1Q and for 802.1ad tags.
const FEATURES: [(&str, &str); 2] =
    [("rxvlan", "rx-vlan-offload"), ("rx-vlan-stag-hw-parse", "rx-vlan-stag-hw-parse")];

fn is_on(netns: &Netns, feature: &str) -> bool {
    let text = netns.run_ok("ethtool", &["-k", "lan0"]);
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{feature}: ")));
    line.unwrap_or_else(|| panic!("{feature}: {text}")).starts_with("on")
}

fn switch_on(netns: &Netns) {
    for (name, feature) in FEATURES {
        netns.run_ok("ethtool", &["-K", "lan0", name, "on"]);
        assert!(is_on(netns, feature), "this veth has no {feature}");
    }
}

#[test]
fn what_removes_vlan_tags_is_switched_off_at_the_start() {
    let lab = Lab::gateway("tags");
    switch_on(&lab.gw);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    assert!(FEATURES.iter().all(|(_, feature)| !is_on(&lab.gw, feature)));
    let log = daemon.log();
    assert!(log.contains("lan0: turned off rxvlan and rx-vlan-stag-hw-parse"), "{log}");
    assert!(!daemon.status()["warnings"].to_string().contains("rxvlan"), "it is no surprise");
}

#[test]
fn what_removes_vlan_tags_does_not_stay_on() {
    let lab = Lab::gateway("retag");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    for (name, feature) in FEATURES {
        lab.gw.run_ok("ethtool", &["-K", "lan0", name, "on"]);
        let begun = Instant::now();
        wait_until("it is off again", || (!is_on(&lab.gw, feature)).then_some(()));
        // The daemon checks once a second; the rest is for a loaded machine.
        assert!(begun.elapsed() < Duration::from_secs(3), "{name}: {:?}", begun.elapsed());
        let text = format!("lan0: somebody switched on {name}, which hides VLAN tags from XDP");
        wait_until("status says so", || {
            daemon.status()["warnings"].to_string().contains(&text).then_some(())
        });
        assert!(daemon.log().contains(&text), "{}", daemon.log());
    }
    let status = daemon.cli(&["status"]);
    assert!(status.stdout.contains("warning: lan0: somebody switched on rxvlan"), "{status:?}");
    assert_eq!(daemon.status()["enforcing"], true);
}
