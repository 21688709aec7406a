//! A hostile device in quarantine: what it reaches through essentials, and which events it can hide.
//!
//! ```text
//!   victim   10.40.0.11 v0 ── g0 ┐
//!   attacker 10.40.0.66 a0 ── g1 ┤ br0, gateway ── w0 ── x0 far 10.40.0.10
//! ```
//! The bridge has no address unless a test gives it one; `w0` is not protected.

mod bridge;
mod hops;
mod pipe;
mod reports;

use crate::harness::{Daemon, Netns, topology};

/// MACs of the victim, the attacker and the host behind the bridge.
const VICTIM: [u8; 6] = [2, 0, 0, 0x40, 0, 0x11];
const ATTACKER: [u8; 6] = [2, 0, 0, 0x40, 0, 0x66];
const FAR: [u8; 6] = [2, 0, 0, 0x40, 0, 0x10];

pub(crate) const POLICY: &str = r#"schema = 1
[devices.victim]
mac = "02:00:00:40:00:11"
ip = ["10.40.0.11", "fd40::11", "fe80::/64"]
interface = "g0"
[devices.attacker]
mac = "02:00:00:40:00:66"
interface = "g1"
[devices.far]
mac = "02:00:00:40:00:10"
ip = ["10.40.0.10", "fd40::10", "fe80::10"]
interface = "w0"
[groups.monitors]
members = ["victim"]
allow = [{ to = "10.40.0.10", service = "tcp/443" }, { to = "fd40::10", service = "tcp/443" }]
[groups.bad]
members = ["attacker"]
mode = "quarantine"
[unknown]
default = "drop"
"#;

/// Four namespaces; all of them are removed when this value is dropped.
pub(crate) struct Lab {
    pub(crate) victim: Netns,
    attacker: Netns,
    gateway: Netns,
    pub(crate) far: Netns,
}

impl Lab {
    pub(crate) fn build(name: &str) -> Self {
        let prefix = topology::prefix(name);
        let create = |role: &str| Netns::create(&format!("{prefix}-{role}"));
        let [victim, attacker, gateway, far] = ["victim", "attacker", "gateway", "far"].map(create);
        // No unsolicited frames.
        for quiet in [&attacker, &gateway] {
            quiet.sysctl("ipv6/conf/default/disable_ipv6", "1");
        }
        for (port, mac, netns, end, own) in [
            ("g0", "02:00:00:40:ff:00", &victim, "v0", VICTIM),
            ("g1", "02:00:00:40:ff:01", &attacker, "a0", ATTACKER),
            ("w0", "02:00:00:40:ff:02", &far, "x0", FAR),
        ] {
            gateway.veth((port, mac), netns, (end, &text(own)));
        }
        gateway.ip(
            "link add br0 address 02:00:00:40:ff:03 type bridge forward_delay 0 mcast_snooping 0",
        );
        for port in ["g0", "g1", "w0"] {
            gateway.ip(&format!("link set {port} master br0"));
        }
        gateway.ip("link set br0 up");
        for (netns, interface, host) in [(&victim, "v0", "11"), (&far, "x0", "10")] {
            netns.address(interface, &format!("10.40.0.{host}/24"));
            netns.address(interface, &format!("fd40::{host}/64"));
        }
        Self { victim, attacker, gateway, far }
    }

    pub(crate) fn daemon(&self, policy: &str) -> Daemon<'_> {
        let daemon = Daemon::prepare(&self.gateway, &["g0", "g1"], policy);
        daemon.setting("xdp = \"native\"");
        let mut daemon = daemon;
        daemon.run();
        daemon
    }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
