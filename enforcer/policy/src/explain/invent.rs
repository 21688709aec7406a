//! Plausible values for what neither the request nor the policy nor the gateway specifies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Error;
use super::sender::owner;
use crate::{Device, Host, HostInterface, Mac, Policy, Range, Selector};

/// A source address of a device, or one that it could have on the interface.
pub(super) fn source(
    policy: &Policy,
    host: &Host,
    interface: &HostInterface,
    device: Option<&Device>,
    to: IpAddr,
    assumed: &mut Vec<String>,
) -> Result<IpAddr, Error> {
    let foreign = |address: IpAddr, device: Option<&Device>| {
        host.own.contains(&address)
            || owner(policy, address)
                .is_some_and(|owner| device.is_none_or(|device| device.name != owner.name))
    };
    if let Some(device) = device
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

/// An address of a range: not the network address and, if possible, not one of another device.
fn pick(range: Range, foreign: impl Fn(IpAddr) -> bool) -> IpAddr {
    const TRIES: u128 = 64;
    let most = size(range);
    let from = u128::from(most >= 3);
    let mut candidates = (from..=most.min(TRIES)).map(|offset| nth(range, offset));
    candidates.find(|address| !foreign(*address)).unwrap_or_else(|| nth(range, from))
}

/// Number of addresses in a range, minus one.
pub(super) fn size(range: Range) -> u128 {
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

/// A locally administered MAC that is in use neither in the policy nor on the gateway.
pub(super) fn unclaimed_mac(policy: &Policy, host: &Host) -> Mac {
    // IEEE 802 clause 8.4: bit 1 of the first byte marks a locally administered address.
    const LOCAL: [u8; 8] = [0x02, 0x06, 0x0a, 0x0e, 0x12, 0x16, 0x1a, 0x1e];
    let candidates =
        || LOCAL.iter().flat_map(|&byte| (1..=8).map(move |last| Mac([byte, 0, 0x5e, 0, 0, last])));
    let claimed = |mac: Mac| {
        host.interfaces.iter().any(|interface| interface.mac == mac)
            || host.macs.contains(&mac)
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
