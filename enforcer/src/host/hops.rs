//! Neighbours and routers on the link of a protected interface.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::survey::Neighbour;
use crate::policy::HostInterface;

/// Takes what the neighbour table says of a link: the interface, and what is on top of it.
pub(super) fn learn(
    interface: &mut HostInterface,
    link: &BTreeSet<u32>,
    gateways: &BTreeSet<(u32, IpAddr)>,
    neighbours: &[Neighbour],
) {
    for neighbour in neighbours.iter().filter(|known| link.contains(&known.interface)) {
        let Some(address) = neighbour.address else { continue };
        interface.neighbours.push((address, neighbour.mac));
        if gateways.contains(&(neighbour.interface, address)) {
            interface.next_hops.push(neighbour.mac);
        }
    }
    interface.neighbours.sort_unstable();
    interface.neighbours.dedup_by_key(|(address, _)| *address);
    interface.next_hops.sort_unstable();
    interface.next_hops.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Host, Mac};

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
        let mut interface = HostInterface::default();
        learn(&mut interface, &link, &BTreeSet::from([(3, router), (4, router)]), &heard);
        let macs = |last| Mac([2, 0, 0, 0, 0, last]);
        let expected = [("10.0.0.1", 1), ("10.0.0.9", 9)];
        let expected = expected.map(|(address, last)| (address.parse().unwrap(), macs(last)));
        assert_eq!(interface.neighbours, expected);
        assert_eq!(interface.next_hops, [macs(1)]);
    }

    #[test]
    fn a_forgotten_neighbour_is_kept_until_another_has_its_address() {
        let learned = |heard: &[Neighbour]| {
            let mut interface = HostInterface::default();
            let router = heard.iter().find_map(|one| Some((one.interface, one.address?)));
            learn(&mut interface, &BTreeSet::from([3]), &router.into_iter().collect(), heard);
            Host { interfaces: vec![interface], ..Host::default() }
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
