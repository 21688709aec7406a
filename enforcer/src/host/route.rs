//! The route to a peer, as the kernel would send to it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia,
};

use super::{Error, Kernel};
use crate::policy::Mac;

/// How frames to a peer leave, and therefore how its frames arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Index of the interface.
    pub interface: u32,
    /// MAC of the peer, or of the router in front of it; `None` without a neighbour entry.
    pub mac: Option<Mac>,
}

impl Kernel {
    /// Indices of the interfaces that default routes of the main table leave by.
    pub async fn uplinks(&self) -> Result<BTreeSet<u32>, Error> {
        let mut found = BTreeSet::new();
        let families = [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ];
        for family in families {
            let routes: Vec<_> = self
                .handle
                .route()
                .get(family)
                .execute()
                .try_collect()
                .await
                .map_err(|e| Error::Request { what: "routes", source: Box::new(e) })?;
            let is_default = |route: &&RouteMessage| {
                let header = &route.header;
                // An IPv6 kernel without routes has an unreachable default one on the loopback.
                header.destination_prefix_length == 0
                    && header.table == RouteHeader::RT_TABLE_MAIN
                    && header.kind == RouteType::Unicast
            };
            for route in routes.iter().filter(is_default) {
                for attribute in &route.attributes {
                    if let RouteAttribute::Oif(index) = attribute {
                        found.insert(*index);
                    } else if let RouteAttribute::MultiPath(hops) = attribute {
                        found.extend(hops.iter().map(|hop| hop.interface_index));
                    }
                }
            }
        }
        Ok(found)
    }

    /// The route to `peer`; `None` if there is none.
    pub async fn route_to(&self, peer: IpAddr) -> Result<Option<Route>, Error> {
        let Some((interface, router)) = self.hop_to(peer).await else { return Ok(None) };
        let mut route = Route { interface, mac: None };
        let hop = router.unwrap_or(peer);
        let neighbours: Vec<_> = self
            .handle
            .neighbours()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::Request { what: "neighbours", source: Box::new(e) })?;
        let known = neighbours.iter().filter(|n| n.header.ifindex == route.interface);
        route.mac = known.into_iter().find_map(|neighbour| mac_of(neighbour, hop));
        Ok(Some(route))
    }

    /// Index of the interface that frames to `peer` leave by, and the router that they go to if it is
    /// not on the link; `None` if there is no route.
    pub async fn hop_to(&self, peer: IpAddr) -> Option<(u32, Option<IpAddr>)> {
        let length = if peer.is_ipv4() { 32 } else { 128 };
        let route = RouteMessageBuilder::<IpAddr>::new().destination_prefix(peer, length).ok()?;
        // The kernel reports an unreachable peer as an error: there is no route.
        let route = self.handle.route().get(route.build()).execute().try_next().await.ok()??;
        let (mut interface, mut router) = (0, None);
        for attribute in &route.attributes {
            if let RouteAttribute::Oif(index) = attribute {
                interface = *index;
            } else if let RouteAttribute::Gateway(gateway) = attribute {
                if let RouteAddress::Inet(gateway) = gateway {
                    router = Some((*gateway).into());
                } else if let RouteAddress::Inet6(gateway) = gateway {
                    router = Some((*gateway).into());
                }
            } else if let RouteAttribute::Via(RouteVia::Inet6(gateway)) = attribute {
                router = Some((*gateway).into());
            }
        }
        Some((interface, router))
    }
}

fn mac_of(neighbour: &NeighbourMessage, wanted: IpAddr) -> Option<Mac> {
    let (mut is_it, mut mac) = (false, None);
    for attribute in &neighbour.attributes {
        if let NeighbourAttribute::Destination(address) = attribute {
            is_it = match (address, wanted) {
                (NeighbourAddress::Inet(address), IpAddr::V4(wanted)) => *address == wanted,
                (NeighbourAddress::Inet6(address), IpAddr::V6(wanted)) => *address == wanted,
                _ => false,
            };
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
        }
    }
    mac.filter(|_| is_it)
}
