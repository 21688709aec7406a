//! Which devices are behind which protected interface, according to the kernel's tables.

use std::net::IpAddr;

use rtnetlink::packet_route::link::InfoKind;

use super::survey::{Neighbour, PortVlan};
use super::{Error, Kernel, Link};
use crate::policy::Host;
use crate::policy::explain::heard::{self, Heard, Route};

/// Depth to which stacked interfaces are followed; the kernel allows eight.
const DEEPEST: usize = 8;

impl Kernel {
    /// The kernel's knowledge of where devices are.
    pub async fn heard(&self, host: &Host) -> Result<Heard, Error> {
        let (links, neighbours) = (self.links().await?, self.neighbours().await?);
        // A kernel without bridges has no ports.
        let vlans = self.bridge_vlans().await.unwrap_or_default();
        let machine = Machine { host, links: &links, neighbours: &neighbours, vlans: &vlans };
        Ok(machine.heard())
    }

    /// Adds how the kernel reaches an address.
    pub async fn hear_way(&self, host: &Host, heard: &mut Heard, address: IpAddr) {
        let (Some((index, router)), Ok(links)) = (self.hop_to(address).await, self.links().await)
        else {
            return;
        };
        let machine = Machine { host, links: &links, neighbours: &[], vlans: &[] };
        let route = match (machine.unprotected(index), router) {
            (Some(name), _) => Route::Elsewhere(name),
            (None, Some(router)) => {
                let known = heard.behind.iter().find(|known| known.address == Some(router));
                Route::Router(router, known.copied())
            }
            (None, None) => return,
        };
        heard.routes.insert(address, route);
    }
}

/// The kernel's answers.
struct Machine<'a> {
    host: &'a Host,
    links: &'a [Link],
    neighbours: &'a [Neighbour],
    vlans: &'a [PortVlan],
}

/// The place where frames of a neighbour arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Index of the protected interface.
    interface: Option<u32>,
    /// VLAN id, 0 for none; `None` if not known.
    vlan: Option<u16>,
}

impl Machine<'_> {
    fn heard(&self) -> Heard {
        let mut heard = Heard::default();
        let named = |link: &&Link| !link.loopback && link.mac.0 != [0; 6];
        let own = self.links.iter().filter(named);
        heard.own = own.map(|link| (link.mac, link.name.clone())).collect();
        for neighbour in self.neighbours {
            let &Neighbour { interface, mac, address } = neighbour;
            match self.unprotected(interface) {
                None => {
                    let Place { interface, vlan } = self.place(neighbour);
                    heard.behind.push(heard::Neighbour { mac, address, interface, vlan });
                }
                Some(name) => {
                    let entry = heard::Neighbour { mac, address, ..heard::Neighbour::default() };
                    heard.elsewhere.push((entry, name));
                }
            }
        }
        heard
    }

    fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    fn is_protected(&self, index: u32) -> bool {
        self.host.interfaces.iter().any(|known| known.index == index)
    }

    /// The ports of a bridge or a bond that are protected.
    fn ports(&self, index: u32) -> impl Iterator<Item = u32> {
        let ports = self.links.iter().filter(move |link| link.controller == Some(index));
        ports.map(|link| link.index).filter(|index| self.is_protected(*index))
    }

    /// The name of an interface, if neither it nor one below it is protected.
    fn unprotected(&self, index: u32) -> Option<String> {
        let mut at = index;
        for _ in 0..DEEPEST {
            if self.is_protected(at) || self.ports(at).next().is_some() {
                return None;
            }
            match self.link(at).and_then(|link| link.lower) {
                Some(lower) => at = lower,
                None => break,
            }
        }
        Some(
            self.link(index).map_or_else(|| format!("interface {index}"), |link| link.name.clone()),
        )
    }

    /// Where frames of a neighbour arrive: its entry may be that of a VLAN or a bridge on top of the
    /// protected interface.
    fn place(&self, neighbour: &Neighbour) -> Place {
        let (mut at, mut vlan) = (neighbour.interface, 0);
        for _ in 0..DEEPEST {
            if self.is_protected(at) {
                // A port of a bridge: learned entries say nothing about tags.
                let learned = neighbour.address.is_none();
                return Place { interface: Some(at), vlan: Some(vlan).filter(|_| !learned) };
            }
            let Some(link) = self.link(at) else { break };
            if let Some(id) = link.vlan {
                vlan = id;
            }
            match (&link.kind, link.lower) {
                (Some(InfoKind::Bridge), _) => return self.port(at, neighbour, vlan),
                (_, Some(lower)) => at = lower,
                (_, None) => {
                    return Place { interface: self.ports(at).next(), vlan: Some(vlan) };
                }
            }
        }
        Place::default()
    }

    /// The port of a bridge that has learned the neighbour's MAC, and whether its frames are tagged
    /// there; `vlan` is their VLAN on the bridge, 0 for any.
    fn port(&self, bridge: u32, neighbour: &Neighbour, vlan: u16) -> Place {
        let learned = |entry: &&Neighbour| {
            entry.address.is_none()
                && entry.mac == neighbour.mac
                && self.link(entry.interface).is_some_and(|port| port.controller == Some(bridge))
        };
        let mut ports = self.ports(bridge);
        let interface = match self.neighbours.iter().find(learned) {
            Some(entry) => Some(entry.interface).filter(|index| self.is_protected(*index)),
            None => ports.next().filter(|_| ports.next().is_none()),
        };
        let untagged = |port: u32| {
            self.vlans.iter().any(|known| known.port == port && known.id == vlan && known.untagged)
        };
        let vlan = match (vlan, interface) {
            (0, _) | (_, None) => None,
            (_, Some(port)) if untagged(port) => Some(0),
            (id, Some(_)) => Some(id),
        };
        Place { interface, vlan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{HostInterface, Mac};

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.into(), mac: mac(index as u8), ..Link::default() }
    }

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn neighbour(interface: u32, last: u8, address: Option<&str>) -> Neighbour {
        let address = address.map(|text| text.parse().unwrap());
        Neighbour { interface, mac: mac(last), address }
    }

    /// lan0 and a VLAN on it; br0 with the ports p0 and p1 and the uplink u0, and a VLAN on it; wan0.
    fn links() -> Vec<Link> {
        let vlan = |link: Link, lower, id| Link { lower: Some(lower), vlan: Some(id), ..link };
        let port = |link: Link| Link { controller: Some(5), ..link };
        vec![
            link(1, "lan0"),
            vlan(link(2, "lan0.20"), 1, 20),
            Link { kind: Some(InfoKind::Bridge), ..link(5, "br0") },
            port(link(6, "p0")),
            port(link(7, "p1")),
            port(link(8, "u0")),
            vlan(link(9, "br0.30"), 5, 30),
            link(10, "wan0"),
        ]
    }

    #[test]
    fn neighbours_are_followed_down_to_the_protected_interface() {
        let protected = [(1, "lan0"), (6, "p0"), (7, "p1")].map(|(index, name)| HostInterface {
            name: name.into(),
            index,
            mac: mac(index as u8),
            prefixes: Vec::new(),
            ..HostInterface::default()
        });
        let host = Host { interfaces: protected.into(), ..Host::default() };
        let neighbours = [
            neighbour(1, 0x21, Some("10.0.0.2")),
            neighbour(2, 0x22, Some("10.20.0.2")),
            neighbour(5, 0x23, Some("10.5.0.2")),
            neighbour(9, 0x24, Some("10.30.0.2")),
            neighbour(9, 0x25, Some("10.30.0.3")),
            neighbour(9, 0x26, Some("10.30.0.4")),
            neighbour(10, 0x27, Some("203.0.113.1")),
            neighbour(6, 0x23, None),
            neighbour(6, 0x24, None),
            neighbour(7, 0x25, None),
            neighbour(8, 0x28, None),
        ];
        let vlans = [PortVlan { port: 7, id: 30, untagged: true }];
        let links = links();
        let machine =
            Machine { host: &host, links: &links, neighbours: &neighbours, vlans: &vlans };
        let heard = machine.heard();
        let places: Vec<_> =
            heard.behind.iter().map(|entry| (entry.interface, entry.vlan)).collect();
        let expected = [
            (Some(1), Some(0)),
            (Some(1), Some(20)),
            (Some(6), None),
            (Some(6), Some(30)),
            (Some(7), Some(0)),
            // No port has learned it.
            (None, None),
            (Some(6), None),
            (Some(6), None),
            (Some(7), None),
        ];
        assert_eq!(places, expected);
        let elsewhere: Vec<_> =
            heard.elsewhere.iter().map(|(entry, name)| (entry.mac, name.as_str())).collect();
        assert_eq!(elsewhere, [(mac(0x27), "wan0"), (mac(0x28), "u0")]);
        assert_eq!(heard.own.len(), links.len());
    }
}
