//! When a refused frame gets an event, and what is counted when it does not.

use crate::abi::{
    BURST, Budget, ENTRY_TTL, NEW_FLOW_RESERVE, RATE, REPEAT_INTERVAL, SEEN_WAYS, SeenSet,
};
use crate::image::walk::opaque;
use crate::keyed::Keys;
use crate::reason::Verdict;

/// What an event says about the suppressed ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuppressedSince {
    /// Events of this device suppressed since its last one.
    pub suppressed: u32,
    /// Frames of this flow suppressed since it was last reported.
    pub repeats: u32,
    /// Milliseconds since then; 0 for a flow that is new.
    pub since: u32,
}

/// Set in a holder whose frames pass, because its group is observed.
const OBSERVED: u64 = 1 << 63;
/// The holder of [`crate::abi::OTHERS`]; not a MAC address.
pub const NO_HOLDER: u64 = 1 << 62;
/// First bit of the interface in a holder.
const INTERFACE: u32 = 48;
/// Most numbers of interfaces that a holder can tell apart: it has the index modulo this.
pub const INTERFACES: u32 = 1 << 13;

/// Set in a holder of events about frames towards the device.
const INWARDS: u64 = 1 << 61;

/// What holds an entry of the budgets: a device's MAC, the index of the interface modulo 2^13, and a verdict, so
/// that the counters of the entry are those of one verdict. A sender that uses another's MAC on a different
/// port spends its own budget. `direction` is as in [`crate::flow::Flow::direction`]: what others send to a device spends
/// nothing of what its own frames may say.
///
/// Bits 0 to 47 are the MAC, 48 to 60 the interface, 61 is the direction, 62 and 63 are the verdict.
#[inline(always)]
pub fn holder(mac: u64, interface: u32, verdict: Verdict, direction: u8) -> u64 {
    let holder = mac
        | u64::from(interface & (INTERFACES - 1)) << INTERFACE
        | u64::from(direction != 0) << INWARDS.trailing_zeros();
    if matches!(verdict, Verdict::WouldDrop) { holder | OBSERVED } else { holder }
}

/// Whose an entry of the budgets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// MAC, and interface index modulo 2^13; none for [`NO_HOLDER`].
    pub device: Option<(u64, u32)>,
    /// The verdict on its frames.
    pub verdict: Verdict,
    /// Whether they go to the device.
    pub inwards: bool,
}

/// What a holder says.
pub fn held_by(holder: u64) -> Held {
    let verdict = if holder & OBSERVED != 0 { Verdict::WouldDrop } else { Verdict::Drop };
    let mac = holder & ((1 << INTERFACE) - 1);
    let interface = (holder >> INTERFACE) as u32 & (INTERFACES - 1);
    let is_one = (holder & !(OBSERVED | INWARDS)) != NO_HOLDER;
    let device = is_one.then_some((mac, interface));
    Held { device, verdict, inwards: holder & INWARDS != 0 }
}

/// The budget entry for a holder: the first half of the table is for devices whose MAC the policy
/// names, so that an invented MAC cannot take one of theirs.
#[inline(always)]
pub fn slot(keys: &Keys, holder: u64, named: bool) -> u32 {
    const HALF: u32 = crate::abi::BUDGETS / 2;
    const { assert!(HALF == 1 << BITS && crate::abi::BUDGETS_IN == 1 << BITS_IN) };
    if holder & INWARDS != 0 {
        return crate::abi::INWARDS + keys.slot::<BITS_IN>(holder);
    }
    keys.slot::<BITS>(holder) | if named { 0 } else { HALF }
}

/// The entry of all whose own is taken, and what holds it.
#[inline(always)]
pub fn others(holder: u64) -> (u32, u64) {
    if holder & INWARDS != 0 {
        (crate::abi::OTHERS_IN, NO_HOLDER | INWARDS)
    } else {
        (crate::abi::OTHERS, NO_HOLDER)
    }
}

/// Bits of the number of an entry in its half.
const BITS: u32 = 9;
/// The same of an entry for frames towards devices.
const BITS_IN: u32 = 7;

/// Takes or keeps an entry for a holder; `false` while another holder has it.
///
/// The tokens go with the slot: inventing source addresses gains no events.
#[inline(always)]
pub fn hold(budget: &Budget, holder: u64, now: u64) -> bool {
    let used = budget.used.get();
    if budget.holder.get() != holder || used == 0 {
        if used != 0 && now.saturating_sub(used) < ENTRY_TTL {
            return false;
        }
        budget.holder.set(holder);
        budget.suppressed.set(0);
    }
    budget.used.set(now);
    true
}

/// Nanoseconds that one token takes to come back.
pub(super) const TOKEN: u64 = 1_000_000_000 / RATE as u64;

#[inline(always)]
fn refill(budget: &Budget, now: u64) {
    let refilled = budget.refilled.get();
    if refilled == 0 {
        budget.refilled.set(now);
        budget.tokens.set(BURST);
        return;
    }
    let earned = now.saturating_sub(refilled) / TOKEN;
    if earned > 0 {
        let tokens = u64::from(budget.tokens.get()) + earned;
        let full = tokens >= u64::from(BURST);
        budget.tokens.set(if full { BURST } else { tokens as u32 });
        budget.refilled.set(if full { now } else { refilled + earned * TOKEN });
    }
}

/// Whether a refused frame has an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It does.
    Yes,
    /// No: it repeats what was reported less than [`REPEAT_INTERVAL`] ago.
    Repeats,
    /// No: its device's budget is spent.
    No,
}

/// The position of a flow in its entry, if it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    known: bool,
    way: usize,
}

/// Whether a refused frame of a flow has an event at `now` (boot clock, nanoseconds); if not, it is
/// counted as a repeat of its flow, if that was reported.
///
/// A new flow may use the whole budget. One that was reported waits for [`REPEAT_INTERVAL`] and leaves
/// [`NEW_FLOW_RESERVE`] tokens, so that a device cannot hide new flows behind repeated ones.
#[inline(always)]
pub fn due(budget: &Budget, seen: &SeenSet, place: Place, now: u64) -> Due {
    let Place { known, way } = place;
    let Some(flow) = seen.get(way % SEEN_WAYS) else { return Due::No };
    let due = if known && milliseconds(now).wrapping_sub(flow.told.get()) < REPEAT_INTERVAL {
        Due::Repeats
    } else {
        refill(budget, now);
        if budget.tokens.get() > if known { NEW_FLOW_RESERVE } else { 0 } {
            Due::Yes
        } else {
            Due::No
        }
    };
    if !matches!(due, Due::Yes) {
        // A new flow is not recorded, so it is still new when there are tokens again.
        if known {
            flow.repeats.set(flow.repeats.get().saturating_add(1));
        }
        budget.suppressed.set(budget.suppressed.get().saturating_add(1));
    }
    due
}

/// [`hold`] and [`due`] in one for a holder that already has the entry: `true` if the frame gets no event and
/// was counted. Otherwise nothing changes, and calling the two gives the same answers.
#[inline(always)]
pub fn suppress(budget: &Budget, seen: &SeenSet, holder: u64, place: Place, now: u64) -> bool {
    if budget.holder.get() != holder || budget.used.get() == 0 {
        return false;
    }
    budget.used.set(now);
    !matches!(due(budget, seen, place, now), Due::Yes)
}

/// Spends the token of an event that is sent. If the entry is full, the flow that was reported first is
/// evicted.
#[inline(always)]
pub fn tell(
    budget: &Budget,
    seen: &SeenSet,
    place: Place,
    digest: u64,
    now: u64,
) -> SuppressedSince {
    let time = milliseconds(now);
    let Place { known, mut way } = place;
    if !known {
        way = oldest(seen, time);
    }
    let mut untold = SuppressedSince { suppressed: budget.suppressed.get(), repeats: 0, since: 0 };
    budget.tokens.set(budget.tokens.get().saturating_sub(1));
    budget.suppressed.set(0);
    if let Some(flow) = seen.get(way % SEEN_WAYS) {
        if known {
            untold.repeats = flow.repeats.get();
            untold.since = time.wrapping_sub(flow.told.get());
        }
        flow.digest.set(digest);
        flow.told.set(time);
        flow.repeats.set(0);
    }
    untold
}

/// Looks for a flow in its entry.
///
/// No branches: one path for the verifier. The position is counted: see `walk::in_bucket`.
#[inline(always)]
pub fn find(seen: &SeenSet, digest: u64) -> Place {
    let digest = opaque(digest);
    let (mut missing, mut place) = (1, 0);
    let mut way = 0;
    while way < seen.len() {
        let differs = seen.get(way).map_or(0, |flow| flow.digest.get()) ^ digest;
        // 1 if equal: a digest has 63 bits.
        missing &= opaque(differs.wrapping_sub(1) >> 63) ^ 1;
        place += missing;
        way += 1;
    }
    // Opaque, so that its users mask it: verifiers before 6.12 cannot tell that it is small.
    Place { known: missing == 0, way: opaque(place) as usize }
}

/// The flow of an entry that was reported first, or a free position.
#[inline(always)]
fn oldest(seen: &SeenSet, time: u32) -> usize {
    let (mut place, mut most) = (0, 0);
    let mut way = 0;
    while way < seen.len() {
        let (digest, told) =
            seen.get(way).map_or((0, 0), |flow| (flow.digest.get(), flow.told.get()));
        // No flow is reported at time 0, so these values mark a free position.
        let free = u64::from(digest == 0 && told == 0);
        let age = u64::from(time.wrapping_sub(told)) + (free << 32);
        let older = (most as i64).wrapping_sub(age as i64) >> 63;
        (place, most) = (
            way & older as usize | place & !older as usize,
            age & older as u64 | most & !older as u64,
        );
        way += 1;
    }
    place
}

/// Boot clock in milliseconds; wraps after 49 days.
#[inline(always)]
fn milliseconds(nanoseconds: u64) -> u32 {
    (nanoseconds / 1_000_000) as u32
}
