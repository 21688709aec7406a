//! A bridge that filters VLANs, over the protected interface.
use super::{ALLOWED, assert_counted, came, daemon, lacks, leaks, policy, send};
use crate::harness::Daemon;
use crate::replay::{Kind, lab::Lab};
use enforcer_testkit::corpus::BEHIND;

#[test]
fn a_bridge_that_filters_vlans_forwards_the_declared_ones_alone() {
    let test = "a_bridge_that_filters_vlans_forwards_the_declared_ones_alone";
    let lab = Lab::build(Kind::Bridged);
    if lacks(test, &lab.gateway, "bridge vlan_filtering 1") {
        return;
    }
    lab.gateway.ip("link set br0 type bridge vlan_filtering 1");
    // A trunk with more VLANs than are declared, and VLAN 1 untagged.
    for (port, vlan) in [("g0", "20"), ("w0", "20"), ("g0", "30"), ("w0", "30")] {
        lab.gateway.run_ok("bridge", &["vlan", "add", "dev", port, "vid", vlan]);
    }
    let open = send(&lab, "l0", BEHIND, &["g0"]);
    for name in ["=port=", "=untagged=", "=priority=", "=undeclared=", "=double=", "=turned="] {
        assert!(open[name].contains("x0"), "{name} does not come out: {open:?}");
    }
    for xdp in ["native", "generic"] {
        let daemon = daemon(&lab, &["g0"], xdp);
        let seen = send(&lab, "l0", BEHIND, &["g0"]);
        assert_eq!(leaks(&seen), Vec::<String>::new(), "{xdp}");
        assert_eq!(came(&seen, "x0"), [ALLOWED.name], "{xdp}");
        assert_counted(&daemon, 1);
    }
}

/// A bridge takes a priority tag for no tag, and carries the tag behind it into the untagged VLAN.
#[test]
fn no_tag_hides_behind_a_priority_tag() {
    let test = "no_tag_hides_behind_a_priority_tag";
    let lab = Lab::build(Kind::Bridged);
    if lacks(test, &lab.gateway, "bridge vlan_filtering 1") {
        return;
    }
    lab.gateway.ip("link set br0 type bridge vlan_filtering 1");
    lab.gateway.run_ok("bridge", &["vlan", "add", "dev", "g0", "vid", "20"]);
    // The hosts behind are not in VLAN 20, but in the untagged VLAN.
    let tagged = |name: &str| super::CASES.iter().find(|case| case.name == name).expect("a case");
    let marker = |name: &str, seconds| {
        let sniffer = crate::harness::Sniffer::start(&lab.behind, "x0");
        crate::harness::frames::send(&lab.device, "l0", &tagged(name).frame(BEHIND));
        sniffer.saw(name.as_bytes(), std::time::Duration::from_millis(seconds))
    };
    assert!(!marker(ALLOWED.name, 300), "the bridge filters");
    for name in ["=hop=", "=service-hop="] {
        assert!(marker(name, 5000), "{name} does not hop");
    }
    let daemon = daemon(&lab, &["g0"], "native");
    for name in ["=hop=", "=service-hop="] {
        assert!(!marker(name, 300), "{name} hops");
    }
    assert_eq!(daemon.reason("vlan-undeclared", "frames"), 2);
}

#[test]
fn a_bridge_itself_is_refused() {
    let lab = Lab::build(Kind::Bridged);
    for xdp in ["auto", "generic"] {
        let daemon = Daemon::prepare(&lab.gateway, &["br0"], &policy(&["br0"]));
        daemon.setting(&format!("xdp = {xdp:?}"));
        super::assert_refused(&daemon, "br0", "bridge", &["g0", "w0"]);
    }
}
