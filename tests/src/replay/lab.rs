//! A device, a gateway that routes or bridges, and the wire behind it.
//!
//! ```text
//!   device 10.77.0.2 l0 ── g0 gateway w0 ── x0 behind 10.88.0.2
//!          fd77::2            10.77.0.1               fd88::2
//! ```
//! Only the gateway has an address that answers, so frames that come out at `x0` are from the
//! device.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Kind;
use crate::harness::{Netns, topology};
use enforcer_testkit::corpus::{BEHIND, D4, D6, DEVICE};
use enforcer_testkit::frames::GATEWAY;

/// Three namespaces; all of them are removed when this value is dropped.
pub(crate) struct Lab {
    /// Whether its gateway routes or bridges.
    pub(crate) kind: Kind,
    /// Has `l0`.
    pub(crate) device: Netns,
    /// Has `g0` and `w0`.
    pub(crate) gateway: Netns,
    /// Has `x0`.
    pub(crate) behind: Netns,
}

impl Lab {
    /// Builds it.
    #[track_caller]
    pub(crate) fn build(kind: Kind) -> Self {
        let prefix = topology::prefix(kind.word());
        let create = |role: &str| Netns::create(&format!("{prefix}-{role}"));
        let [device, gateway, behind] = ["device", "gateway", "behind"].map(create);
        for silent in [&device, &behind] {
            silent.sysctl("ipv6/conf/default/disable_ipv6", "1");
        }
        let own = text([2, 0, 0, 0, 0xff, 1]);
        gateway.veth(("g0", &text(GATEWAY)), &device, ("l0", &text(DEVICE)));
        gateway.veth(("w0", &own), &behind, ("x0", &text(BEHIND)));
        let lab = Self { kind, device, gateway, behind };
        match kind {
            Kind::Routed => lab.route(),
            Kind::Bridged => lab.bridge(),
        }
        lab
    }

    /// Destination MAC of frames that should leave the gateway.
    pub(crate) fn next_hop(&self) -> [u8; 6] {
        match self.kind {
            Kind::Routed => GATEWAY,
            Kind::Bridged => BEHIND,
        }
    }

    /// Routes everything, with fixed neighbours.
    fn route(&self) {
        let gateway = &self.gateway;
        for address in ["10.77.0.1/24", "fd77::1/64"] {
            gateway.address("g0", address);
        }
        for address in ["10.88.0.1/24", "fd88::1/64"] {
            gateway.address("w0", address);
        }
        gateway.sysctl("ipv4/ip_forward", "1");
        gateway.sysctl("ipv6/conf/all/forwarding", "1");
        let (v4, v6) = (Ipv4Addr::from(D4), Ipv6Addr::from(D6));
        let mac = text(BEHIND);
        for address in [v4.to_string(), "10.88.0.99".to_owned(), v6.to_string(), "fd88::99".into()]
        {
            gateway.ip(&format!("neigh replace {address} lladdr {mac} dev w0 nud permanent"));
        }
        gateway.ip(&format!("route add default via {v4}"));
        gateway.ip(&format!("route add default via {v6}"));
    }

    /// A plain bridge: no VLAN filter, and no packet filter on bridged frames.
    fn bridge(&self) {
        let gateway = &self.gateway;
        gateway.ip("link add br0 address 02:00:00:00:ff:02 type bridge forward_delay 0");
        for port in ["g0", "w0"] {
            gateway.ip(&format!("link set {port} master br0"));
        }
        // Kernels with br_netfilter check IP headers on the way through a bridge.
        for table in ["iptables", "ip6tables", "arptables"] {
            let name = format!("bridge/bridge-nf-call-{table}");
            if gateway.enter(|| std::path::Path::new("/proc/sys/net").join(&name).exists()) {
                gateway.sysctl(&name, "0");
            }
        }
        gateway.ip("link set br0 up");
        for address in ["10.77.0.1/24", "fd77::1/64"] {
            gateway.address("br0", address);
        }
    }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
