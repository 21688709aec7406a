//! Neighbours and routers on the link of a protected interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::survey::Neighbour;
use crate::policy::{Site, SiteInterface};

/// Most neighbours of an interface that are remembered after the kernel has forgotten them.
const MOST_REMEMBERED: usize = 4_096;

impl SiteInterface {
    /// Takes the neighbour entries of a link: those of the interface, and of interfaces on top of
    /// it.
    pub(super) fn learn(
        &mut self,
        link: &BTreeSet<u32>,
        gateways: &BTreeSet<(u32, IpAddr)>,
        neighbours: &[Neighbour],
    ) {
        for neighbour in neighbours.iter().filter(|known| link.contains(&known.interface)) {
            let Some(address) = neighbour.address else { continue };
            self.neighbours.push((address, neighbour.mac));
            if gateways.contains(&(neighbour.interface, address)) {
                self.next_hops.push(neighbour.mac);
            }
        }
        self.neighbours.sort_unstable();
        self.neighbours.dedup_by_key(|(address, _)| *address);
        self.next_hops.sort_unstable();
        self.next_hops.dedup();
    }

    /// Keeps neighbours of an earlier survey that the kernel has since forgotten because they were
    /// silent.
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

impl Site {
    /// Keeps neighbours of an earlier survey that the kernel has since forgotten.
    pub fn remember_neighbours(&mut self, before: &Self) {
        for interface in &mut self.interfaces {
            let mut others = before.interfaces.iter();
            if let Some(before) = others.find(|other| other.index == interface.index) {
                interface.remember(before);
            }
        }
    }

    /// Takes neighbours and routers from another survey of the same interfaces.
    pub fn take_neighbours(&mut self, now: &Self) {
        for interface in &mut self.interfaces {
            let mut others = now.interfaces.iter();
            if let Some(now) = others.find(|other| other.index == interface.index) {
                interface.neighbours.clone_from(&now.neighbours);
                interface.next_hops.clone_from(&now.next_hops);
            }
        }
    }

    /// The same without neighbours and routers, which come and go, and without the time.
    pub fn without_neighbours(&self) -> Self {
        let mut site = Self { now: 0, ..self.clone() };
        for interface in &mut site.interfaces {
            interface.neighbours = Vec::new();
            interface.next_hops = Vec::new();
        }
        site
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Mac;

    fn neighbour(interface: u32, address: &str, last: u8) -> Neighbour {
        let mac = Mac([2, 0, 0, 0, 0, last]);
        Neighbour { interface, mac, address: Some(address.parse().unwrap()) }
    }

    #[test]
    fn neighbours_and_routers_of_a_link_are_known() {
        let link = BTreeSet::from([1, 3]);
        let router: IpAddr = "10.0.0.1".parse().unwrap();
        let heard = [
            neighbour(3, "10.0.0.1", 1),
            neighbour(3, "10.0.0.9", 9),
            neighbour(4, "10.9.0.9", 8),
            Neighbour { address: None, ..neighbour(1, "10.0.0.7", 7) },
        ];
        let mut interface = SiteInterface::default();
        interface.learn(&link, &BTreeSet::from([(3, router), (4, router)]), &heard);
        let macs = |last| Mac([2, 0, 0, 0, 0, last]);
        let expected = [("10.0.0.1", 1), ("10.0.0.9", 9)];
        let expected = expected.map(|(address, last)| (address.parse().unwrap(), macs(last)));
        assert_eq!(interface.neighbours, expected);
        assert_eq!(interface.next_hops, [macs(1)]);
    }

    #[test]
    fn a_forgotten_neighbour_is_kept_until_another_has_its_address() {
        let learned = |heard: &[Neighbour]| {
            let mut interface = SiteInterface::default();
            let router = heard.iter().find_map(|one| Some((one.interface, one.address?)));
            interface.learn(&BTreeSet::from([3]), &router.into_iter().collect(), heard);
            Site { interfaces: vec![interface], ..Site::default() }
        };
        let before = learned(&[neighbour(3, "10.0.0.1", 1), neighbour(3, "10.0.0.9", 9)]);
        let mut nothing = learned(&[]);
        nothing.remember_neighbours(&before);
        assert_eq!(nothing, before);
        let mut other = learned(&[neighbour(3, "10.0.0.9", 5)]);
        other.remember_neighbours(&before);
        let [of_router, of_host] = other.interfaces[0].neighbours[..] else { panic!("{other:?}") };
        assert_eq!((of_router.1.0[5], of_host.1.0[5]), (1, 5));
        assert_eq!(other.interfaces[0].next_hops.len(), 1, "the host is the router of this look");
        assert_eq!(other.without_neighbours(), before.without_neighbours());
    }
}
