//! What a frame towards a device is, before any rule.

use super::super::Policy;
use crate::flow::{Class, Flow, Fragment};
use crate::image::walk::is_zero;
use crate::image::{self, essential};
use crate::reason::Reason;
use crate::wire::protocol;

/// Whether a fault is that of an IP packet whose ports were not read.
#[inline(always)]
pub(super) fn hides_its_port(fault: u8) -> bool {
    let seen = [
        Reason::EtherType,
        Reason::Llc,
        Reason::EapolDestination,
        Reason::EssentialShape,
        Reason::ArpMalformed,
        Reason::NeighbourMalformed,
        Reason::NeighbourSpoof,
        Reason::Redirect,
    ];
    let mut differs = 1u64;
    let mut index = 0;
    while index < seen.len() {
        // No branch for each: the verifier would follow both paths.
        let number = seen.get(index).map_or(0, |reason| reason.number());
        differs &= is_zero(u64::from(number ^ fault)) ^ 1;
        index += 1;
    }
    differs != 0
}

/// Whether a fault was found before the addresses of a frame.
#[inline(always)]
pub(super) fn hides_its_address(fault: u8) -> bool {
    fault == Reason::VlanDepth.number()
        || fault == Reason::VlanUndeclared.number()
        || fault == Reason::TruncatedEthernet.number()
        || fault == Reason::ReadFailed.number()
}

/// Whether a frame of this class is judged by the rules, like any other IP packet.
#[inline(always)]
pub(in super::super) fn is_ip(flow: &Flow) -> bool {
    match flow.class {
        Class::Arp | Class::Eapol | Class::Lldp | Class::Stp => false,
        Class::Ip | Class::Neighbour | Class::Multicast | Class::Dhcp | Class::OddDhcp => true,
    }
}

/// Whether a frame towards a device is essential, and the policy has not switched its protocol off.
///
/// The parser knows the direction: router advertisements, queries and messages of DHCP servers, in their format, are what
/// a device needs; if a device sends them they are malformed.
#[inline(always)]
pub(in super::super) fn is_essential<P: Policy>(policy: &P, flow: &Flow) -> bool {
    if flow.fault != 0 {
        return false;
    }
    // To a group: that is the device's end here.
    let queries = flow.protocol == protocol::IGMP
        && flow.source.to_v4() >> 28 == 0xe
        && flow.fragment == Fragment::Whole;
    let bit = match flow.class {
        Class::Arp => essential::ARP,
        Class::Neighbour | Class::Multicast => essential::NEIGHBOUR,
        Class::Dhcp => essential::DHCP,
        Class::Eapol => essential::EAPOL,
        Class::Lldp => essential::LLDP,
        Class::Stp => essential::STP,
        Class::Ip if queries => essential::NEIGHBOUR,
        Class::Ip | Class::OddDhcp => return false,
    };
    image::constant(&policy.layout().essential) & bit != 0
}
