//! Rates of essentials and of new addresses.
//!
//! Essentials pass regardless of the rules, even in quarantine. On a bridge they reach other hosts, so
//! without a limit they are a covert channel, and each new address in them adds an entry to a table of
//! the gateway or of a switch. There are therefore limits for each device on frames of each kind and on
//! the bytes of all of them; for all devices in no group together, on bytes; and for each interface, on
//! new MAC addresses and the IP addresses that they claim.
//!
//! Limits are virtual schedules (GCRA, ITU-T I.371 annex A): a word holds the time until which the passed
//! frames use up the limit, and a frame passes while that time is no further ahead than the window. All
//! CPUs share the words and add to them atomically: two frames at the same time may both pass where there
//! is room for one, and both count.
//!
//! Devices that share a word share a limit. Which ones do depends on the secret of this boot, see
//! [`crate::keyed`]. Only MAC addresses that have passed their own limit get this far.

use super::{FrameContext, Policy};
use crate::flow::{Address, Class, FAMILY_NONE, Flow};
use crate::image::rates::{self, Kind};
use crate::image::walk::{is_zero, opaque};
use crate::image::{self, BOUND_SOURCES, NO_DEVICE};
use crate::reason::Reason;
use crate::shared::Word;
use crate::wire::neighbour;

/// Nanoseconds of frames of one kind that may come at once: ten seconds' worth.
pub const FRAME_WINDOW: u64 = 10_000_000_000;
/// Nanoseconds of bytes that may come at once: four seconds' worth.
pub const BYTE_WINDOW: u64 = 4_000_000_000;
/// Nanoseconds of new addresses that may appear at once: 64 seconds' worth.
pub const NEW_WINDOW: u64 = 64_000_000_000;
/// All devices in no group together may send as many bytes as this many devices; an exponent of
/// two.
pub const UNKNOWN_SHIFT: u32 = 4;
/// New IP addresses that may appear on an interface for each one that a MAC may have; an exponent of
/// two.
pub const ADDRESS_SHIFT: u32 = 5;
/// Seconds after which a silent address counts as new again: a bridge's entry expires after 300
/// (`ageing_time`).
pub const FORGOTTEN: u64 = 300;

/// Lines of interfaces, by index modulo this; a power of two.
const INTERFACES: u32 = 1 << 10;
const DEVICE_BITS: u32 = 13;
/// Lines that hold limits: first those of interfaces, then those of devices.
pub const METERS: u32 = INTERFACES + (1 << DEVICE_BITS);
const SET_BITS: u32 = 13;
/// Lines of known addresses, eight in each.
pub const SETS: u32 = 1 << SET_BITS;

/// A line that is shared by the CPUs.
pub type Shared = [Word; 8];

/// Words of an interface's line.
mod of_interface {
    /// New MAC addresses.
    pub(super) const MAC: u32 = 0;
    /// New IP addresses.
    pub(super) const ADDRESS: u32 = 1;
    /// Bytes of devices of no group.
    pub(super) const BYTES: u32 = 2;
}

/// Words of a device's line, behind those of the kinds of frames.
mod of_device {
    /// Bytes.
    pub(super) const BYTES: u32 = 5;
    /// New IP addresses.
    pub(super) const ADDRESS: u32 = 6;
}

/// What differs between the kernel and the host.
pub trait Meters: Policy {
    /// A line of limits, by number: below [`METERS`].
    fn meter(&self, number: u32) -> Option<&Shared>;

    /// A line of known addresses, by number: below [`SETS`].
    fn known(&self, number: u32) -> Option<&Shared>;

    /// [`charge`]. The kernel compiles it as a separate function, so that the verifier walks it
    /// once.
    #[inline(always)]
    fn charge(&self, meter: u32, word: u32, cost: u64, now: u64, window: u64) -> bool {
        charge(self, meter, word, cost, now, window)
    }

    /// [`find`], likewise.
    #[inline(always)]
    fn find(&self, sender: u64, address: Address, now: u64, note: bool) -> bool {
        find(self, sender, address, now, note)
    }
}

/// Refuses an essential frame that exceeds a limit at `now`, boot clock, in nanoseconds.
///
/// New addresses are checked first: a MAC address that may not appear must not use up a limit that it
/// shares.
#[inline(always)]
pub fn limit<M: Meters>(meters: &M, now: u64, context: &mut FrameContext) {
    if let Err(reason) = within(meters, now, context) {
        context.decision.reason = reason;
        context.decision.verdict = super::outcome(context);
    }
}

/// The kind of an essential; each is counted separately.
#[inline(always)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is or comes is no essential"
)]
fn kind(reason: Reason) -> Option<Kind> {
    Some(match reason {
        Reason::Dhcp => Kind::Dhcp,
        Reason::Arp => Kind::Arp,
        Reason::Neighbour => Kind::Neighbour,
        Reason::Eapol => Kind::Eapol,
        Reason::Lldp | Reason::Stp => Kind::Lldp,
        _ => return None,
    })
}

#[inline(always)]
fn within<M: Meters>(meters: &M, now: u64, context: &FrameContext) -> Result<(), Reason> {
    let Some(kind) = kind(context.decision.reason) else { return Ok(()) };
    let FrameContext { flow, decision, identity, .. } = context;
    let sender = flow.source_mac | u64::from(flow.interface) << 48;
    let device = INTERFACES + meters.keys().slot::<DEVICE_BITS>(sender);
    let interface = flow.interface & (INTERFACES - 1);
    let charge = |meter, word, cost, window, reason| {
        if meters.charge(meter, word, cost, now, window) { Ok(()) } else { Err(reason) }
    };

    // A MAC that the policy names is not new, and neither is an address that is bound to it.
    let nothing = Address::default();
    if decision.device == NO_DEVICE && !meters.find(sender, nothing, now, false) {
        let cost = rate(meters, rates::MAC)?;
        charge(interface, of_interface::MAC, cost, NEW_WINDOW, Reason::IdentityRate)?;
        meters.find(sender, nothing, now, true);
    }
    let claim = claimed(flow);
    let bound = identity.bound & BOUND_SOURCES != 0;
    if !bound && claim != nothing && !meters.find(sender, claim, now, false) {
        let cost = rate(meters, rates::ADDRESS)?;
        charge(device, of_device::ADDRESS, cost, NEW_WINDOW, Reason::IdentityRate)?;
        let all = cost >> ADDRESS_SHIFT;
        charge(interface, of_interface::ADDRESS, all, NEW_WINDOW, Reason::IdentityRate)?;
        meters.find(sender, claim, now, true);
    }

    let cost = rate(meters, rates::FRAMES + kind as usize)?;
    charge(device, kind as u32, cost, FRAME_WINDOW, Reason::EssentialRate)?;
    let cost = u64::from(flow.length).wrapping_mul(rate(meters, rates::BYTE)?);
    charge(device, of_device::BYTES, cost, BYTE_WINDOW, Reason::EssentialRate)?;
    if decision.group == 0 {
        let all = cost >> UNKNOWN_SHIFT;
        charge(interface, of_interface::BYTES, all, BYTE_WINDOW, Reason::EssentialRate)?;
    }
    Ok(())
}

/// Charges a limit if it has room within a window of nanoseconds; returns whether it had.
#[inline(always)]
pub fn charge<M: Meters>(
    meters: &M,
    meter: u32,
    word: u32,
    cost: u64,
    now: u64,
    window: u64,
) -> bool {
    let Some(word) = meters.meter(meter).and_then(|line| line.get(word as usize)) else {
        return false;
    };
    let until = word.get();
    if until > now.wrapping_add(window) {
        return false;
    }
    if until < now {
        word.set(now.wrapping_add(cost));
    } else {
        word.add(cost);
    }
    true
}

/// A number of the image's [`rates`].
#[inline(always)]
fn rate<M: Meters>(meters: &M, word: usize) -> Result<u64, Reason> {
    let line = meters.line(image::RATES);
    line.and_then(|line| line.0.get(word).copied()).ok_or(Reason::Corrupt)
}

/// The address that receivers of an ARP or ND packet store, if any: ND entries come from the source of a
/// solicitation and the target of an advertisement (RFC 4861 sections 7.2.3 and 7.2.5).
#[inline(always)]
fn claimed(flow: &Flow) -> Address {
    match flow.class {
        Class::Arp if flow.family != FAMILY_NONE => flow.source,
        Class::Neighbour if flow.destination_port >> 8 == neighbour::ADVERTISEMENT => flow.claim,
        Class::Neighbour => flow.source,
        Class::Ip
        | Class::Arp
        | Class::Multicast
        | Class::Dhcp
        | Class::OddDhcp
        | Class::Eapol
        | Class::Lldp
        | Class::Stp => Address::default(),
    }
}

/// Bits of an entry that hold the time, in seconds since boot; the others are a part of the digest.
const TIME: u64 = (1 << 24) - 1;
/// Bit of a rank in [`find`]: the entry is the one that is looked for.
const FOUND: u32 = 28;

/// Whether a sender's IP address, or its MAC alone, was seen recently. With `note` it is recorded; a known one
/// is always refreshed.
#[inline(always)]
pub fn find<M: Meters>(meters: &M, sender: u64, address: Address, now: u64, note: bool) -> bool {
    let digest = meters.keys().digest([sender, address.high, address.low, 0, 0, 0, 0]);
    let Some(line) = meters.known(digest as u32 & (SETS - 1)) else { return false };
    let (tag, time) = (digest & !TIME, (now / 1_000_000_000) & TIME);
    // No branch for each entry: the verifier would follow both paths of each.
    let mut most = 0u64;
    let mut index = 0;
    while index < line.len() {
        let entry = line.get(index).map_or(0, Word::get);
        let age = time.wrapping_sub(entry & TIME) & TIME;
        // The entry of this address counts as the oldest, so that it is the one overwritten; of two that are equally old,
        // the first.
        let is = is_zero((entry ^ tag) >> 24);
        let rank = age << 3 | is_zero(entry >> 24) << 27 | is << FOUND | (7 - index as u64);
        let larger = opaque(most.wrapping_sub(rank) >> 63).wrapping_neg();
        most ^= (most ^ rank) & larger;
        index += 1;
    }
    let way = 7 - (most & 7);
    let Some(word) = line.get(opaque(way) as usize & 7) else { return false };
    let age = time.wrapping_sub(word.get() & TIME) & TIME;
    let known = most >> FOUND != 0 && age <= FORGOTTEN;
    if known || note {
        word.set(tag | time);
    }
    known
}

#[cfg(test)]
mod tests;
