//! What the kernel tells user space about a frame, and when it does.
//!
//! Each refused frame ends in exactly one of three ways: an event of its own, *suppressed* by its
//! device's budget, or *lost* because the ring was full. The counters of the last two are kept for
//! each device and reason.

use core::mem::offset_of;

use crate::abi::{BURST, Budget, FOLD, HEAD, HOLD, RATE, RESERVE, SEEN_WAYS, Seen, SeenSet};
use crate::decide::Decision;
use crate::flow::{Address, Class, Flow, Fragment};
use crate::image::walk::opaque;
use crate::reason::{Reason, Verdict};

/// One event in the ring. Host order; made and read on one machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Boot clock when the verdict was given, in nanoseconds.
    pub time: u64,
    /// What the frame said.
    pub flow: Flow,
    /// What was decided.
    pub decision: Decision,
    /// Generation that decided.
    pub generation: u32,
    /// Events of this device withheld since its last one.
    pub suppressed: u32,
    /// Frames of this very flow withheld since it was last reported.
    pub repeats: u32,
    /// Milliseconds since then; 0 for a flow that is new.
    pub since: u32,
    /// Bytes of `head` that are the frame's.
    pub captured: u32,
    /// Zero.
    pub reserved: u32,
    /// The frame's first bytes.
    pub head: [u8; HEAD],
}

impl Record {
    /// Reads a record from the ring; `None` if it has another size or holds a number that no
    /// enum has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let at = |offset: usize| bytes.get(offset).copied();
        let flow = offset_of!(Self, flow);
        let decision = offset_of!(Self, decision);
        if bytes.len() != size_of::<Self>()
            || at(flow + offset_of!(Flow, class))? > Class::Stp as u8
            || at(flow + offset_of!(Flow, fragment))? > Fragment::Later as u8
            || at(decision + offset_of!(Decision, verdict))? > Verdict::WouldDrop as u8
        {
            return None;
        }
        Reason::from_number(at(decision + offset_of!(Decision, reason))?)?;
        // SAFETY: the length is that of a record, the enums hold one of their values, and every
        // other field takes any bits.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }

    /// The frame's first bytes, as many as there are.
    pub fn frame(&self) -> &[u8] {
        self.head.get(..self.captured as usize).unwrap_or(&self.head)
    }
}

/// What an event says about those that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Events of this device withheld since its last one.
    pub suppressed: u32,
    /// Frames of this flow withheld since it was last reported.
    pub repeats: u32,
    /// Milliseconds since then; 0 for a flow that is new.
    pub since: u32,
}

/// Set in a holder whose frames pass, because its group is observed.
const OBSERVED: u64 = 1 << 63;
/// Who holds [`crate::abi::OTHERS`]; not a MAC address.
pub const NOBODY: u64 = 1 << 62;

/// What holds an entry of the budgets: a source MAC and a verdict, so that the counters of the entry
/// are those of one verdict.
#[inline(always)]
pub fn holder(mac: u64, verdict: Verdict) -> u64 {
    if matches!(verdict, Verdict::WouldDrop) { mac | OBSERVED } else { mac }
}

/// MAC and verdict of a holder; no MAC for [`NOBODY`].
pub fn held_by(holder: u64) -> (Option<u64>, Verdict) {
    let verdict = if holder & OBSERVED != 0 { Verdict::WouldDrop } else { Verdict::Drop };
    let mac = holder & !OBSERVED;
    ((mac != NOBODY).then_some(mac), verdict)
}

/// The entry of the budgets that a holder may have.
#[inline(always)]
pub fn slot(holder: u64) -> u32 {
    // The bit of the verdict moves the place, too.
    (holder ^ holder >> 10 ^ holder >> 56) as u32 & (crate::abi::BUDGETS - 1)
}

/// Takes an entry for a holder, or keeps it; `false` while another one has it.
///
/// The tokens change hands as they are: who invents source addresses gains no events by it.
#[inline(always)]
pub fn hold(budget: &mut Budget, holder: u64, now: u64) -> bool {
    if budget.holder != holder || budget.used == 0 {
        if budget.used != 0 && now.saturating_sub(budget.used) < HOLD {
            return false;
        }
        budget.holder = holder;
        budget.suppressed = 0;
    }
    budget.used = now;
    true
}

/// Nanoseconds that one token takes to come back.
const TOKEN: u64 = 1_000_000_000 / RATE as u64;

#[inline(always)]
fn refill(budget: &mut Budget, now: u64) {
    if budget.refilled == 0 {
        budget.refilled = now;
        budget.tokens = BURST;
        return;
    }
    let earned = now.saturating_sub(budget.refilled) / TOKEN;
    if earned > 0 {
        let tokens = u64::from(budget.tokens) + earned;
        let full = tokens >= u64::from(BURST);
        budget.tokens = if full { BURST } else { tokens as u32 };
        budget.refilled = if full { now } else { budget.refilled + earned * TOKEN };
    }
}

/// Whether a refused frame has an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It has.
    Yes,
    /// No: it repeats what was reported less than [`FOLD`] ago.
    Repeats,
    /// No: its device's budget is spent.
    No,
}

/// Where a flow is in its entry, if it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    known: bool,
    way: usize,
}

/// Whether a refused frame of a flow has an event at `now` (boot clock, nanoseconds); if
/// not, it is counted as a repeat of its flow, where that was reported.
///
/// A new flow may use the whole budget. One that was reported waits for [`FOLD`] and leaves
/// [`RESERVE`] tokens, so that a device that repeats itself cannot hide what it does for the first
/// time.
#[inline(always)]
pub fn due(budget: &mut Budget, seen: &mut SeenSet, place: Place, now: u64) -> Due {
    let Place { known, way } = place;
    let Some(flow) = seen.get_mut(way % SEEN_WAYS) else { return Due::No };
    let due = if known && milliseconds(now).wrapping_sub(flow.told) < FOLD {
        Due::Repeats
    } else {
        refill(budget, now);
        if budget.tokens > if known { RESERVE } else { 0 } { Due::Yes } else { Due::No }
    };
    if !matches!(due, Due::Yes) {
        // A new flow is not taken note of, and so is still new when there are tokens again.
        if known {
            flow.repeats = flow.repeats.saturating_add(1);
        }
        budget.suppressed = budget.suppressed.saturating_add(1);
    }
    due
}

/// [`hold`] and [`due`] in one for a holder that has the entry already: `true` when the frame has no event and
/// is counted. Otherwise it is not, and asking them again gives the same answers.
#[inline(always)]
pub fn withhold(
    budget: &mut Budget,
    seen: &mut SeenSet,
    holder: u64,
    place: Place,
    now: u64,
) -> bool {
    if budget.holder != holder || budget.used == 0 {
        return false;
    }
    budget.used = now;
    !matches!(due(budget, seen, place, now), Due::Yes)
}

/// Spends the token of an event that is told; of the flows of the entry the one that was told first makes
/// room.
#[inline(always)]
pub fn tell(
    budget: &mut Budget,
    seen: &mut SeenSet,
    place: Place,
    digest: u64,
    now: u64,
) -> Untold {
    let time = milliseconds(now);
    let Place { known, mut way } = place;
    if !known {
        way = oldest(seen, time);
    }
    let mut untold = Untold { suppressed: budget.suppressed, repeats: 0, since: 0 };
    budget.tokens = budget.tokens.saturating_sub(1);
    budget.suppressed = 0;
    if let Some(flow) = seen.get_mut(way % SEEN_WAYS) {
        if known {
            untold.repeats = flow.repeats;
            untold.since = time.wrapping_sub(flow.told);
        }
        *flow = Seen { digest, told: time, repeats: 0 };
    }
    untold
}

/// Looks for a flow in its entry.
///
/// Without branches: it is one path to the verifier.
#[inline(always)]
pub fn find(seen: &SeenSet, digest: u64) -> Place {
    let digest = opaque(digest);
    let (mut known, mut place) = (0, 0);
    let mut way = 0;
    while way < seen.len() {
        let differs = seen.get(way).map_or(0, |flow| flow.digest) ^ digest;
        // All ones where it does not: a digest has 63 bits.
        let is = (differs.wrapping_sub(1) as i64 >> 63) as usize;
        known |= is;
        place |= way & is;
        way += 1;
    }
    Place { known: known != 0, way: place }
}

/// The flow of an entry that was told first, or a place that is free.
#[inline(always)]
fn oldest(seen: &SeenSet, time: u32) -> usize {
    let (mut place, mut most) = (0, 0);
    let mut way = 0;
    while way < seen.len() {
        let flow = seen.get(way).copied().unwrap_or_default();
        // Nobody was told anything at the beginning of time.
        let free = u64::from(flow.digest == 0 && flow.told == 0);
        let age = u64::from(time.wrapping_sub(flow.told)) + (free << 32);
        let older = (most as i64).wrapping_sub(age as i64) >> 63;
        (place, most) =
            (way & older as usize | place & !older as usize, age & older as u64 | most & !older as u64);
        way += 1;
    }
    place
}

/// Boot clock in milliseconds; wraps after 49 days.
#[inline(always)]
fn milliseconds(nanoseconds: u64) -> u32 {
    (nanoseconds / 1_000_000) as u32
}

/// What makes a refused flow new: device, destination, service, the interface and VLANs that it came by, and
/// why it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Source MAC as a number.
    pub source_mac: u64,
    /// Destination address.
    pub destination: Address,
    /// Index of the interface that received it.
    pub interface: u32,
    /// VLAN ids, outermost first.
    pub vlans: [u16; 2],
    /// [`Flow::service`].
    pub service: u32,
    /// Number of the [`Reason`].
    pub reason: u8,
    /// Drop, or would drop.
    pub verdict: Verdict,
}

impl Refused {
    /// What makes this flow new.
    #[inline(always)]
    pub fn new(flow: &Flow, decision: &Decision) -> Self {
        Self {
            source_mac: flow.source_mac,
            destination: flow.destination,
            interface: flow.interface,
            vlans: flow.vlans,
            service: flow.service(),
            reason: decision.reason.number(),
            verdict: decision.verdict,
        }
    }

    /// All of it in one number of 63 bits.
    ///
    /// No secret is in it: who looks for two flows with one digest finds them, and what he gains is that
    /// the second one is counted as a repetition of the first.
    #[inline(always)]
    pub fn digest(&self) -> u64 {
        let [outer, inner] = self.vlans;
        let way = u64::from(self.interface) << 32 | u64::from(outer) << 16 | u64::from(inner);
        let why = (self.verdict as u64) << 40 | u64::from(self.reason) << 32;
        // Odd numbers without a pattern; the products do not wait for each other.
        let digest = self
            .source_mac
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(self.destination.high.wrapping_mul(0xbf58_476d_1ce4_e5b9))
            .wrapping_add(self.destination.low.wrapping_mul(0x94d0_49bb_1331_11eb))
            .wrapping_add(way.wrapping_mul(0xd6e8_feb8_6659_fd93))
            .wrapping_add((why | u64::from(self.service)).wrapping_mul(0xa076_1d64_78bd_642f));
        let mixed = (digest ^ digest >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.rotate_left(32) & u64::MAX >> 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn records_from_the_ring_are_checked() {
        let record = Record {
            time: 7,
            flow: Flow::NEW,
            decision: crate::decide::Case::NEW.decision,
            generation: 3,
            suppressed: 4,
            repeats: 5,
            since: 6,
            captured: 2,
            reserved: 0,
            head: [9; HEAD],
        };
        // SAFETY: a record has no padding.
        let mut bytes: [u8; 144 + HEAD] = unsafe { core::mem::transmute(record) };
        assert_eq!(Record::from_bytes(&bytes), Some(record));
        assert_eq!(Record::from_bytes(&bytes[..bytes.len() - 1]), None);
        for offset in 0..bytes.len() {
            for bad in [0x0a, 0x7f, 0xff] {
                let good = core::mem::replace(&mut bytes[offset], bad);
                if let Some(read) = Record::from_bytes(&bytes) {
                    // Whatever was read is a value that can be looked at.
                    assert!(!format!("{read:?}").is_empty() && read.frame().len() <= HEAD);
                }
                bytes[offset] = good;
            }
        }
        assert_eq!(record.frame(), [9, 9]);
    }

    /// One device's entry and table of flows on one CPU, as the program uses them.
    struct Cpu {
        budget: Budget,
        seen: Vec<SeenSet>,
        suppressed: u64,
    }

    impl Cpu {
        fn new() -> Self {
            Self { budget: Budget::FREE, seen: vec![SeenSet::default(); 16], suppressed: 0 }
        }

        /// A refused frame of a flow; what its event says, if it has one.
        fn refuse(&mut self, digest: u64, now: u64) -> Option<Untold> {
            let seen = &mut self.seen[digest as usize % 16];
            let place = find(seen, digest);
            if due(&mut self.budget, seen, place, now) == Due::Yes {
                return Some(tell(&mut self.budget, seen, place, digest, now));
            }
            self.suppressed += 1;
            None
        }
    }

    #[test]
    fn a_flow_that_repeats_itself_is_told_every_five_seconds() {
        let mut cpu = Cpu::new();
        let told: Vec<_> = (0..20_000).filter_map(|n| cpu.refuse(7, n * SECOND / 1000)).collect();
        assert_eq!(told[0], Untold { suppressed: 0, repeats: 0, since: 0 });
        let again = Untold { suppressed: 4999, repeats: 4999, since: 5000 };
        assert_eq!(told[1..], [again; 3]);
        assert_eq!(cpu.suppressed, 4 * 4999);
    }

    #[test]
    fn what_repeats_itself_leaves_the_reserve_to_what_is_new() {
        let mut cpu = Cpu::new();
        for flow in 1..=16 {
            assert!(cpu.refuse(flow, SECOND).is_some());
        }
        // All are due again; the tokens that came back since are gone first.
        cpu.budget.refilled = 100 * SECOND;
        let now = 100 * SECOND + 1;
        cpu.budget.tokens = RESERVE + 3;
        assert_eq!((1..=16).filter(|flow| cpu.refuse(*flow, now).is_some()).count(), 3);
        let fresh = (100..200).filter(|flow| cpu.refuse(*flow, now).is_some()).count();
        assert_eq!(fresh, RESERVE as usize);
        // One that found no token is new when there is one again.
        let later = now + TOKEN;
        assert_eq!(cpu.refuse(999, now), None);
        assert!(cpu.refuse(999, later).is_some());
    }

    #[test]
    fn flows_of_one_entry_are_told_apart_and_the_oldest_makes_room() {
        let mut cpu = Cpu::new();
        let flow = |n: u64| 1 + 16 * n;
        for n in 0..4 {
            assert!(cpu.refuse(flow(n), SECOND + n * 1_000_000).is_some());
        }
        assert!((0..4).all(|n| cpu.refuse(flow(n), SECOND + 10_000_000).is_none()));
        assert_eq!(cpu.seen[1].map(|seen| seen.repeats), [1; 4]);
        // Told again, the first one is the youngest.
        let later = SECOND + u64::from(FOLD) * 1_000_000;
        assert_eq!(cpu.refuse(flow(0), later).unwrap().repeats, 1);
        assert!(cpu.refuse(flow(4), later + 1_000_000).is_some());
        let there = |n| cpu.seen[1].iter().any(|seen| seen.digest == flow(n));
        assert_eq!([0, 1, 2, 3, 4].map(there), [true, false, true, true, true]);
    }

    #[test]
    fn a_long_silence_fills_the_budget_and_no_more() {
        let mut cpu = Cpu::new();
        while cpu.refuse(cpu.suppressed + u64::from(cpu.budget.tokens), 5).is_some() {}
        let later = 5 + 1000 * TOKEN;
        let events = (1000..2000).filter(|flow| cpu.refuse(*flow, later).is_some()).count();
        assert_eq!(events, BURST as usize);
    }

    #[test]
    fn what_makes_a_flow_new() {
        let decision = crate::decide::Case::NEW.decision;
        let digest = |flow: &Flow, decision: &Decision| Refused::new(flow, decision).digest();
        let one = Flow { source_mac: 1, destination_port: 9, protocol: 17, ..Flow::NEW };
        let same = Flow { source_port: 7, length: 60, ..one };
        assert_eq!(digest(&one, &decision), digest(&same, &decision));
        let other = Address::v4(8);
        for flow in [
            Flow { source_mac: 2, ..one },
            Flow { destination: other, ..one },
            Flow { destination_port: 10, ..one },
            Flow { protocol: 6, ..one },
            Flow { vlans: [0, 20], ..one },
            Flow { vlans: [20, 0], ..one },
            Flow { interface: 3, ..one },
        ] {
            assert_ne!(digest(&one, &decision), digest(&flow, &decision), "{flow:?}");
        }
        for decision in [
            Decision { reason: Reason::Deny, verdict: Verdict::Drop, ..decision },
            Decision { reason: Reason::Default, verdict: Verdict::Drop, ..decision },
            Decision { reason: Reason::Default, verdict: Verdict::WouldDrop, ..decision },
        ] {
            let digests = [decision, Decision { rule: 7, ..decision }].map(|d| digest(&one, &d));
            assert_eq!(digests[0], digests[1]);
            assert_ne!(digests[0], digest(&one, &crate::decide::Case::NEW.decision));
        }
    }

    #[test]
    fn what_is_withheld_is_counted_alike_by_the_short_way() {
        let mut cpus = [Cpu::new(), Cpu::new()];
        let mut short = 0;
        for n in 0..40_000_u64 {
            let now = SECOND + n * SECOND / 1000;
            // Few flows, then more than the budget allows, then few of another holder.
            let (flow, holder) = (n % if n / 10_000 == 1 { 900 } else { 3 } + 1, 1 + n / 30_000);
            let fates = [false, true].map(|tries| {
                let Cpu { budget, seen, .. } = &mut cpus[usize::from(tries)];
                let seen = &mut seen[flow as usize % 16];
                let place = find(seen, flow);
                if tries && withhold(budget, seen, holder, place, now) {
                    short += 1;
                    return None;
                }
                if !hold(budget, holder, now) {
                    return None;
                }
                (due(budget, seen, place, now) == Due::Yes)
                    .then(|| tell(budget, seen, place, flow, now))
            });
            let [one, other] = &cpus;
            assert_eq!(fates[0], fates[1], "{n}");
            assert_eq!((one.budget, &one.seen), (other.budget, &other.seen), "{n}");
        }
        assert!(short > 20_000, "{short}");
    }

    #[test]
    fn who_is_active_keeps_its_entry() {
        let mut budget = Budget::FREE;
        assert!(hold(&mut budget, 1, SECOND) && hold(&mut budget, 1, 2 * SECOND));
        assert!(!hold(&mut budget, 2, 2 * SECOND + HOLD - 1));
        assert_eq!((budget.holder, budget.used), (1, 2 * SECOND));
        budget.withheld[0].suppressed = 7;
        budget.tokens = 3;
        assert!(hold(&mut budget, 2, 2 * SECOND + HOLD));
        // Nothing is gained by it, and nothing that was counted goes.
        assert_eq!((budget.holder, budget.tokens, budget.withheld[0].suppressed), (2, 3, 7));
        assert!(!hold(&mut budget, 1, 2 * SECOND + HOLD + 1));
    }

    #[test]
    fn holders() {
        let mac = 0x001b_4411_3ab7;
        for verdict in [Verdict::Drop, Verdict::WouldDrop] {
            assert_eq!(held_by(holder(mac, verdict)), (Some(mac), verdict));
            assert_eq!(held_by(holder(NOBODY, verdict)), (None, verdict));
        }
        assert_ne!(slot(holder(mac, Verdict::Drop)), slot(holder(mac, Verdict::WouldDrop)));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_is_harmless() {
        let mut cpu = Cpu::new();
        assert!(cpu.refuse(1, 100 * SECOND).is_some());
        assert!(cpu.refuse(2, 50 * SECOND).is_some());
        assert!(hold(&mut cpu.budget, 1, 100) && !hold(&mut cpu.budget, 2, 50));
    }

    proptest! {
        /// Whatever comes: told and suppressed are all; what is said of the untold never exceeds
        /// them; and no device has more than its rate.
        #[test]
        fn every_frame_is_told_or_suppressed(
            frames in prop::collection::vec((0_u64..40, 0_u64..300_000_000), 1..2000)
        ) {
            let mut cpu = Cpu::new();
            let (mut now, mut told, mut said, mut repeats) = (SECOND, 0_u64, 0, 0);
            for &(flow, pause) in &frames {
                now += pause;
                if let Some(untold) = cpu.refuse(flow + 1, now) {
                    told += 1;
                    said += u64::from(untold.suppressed);
                    repeats += u64::from(untold.repeats);
                }
            }
            prop_assert_eq!(told + cpu.suppressed, frames.len() as u64);
            prop_assert_eq!(said + u64::from(cpu.budget.suppressed), cpu.suppressed);
            prop_assert!(repeats <= cpu.suppressed);
            prop_assert!(told <= u64::from(BURST) + (now - SECOND) / TOKEN + 1);
        }
    }
}
