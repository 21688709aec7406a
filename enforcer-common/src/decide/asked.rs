//! What devices have asked for: datagrams and echoes that passed, by which their answers are let in.
//!
//! A group whose `inbound` is `drop` gets answers to what its devices may send. TCP needs no table: a device's own stack
//! refuses a segment that is of no session. A datagram would reach every port of the device, if its sender only forged the
//! address and port of somebody to whom the device may send. So each datagram of a device is noted here, by both
//! addresses and ports.
//!
//! An entry is two words: its digest combined with the second one, which is when it was noted. An entry that is written
//! by two CPUs at once matches nothing. Each device has a window of the table, so that it can displace only its own.

use super::answers::{self, Key, has_echo};
use super::{FrameContext, Policy};
use crate::flow::{Class, Flow, Fragment};
use crate::image::GroupEntry;
use crate::reason::Reason;
use crate::shared::Word;
use crate::wire::{self, protocol};

/// Bits of the number of an entry.
const BITS: u32 = 16;
/// Entries of the table.
pub const ENTRIES: u32 = 1 << BITS;
/// Entries that those of one device may be in.
pub const WINDOW: u32 = ENTRIES / 16;
/// Set in the second word of each entry that was ever written; the lower half is the time.
const WRITTEN: u64 = 1 << 32;

/// An entry: the digest combined with the second word; when it was noted, boot clock, in seconds.
pub type Question = [Word; 2];

/// Whether each frame like this one of a device is noted, as far as it passes.
#[inline(always)]
pub(super) fn notes(context: &FrameContext) -> bool {
    GroupEntry(context.entry).is_shut() && context.flow.protocol != protocol::TCP
}

/// Whether a frame that passes must be noted, so that its answer is let in.
#[inline(always)]
pub fn asks(context: &FrameContext) -> bool {
    let FrameContext { flow, decision, .. } = context;
    is_by_rule(decision.reason)
        && notes(context)
        && flow.class == Class::Ip
        && !flow.fragment.is_later()
        // Of a group of receivers nobody knows who answers.
        && flow.destination_mac & wire::MULTICAST_MAC == 0
        && (!has_echo(flow.protocol) || answers::is_request(flow))
}

/// Whether a frame passes by the rules and defaults for what devices send.
#[inline(always)]
pub(super) fn is_by_rule(reason: Reason) -> bool {
    matches!(reason, Reason::Allow | Reason::DefaultPass | Reason::UnknownPass)
}

/// Notes a frame of a device that [`asks`].
#[inline(always)]
pub fn note<P: Policy>(policy: &P, context: &FrameContext) {
    let flow = &context.flow;
    let port = u32::from(flow.source_port | flow.echo);
    let Some(([mark, time], digest)) = entry(policy, flow, (flow.service(), port)) else { return };
    let now = WRITTEN | policy.seconds() & 0xffff_ffff;
    if time.get() != now || mark.get() != digest ^ now {
        mark.set(digest ^ now);
        time.set(now);
    }
}

/// Whether a frame towards a device answers what the device has asked for. Its flow is in the device's view; `service` and
/// `port` are those of the frame or of its first fragment.
#[inline(always)]
pub(super) fn was<P: Policy>(policy: &P, flow: &Flow, (service, port): (u32, u32)) -> bool {
    let Some(([mark, time], digest)) = entry(policy, flow, (service, port)) else { return false };
    let (mark, time) = (mark.get(), time.get());
    let most = if has_echo(flow.protocol) { answers::ECHO } else { answers::UDP };
    let idle = policy.seconds().wrapping_sub(time) & 0xffff_ffff;
    // A CPU whose clock is a tick ahead may have written it.
    let is_recent = idle <= most || idle > 0xffff_ffff - 60;
    // The rest of a datagram may come a while after its first fragment, which was let in.
    let is_rest = flow.fragment != Fragment::Whole && flow.fragment != Fragment::First;
    time & WRITTEN != 0 && mark ^ time == digest && (is_recent || is_rest)
}

/// The entry of a flow in the device's view, and its digest.
#[inline(always)]
fn entry<'a, P: Policy>(
    policy: &'a P,
    flow: &Flow,
    (service, port): (u32, u32),
) -> Option<(&'a Question, u64)> {
    let keys = policy.keys();
    let Key(words) = Key::of(flow, service, port);
    let digest = keys.digest(words);
    let [.., high, low, sender, _, _] = words;
    let first = keys.slot::<BITS>(sender ^ low.rotate_left(24) ^ high.rotate_left(40));
    let number = first.wrapping_add(digest as u32 & (WINDOW - 1)) & (ENTRIES - 1);
    Some((policy.question(number)?, digest))
}
