//! The ports of a bond, and the bond itself.
use super::{ALLOWED, assert_counted, assert_refused, came, daemon, lacks, leaks, policy, send};
use crate::harness::Daemon;
use crate::replay::{Kind, lab::Lab};
use enforcer_testkit::corpus::DEVICE;
use enforcer_testkit::frames::GATEWAY;

/// A router whose LAN is a bond of two cables, `g0` and `g1`, with VLANs on it.
#[track_caller]
fn build() -> Lab {
    let lab = Lab::build(Kind::Routed);
    let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let gateway = &lab.gateway;
    gateway.veth(("g1", "02:00:00:00:ff:03"), &lab.device, ("l1", &text(DEVICE)));
    let mac = text(GATEWAY);
    gateway.ip(&format!("link add bond0 address {mac} type bond mode balance-rr miimon 20"));
    for port in ["g0", "g1"] {
        gateway.ip(&format!("link set {port} down"));
        gateway.ip(&format!("link set {port} master bond0"));
    }
    gateway.ip("link set bond0 up");
    for vlan in ["20", "30"] {
        gateway.ip(&format!("link add link bond0 name bond0.{vlan} type vlan id {vlan}"));
        gateway.ip(&format!("link set bond0.{vlan} up"));
    }
    lab
}

/// Whether this kernel lacks bonds, or VLANs on them.
#[track_caller]
fn cannot(test: &str) -> bool {
    let lab = crate::harness::Netns::create(&crate::harness::topology::prefix("trial"));
    lacks(test, &lab, "bond") || lacks(test, &lab, "vlan id 20")
}

#[test]
fn the_ports_of_a_bond_are_protected() {
    if cannot("the_ports_of_a_bond_are_protected") {
        return;
    }
    let lab = build();
    let places = ["bond0", "bond0.20", "bond0.30"];
    for from in ["l0", "l1"] {
        let open = send(&lab, from, GATEWAY, &places);
        for (place, name) in
            [("bond0.20", "=port="), ("bond0.30", "=undeclared="), ("bond0", "=untagged=")]
        {
            assert!(open[name].contains(place), "{from}: {name} not at {place}: {open:?}");
        }
    }
    for xdp in ["native", "generic"] {
        let daemon = daemon(&lab, &["g0", "g1"], xdp);
        for from in ["l0", "l1"] {
            let seen = send(&lab, from, GATEWAY, &places);
            assert_eq!(leaks(&seen), Vec::<String>::new(), "{xdp} {from}");
            for place in ["bond0.20", "x0"] {
                assert_eq!(came(&seen, place), [ALLOWED.name], "{xdp} {from} {place}");
            }
        }
        assert_counted(&daemon, 2);
        assert_eq!(daemon.status()["enforcing"], true);
    }
}

/// Generic XDP sees no tags there; native XDP runs in the ports, under their indices.
#[test]
fn a_bond_itself_is_refused() {
    if cannot("a_bond_itself_is_refused") {
        return;
    }
    let lab = build();
    for xdp in ["auto", "native", "generic"] {
        let daemon = Daemon::prepare(&lab.gateway, &["bond0"], &policy(&["bond0"]));
        daemon.setting(&format!("xdp = {xdp:?}"));
        assert_refused(&daemon, "bond0", "bond", &["g0", "g1"]);
    }
}
