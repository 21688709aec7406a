//! A first configuration, made from a survey of the machine. Pure.
//!
//! - this file: the role of each interface, and the devices behind it
//! - [`documents`]: the settings and the observing policy
//! - `tests`: machines and their configurations

pub mod documents;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::host::survey::{Interface, Neighbour, Survey};
use crate::policy::Mac;

/// The role of an interface, as far as the kernel's data shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Devices are behind it: addresses, or a bridge, and no default route.
    Devices,
    /// A default route leaves by it, or may do so: the port of a bridge whose router is not known
    /// yet.
    Uplink,
    /// On top of these interfaces, which are the ones to protect.
    Above(Vec<String>),
    /// Nothing uses it.
    Idle,
    /// The host end of a container or virtual machine, by its name.
    Guest,
    /// No frames with MAC addresses arrive on it.
    NoEthernet,
}

/// A device behind an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// The lowest interface, or the bridge if the port is unknown.
    pub interface: String,
    /// Its VLAN, if its frames are tagged.
    pub vlan: Option<u16>,
    /// Its addresses; none if only a bridge has learned it.
    pub addresses: Vec<IpAddr>,
    /// Its MAC.
    pub mac: Mac,
}

/// A lowest interface, and the tag that a frame has there.
type Leaf = (u32, Option<u16>);

/// The interpretation of a survey.
#[derive(Debug)]
pub struct Machine<'s> {
    survey: &'s Survey,
    uplinks: BTreeSet<Leaf>,
}

impl<'s> Machine<'s> {
    /// Interprets a survey.
    pub fn new(survey: &'s Survey) -> Self {
        let mut machine = Self { survey, uplinks: BTreeSet::new() };
        for route in &survey.routes {
            let router = survey
                .neighbours
                .iter()
                .find(|known| known.interface == route.interface && known.address == route.gateway);
            let exact = router.and_then(|router| machine.port_of(route.interface, router.mac));
            let found = exact.map_or_else(|| machine.leaves(route.interface), |leaf| vec![leaf]);
            machine.uplinks.extend(found);
        }
        machine
    }

    /// Every interface and its role.
    pub fn roles(&self) -> Vec<(&'s Interface, Role)> {
        self.survey.interfaces.iter().map(|interface| (interface, self.role(interface))).collect()
    }

    /// The interfaces that devices are behind, as far as known: without a default route they are
    /// unknown.
    pub fn proposed(&self) -> Vec<&'s str> {
        let lan = self.roles().into_iter().filter(|(_, role)| *role == Role::Devices);
        let lan = lan.map(|(interface, _)| interface.link.name.as_str());
        if self.survey.routes.is_empty() { Vec::new() } else { lan.collect() }
    }

    /// The interface with this name.
    pub fn named(&self, name: &str) -> Option<&'s Interface> {
        self.survey.interfaces.iter().find(|interface| interface.link.name == name)
    }

    /// The role of the interface.
    pub fn role(&self, interface: &Interface) -> Role {
        let (link, index) = (&interface.link, interface.link.index);
        let leaves = self.leaves(index);
        if !interface.ethernet {
            Role::NoEthernet
        } else if leaves != [(index, None)] {
            let names = leaves.iter().filter_map(|(leaf, _)| self.name_of(*leaf));
            let names: BTreeSet<String> = names.map(str::to_owned).collect();
            Role::Above(names.into_iter().collect())
        } else if self.uplinks.iter().any(|(leaf, _)| *leaf == index) {
            Role::Uplink
        } else if ["veth", "vnet", "tap"].iter().any(|guest| link.name.starts_with(guest)) {
            Role::Guest
        } else if interface.up && self.is_used(index) {
            Role::Devices
        } else {
            Role::Idle
        }
    }

    /// The VLANs that arrive tagged on an interface: those of VLAN devices on top of it, and of the
    /// bridge whose port it is.
    pub fn vlans(&self, index: u32) -> BTreeSet<u16> {
        let above = self.above(index).filter_map(|(_, vlan)| vlan);
        let bridged = self.survey.bridge_vlans.iter().filter(|(port, _)| *port == index);
        above.chain(bridged.map(|(_, vlan)| *vlan)).collect()
    }

    /// The names of the VLAN devices on top of these interfaces, by VLAN.
    fn vlan_devices(&self, chosen: &[u32]) -> BTreeMap<u16, BTreeSet<&'s str>> {
        let mut devices: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
        for index in chosen {
            for (interface, vlan) in self.above(*index) {
                let Some(vlan) = vlan else { continue };
                devices.entry(vlan).or_default().insert(&interface.link.name);
            }
        }
        devices
    }

    /// The devices behind these interfaces.
    pub fn devices(&self, chosen: &[u32]) -> Vec<Device> {
        let own: BTreeSet<Mac> =
            self.survey.interfaces.iter().map(|interface| interface.link.mac).collect();
        let mut found: BTreeMap<(Mac, Option<u16>), Device> = BTreeMap::new();
        // Those with an address first: a bridge's table may know the port without the VLAN.
        let (known, heard): (Vec<&Neighbour>, Vec<_>) =
            self.survey.neighbours.iter().partition(|neighbour| neighbour.address.is_some());
        for neighbour in known.into_iter().chain(heard) {
            let mac = neighbour.mac;
            let seen_below = neighbour.address.is_none() && found.keys().any(|(m, _)| *m == mac);
            let leaves = self.leaves(neighbour.interface);
            if own.contains(&mac)
                || seen_below
                || !leaves.iter().any(|(leaf, _)| chosen.contains(leaf))
            {
                continue;
            }
            let place = match leaves.as_slice() {
                [leaf] => Some(*leaf),
                _ => self.port_of(neighbour.interface, mac),
            };
            if place.is_some_and(|(leaf, _)| !chosen.contains(&leaf)) {
                continue;
            }
            let vlan = place.and_then(|(_, vlan)| vlan);
            let below = place.map_or(neighbour.interface, |(leaf, _)| leaf);
            let interface = self.name_of(below).unwrap_or_default().to_owned();
            let device = found.entry((mac, vlan)).or_insert_with(|| Device {
                interface,
                vlan,
                addresses: Vec::new(),
                mac,
            });
            device.addresses.extend(neighbour.address);
        }
        let mut devices: Vec<Device> = found.into_values().collect();
        for device in &mut devices {
            device.addresses.sort_unstable();
            device.addresses.dedup();
        }
        devices.sort_unstable();
        devices
    }

    /// Whether a default route leaves by this interface, with this tag.
    fn leads_out(&self, leaf: Leaf) -> bool {
        self.uplinks.contains(&leaf)
    }

    fn get(&self, index: u32) -> Option<&'s Interface> {
        self.survey.interfaces.iter().find(|interface| interface.link.index == index)
    }

    fn name_of(&self, index: u32) -> Option<&'s str> {
        self.get(index).map(|interface| interface.link.name.as_str())
    }

    /// The lowest interfaces of a stack. Of two tags the lower one is the outer one.
    fn leaves(&self, index: u32) -> Vec<Leaf> {
        let mut leaves = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut way = vec![(index, None)];
        while let Some((index, vlan)) = way.pop() {
            let Some(interface) = self.get(index).filter(|_| seen.insert(index)) else { continue };
            let link = &interface.link;
            let vlan = link.vlan.or(vlan);
            let ports = self.survey.interfaces.iter().filter(|i| i.link.controller == Some(index));
            let is_above = link.lower.is_some() || link.hides_frames(&[]).is_some();
            let below: Vec<u32> = ports.map(|port| port.link.index).chain(link.lower).collect();
            if !is_above {
                leaves.insert((index, vlan));
            }
            way.extend(below.into_iter().filter(|_| is_above).map(|index| (index, vlan)));
        }
        leaves.into_iter().collect()
    }

    /// Interfaces on top of an interface, with the tag that their frames have there.
    fn above(&self, index: u32) -> impl Iterator<Item = (&'s Interface, Option<u16>)> {
        self.survey.interfaces.iter().filter(move |other| other.link.index != index).filter_map(
            move |interface| {
                let leaves = self.leaves(interface.link.index);
                let leaf = leaves.into_iter().find(|(leaf, _)| *leaf == index)?;
                Some((interface, leaf.1))
            },
        )
    }

    /// The interface below that a MAC is behind, as learned by a bridge in between.
    fn port_of(&self, index: u32, mac: Mac) -> Option<Leaf> {
        let leaves = self.leaves(index);
        let learned = self.survey.neighbours.iter();
        let learned = learned.filter(|heard| heard.address.is_none() && heard.mac == mac);
        learned.into_iter().find_map(|heard| match self.leaves(heard.interface).as_slice() {
            [(leaf, vlan)] => {
                let (leaf, above) = leaves.iter().find(|(known, _)| known == leaf)?;
                Some((*leaf, vlan.or(*above)))
            }
            _ => None,
        })
    }

    fn is_used(&self, index: u32) -> bool {
        let itself = self.get(index);
        let is_port = itself.is_some_and(|interface| interface.link.controller.is_some());
        let mut stack = self.above(index).map(|(interface, _)| interface).chain(itself);
        is_port || stack.any(|interface| interface.addresses.iter().any(|(ip, _)| is_chosen(*ip)))
    }
}

/// Whether the address was configured: IPv6 gives every interface one.
fn is_chosen(address: IpAddr) -> bool {
    !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
