//! MACs and addresses of this machine and its routers that no device may claim.

use std::net::IpAddr;

use rtnetlink::packet_route::link::InfoKind;

use super::neighbours::at_and_above;
use super::survey::{Neighbour, Route};
use super::{Link, OnLink};
use crate::policy::{Mac, Router};

/// The first five bytes of the MACs of virtual routers (RFC 9568 section 7.3). The router that currently
/// has one may be behind a protected interface, with this machine as its backup.
const VIRTUAL_ROUTERS: [[u8; 5]; 2] = [[0, 0, 0x5e, 0, 1], [0, 0, 0x5e, 0, 2]];

/// Other MACs for which the gateway accepts frames on an interface.
pub(super) fn above(interface: &Link, links: &[Link]) -> Vec<Mac> {
    let indices = at_and_above(interface.index, links);
    let above = links.iter().filter(|link| indices.contains(&link.index));
    let mut macs: Vec<Mac> = above.map(|link| link.mac).collect();
    macs.retain(|mac| *mac != interface.mac && *mac != Mac::default());
    macs.sort_unstable();
    macs.dedup();
    macs
}

/// The MACs that no device may use: of protected interfaces, of interfaces with an address, of the
/// bridges that protected interfaces are ports of, and of all ports of these bridges.
pub(super) fn macs(protected: &[Link], links: &[Link], addresses: &[OnLink]) -> Vec<Mac> {
    let mut own: Vec<u32> = addresses.iter().map(|found| found.interface).collect();
    for link in protected {
        let stack = at_and_above(link.index, links);
        let bridges = links.iter().filter(|link| {
            stack.contains(&link.index) && matches!(link.kind, Some(InfoKind::Bridge))
        });
        let bridges: Vec<u32> = bridges.map(|link| link.index).collect();
        let ports =
            links.iter().filter(|link| link.controller.is_some_and(|it| bridges.contains(&it)));
        own.extend(ports.map(|link| link.index));
        own.extend(stack);
    }
    let is_virtual = |mac: &Mac| VIRTUAL_ROUTERS.iter().any(|first| mac.0.starts_with(first));
    let own = links.iter().filter(|link| own.contains(&link.index) && !link.loopback);
    let mut macs: Vec<Mac> = own.map(|link| link.mac).collect();
    macs.retain(|mac| *mac != Mac::default() && !is_virtual(mac));
    macs.sort_unstable();
    macs.dedup();
    macs
}

/// The next hops of the default routes, and whether they are behind a protected interface.
///
/// A router in a separate subnet cannot be. One behind a bridge is where the bridge has learned its MAC.
/// Until that is known its place is left open, because the gateway would never learn of a router whose
/// frames it drops.
pub(super) fn routers(
    protected: &[Link],
    links: &[Link],
    routes: &[Route],
    neighbours: &[Neighbour],
) -> Vec<Router> {
    let is_protected = |index: u32| protected.iter().any(|link| link.index == index);
    let reaches =
        |index: u32| protected.iter().any(|link| at_and_above(link.index, links).contains(&index));
    let mut found: Vec<Router> = Vec::new();
    for route in routes {
        let Some(address) = route.gateway else { continue };
        let elsewhere = if reaches(route.interface) {
            let mac = neighbours.iter().find(|neighbour| {
                neighbour.interface == route.interface && neighbour.address == Some(address)
            });
            let port = mac.and_then(|known| {
                neighbours.iter().find(|other| other.address.is_none() && other.mac == known.mac)
            });
            // Behind a protected port it may be an impostor.
            port.map(|port| !is_protected(port.interface) && !reaches(port.interface))
        } else if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            // The same address may belong to a different host on another link.
            Some(false)
        } else {
            Some(true)
        };
        match found.iter_mut().find(|router| router.address == address) {
            Some(router) if router.elsewhere != elsewhere => router.elsewhere = Some(false),
            Some(_) => {}
            None => found.push(Router { address, elsewhere }),
        }
    }
    found.sort_unstable_by_key(|router| router.address);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, kind: Option<InfoKind>, controller: Option<u32>) -> Link {
        let name = format!("if{index}");
        Link {
            name,
            index,
            mac: Mac([2, 0, 0, 0, 0, index as u8]),
            kind,
            controller,
            ..Link::default()
        }
    }

    /// A bridge (3) of a protected port (1) and an uplink (2), and an interface that is routed (4).
    fn machine() -> Vec<Link> {
        let bridge = Some(InfoKind::Bridge);
        vec![
            link(1, None, Some(3)),
            link(2, None, Some(3)),
            link(3, bridge, None),
            link(4, None, None),
        ]
    }

    #[test]
    fn macs_of_the_machine_are_reserved() {
        let mut links = machine();
        links[3].mac = Mac([0, 0, 0x5e, 0, 1, 7]);
        let address = OnLink { interface: 4, address: "10.0.0.1".parse().unwrap(), length: 24 };
        let found = macs(&links[..1], &links, &[address]);
        assert_eq!(found, [1, 2, 3].map(|last| Mac([2, 0, 0, 0, 0, last])));
        assert_eq!(above(&links[0], &links), [Mac([2, 0, 0, 0, 0, 3])]);
        // Without the bridge, the uplink's MAC is not protected.
        links[0].controller = None;
        assert_eq!(macs(&links[..1], &links, &[]), [Mac([2, 0, 0, 0, 0, 1])]);
    }

    #[test]
    fn routers_are_protected_where_they_are_certainly_elsewhere() {
        let links = machine();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let mac = Mac([2, 9, 9, 9, 9, 9]);
        let heard = Neighbour { interface: 3, mac, address: Some(address) };
        let learned = |interface| Neighbour { interface, mac, address: None };
        let ask = |interface: u32, gateway: IpAddr, neighbours: &[Neighbour]| {
            let route = Route { interface, gateway: Some(gateway) };
            routers(&links[..1], &links, &[route], neighbours)[0].elsewhere
        };
        assert_eq!(ask(4, address, &[]), Some(true));
        assert_eq!(ask(4, "fe80::1".parse().unwrap(), &[]), Some(false));
        assert_eq!(ask(3, address, &[]), None);
        assert_eq!(ask(3, address, &[heard, learned(2)]), Some(true));
        assert_eq!(ask(3, address, &[heard, learned(1)]), Some(false));
    }
}
