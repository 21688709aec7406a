//! Budgets of events, and flows that were reported.

use enforcer_common::abi::{self, Budget, SeenSet};
use enforcer_common::event::{self, Place};
use enforcer_common::reason::Reason;

use crate::maps::{BUDGETS, KEYS, SEEN, SIGHTINGS, cpu};

/// What was reported last of the flows that share an entry with one.
pub(crate) struct Known {
    pub(crate) seen: &'static SeenSet,
    pub(crate) place: Place,
    pub(crate) digest: u64,
}

/// Looks for a flow by its digest.
#[inline(always)]
pub(crate) fn known(digest: u64) -> Option<Known> {
    let first = cpu().wrapping_mul(abi::SEEN);
    let seen = SEEN.get(first.wrapping_add(digest as u32 & (abi::SEEN - 1)))?;
    let place = event::find(seen, digest);
    Some(Known { seen, place, digest })
}

/// Where a device's counters of a reason are.
#[inline(always)]
pub(crate) fn slot(reason: u8) -> usize {
    usize::from(reason).wrapping_sub(usize::from(Reason::FIRST_REFUSAL))
}

/// The entry of a holder that is named or not: its own, or the one of all whose own is taken.
#[inline(always)]
pub(crate) fn budget(holder: u64, named: bool, time: u64) -> Option<&'static Budget> {
    let own = entry(event::slot(&KEYS, holder, named))?;
    if event::hold(own, holder, time) {
        return Some(own);
    }
    let (number, shared) = event::others(holder);
    let others = entry(number)?;
    others.holder.set(shared);
    Some(others)
}

/// An entry of this CPU's budgets.
#[inline(always)]
pub(crate) fn entry(number: u32) -> Option<&'static Budget> {
    BUDGETS.get(cpu().wrapping_mul(abi::BUDGETS_A_CPU).wrapping_add(number))
}

/// Notes that a frame of a holder was refused, whatever becomes of its event.
#[inline(always)]
pub(crate) fn sight(holder: u64, device: u32, time: u64) {
    // Of two CPUs at once either is as good.
    if let Some(sighting) = SIGHTINGS.get(event::sighting(&KEYS, holder, device)) {
        sighting.holder.set(holder);
        sighting.time.set(time);
    }
}
