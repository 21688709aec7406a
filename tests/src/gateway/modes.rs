//! Modes, defaults, the essentials, and the two ways to attach.
use serde_json::Value;

use super::policy;
use crate::harness::{
    Daemon, Lab, Netns, frames,
    programs::{self, Files},
    topology::{
        DEV1_MAC, GATEWAY, GATEWAY_V6, HOSTILE, HOSTILE_HL7, LAN0_MAC, UPDATES, UPDATES_V6,
    },
    wait_until,
};
use enforcer_testkit::frames::dhcp_discover;

#[test]
fn unknown_devices_pass_or_do_not() {
    let lab = Lab::gateway("unknown");
    let files = Files::start(&lab.internet, 80, 1);
    let base = policy("\"10.20.0.200\"");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &base);
    assert!(files.reach(&lab.dev1, HOSTILE));
    assert!(daemon.reason("unknown-pass", "frames") > 10);
    let tail = daemon.tail(&["--group", "unknown"]);
    assert!(daemon.apply(&format!("{base}[unknown]\ndefault = \"drop\"\n")).success());
    assert!(!files.reach(&lab.dev1, HOSTILE));
    let line = tail.wait_for_dest(HOSTILE);
    assert_eq!(line["enforcer"]["reason"], "unknown-device");
    assert!(daemon.reason("unknown-device", "frames") > 0);
}

#[test]
fn an_observed_group_passes_and_tells() {
    let lab = Lab::gateway("observe");
    let files = Files::start(&lab.internet, 80, 1);
    let text = policy("\"10.20.0.0/24\"").replace("members", "mode = \"observe\"\nmembers");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &text);
    let tail = daemon.tail(&["--verdict", "would-drop"]);
    assert!(files.reach(&lab.dev1, HOSTILE));
    let line = tail.wait_for_dest(HOSTILE);
    assert_eq!(line["enforcer"]["verdict"], "would-drop");
    assert_eq!(line["enforcer"]["rule_reason"], "ICSMA-25-030-01");
    let (frames, would) = (daemon.reason("deny", "frames"), daemon.reason("deny", "would_drop"));
    assert!(would > 10 && frames == would, "{frames} {would}");
    assert!(daemon.devices().iter().any(|row| row["would_drop"].as_u64() > Some(0)));

    assert!(daemon.apply(&policy("\"10.20.0.0/24\"")).success());
    assert!(!files.reach(&lab.dev1, HOSTILE));
    assert_eq!(daemon.reason("deny", "would_drop"), would);
}

#[test]
fn quarantine_leaves_nothing_but_the_essentials() {
    let lab = Lab::gateway("quarantine");
    let files = Files::start(&lab.internet, 80, 1);
    let text = policy("\"00:1b:44/24\"");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &text);
    assert!(files.reach(&lab.dev1, UPDATES));
    let text = text.replace("members", "mode = \"quarantine\"\nmembers");
    assert!(daemon.apply(&text).success());
    assert!(!files.reach(&lab.dev1, UPDATES));
    assert!(!files.reach(&lab.dev1, UPDATES_V6));
    assert!(daemon.reason("quarantine", "frames") > 0);
    resolves(&lab.dev1);

    // A DHCP DISCOVER: broadcast, without a source address, client port to server port.
    let discover = dhcp_discover(frames::mac(DEV1_MAC));
    let packet = frames::ipv4([0; 4], [255; 4], 17, &frames::udp(68, 67, &discover));
    let frame = frames::ethernet([255; 6], frames::mac(DEV1_MAC), 0x0800, &packet);
    frames::send(&lab.dev1, "eth0", &frame);
    wait_until("DHCP passes", || (daemon.reason("dhcp", "frames") > 0).then_some(()));
}

#[test]
fn neighbours_are_found_under_default_drop() {
    let lab = Lab::gateway("neighbours");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &policy("\"00:1b:44/24\""));
    resolves(&lab.dev1);
    assert!(daemon.reason("arp", "frames") > 0);
    assert!(daemon.reason("neighbour-discovery", "frames") > 0);
    assert!(daemon.reason("default-drop", "frames") > 1);
    // Also in the other direction: the gateway asks, the device answers.
    lab.gw.ip("neigh flush dev lan0");
    assert!(programs::connects(&lab.dev1, UPDATES, 80) || neighbour(&lab.dev1, GATEWAY));
}

/// Empties the neighbour cache; a ping is dropped, but the gateway's MAC gets resolved.
#[track_caller]
fn resolves(device: &Netns) {
    for gateway in [GATEWAY, GATEWAY_V6] {
        device.ip("neigh flush dev eth0");
        assert!(!neighbour(device, gateway), "the cache is not empty");
        assert!(!programs::ping(device, gateway), "{gateway} answers");
        wait_until("the neighbour is found", || neighbour(device, gateway).then_some(()));
    }
}

fn neighbour(device: &Netns, address: &str) -> bool {
    let list = device.ip(&format!("-json neigh show {address} dev eth0"));
    let list: Value = serde_json::from_str(&list).expect("ip writes JSON");
    list[0]["lladdr"] == LAN0_MAC
}

#[test]
fn native_and_generic_enforce_alike() {
    let lab = Lab::gateway("attach");
    let files = Files::start(&lab.internet, 80, 4);
    for mode in ["native", "generic"] {
        let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], &policy("\"00:1b:44/24\""));
        daemon.setting(&format!("xdp = \"{mode}\""));
        daemon.run();
        let status = daemon.status();
        assert_eq!(status["interfaces"][0]["mode"], mode);
        assert_eq!(daemon.attached("lan0").map(|(mode, _)| mode), Some(mode));
        for address in [UPDATES, UPDATES_V6] {
            assert!(files.reach(&lab.dev1, address), "{mode} {address}");
        }
        for address in [HOSTILE, HOSTILE_HL7] {
            assert!(!files.reach(&lab.dev1, address), "{mode} {address}");
        }
        assert!(daemon.reason("deny", "frames") > 1, "{mode}");
    }
}
