//! The machine, as far as a policy depends on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::{Mac, compile};

/// Most neighbours of an interface that are kept after the kernel has dropped their entries.
const MOST_REMEMBERED: usize = 4_096;

/// The machine, as far as a policy depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The protected interfaces.
    pub interfaces: Vec<HostInterface>,
    /// Every address of the gateway itself, on any interface.
    pub own: Vec<IpAddr>,
    /// MACs of the gateway's interfaces, which no device may use.
    pub macs: Vec<Mac>,
    /// The next hops of the gateway's default routes.
    pub routers: Vec<Router>,
    /// The earliest time that it may be, in seconds since 1970-01-01 UTC: rules that ended before it are
    /// left out.
    pub now: i64,
}

/// A next hop of the gateway's default routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Its address.
    pub address: IpAddr,
    /// Whether the router is known not to be behind a protected interface, so that no device there may
    /// claim its address; `None` if that is not known.
    pub elsewhere: Option<bool>,
}

/// An address of the gateway, with its on-link prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnLink {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Prefix length, in bits.
    pub length: u8,
}

impl OnLink {
    /// Whether it is a link-local address.
    pub fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(v6) if v6.is_unicast_link_local())
    }

    /// Whether the prefix contains an address.
    pub fn holds(&self, address: IpAddr) -> bool {
        compile::on_link(&(self.address, self.length)).contains(address)
    }
}

/// A protected interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Its index in the kernel, host order.
    pub index: u32,
    /// Its own MAC address.
    pub mac: Mac,
    /// The on-link prefixes, as address and prefix length in bits.
    pub prefixes: Vec<(IpAddr, u8)>,
    /// Other MACs of the gateway that frames arriving here may be addressed to: of VLAN devices and of the
    /// bridge.
    pub above: Vec<Mac>,
    /// The gateway's addresses on the link: those of this interface and of the interfaces on top of it.
    pub on_link: Vec<OnLink>,
    /// Neighbours on the link, by address.
    pub neighbours: Vec<(IpAddr, Mac)>,
    /// MACs of routers on the link that are next hops of the gateway.
    pub next_hops: Vec<Mac>,
}

impl HostInterface {
    /// Keeps neighbours of an earlier reading that the kernel has dropped since: it drops silent ones.
    fn remember(&mut self, before: &Self) {
        let mut known: BTreeMap<_, _> = self.neighbours.drain(..).collect();
        for &(address, mac) in &before.neighbours {
            if known.len() < MOST_REMEMBERED {
                known.entry(address).or_insert(mac);
            }
        }
        self.neighbours = known.into_iter().collect();
        if self.next_hops.is_empty() {
            self.next_hops.clone_from(&before.next_hops);
        }
    }
}

impl Host {
    /// Keeps neighbours of an earlier reading that the kernel has dropped since.
    pub fn remember_neighbours(&mut self, before: &Self) {
        for interface in &mut self.interfaces {
            let mut others = before.interfaces.iter();
            if let Some(before) = others.find(|other| other.index == interface.index) {
                interface.remember(before);
            }
        }
    }

    /// Takes over neighbours and routers from another reading of the same interfaces.
    pub fn take_neighbours(&mut self, now: &Self) {
        for interface in &mut self.interfaces {
            let mut others = now.interfaces.iter();
            if let Some(now) = others.find(|other| other.index == interface.index) {
                interface.neighbours.clone_from(&now.neighbours);
                interface.next_hops.clone_from(&now.next_hops);
            }
        }
    }

    /// A copy without neighbours and routers, which change often, and without the time.
    pub fn without_neighbours(&self) -> Self {
        let mut host = Self { now: 0, ..self.clone() };
        for interface in &mut host.interfaces {
            interface.neighbours = Vec::new();
            interface.next_hops = Vec::new();
        }
        host
    }

    /// Keeps an earlier reading's location of routers that is not known now: a bridge forgets silent ones.
    pub fn remember_routers(&mut self, before: &Self) {
        for router in self.routers.iter_mut().filter(|router| router.elsewhere.is_none()) {
            let known = before.routers.iter().find(|other| other.address == router.address);
            router.elsewhere = known.and_then(|known| known.elsewhere);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_of_a_router_stays_known() {
        let address = "10.0.0.1".parse().unwrap();
        let unknown = Router { address, elsewhere: None };
        let mut host = Host { routers: vec![unknown], ..Host::default() };
        let before =
            Host { routers: vec![Router { elsewhere: Some(true), ..unknown }], ..Host::default() };
        host.remember_routers(&before);
        assert_eq!(host, before);
    }
}
