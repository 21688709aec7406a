//! Essentials, which are decided before any rule.

use super::hops::group_mac;
use super::identify::owner;
use super::{FrameContext, Policy, may_use};
use crate::flow::{Address, Class, FAMILY_NONE, FAMILY_V4, Flow};
use crate::image::walk::is_zero;
use crate::image::{self, Corrupt, Word, kind};
use crate::reason::Reason;
use crate::wire::neighbour;

/// Decides essentials before any rule, see `[essential]` in the policy reference.
#[inline(always)]
pub(super) fn essential<P: Policy>(
    policy: &P,
    context: &FrameContext,
) -> Result<Option<Reason>, Reason> {
    let flow = &context.flow;
    let on = image::constant(&policy.layout().essential);
    let (bit, reason) = match flow.class {
        Class::Ip => return Ok(None),
        Class::Arp => {
            // A probe claims its target, every other packet its sender address.
            let probes = flow.family == FAMILY_NONE;
            let word = context.identity.source;
            if if probes { is_anothers(context, word) } else { !may_use(context, word) } {
                return Err(Reason::ArpSpoof);
            }
            (image::essential::ARP, Reason::Arp)
        }
        Class::Neighbour | Class::Multicast => {
            if on & image::essential::NEIGHBOUR == 0 || !on_link(policy, context)? {
                return Ok(None);
            }
            if !casts_fit(flow) {
                return Err(Reason::CastMismatch);
            }
            if !claims_well(policy, context)? {
                return Err(Reason::NeighbourSpoof);
            }
            (image::essential::NEIGHBOUR, Reason::Neighbour)
        }
        Class::Dhcp | Class::OddDhcp => {
            // A client without an address sends none (RFC 2131 section 4.1); any other source
            // address is bound as in every packet.
            let asks = is_own_source(context) && to_dhcp_server(policy, context)?;
            if on & image::essential::DHCP == 0 || !asks {
                return Ok(None);
            }
            if flow.class == Class::OddDhcp {
                return Err(Reason::EssentialShape);
            }
            if !casts_fit(flow) {
                return Err(Reason::CastMismatch);
            }
            (image::essential::DHCP, Reason::Dhcp)
        }
        Class::Eapol => (image::essential::EAPOL, Reason::Eapol),
        Class::Lldp => (image::essential::LLDP, Reason::Lldp),
        Class::Stp => (image::essential::STP, Reason::Stp),
    };
    if on & bit == 0 {
        return Err(Reason::EssentialOff);
    }
    Ok(Some(reason))
}

#[inline(always)]
fn is_link_local(address: Address) -> bool {
    address.high >> 54 == 0x3fa
}

/// Whether a packet to a group has a group MAC. With a single destination MAC it could be addressed to an
/// accomplice.
#[inline(always)]
fn casts_fit(flow: &Flow) -> bool {
    let group = group_mac(flow.family, flow.destination);
    group.is_none_or(|group| group == flow.destination_mac)
}

/// Whether the gateway itself receives a frame: it goes to a MAC of the interface, or of a device on top
/// of it.
#[inline(always)]
pub(super) fn to_gateway<P: Policy>(policy: &P, context: &FrameContext) -> Result<bool, Corrupt> {
    let lines = image::constant(&policy.layout().interface_lines);
    let line = policy.line(lines.wrapping_add(context.identity.interface)).ok_or(Corrupt)?;
    let [own, _, above @ ..] = line.0;
    // No branch for each: the verifier would follow both paths.
    let mut is = is_zero(own ^ context.flow.destination_mac);
    let mut index = 0;
    while index < above.len() {
        is |= is_zero(above.get(index).copied().unwrap_or(0) ^ context.flow.destination_mac);
        index += 1;
    }
    Ok(is != 0)
}

/// Whether an ND or MLD message stays on the link: to ff02::/16 or fe80::/10; to a MAC other than the
/// gateway's, so that a bridge forwards it and the gateway does not route it; or to the gateway, or an
/// address in a prefix of the receiving interface. The gateway would route a message to another interface's
/// prefix.
#[inline(always)]
fn on_link<P: Policy>(policy: &P, context: &FrameContext) -> Result<bool, Corrupt> {
    let destination = context.flow.destination;
    if destination.high >> 48 == 0xff02 || is_link_local(destination) {
        return Ok(true);
    }
    if destination.high >> 56 == 0xff {
        return Ok(false);
    }
    if !to_gateway(policy, context)? {
        return Ok(true);
    }
    let host = Word(image::constant(&policy.layout().host_v6));
    let word = image::look_up_128(policy, host, destination.high, destination.low)?;
    let here = image::HOST_LOCAL + context.identity.interface;
    let answer = word.payload();
    Ok(word.kind() == kind::PASS && (answer == image::HOST_OWN || answer == here))
}

/// Whether the device may own the addresses that an ND message claims: the target of an advertisement, and
/// of a solicitation from :: (duplicate address detection, RFC 4862 section 5.4), which could keep another
/// host from using its own address.
#[inline(always)]
fn claims_well<P: Policy>(policy: &P, context: &FrameContext) -> Result<bool, Corrupt> {
    let flow = &context.flow;
    let kind = flow.destination_port >> 8;
    let detects = kind == neighbour::SOLICITATION && flow.source == Address::default();
    if kind == neighbour::ADVERTISEMENT || detects {
        let word = owner(policy, flow.family, flow.claim)?;
        let own = if is_link_local(flow.claim) {
            !is_anothers(context, word) && is_of_mac(flow.claim, flow.source_mac)
        } else if detects {
            !is_anothers(context, word)
        } else {
            may_use(context, word)
        };
        if !own {
            return Ok(false);
        }
    }
    Ok(is_own_source(context))
}

/// Whether an address with this `word` in the source tree is bound to another device, or is the
/// gateway's.
#[inline(always)]
fn is_anothers(context: &FrameContext, word: Word) -> bool {
    word.kind() == kind::DROP && word.payload() != context.decision.device
}

/// Whether a link-local address fits a MAC: if it is derived from a MAC (RFC 4291 appendix A), then
/// from this one.
#[inline(always)]
fn is_of_mac(address: Address, mac: u64) -> bool {
    let made = address.low >> 24 & 0xffff == 0xfffe;
    let (high, low) = (mac >> 24 ^ 0x02_0000, mac & 0xff_ffff);
    !made || address.low == high << 40 | 0xff_fe00_0000 | low
}

/// Whether the source address is the device's, or one that every host has.
#[inline(always)]
fn is_own_source(context: &FrameContext) -> bool {
    let Flow { source, source_mac, .. } = context.flow;
    let word = context.identity.source;
    let local = is_link_local(source);
    if local && !is_of_mac(source, source_mac) {
        return false;
    }
    may_use(context, word)
        || ((local || source == Address::default()) && !is_anothers(context, word))
}

/// Whether a DHCP client message is broadcast or goes to the gateway itself.
#[inline(always)]
fn to_dhcp_server<P: Policy>(policy: &P, context: &FrameContext) -> Result<bool, Corrupt> {
    let (layout, flow) = (policy.layout(), &context.flow);
    let destination = flow.destination;
    let word = if flow.family == FAMILY_V4 {
        if destination.to_v4() == u32::MAX {
            return Ok(true);
        }
        image::look_up_32(policy, Word(image::constant(&layout.host_v4)), destination.to_v4())?
    } else {
        if destination.high >> 48 == 0xff02 {
            return Ok(true);
        }
        let host = Word(image::constant(&layout.host_v6));
        image::look_up_128(policy, host, destination.high, destination.low)?
    };
    let own = word == Word::new(kind::PASS, image::HOST_OWN);
    Ok(own && to_gateway(policy, context)?)
}
