//! What the machine looks like, as far as a policy needs it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::{Mac, compile};

/// Neighbours of an interface that are remembered when the kernel has forgotten them.
const MOST_REMEMBERED: usize = 4_096;

/// What the machine looks like, as far as a policy needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The protected interfaces.
    pub interfaces: Vec<HostInterface>,
    /// Every address of the gateway itself, on any interface.
    pub own: Vec<IpAddr>,
    /// MACs that no device may use: of interfaces of the gateway.
    pub macs: Vec<Mac>,
    /// The next hops of its default routes.
    pub routers: Vec<Router>,
    /// Seconds since 1970-01-01 UTC, the earliest time that it may be: rules that ended before this
    /// are left out.
    pub now: i64,
}

/// A next hop of the gateway's default routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is certainly not behind a protected interface, so that nobody there may claim its address;
    /// `None` where that is not known.
    pub elsewhere: Option<bool>,
}

/// An address of the gateway, and the prefix that is on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnLink {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix, in bits.
    pub length: u8,
}

impl OnLink {
    /// Whether it is valid on one link alone.
    pub fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(v6) if v6.is_unicast_link_local())
    }

    /// Whether an address is in the prefix.
    pub fn holds(&self, address: IpAddr) -> bool {
        compile::on_link(&(self.address, self.length)).contains(address)
    }
}

/// One protected interface.
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
    /// The other MACs for which the gateway takes frames that arrive here: of VLAN devices and of the bridge.
    pub above: Vec<Mac>,
    /// The gateway's addresses on the link: those of this interface, and of what is on top of it.
    pub on_link: Vec<OnLink>,
    /// Who has which address on the link, as the gateway knows it.
    pub neighbours: Vec<(IpAddr, Mac)>,
    /// MACs of the routers there that are next hops of the gateway.
    pub next_hops: Vec<Mac>,
}

impl HostInterface {
    /// Keeps neighbours of an earlier look that the kernel has forgotten since: it forgets silent ones.
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
    /// Keeps neighbours of an earlier look that the kernel has forgotten since.
    pub fn remember_neighbours(&mut self, before: &Self) {
        for interface in &mut self.interfaces {
            let mut others = before.interfaces.iter();
            if let Some(before) = others.find(|other| other.index == interface.index) {
                interface.remember(before);
            }
        }
    }

    /// Takes neighbours and routers from another look at the same interfaces.
    pub fn take_neighbours(&mut self, now: &Self) {
        for interface in &mut self.interfaces {
            let mut others = now.interfaces.iter();
            if let Some(now) = others.find(|other| other.index == interface.index) {
                interface.neighbours.clone_from(&now.neighbours);
                interface.next_hops.clone_from(&now.next_hops);
            }
        }
    }

    /// The same but for neighbours and routers, which come and go, and for the time.
    pub fn without_neighbours(&self) -> Self {
        let mut host = Self { now: 0, ..self.clone() };
        for interface in &mut host.interfaces {
            interface.neighbours = Vec::new();
            interface.next_hops = Vec::new();
        }
        host
    }

    /// Takes from an earlier look what is not known of a router now: a bridge forgets silent ones.
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
