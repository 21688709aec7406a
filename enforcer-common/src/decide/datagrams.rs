//! The state that a datagram's first fragment leaves for the later ones.
//!
//! Each device has a part of the table: a flood of first fragments evicts only the sender's own.
//! Several CPUs read and write an entry word by word. The first word combines the datagram's digest
//! with the other words, so a half-written entry matches no datagram.

use super::{FrameContext, Policy};
use crate::flow::{Flow, Fragment};
use crate::image::NO_DEVICE;
use crate::reason::Reason;
use crate::shared::Word;

/// Seconds for which a datagram may be continued: RFC 791 section 3.2 asks receivers for 15,
/// Linux waits 30 (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_SECONDS: u64 = 30;
/// Bits of the number of a part.
const PART_BITS: u32 = 7;
/// Parts for devices whose MAC the policy names; all other devices have as many.
const PARTS: u32 = 1 << PART_BITS;
/// Datagrams of a part.
const DATAGRAMS: u32 = 64;
/// Entries in all.
pub const ENTRIES: u32 = 2 * PARTS * DATAGRAMS;

/// An entry: its digest combined with the next two words; [`FragmentState`] as two words; zero.
pub type Datagram = [Word; 4];

/// What is kept about a datagram whose first fragment passed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentState {
    /// When the first fragment passed, boot clock, in seconds.
    pub since: u64,
    /// The service of the first fragment, as in [`Flow::service`].
    pub service: u32,
    /// End of the last fragment that passed, in bytes from the start of the datagram; [`WHOLE`] once all
    /// has passed.
    pub end: u32,
    /// The sender's port, or the identifier of an echo, in the first fragment.
    pub port: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<FragmentState>() == 24);

impl FragmentState {
    /// Of no datagram.
    pub const NONE: Self = Self { since: 0, service: 0, end: 0, port: 0, reserved: 0 };
}

/// All of a datagram has passed: the next one may have its identification.
pub const WHOLE: u32 = u32::MAX;
/// Set in the second word of each entry that was ever written.
const WRITTEN: u64 = 1 << 31;

/// A datagram's entry and its digest.
#[inline(always)]
fn entry<'a, P: Policy>(policy: &'a P, context: &FrameContext) -> Option<(&'a Datagram, u64)> {
    let Flow { source, destination, source_mac, interface, family, direction, .. } = context.flow;
    // RFC 8200 section 4.5: in IPv6, the fragments of a datagram need not name the same next header.
    let protocol = if family == crate::flow::FAMILY_V4 { context.flow.protocol } else { 0 };
    let way = u64::from(context.flow.vlan()) << 48;
    let id = u64::from(context.flow.fragment_id);
    let words = [
        source.high,
        source.low,
        destination.high,
        destination.low,
        source_mac | way,
        id << 32 | u64::from(interface),
        u64::from(direction) << 16 | u64::from(protocol) << 8 | u64::from(family),
    ];
    let keys = policy.keys();
    let named = if context.decision.device == NO_DEVICE { 0 } else { PARTS };
    // Frames towards a device have a part apart from the one of its own.
    let holder = source_mac ^ u64::from(interface) << 48 ^ u64::from(direction) << 63;
    let part = named + keys.slot::<PART_BITS>(holder);
    let number = part * DATAGRAMS + (context.flow.fragment_id & (DATAGRAMS - 1));
    Some((policy.datagram(number)?, keys.digest(words)))
}

/// The kept state of a fragment's datagram, if it may still be continued.
#[inline(always)]
fn kept<P: Policy>(policy: &P, context: &FrameContext) -> Option<FragmentState> {
    let ([mark, first, second, _], digest) = entry(policy, context)?;
    let [mark, first, second] = [mark.get(), first.get(), second.get()];
    if mark ^ first ^ second != digest || first & WRITTEN == 0 {
        return None;
    }
    let since = first >> 32;
    if (policy.boot() & 0xffff_ffff).wrapping_sub(since) > FRAGMENT_SECONDS {
        return None;
    }
    let (service, port) = (first as u32 & 0xff_ffff, (second >> 32) as u32 & 0xffff);
    Some(FragmentState { since, service, end: second as u32, port, reserved: 0 })
}

/// The state of a whole datagram.
#[inline(always)]
fn whole(flow: &Flow) -> FragmentState {
    let port = u32::from(flow.source_port | flow.echo);
    FragmentState { service: flow.service(), port, ..FragmentState::NONE }
}

/// The state of a datagram that a first fragment begins, whatever has passed before.
#[inline(always)]
pub(super) fn first<P: Policy>(policy: &P, flow: &Flow) -> FragmentState {
    FragmentState { since: policy.boot(), ..whole(flow) }
}

/// The datagram that a fragment begins or continues.
///
/// No fragment may overlap what has passed: RFC 5722, and the same for IPv4. Fragments of a datagram
/// therefore pass only in order, one number is enough state for all of them, and there is only one
/// first fragment.
#[inline(always)]
pub(super) fn datagram<P: Policy>(
    policy: &P,
    context: &FrameContext,
) -> Result<FragmentState, Reason> {
    let flow = &context.flow;
    if flow.fragment == Fragment::Whole {
        return Ok(whole(flow));
    }
    let before = kept(policy, context);
    if flow.fragment == Fragment::First {
        return match before {
            Some(state) if state.end != WHOLE => Err(Reason::FragmentOverlap),
            _ => Ok(first(policy, flow)),
        };
    }
    let state = before.ok_or(Reason::FragmentOrphan)?;
    if u32::from(flow.fragment_offset) < state.end {
        return Err(Reason::FragmentOverlap);
    }
    Ok(state)
}

/// Keeps what has passed of the datagram in `context`.
#[inline(always)]
pub(super) fn keep<P: Policy>(policy: &P, context: &mut FrameContext) {
    let FrameContext { flow, datagram, .. } = context;
    datagram.end = if flow.fragment == Fragment::Last {
        WHOLE
    } else {
        u32::from(flow.fragment_offset) + u32::from(flow.fragment_length)
    };
    write(policy, context, context.datagram);
}

/// Writes the state of a fragment's datagram.
#[inline(always)]
pub fn write<P: Policy>(policy: &P, context: &FrameContext, state: FragmentState) {
    let Some(([mark, first, second, _], digest)) = entry(policy, context) else { return };
    let one = state.since << 32 | WRITTEN | u64::from(state.service & 0xff_ffff);
    let other = u64::from(state.port & 0xffff) << 32 | u64::from(state.end);
    mark.set(digest ^ one ^ other);
    first.set(one);
    second.set(other);
}
