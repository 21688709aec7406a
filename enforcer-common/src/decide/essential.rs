//! What is decided before any rule.

use super::{Case, Policy, may_use, owner};
use crate::flow::{Address, Class, FAMILY_V4, Flow};
use crate::image::{self, Corrupt, Word, kind};
use crate::reason::Reason;

/// What is decided before any rule, see `[essential]` in the policy reference.
#[inline(always)]
pub(super) fn essential<P: Policy>(policy: &P, case: &Case) -> Result<Option<Reason>, Reason> {
    let flow = &case.flow;
    let on = image::constant(&policy.layout().essential);
    let (bit, reason) = match flow.class {
        Class::Ip => return Ok(None),
        Class::Arp => {
            // A probe names no sender; every other ARP packet claims its sender address.
            if flow.family == FAMILY_V4 && !may_use(case, case.identity.source) {
                return Err(Reason::ArpSpoof);
            }
            (image::essential::ARP, Reason::Arp)
        }
        Class::Neighbour | Class::Multicast => {
            if on & image::essential::NEIGHBOUR == 0 || !on_link(policy, case)? {
                return Ok(None);
            }
            if !claims_well(policy, case)? {
                return Err(Reason::NeighbourSpoof);
            }
            (image::essential::NEIGHBOUR, Reason::Neighbour)
        }
        Class::Dhcp => {
            // A client without an address has none to name (RFC 2131 section 4.1); any other
            // source is bound like that of every packet.
            let asks = is_own_source(case) && to_dhcp_server(policy, flow)?;
            if on & image::essential::DHCP == 0 || !asks {
                return Ok(None);
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

/// Whether an ND or MLD message stays on the link: to ff02::/16, fe80::/10, the gateway, or an
/// address in a prefix of the very interface that received it. To another interface's prefix the
/// gateway would route it.
#[inline(always)]
fn on_link<P: Policy>(policy: &P, case: &Case) -> Result<bool, Corrupt> {
    let destination = case.flow.destination;
    if destination.high >> 48 == 0xff02 || is_link_local(destination) {
        return Ok(true);
    }
    let site = Word(image::constant(&policy.layout().site_v6));
    let word = image::look_up_128(policy, site, destination.high, destination.low)?;
    let here = image::SITE_LOCAL + case.identity.interface;
    let answer = word.payload();
    Ok(word.kind() == kind::PASS && (answer == image::SITE_OWN || answer == here))
}

/// Whether the addresses that an ND message claims may be the device's.
#[inline(always)]
fn claims_well<P: Policy>(policy: &P, case: &Case) -> Result<bool, Corrupt> {
    let flow = &case.flow;
    const ADVERTISEMENT: u16 = 136;
    if flow.destination_port >> 8 == ADVERTISEMENT {
        let word = owner(policy, flow, flow.claim)?;
        let exempt = is_link_local(flow.claim) && word.kind() != kind::DROP;
        if !exempt && !may_use(case, word) {
            return Ok(false);
        }
    }
    Ok(is_own_source(case))
}

/// Whether the source address is the device's, or one that every host has.
#[inline(always)]
fn is_own_source(case: &Case) -> bool {
    let address = case.flow.source;
    let harmless = is_link_local(address) || address == Address::default();
    let source = case.identity.source;
    may_use(case, source) || (harmless && source.kind() != kind::DROP)
}

/// Whether a DHCP client message goes to everybody or to the gateway itself.
#[inline(always)]
fn to_dhcp_server<P: Policy>(policy: &P, flow: &Flow) -> Result<bool, Corrupt> {
    let layout = policy.layout();
    let destination = flow.destination;
    let word = if flow.family == FAMILY_V4 {
        if destination.to_v4() == u32::MAX {
            return Ok(true);
        }
        image::look_up_32(policy, Word(image::constant(&layout.site_v4)), destination.to_v4())?
    } else {
        if destination.high >> 48 == 0xff02 {
            return Ok(true);
        }
        let site = Word(image::constant(&layout.site_v6));
        image::look_up_128(policy, site, destination.high, destination.low)?
    };
    Ok(word == Word::new(kind::PASS, image::SITE_OWN))
}
