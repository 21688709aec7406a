//! 8021q devices on top of the protected interface, and as the protected one.
use super::{ALLOWED, assert_counted, came, daemon, lacks, leaks, policy, send};
use crate::harness::Daemon;
use crate::replay::{Kind, lab::Lab};
use enforcer_testkit::frames::GATEWAY;

/// VLAN devices, one of them with a second tag, one for 802.1ad.
const ABOVE: [&str; 5] = ["g0", "g0.20", "g0.30", "g0.20.30", "g0.s20"];

/// Makes a VLAN device on top of another.
fn add(lab: &Lab, below: &str, name: &str, words: &str) {
    lab.gateway.ip(&format!("link add link {below} name {name} type vlan {words}"));
    lab.gateway.ip(&format!("link set {name} up"));
}

/// A router with VLAN devices on `below`.
fn add_all(lab: &Lab, below: &str) {
    for (name, on, words) in [
        ("20", below.to_owned(), "id 20"),
        ("30", below.to_owned(), "id 30"),
        ("20.30", format!("{below}.20"), "id 30"),
        ("s20", below.to_owned(), "protocol 802.1ad id 20"),
    ] {
        add(lab, &on, &format!("{below}.{name}"), words);
    }
}

#[test]
fn a_vlan_device_gets_the_frames_of_declared_vlans_alone() {
    let test = "a_vlan_device_gets_the_frames_of_declared_vlans_alone";
    let lab = Lab::build(Kind::Routed);
    if lacks(test, &lab.gateway, "vlan id 20") {
        return;
    }
    add_all(&lab, "g0");
    let open = send(&lab, "l0", GATEWAY, &ABOVE);
    for (place, name) in [
        ("g0.20", "=port="),
        ("g0.20", "=hop="),
        ("g0.30", "=undeclared="),
        ("g0.20.30", "=double="),
        ("g0.s20", "=service="),
        ("x0", "=untagged="),
        ("x0", "=priority="),
    ] {
        assert!(open[name].contains(place), "{name} does not come to {place}: {open:?}");
    }
    for xdp in ["native", "generic"] {
        // The driver would strip the tags, and the VLAN devices would still work.
        lab.gateway.run_ok("ethtool", &["-K", "g0", "rxvlan", "on"]);
        let daemon = daemon(&lab, &["g0"], xdp);
        // One that is created while the daemon runs.
        lab.gateway.ip("link del g0.30");
        add(&lab, "g0", "g0.30", "id 30");
        let seen = send(&lab, "l0", GATEWAY, &ABOVE);
        assert_eq!(leaks(&seen), Vec::<String>::new(), "{xdp}");
        for place in ["g0", "g0.20", "x0"] {
            assert_eq!(came(&seen, place), [ALLOWED.name], "{xdp} {place}");
        }
        assert!(!seen[ALLOWED.name].contains("g0.30"), "{xdp}");
        assert_counted(&daemon, 1);
        let features = lab.gateway.run_ok("ethtool", &["-k", "g0"]);
        assert!(features.contains("rx-vlan-offload: off"), "{xdp}: {features}");
    }
}

/// Frames reach it without their tag; other frames of the interface below are not covered.
#[test]
fn a_vlan_device_can_be_protected_itself() {
    let test = "a_vlan_device_can_be_protected_itself";
    let lab = Lab::build(Kind::Routed);
    if lacks(test, &lab.gateway, "vlan id 20") {
        return;
    }
    add_all(&lab, "g0");
    // It has no native XDP.
    let untagged = policy(&[]).replace("vlan = 20\n", "");
    let native = Daemon::prepare(&lab.gateway, &["g0.20"], &untagged);
    native.setting("xdp = \"native\"");
    let ended = native.run_to_end();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("cannot attach to g0.20 in native mode"), "{ended:?}");
    assert!(ended.stderr.contains("xdp = \"auto\""), "{ended:?}");
    assert_eq!(native.attached("g0.20"), None);
    drop(native);

    let daemon = Daemon::start(&lab.gateway, &["g0.20"], &untagged);
    assert_eq!(daemon.status()["interfaces"][0]["mode"], "generic");
    let seen = send(&lab, "l0", GATEWAY, &ABOVE);
    assert!(!seen["=port="].contains("x0"), "{seen:?}");
    // Its second tag is an undeclared VLAN.
    assert!(!seen["=double="].contains("g0.20.30"), "{seen:?}");
    assert_eq!(daemon.reason("default-drop", "frames"), 1);
    assert_eq!(daemon.reason("vlan-undeclared", "frames"), 1);
    // It protects only VLAN 20.
    assert!(seen["=undeclared="].contains("x0"), "{seen:?}");
}
