//! Broadcast and multicast, which are towards no one device: the interface says what of them leaves.

use super::Policy;
use super::inbound::is_on;
use super::inbound::kinds::{is_essential, is_ip};
use crate::flow::Flow;
use crate::image::{self, Corrupt, interface};
use crate::reason::Reason;
use crate::wire;

/// What an interface does with a frame to a group of receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// It lets everything leave.
    Unjudged,
    /// It lets the frame leave, which is essential.
    Essential,
    /// It lets the frame leave if a rule of the descriptor in this line covers it.
    ByRules(u32),
}

/// Whether a frame, in the device's view, goes to a group of receivers.
#[inline(always)]
pub const fn is_flood(flow: &Flow) -> bool {
    flow.source_mac & wire::MULTICAST_MAC != 0
}

/// What the interface does by which the frame leaves.
#[inline(always)]
pub(super) fn flood<P: Policy>(policy: &P, flow: &Flow) -> Result<Flood, Reason> {
    if !is_on(policy) {
        return Ok(Flood::Unjudged);
    }
    let layout = policy.layout();
    let (first, mask) =
        (image::constant(&layout.interfaces), image::constant(&layout.interfaces_mask));
    if first == image::ABSENT {
        return Err(Reason::InterfaceUnknown);
    }
    let number = image::look_up_usual(policy, first, mask, u64::from(flow.interface))?;
    let number = u32::from(number.ok_or(Reason::InterfaceUnknown)?);
    let lines = image::constant(&layout.interface_lines);
    let line = policy.line(lines.wrapping_add(number)).ok_or(Corrupt)?;
    let word = line.word(interface::GROUP).ok_or(Corrupt)?;
    if word & interface::ESSENTIAL_FLOODS == 0 {
        return Ok(Flood::Unjudged);
    }
    if is_essential(policy, flow) {
        return Ok(Flood::Essential);
    }
    let accepts = word >> interface::ACCEPTS_SHIFT & interface::ACCEPTS_BITS;
    // What a malformed frame is about cannot be read.
    if accepts == 0 || flow.fault != 0 || !is_ip(flow) {
        return Err(Reason::Flooded);
    }
    Ok(Flood::ByRules(lines.wrapping_add(accepts)))
}
