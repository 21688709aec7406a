//! The destination MAC of a frame, on interfaces whose next hops are bound.
//!
//! Rules look at IP addresses, but a bridge looks at the destination MAC: a frame with an IP packet for
//! an allowed host and an accomplice's MAC would reach the accomplice.

use super::essential::to_gateway;
use super::{FrameContext, Policy};
use crate::flow::{Address, FAMILY_NONE, FAMILY_V4, FAMILY_V6, Flow};
use crate::image::Corrupt;
use crate::wire;

/// A fact about a link: the MAC of an address on it, or that a MAC is a router's.
///
/// Key of [`crate::abi::map::HOPS`], in host order. The value for an address is its MAC as a number; the
/// value for a router is ignored.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Index of the interface that receives the frames.
    pub interface: u32,
    /// Family of the address; [`FAMILY_NONE`] for a router.
    pub family: u32,
    /// Upper half of the address, or 0.
    pub high: u64,
    /// Lower half of the address, or the router's MAC.
    pub low: u64,
}

const _: () = assert!(size_of::<Hop>() == 24);

impl Hop {
    /// The key for the MAC of an address.
    #[inline(always)]
    pub const fn address(interface: u32, family: u8, address: Address) -> Self {
        Self { interface, family: family as u32, high: address.high, low: address.low }
    }

    /// The key for whether a MAC is a router's.
    #[inline(always)]
    pub const fn router(interface: u32, mac: u64) -> Self {
        Self { interface, family: FAMILY_NONE as u32, high: 0, low: mac }
    }
}

/// Whether a frame goes to the MAC that the gateway knows for its destination: the gateway's own, a
/// neighbour's, or a router's for destinations that are not neighbours.
#[inline(always)]
pub(super) fn leads_there<P: Policy>(policy: &P, context: &FrameContext) -> Result<bool, Corrupt> {
    let Flow { family, destination, destination_mac, interface, .. } = context.flow;
    if let Some(group) = group_mac(family, destination) {
        return Ok(destination_mac == group);
    }
    if to_gateway(policy, context)? {
        return Ok(true);
    }
    let known = policy.hop(&Hop::address(interface, family, destination));
    Ok(match known {
        Some(mac) => destination_mac == mac,
        None => policy.hop(&Hop::router(interface, destination_mac)).is_some(),
    })
}

/// The destination MAC of a broadcast or multicast packet: RFC 894 for the broadcast address, RFC 1112
/// section 6.4 and RFC 2464 section 7 for multicast groups.
#[inline(always)]
pub fn group_mac(family: u8, destination: Address) -> Option<u64> {
    const V4_GROUPS: u64 = 0x0100_5e00_0000;
    const V6_GROUPS: u64 = 0x3333_0000_0000;
    let low = destination.low;
    match family {
        FAMILY_V4 if destination.to_v4() == u32::MAX => Some(wire::BROADCAST_MAC),
        FAMILY_V4 if destination.to_v4() >> 28 == 0xe => Some(V4_GROUPS | low & 0x7f_ffff),
        FAMILY_V6 if destination.high >> 56 == 0xff => Some(V6_GROUPS | low & 0xffff_ffff),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_macs_of_their_own() {
        let v4 = |a, b, c, d| Address::v4(u32::from_be_bytes([a, b, c, d]));
        let of = |address| group_mac(FAMILY_V4, address);
        assert_eq!(of(v4(255, 255, 255, 255)), Some(0xffff_ffff_ffff));
        assert_eq!(of(v4(239, 255, 255, 250)), Some(0x0100_5e7f_fffa));
        assert_eq!(of(v4(10, 0, 0, 255)), None);
        let mdns = Address { high: 0xff02 << 48, low: 0xfb };
        assert_eq!(group_mac(FAMILY_V6, mdns), Some(0x3333_0000_00fb));
        assert_eq!(group_mac(FAMILY_V6, Address { high: 0xfd00 << 48, low: 1 }), None);
        assert_eq!(group_mac(FAMILY_NONE, v4(255, 255, 255, 255)), None);
    }
}
