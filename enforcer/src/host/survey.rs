//! The kernel's data that a first configuration is made from.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgeVlanInfoFlags, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::{Error, Kernel, Link, link};
use crate::policy::Mac;

/// The machine, in plain values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Every interface, in the order of the kernel.
    pub interfaces: Vec<Interface>,
    /// The default routes.
    pub routes: Vec<Route>,
    /// The neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Tagged VLANs that a bridge port accepts: index of the port, VLAN.
    pub bridge_vlans: Vec<(u32, u16)>,
}

/// An interface and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its link.
    pub link: Link,
    /// Whether Ethernet frames arrive on it from outside.
    pub ethernet: bool,
    /// Whether it was set up by hand.
    pub up: bool,
    /// Its addresses and the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// A default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the interface that it leaves by.
    pub interface: u32,
    /// The next router, if there is one.
    pub gateway: Option<IpAddr>,
}

/// Where packets leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Routes {
    /// The hops of the default routes.
    pub(super) default: Vec<Route>,
    /// Next routers of all routes: index of the interface that reaches one, and its address.
    pub(super) gateways: BTreeSet<(u32, IpAddr)>,
}

/// A known neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the interface that reaches it; for a bridge's table, the port.
    pub interface: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Its address; `None` if only a bridge has learned it.
    pub address: Option<IpAddr>,
}

impl Kernel {
    /// Surveys the whole machine.
    pub async fn survey(&self) -> Result<Survey, Error> {
        let mut survey = Survey::default();
        let mut links = Box::pin(self.handle.link().get().execute());
        while let Some(message) = links.try_next().await.map_err(request("interfaces"))? {
            survey.interfaces.push(interface(&message));
        }
        for found in self.addresses().await? {
            let owner = survey.interfaces.iter_mut().find(|o| o.link.index == found.interface);
            if let Some(owner) = owner {
                owner.addresses.push((found.address, found.length));
            }
        }
        survey.routes = self.routes().await?.default;
        survey.neighbours = self.neighbours().await?;
        let tagged = self.bridge_vlans().await?.into_iter().filter(|vlan| !vlan.untagged);
        survey.bridge_vlans = tagged.map(|vlan| (vlan.port, vlan.id)).collect();
        Ok(survey)
    }

    /// The hops of the default routes, of both families, and every next router.
    pub(super) async fn routes(&self) -> Result<Routes, Error> {
        let families = [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ];
        let mut found = Routes::default();
        for family in families {
            // An internet router has a million routes through a few neighbours, so no route is
            // kept.
            let mut routes = Box::pin(self.handle.route().get(family).execute());
            while let Some(message) = routes.try_next().await.map_err(request("routes"))? {
                let hops = hops(&message);
                let gateways = hops.iter().filter_map(|hop| Some((hop.interface, hop.gateway?)));
                found.gateways.extend(gateways);
                if message.header.destination_prefix_length == 0 {
                    found.default.extend(hops);
                }
            }
        }
        Ok(found)
    }

    /// Neighbours that have answered, and MACs that a bridge has learned.
    pub(super) async fn neighbours(&self) -> Result<Vec<Neighbour>, Error> {
        let neighbours = self.handle.neighbours();
        let requests =
            [neighbours.get(), neighbours.get().set_address_family(AddressFamily::Bridge)];
        let mut found = Vec::new();
        for heard in requests {
            let mut heard = Box::pin(heard.execute());
            while let Some(message) = heard.try_next().await.map_err(request("neighbours"))? {
                found.extend(neighbour(&message));
            }
        }
        Ok(found)
    }

    /// The VLANs of every port of a bridge.
    pub(super) async fn bridge_vlans(&self) -> Result<Vec<PortVlan>, Error> {
        let ports = self.handle.link().get();
        let ports = ports.set_filter_mask(AddressFamily::Bridge, vec![LinkExtentMask::Brvlan]);
        let mut ports = Box::pin(ports.execute());
        let mut found = Vec::new();
        while let Some(message) = ports.try_next().await.map_err(request("ports of bridges"))? {
            found.extend(vlans(&message));
        }
        Ok(found)
    }
}

/// A VLAN of a port of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortVlan {
    /// Index of the port.
    pub(super) port: u32,
    pub(super) id: u16,
    /// Whether its frames have no tag there.
    pub(super) untagged: bool,
}

fn request(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> Error + Copy {
    move |e| Error::Request { what, source: Box::new(e) }
}

fn interface(message: &LinkMessage) -> Interface {
    let link = link(message);
    // They have the type of Ethernet, but no wire.
    let inside = matches!(link.kind, Some(InfoKind::Dummy | InfoKind::Ifb | InfoKind::Vrf));
    Interface {
        ethernet: message.header.link_layer_type == LinkLayerType::Ether && !inside,
        link,
        up: message.header.flags.contains(LinkFlags::Up),
        addresses: Vec::new(),
    }
}

/// The hops of a route.
fn hops(message: &RouteMessage) -> Vec<Route> {
    if message.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let mut hops = vec![hop(None, &message.attributes)];
    for attribute in &message.attributes {
        if let RouteAttribute::MultiPath(more) = attribute {
            hops.extend(more.iter().map(|more| hop(Some(more.interface_index), &more.attributes)));
        }
    }
    hops.into_iter().flatten().collect()
}

fn hop(interface: Option<u32>, attributes: &[RouteAttribute]) -> Option<Route> {
    let (mut interface, mut gateway) = (interface, None);
    for attribute in attributes {
        if let RouteAttribute::Oif(index) = attribute {
            interface = Some(*index);
        } else if let RouteAttribute::Gateway(address) = attribute {
            if let RouteAddress::Inet(address) = address {
                gateway = Some(IpAddr::V4(*address));
            } else if let RouteAddress::Inet6(address) = address {
                gateway = Some(IpAddr::V6(*address));
            }
        }
    }
    Some(Route { interface: interface?, gateway })
}

/// A neighbour that answered once, or that a bridge learned.
fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    use NeighbourState::{Failed, Incomplete, Noarp, Permanent};
    let bridge = message.header.family == AddressFamily::Bridge;
    // A permanent entry of a bridge's table is the port's own.
    let unheard = matches!(message.header.state, Failed | Incomplete)
        || (bridge && matches!(message.header.state, Permanent | Noarp));
    if unheard {
        return None;
    }
    let (mut mac, mut address) = (None, None);
    for attribute in &message.attributes {
        if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
        } else if let NeighbourAttribute::Destination(destination) = attribute {
            if let NeighbourAddress::Inet(known) = destination {
                address = Some(IpAddr::V4(*known));
            } else if let NeighbourAddress::Inet6(known) = destination {
                address = Some(IpAddr::V6(*known));
            }
        }
    }
    let mac = mac.filter(|mac| !mac.is_multicast() && *mac != Mac::default())?;
    Some(Neighbour { interface: message.header.ifindex, mac, address: address.filter(|_| !bridge) })
}

/// The VLANs that a port of a bridge is in.
fn vlans(message: &LinkMessage) -> Vec<PortVlan> {
    let port = message.header.index;
    let mut vlans = Vec::new();
    for attribute in &message.attributes {
        let LinkAttribute::AfSpecBridge(parts) = attribute else { continue };
        for part in parts {
            if let AfSpecBridge::VlanInfo(info) = part {
                let untagged = info.flags.contains(BridgeVlanInfoFlags::Untagged);
                vlans.push(PortVlan { port, id: info.vid, untagged });
            }
        }
    }
    vlans
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::LinkInfo;
    use rtnetlink::packet_route::route::RouteNextHop;

    use super::*;

    #[test]
    fn what_has_no_wire_is_no_ethernet() {
        let kinds = [None, Some(InfoKind::Veth), Some(InfoKind::Dummy), Some(InfoKind::Vrf)];
        let ethernet = kinds.map(|kind| {
            let mut message = LinkMessage::default();
            message.header.link_layer_type = LinkLayerType::Ether;
            let info = kind.map(|kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
            message.attributes.extend(info);
            interface(&message).ethernet
        });
        assert_eq!(ethernet, [true, true, false, false]);
    }

    #[test]
    fn a_default_route_may_have_several_hops() {
        let of = |attributes: Vec<RouteAttribute>| {
            let mut message = RouteMessage::default();
            message.header.kind = RouteType::Unicast;
            message.attributes = attributes;
            hops(&message)
        };
        let router = RouteAddress::Inet(Ipv4Addr::new(192, 0, 2, 1));
        let one = of(vec![RouteAttribute::Oif(4), RouteAttribute::Gateway(router)]);
        let gateway = Some("192.0.2.1".parse().unwrap());
        assert_eq!(one, [Route { interface: 4, gateway }]);
        let next = |index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop
        };
        let several = of(vec![RouteAttribute::MultiPath(vec![next(5), next(6)])]);
        assert_eq!(several.iter().map(|hop| hop.interface).collect::<Vec<_>>(), [5, 6]);
        assert!(of(Vec::new()).is_empty());
    }
}
