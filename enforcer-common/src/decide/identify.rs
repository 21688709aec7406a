//! The device behind a frame, and its group.

use super::{FrameContext, Policy};
use crate::flow::{Address, Class, FAMILY_NONE, FAMILY_V4, FAMILY_V6};
use crate::image::{self, Corrupt, Word, kind};
use crate::parse::verifier_barrier;
use crate::reason::Reason;

/// Finds device and group: exact MAC, then the longest IP prefix, then the longest MAC prefix,
/// then the VLAN, then the interface.
#[inline(always)]
pub(super) fn identify<P: Policy>(policy: &P, context: &mut FrameContext) -> Result<(), Reason> {
    let layout = policy.layout();
    let FrameContext { flow, decision, identity, .. } = context;
    let interfaces = image::constant(&layout.interfaces);
    if interfaces == image::ABSENT {
        return Err(Reason::InterfaceUnknown);
    }
    let mask = image::constant(&layout.interfaces_mask);
    let Some(number) = image::look_up_usual(policy, interfaces, mask, u64::from(flow.interface))?
    else {
        return Err(Reason::InterfaceUnknown);
    };
    identity.interface = u32::from(number);
    let number = image::constant(&layout.interface_lines).wrapping_add(u32::from(number));
    let line = policy.line(number).ok_or(Corrupt)?;
    let [_, packed, ..] = line.0;
    let interface_group = packed as u32 & image::interface::GROUP_BITS;
    identity.bound_hops = u32::from(packed as u32 & image::interface::BOUND_HOPS != 0);
    if flow.vlan() != 0 {
        let declared = image::declares_vlan(policy, (packed >> 32) as u32, flow.vlan())?;
        identity.declared = u8::from(declared);
    }
    verifier_barrier();

    let macs = image::constant(&layout.macs);
    if macs != image::ABSENT {
        let mask = image::constant(&layout.macs_mask);
        if let Some((value, slot)) = image::look_up_exact(policy, macs, mask, flow.source_mac)? {
            decision.device = slot;
            identity.bound = value & (image::BOUND_SOURCES | image::BOUND_PLACE);
            decision.group = u32::from(value & !(image::BOUND_SOURCES | image::BOUND_PLACE));
            if decision.group == image::OWN_MAC {
                decision.group = 0;
                identity.own_mac = 1;
            }
        }
    }
    // An ARP probe (RFC 5227) has no source; its target is the address that it is about to claim.
    let arp = matches!(flow.class, Class::Arp);
    let (family, address) = if arp { (FAMILY_V4, flow.claim) } else { (flow.family, flow.source) };
    identity.source = owner(policy, family, address)?;
    verifier_barrier();
    if decision.group != 0 {
        return Ok(());
    }
    let mut word = if flow.family == FAMILY_NONE { Word::NONE } else { identity.source };
    if word.kind() != kind::PASS {
        let prefixes = Word(image::constant(&layout.mac_prefixes));
        word = image::look_up_64(policy, prefixes, flow.source_mac)?;
    }
    if word.kind() != kind::PASS && flow.vlan() != 0 {
        let vlans = Word(image::constant(&layout.vlans));
        word = image::look_up_32(policy, vlans, u32::from(flow.vlan()))?;
    }
    decision.group = if word.kind() == kind::PASS { word.payload() } else { interface_group };
    Ok(())
}

/// The source tree's word for an address of a family.
#[inline(always)]
pub(super) fn owner<P: Policy>(policy: &P, family: u8, address: Address) -> Result<Word, Corrupt> {
    let layout = policy.layout();
    match family {
        FAMILY_V4 => {
            let top = image::constant(&layout.sources_v4);
            if top == image::ABSENT {
                return Ok(Word::NONE);
            }
            image::look_up_top(policy, top, address.to_v4())
        }
        FAMILY_V6 => {
            let word = Word(image::constant(&layout.sources_v6));
            image::look_up_128(policy, word, address.high, address.low)
        }
        _ => Ok(Word::NONE),
    }
}
