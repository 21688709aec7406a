//! Counters of reasons and rules.

use enforcer_common::abi::ReasonCounter;
use enforcer_common::reason::Reason;

use crate::maps::{REASONS, RULES};

/// Counts a frame of `bytes` bytes and returns its reason's counters.
#[inline(always)]
pub(crate) fn count(reason: Reason, bytes: u32) -> Option<&'static mut ReasonCounter> {
    count_number(reason.number(), bytes)
}

#[inline(always)]
pub(crate) fn count_number(reason: u8, bytes: u32) -> Option<&'static mut ReasonCounter> {
    let counter = REASONS.get_ptr_mut(u32::from(reason))?;
    // SAFETY: this CPU's element, and no other program runs on this CPU meanwhile.
    let counter = unsafe { &mut *counter };
    counter.frames += 1;
    counter.bytes += u64::from(bytes);
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
        // SAFETY: as in `count_number`.
        let counter = unsafe { &mut *counter };
        counter.frames += 1;
        counter.bytes += u64::from(bytes);
    }
}

/// Counts a frame that passes by a rule, if it is one, for the reason of this number.
#[inline(always)]
pub(crate) fn pass(rule: u32, reason: u8, bytes: u32) {
    count_rule(rule, bytes);
    count_number(reason, bytes);
}
