//! Identifies the sender of a frame, and records assumptions about it.

use std::net::IpAddr;

use super::endpoint::Endpoint;
use super::heard::{Heard, Neighbour, Route};
use super::invent::{size, source, unclaimed_mac};
use super::{Error, Request};
use crate::address::cut;
use crate::read::nearest;
use crate::{Device, Host, HostInterface, Mac, Policy};

/// The sender of a frame.
pub(super) struct Sender<'s> {
    pub(super) mac: Mac,
    pub(super) address: IpAddr,
    pub(super) interface: &'s HostInterface,
    pub(super) vlan: Option<u16>,
    /// Values that the request did not give, in words.
    pub(super) assumed: Vec<String>,
}

impl<'s> Sender<'s> {
    /// Identifies the sender, for a destination of the family of `to`. The gateway's knowledge takes
    /// precedence over the policy, because it shows how frames really arrive.
    pub(super) fn find(
        policy: &Policy,
        host: &'s Host,
        heard: &Heard,
        request: &Request,
        to: IpAddr,
    ) -> Result<Self, Error> {
        let mut assumed = Vec::new();
        let from = From::parse(policy, &request.from)?;
        if let From::Address(address, _) = from
            && address.is_ipv4() != to.is_ipv4()
        {
            let hint = "write an address of the same family, or the device's name".to_owned();
            return Err(Error::Family { from: address.to_string(), to: to.to_string(), hint });
        }
        let device = from.device();
        let asked = Asked { policy, host, heard, request };
        let address = match from {
            From::Address(address, _) => address,
            From::Device(_) | From::Mac(..) => asked.source(&from, to, &mut assumed)?,
        };
        let told = heard.sender(address);
        let mac = asked.mac(&from, address, told, &mut assumed);
        let seen = told.map(|(entry, _)| entry).filter(|entry| entry.mac == mac);
        let seen = seen.or_else(|| heard.of(mac));
        let interface = interface(host, request, device, seen, &mut assumed)?;
        if let (None, Some(name)) = (seen, heard.past(address)) {
            assumed.push(format!(
                "the gateway reaches {address} by {name}, which is not protected: nothing judges \
                 what comes from there"
            ));
        }
        let vlan = vlan(request, device, seen, &mut assumed)?;
        Ok(Self { mac, address, interface, vlan, assumed })
    }
}

/// The source address of the frame that a request describes, if any: the address for which to ask the
/// kernel for a route.
pub fn asked_source(
    policy: &Policy,
    host: &Host,
    heard: &Heard,
    request: &Request,
) -> Option<IpAddr> {
    let to = Endpoint::parse(&request.to, &request.proto).ok()?.address;
    let from = From::parse(policy, &request.from).ok()?;
    let asked = Asked { policy, host, heard, request };
    match from {
        From::Address(address, _) => Some(address),
        From::Device(_) | From::Mac(..) => asked.source(&from, to, &mut Vec::new()).ok(),
    }
}

/// Inputs of the search.
struct Asked<'s> {
    policy: &'s Policy,
    host: &'s Host,
    heard: &'s Heard,
    request: &'s Request,
}

impl Asked<'_> {
    /// The frame's source MAC.
    fn mac(
        &self,
        from: &From<'_>,
        address: IpAddr,
        told: Option<(&Neighbour, Option<IpAddr>)>,
        assumed: &mut Vec<String>,
    ) -> Mac {
        if let From::Mac(mac, _) = from {
            return *mac;
        }
        let device = from.device();
        let own = device.and_then(|device| device.mac);
        let name = device.map_or("", |device| &device.name);
        if let Some(mac) = self.request.mac.as_deref().and_then(Mac::parse) {
            return mac;
        }
        if let Some((&Neighbour { mac, .. }, router)) = told {
            let mut said = format!("MAC {mac} taken from the gateway's neighbours");
            if let Some(router) = router {
                said.push_str(&format!(": {address} is behind the router {router}"));
            }
            match own {
                Some(own) if own != mac => {
                    assumed.push(format!("{said}, though {own} is the MAC of {name}"));
                }
                Some(_) if matches!(from, From::Device(_)) => {}
                _ => assumed.push(said),
            }
            return mac;
        }
        let router = match self.heard.routes.get(&address) {
            Some(Route::Router(router, None)) => Some(router),
            _ => None,
        };
        let mac = match own {
            Some(mac) => {
                if matches!(from, From::Address(..)) {
                    assumed.push(format!("MAC {mac} taken from device {name}"));
                }
                mac
            }
            None => {
                let mac = unclaimed_mac(self.policy, self.host);
                let unknown = "neither the policy nor the gateway's neighbours know one for";
                assumed.push(format!("MAC {mac} made up: {unknown} {address}"));
                mac
            }
        };
        if let Some(router) = router {
            assumed.push(format!(
                "{address} is behind the router {router}, and its frames have the MAC of that \
                 one, which the gateway does not know now"
            ));
        }
        mac
    }

    /// A source address of a device: one that the gateway has seen, one of the policy's, or one that it
    /// could have on the interface.
    fn source(
        &self,
        from: &From<'_>,
        to: IpAddr,
        assumed: &mut Vec<String>,
    ) -> Result<IpAddr, Error> {
        let Self { policy, host, heard, request } = *self;
        let device = from.device();
        let mac = match from {
            From::Mac(mac, _) => Some(*mac),
            From::Device(device) => device.mac,
            From::Address(..) => None,
        };
        let bound = device.map_or(&[][..], |device| &device.addresses);
        let is_bound = |address: IpAddr| bound.iter().any(|range| range.contains(address));
        // A link-local address is only used as the source for a link-local destination.
        let on_link = is_link_local(to);
        let fits = |address: &IpAddr| {
            address.is_ipv4() == to.is_ipv4() && is_link_local(*address) == on_link
        };
        let known = heard.behind.iter().filter(|entry| match mac {
            Some(mac) => entry.mac == mac,
            None => entry.address.is_some_and(is_bound),
        });
        let mut known: Vec<IpAddr> = known.filter_map(|entry| entry.address).filter(fits).collect();
        known.sort_by_key(|address| (!is_bound(*address), *address));
        if let Some(address) = known.first().copied() {
            let mut said = format!("source address {address} taken from the gateway's neighbours");
            let taken = device.filter(|_| is_bound(address));
            if let Some(device) = taken {
                said = format!("source address {address} taken from device {}", device.name);
            } else if let Some(device) = device.filter(|_| !bound.is_empty()) {
                said.push_str(&format!(", though {} has another in the policy", device.name));
            }
            assumed.push(said);
            return Ok(address);
        }
        let seen = mac.and_then(|mac| heard.of(mac));
        let interface = interface(host, request, device, seen, &mut Vec::new())?;
        source(policy, host, interface, device, to, assumed)
    }
}

/// The named device with the smallest range that contains an address.
pub(super) fn owner(policy: &Policy, address: IpAddr) -> Option<&Device> {
    let owners = policy.devices.iter().flat_map(|device| {
        let around = device.addresses.iter().filter(move |range| range.contains(address));
        around.map(move |range| (size(*range), device))
    });
    owners.min_by_key(|(size, _)| *size).map(|(_, device)| device)
}

/// The value of `--from`, and the device that it belongs to.
enum From<'p> {
    Device(&'p Device),
    Mac(Mac, Option<&'p Device>),
    Address(IpAddr, Option<&'p Device>),
}

impl<'p> From<'p> {
    fn parse(policy: &'p Policy, text: &str) -> Result<Self, Error> {
        if let Some(device) = policy.devices.iter().find(|device| device.name == text) {
            return Ok(Self::Device(device));
        }
        if let Some(mac) = Mac::parse(text) {
            let device = policy.devices.iter().find(|device| device.mac == Some(mac));
            return Ok(Self::Mac(mac, device));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address, owner(policy, address)));
        }
        let devices = || policy.devices.iter().map(|device| device.name.as_str());
        let hint = if policy.groups.iter().any(|group| group.name == text) {
            "this is a group: name one of its devices, or an address".to_owned()
        } else if text.contains('/') {
            "a frame comes from one device: write its address, its MAC or its name".to_owned()
        } else if let Some(meant) = nearest(text, devices()) {
            format!("did you mean `{meant}`?")
        } else {
            "write a name of `[devices]`, a MAC or an address".to_owned()
        };
        Err(Error::Device { name: cut(text, 60), hint })
    }

    fn device(&self) -> Option<&'p Device> {
        match self {
            Self::Device(device) => Some(device),
            Self::Mac(_, device) | Self::Address(_, device) => *device,
        }
    }
}

/// The interface of this name.
pub(super) fn named<'s>(host: &'s Host, name: &str) -> Result<&'s HostInterface, Error> {
    let names: Vec<&str> = host.interfaces.iter().map(|known| known.name.as_str()).collect();
    let at = protected(&names, name)?;
    host.interfaces.get(at).ok_or(Error::NoInterface)
}

/// Position of an interface in the list of protected ones.
///
/// # Errors
///
/// The interface is not protected.
pub fn protected(names: &[&str], name: &str) -> Result<usize, Error> {
    names.iter().position(|known| *known == name).ok_or_else(|| {
        let known: Vec<&str> = names.iter().take(20).copied().collect();
        let hint = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("protected: {}", known.join(", ")),
        };
        Error::Interface { name: cut(name, 60), hint }
    })
}

/// The first protected interface.
pub(super) fn first_interface<'s>(
    host: &'s Host,
    assumed: &mut Vec<String>,
) -> Result<&'s HostInterface, Error> {
    let first = host.interfaces.first().ok_or(Error::NoInterface)?;
    if host.interfaces.len() > 1 {
        let count = host.interfaces.len();
        assumed.push(format!("interface {}, the first of {count}", first.name));
    }
    Ok(first)
}

/// The requested interface, else the one where the device was seen, else the device's own, else the first.
fn interface<'s>(
    host: &'s Host,
    request: &Request,
    device: Option<&Device>,
    seen: Option<&Neighbour>,
    assumed: &mut Vec<String>,
) -> Result<&'s HostInterface, Error> {
    if let Some(name) = &request.interface {
        return named(host, name);
    }
    let index = seen.and_then(|seen| seen.interface);
    let heard = host.interfaces.iter().find(|known| Some(known.index) == index);
    if let Some(interface) = heard {
        if host.interfaces.len() > 1 {
            let name = &interface.name;
            assumed.push(format!("interface {name} taken from the gateway's neighbours"));
        }
        return Ok(interface);
    }
    let find = |name: &str| host.interfaces.iter().find(|known| known.name == *name);
    let own = device.and_then(|device| Some((device, find(device.interface.as_deref()?)?)));
    if let Some((device, interface)) = own {
        if host.interfaces.len() > 1 {
            let (name, device) = (&interface.name, &device.name);
            assumed.push(format!("interface {name} taken from device {device}"));
        }
        return Ok(interface);
    }
    first_interface(host, assumed)
}

/// The requested VLAN, with 0 for none, else the one where the device was seen, else the device's own.
pub(super) fn vlan(
    request: &Request,
    device: Option<&Device>,
    seen: Option<&Neighbour>,
    assumed: &mut Vec<String>,
) -> Result<Option<u16>, Error> {
    // The VLAN that was seen belongs to the interface that was seen, not to a requested one.
    let heard = seen.filter(|_| request.interface.is_none()).and_then(|seen| seen.vlan);
    let own = device.and_then(|device| device.vlan);
    match (request.vlan, device) {
        (Some(0), _) => Ok(None),
        (Some(id), _) if id > 4094 => Err(Error::Vlan { id }),
        (Some(id), _) => Ok(Some(id)),
        (None, _) if heard.is_some_and(|id| id != own.unwrap_or(0)) => {
            let id = heard.filter(|id| *id != 0);
            let words = id.map_or_else(|| "no VLAN,".to_owned(), |id| format!("VLAN {id}"));
            assumed.push(format!("{words} taken from the gateway's neighbours"));
            Ok(id)
        }
        (None, Some(Device { name, vlan: Some(id), .. })) => {
            assumed.push(format!("VLAN {id} taken from device {name}"));
            Ok(Some(*id))
        }
        (None, _) => Ok(None),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || (v6.is_multicast() && v6.octets()[1] == 2),
    }
}
