//! Counters of reasons and rules.

use enforcer_common::abi::ReasonCounter;
use enforcer_common::reason::Reason;

use crate::maps::{REASONS, RULES};

/// The counters of a reason on this CPU.
///
/// A pointer inside, no reference: there may be several to the same counters, and each access ends before the next one
/// begins.
#[derive(Clone, Copy)]
pub(crate) struct Counter(*mut ReasonCounter);

/// The counters of the reason with this number.
#[inline(always)]
pub(crate) fn of(reason: u8) -> Option<Counter> {
    REASONS.get_ptr_mut(u32::from(reason)).map(Counter)
}

impl Counter {
    /// Frames so far.
    #[inline(always)]
    pub(crate) fn frames(self) -> u64 {
        // SAFETY: `of` had it from the map, whose elements last as long as the run. This CPU alone writes to it, see
        // `maps`, and there is no reference to it.
        unsafe { (*self.0).frames }
    }

    #[inline(always)]
    fn add_frame(self, bytes: u32) {
        // SAFETY: as in `frames`.
        unsafe {
            (*self.0).frames += 1;
            (*self.0).bytes += u64::from(bytes);
        }
    }

    /// Counts frames that pass because their group is observed.
    #[inline(always)]
    pub(crate) fn add_would_drop(self, frames: u64) {
        // SAFETY: as in `frames`.
        unsafe { (*self.0).would_drop += frames };
    }

    /// Counts an event that a budget suppressed.
    #[inline(always)]
    pub(crate) fn add_suppressed(self) {
        // SAFETY: as in `frames`.
        unsafe { (*self.0).suppressed += 1 };
    }

    /// Counts an event that the ring could not take.
    #[inline(always)]
    pub(crate) fn add_lost(self) {
        // SAFETY: as in `frames`.
        unsafe { (*self.0).lost += 1 };
    }
}

/// Counts a frame of `bytes` bytes and returns its reason's counters.
#[inline(always)]
pub(crate) fn count(reason: Reason, bytes: u32) -> Option<Counter> {
    count_number(reason.number(), bytes)
}

#[inline(always)]
pub(crate) fn count_number(reason: u8, bytes: u32) -> Option<Counter> {
    let counter = of(reason)?;
    counter.add_frame(bytes);
    Some(counter)
}

/// Whether a counter is at a power of two: what is wrong is said at once, and ever more rarely.
#[inline(always)]
pub(crate) fn is_time(counter: u64) -> bool {
    counter & counter.wrapping_sub(1) == 0
}

/// Counts a frame at the rule that decided; no rule, no counter.
#[inline(always)]
pub(crate) fn count_rule(rule: u32, bytes: u32) {
    if let Some(counter) = RULES.get_ptr_mut(rule) {
        // SAFETY: as in `Counter::frames`.
        unsafe {
            (*counter).frames += 1;
            (*counter).bytes += u64::from(bytes);
        }
    }
}

/// Counts a frame that passes by a rule, if it is one, for the reason of this number.
#[inline(always)]
pub(crate) fn pass(rule: u32, reason: u8, bytes: u32) {
    count_rule(rule, bytes);
    count_number(reason, bytes);
}
