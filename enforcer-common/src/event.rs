//! What the kernel tells user space about a frame.

use core::mem::offset_of;

use crate::abi::{BURST, Budget, RATE, RESERVE};
use crate::decide::Decision;
use crate::flow::{Class, Flow, Fragment};
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
}

/// Nanoseconds that one token takes to come back.
const TOKEN: u64 = 1_000_000_000 / RATE as u64;

/// Spends a token of `budget` for an event of `mac` at `now` (boot clock, nanoseconds).
///
/// `fresh` says that this flow has not been reported lately: such events may use the whole
/// budget, repetitions leave [`RESERVE`] tokens, so that a device that repeats itself cannot
/// hide what it does for the first time. Returns the events withheld since the last one, or
/// `None` when this one is withheld, too.
#[inline(always)]
pub fn spend(budget: &mut Budget, mac: u64, now: u64, fresh: bool) -> Option<u32> {
    if budget.mac != mac {
        // The entry changes hands with what is left in it: a device that invents source
        // addresses gains no events by it.
        budget.mac = mac;
        budget.suppressed = 0;
    }
    if budget.refilled == 0 {
        budget.refilled = now;
        budget.tokens = BURST;
    } else {
        let earned = now.saturating_sub(budget.refilled) / TOKEN;
        if earned > 0 {
            let tokens = u64::from(budget.tokens) + earned;
            let full = tokens >= u64::from(BURST);
            budget.tokens = if full { BURST } else { tokens as u32 };
            budget.refilled = if full { now } else { budget.refilled + earned * TOKEN };
        }
    }
    let floor = if fresh { 0 } else { RESERVE };
    if budget.tokens <= floor {
        budget.suppressed = budget.suppressed.saturating_add(1);
        return None;
    }
    budget.tokens -= 1;
    let suppressed = budget.suppressed;
    budget.suppressed = 0;
    Some(suppressed)
}

/// A digest of what makes a refused flow new: device, destination, service.
#[inline(always)]
pub fn digest(flow: &Flow) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut digest = flow.source_mac.wrapping_mul(ODD);
    digest = (digest ^ digest >> 29 ^ flow.destination.high).wrapping_mul(ODD);
    digest = (digest ^ digest >> 29 ^ flow.destination.low).wrapping_mul(ODD);
    digest = (digest ^ digest >> 29 ^ u64::from(flow.service())).wrapping_mul(ODD);
    digest ^ digest >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_from_the_ring_are_checked() {
        let record = Record {
            time: 7,
            flow: Flow::NEW,
            decision: crate::decide::Case::NEW.decision,
            generation: 3,
            suppressed: 4,
        };
        // SAFETY: a record has no padding.
        let mut bytes: [u8; 128] = unsafe { core::mem::transmute(record) };
        assert_eq!(Record::from_bytes(&bytes), Some(record));
        assert_eq!(Record::from_bytes(&bytes[..127]), None);
        for offset in 0..bytes.len() {
            for bad in [0x0a, 0x7f, 0xff] {
                let good = core::mem::replace(&mut bytes[offset], bad);
                if let Some(read) = Record::from_bytes(&bytes) {
                    // Whatever was read is a value that can be looked at.
                    assert!(!format!("{read:?}").is_empty());
                }
                bytes[offset] = good;
            }
        }
    }

    #[test]
    fn repetitions_leave_the_reserve_to_what_is_new() {
        let mut budget = Budget::default();
        let repeats = (0..1000).filter(|_| spend(&mut budget, 1, 5, false).is_some()).count();
        assert_eq!(repeats, (BURST - RESERVE) as usize);
        let fresh = (0..1000).filter(|_| spend(&mut budget, 1, 5, true).is_some()).count();
        assert_eq!(fresh, RESERVE as usize);
    }

    #[test]
    fn withheld_events_are_told_with_the_next_one() {
        let mut budget = Budget::default();
        while spend(&mut budget, 1, 5, false).is_some() {}
        assert_eq!(spend(&mut budget, 1, 5, false), None);
        assert_eq!(spend(&mut budget, 1, 5 + TOKEN, false), Some(2));
        assert_eq!(spend(&mut budget, 1, 5 + TOKEN, false), None);
    }

    #[test]
    fn a_long_silence_fills_the_budget_and_no_more() {
        let mut budget = Budget::default();
        while spend(&mut budget, 1, 5, true).is_some() {}
        let later = 5 + 1000 * TOKEN;
        let events = (0..1000).filter(|_| spend(&mut budget, 1, later, true).is_some()).count();
        assert_eq!(events, BURST as usize);
    }

    #[test]
    fn invented_source_addresses_share_one_budget() {
        let mut budget = Budget::default();
        let events = (0..1000).filter(|&mac| spend(&mut budget, mac, 5, true).is_some()).count();
        assert_eq!(events, BURST as usize);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_is_harmless() {
        let mut budget = Budget::default();
        assert!(spend(&mut budget, 1, 100, true).is_some());
        assert!(spend(&mut budget, 1, 50, true).is_some());
    }
}
