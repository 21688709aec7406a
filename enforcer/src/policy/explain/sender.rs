//! Who sends the frame, and what had to be assumed about it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Error;
use crate::api::ExplainRequest;
use crate::policy::address::cut;
use crate::policy::read::nearest;
use crate::policy::{Device, Mac, Policy, Range, Selector, Site, SiteInterface};

/// Who sends the frame.
pub(super) struct Sender<'s> {
    pub(super) mac: Mac,
    pub(super) address: IpAddr,
    pub(super) interface: &'s SiteInterface,
    pub(super) vlan: Option<u16>,
    /// What the request did not say, in words.
    pub(super) assumed: Vec<String>,
}

impl<'s> Sender<'s> {
    /// Finds out who sends, to a destination of the family of `to`.
    pub(super) fn find(
        policy: &Policy,
        site: &'s Site,
        request: &ExplainRequest,
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
        let interface = interface(site, request, device, &mut assumed)?;
        let address = match from {
            From::Address(address, _) => address,
            From::Device(_) | From::Mac(..) => {
                source(policy, site, interface, &from, to, &mut assumed)?
            }
        };
        let known = request.mac.as_deref().and_then(Mac::parse);
        let mac = match (&from, device.and_then(|device| device.mac)) {
            (From::Mac(mac, _), _) => *mac,
            (From::Device(_), Some(mac)) => mac,
            (From::Address(..), Some(mac)) => {
                let name = device.map_or("", |device| &device.name);
                assumed.push(format!("MAC {mac} taken from device {name}"));
                mac
            }
            (From::Address(..), None) if let Some(mac) = known => {
                assumed.push(format!("MAC {mac} taken from the gateway's neighbours"));
                mac
            }
            (From::Device(_) | From::Address(..), None) => {
                let mac = unclaimed_mac(policy, site);
                assumed.push(format!("MAC {mac} made up: the policy knows none for {address}"));
                mac
            }
        };
        let vlan = vlan(request, device, &mut assumed)?;
        Ok(Self { mac, address, interface, vlan, assumed })
    }
}

/// The named device with the smallest range around an address.
pub(super) fn owner(policy: &Policy, address: IpAddr) -> Option<&Device> {
    let owners = policy.devices.iter().flat_map(|device| {
        let around = device.addresses.iter().filter(move |range| range.contains(address));
        around.map(move |range| (size(*range), device))
    });
    owners.min_by_key(|(size, _)| *size).map(|(_, device)| device)
}

/// What `--from` names, and the device that it belongs to.
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
pub(super) fn named<'s>(site: &'s Site, name: &str) -> Result<&'s SiteInterface, Error> {
    site.interfaces.iter().find(|known| known.name == *name).ok_or_else(|| {
        let known = site.interfaces.iter().take(20).map(|known| known.name.as_str());
        let known: Vec<&str> = known.collect();
        let hint = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("protected: {}", known.join(", ")),
        };
        Error::Interface { name: cut(name, 60), hint }
    })
}

/// The first interface.
pub(super) fn first_interface<'s>(
    site: &'s Site,
    assumed: &mut Vec<String>,
) -> Result<&'s SiteInterface, Error> {
    let first = site.interfaces.first().ok_or(Error::NoInterface)?;
    if site.interfaces.len() > 1 {
        let count = site.interfaces.len();
        assumed.push(format!("interface {}, the first of {count}", first.name));
    }
    Ok(first)
}

/// The interface that was asked for, else the device's own, else the first.
fn interface<'s>(
    site: &'s Site,
    request: &ExplainRequest,
    device: Option<&Device>,
    assumed: &mut Vec<String>,
) -> Result<&'s SiteInterface, Error> {
    if let Some(name) = &request.interface {
        return named(site, name);
    }
    let find = |name: &str| site.interfaces.iter().find(|known| known.name == *name);
    let own = device.and_then(|device| Some((device, find(device.interface.as_deref()?)?)));
    if let Some((device, interface)) = own {
        if site.interfaces.len() > 1 {
            let (name, device) = (&interface.name, &device.name);
            assumed.push(format!("interface {name} taken from device {device}"));
        }
        return Ok(interface);
    }
    first_interface(site, assumed)
}

/// The VLAN that was asked for, 0 being none, else the device's own.
fn vlan(
    request: &ExplainRequest,
    device: Option<&Device>,
    assumed: &mut Vec<String>,
) -> Result<Option<u16>, Error> {
    match (request.vlan, device) {
        (Some(0), _) => Ok(None),
        (Some(id), _) if id > 4094 => Err(Error::Vlan { id }),
        (Some(id), _) => Ok(Some(id)),
        (None, Some(Device { name, vlan: Some(id), .. })) => {
            assumed.push(format!("VLAN {id} taken from device {name}"));
            Ok(Some(*id))
        }
        (None, _) => Ok(None),
    }
}

/// A source address of a device, or one that it could have on the interface.
fn source(
    policy: &Policy,
    site: &Site,
    interface: &SiteInterface,
    from: &From<'_>,
    to: IpAddr,
    assumed: &mut Vec<String>,
) -> Result<IpAddr, Error> {
    let foreign = |address: IpAddr, device: Option<&Device>| {
        site.own.contains(&address)
            || owner(policy, address)
                .is_some_and(|owner| device.is_none_or(|device| device.name != owner.name))
    };
    if let Some(device) = from.device()
        && !device.addresses.is_empty()
    {
        let mut ranges = device.addresses.iter().copied();
        let Some(range) = ranges.find(|range| first(*range).is_ipv4() == to.is_ipv4()) else {
            let hint = format!("write an address of the family of {}", first(device.addresses[0]));
            return Err(Error::Family { from: device.name.clone(), to: to.to_string(), hint });
        };
        let address = pick(range, |address| foreign(address, Some(device)));
        assumed.push(format!("source address {address} taken from device {}", device.name));
        return Ok(address);
    }
    let prefix = interface.prefixes.iter().find(|(address, _)| address.is_ipv4() == to.is_ipv4());
    let (range, origin) = match prefix {
        Some(&(address, length)) => {
            let range = network(address, length);
            (range, format!("taken from {range}, the network of {}", interface.name))
        }
        None => {
            // RFC 5737 and RFC 3849: addresses for documentation.
            let (address, length, family): (IpAddr, u8, _) = if to.is_ipv4() {
                (Ipv4Addr::new(192, 0, 2, 0).into(), 24, "IPv4")
            } else {
                (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).into(), 64, "IPv6")
            };
            let origin = format!("made up: no {family} network of {} is known", interface.name);
            (network(address, length), origin)
        }
    };
    let address = pick(range, |address| foreign(address, None));
    assumed.push(format!("source address {address} {origin}"));
    Ok(address)
}

/// An address of a range: not the network's own, and no foreign one if it can be helped.
fn pick(range: Range, foreign: impl Fn(IpAddr) -> bool) -> IpAddr {
    const TRIES: u128 = 64;
    let most = size(range);
    let from = u128::from(most >= 3);
    let mut candidates = (from..=most.min(TRIES)).map(|offset| nth(range, offset));
    candidates.find(|address| !foreign(*address)).unwrap_or_else(|| nth(range, from))
}

/// Addresses in a range less one.
fn size(range: Range) -> u128 {
    match range {
        Range::V4(first, last) => u128::from(last - first),
        Range::V6(first, last) => last - first,
    }
}

fn first(range: Range) -> IpAddr {
    nth(range, 0)
}

/// `offset` must lie in the range.
fn nth(range: Range, offset: u128) -> IpAddr {
    match range {
        Range::V4(first, _) => {
            Ipv4Addr::from_bits(first + u32::try_from(offset).unwrap_or(0)).into()
        }
        Range::V6(first, _) => Ipv6Addr::from_bits(first + offset).into(),
    }
}

fn network(address: IpAddr, length: u8) -> Range {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            Range::V4(address.to_bits() & !host, address.to_bits() | host)
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            Range::V6(address.to_bits() & !host, address.to_bits() | host)
        }
    }
}

/// A locally administered MAC that neither the policy nor the gateway knows.
fn unclaimed_mac(policy: &Policy, site: &Site) -> Mac {
    // IEEE 802 clause 8.4: bit 1 of the first byte says that nobody assigned the address.
    const LOCAL: [u8; 8] = [0x02, 0x06, 0x0a, 0x0e, 0x12, 0x16, 0x1a, 0x1e];
    let candidates =
        || LOCAL.iter().flat_map(|&byte| (1..=8).map(move |last| Mac([byte, 0, 0x5e, 0, 0, last])));
    let claimed = |mac: Mac| {
        site.interfaces.iter().any(|interface| interface.mac == mac)
            || policy.devices.iter().any(|device| device.mac == Some(mac))
            || policy.groups.iter().flat_map(|group| &group.members).any(|member| {
                match member.selector {
                    Selector::Mac(other) => other == mac,
                    Selector::MacPrefix(prefix, length) => {
                        let shift = 48 - u32::from(length.min(48));
                        number(mac) >> shift == number(prefix) >> shift
                    }
                    Selector::Device(_)
                    | Selector::Addresses(_)
                    | Selector::Vlan(_)
                    | Selector::Interface(_) => false,
                }
            })
    };
    candidates().find(|mac| !claimed(*mac)).unwrap_or(Mac([0x02, 0, 0x5e, 0, 0, 1]))
}

fn number(mac: Mac) -> u64 {
    enforcer_common::wire::mac(mac.0)
}
