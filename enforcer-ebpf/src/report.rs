//! Events of refused frames.

use core::mem::MaybeUninit;

use enforcer_common::abi;
use enforcer_common::decide::Decision;
use enforcer_common::event::{self, Due, Record, Refused, SuppressedSince};
use enforcer_common::flow::Flow;

use crate::budgets::{self, Known, budget, slot};
use crate::clock::{boot_time, tick_time};
use crate::frame::Source;
use crate::maps::{EVENTS, generation};

/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`.
const FORCE_WAKEUP: u64 = 2;
/// `BPF_RB_AVAIL_DATA`.
const AVAILABLE: u64 = 0;

/// What became of a refused frame's event.
#[derive(Clone, Copy)]
pub(crate) enum ReportOutcome {
    Reported,
    Suppressed,
    /// Suppressed, as its flow was reported shortly before.
    Repeated,
    Lost,
}

/// Writes an event, or counts what became of it at its device's entry.
#[inline(always)]
pub(crate) fn report<S: Source>(
    frame: &S,
    flow: &Flow,
    decision: &Decision,
    refused: &Refused,
    known: Known,
) -> ReportOutcome {
    let time = tick_time();
    let holder = refused.holder();
    // A device is not seen to send what others send to it.
    if !S::INBOUND {
        budgets::sight(holder, decision.device, time);
    }
    let Known { seen, place, digest } = known;
    let Some(budget) = budget(holder, refused.named, time) else {
        return ReportOutcome::Suppressed;
    };
    let slot = slot(decision.reason.number());
    let outcome = match event::due(budget, seen, place, time) {
        Due::Repeats => ReportOutcome::Repeated,
        Due::No => ReportOutcome::Suppressed,
        Due::Yes => {
            if let Some(mut entry) = EVENTS.reserve::<Record>(0) {
                let since_last = event::tell(budget, seen, place, digest, time);
                write(frame, &mut entry, flow, decision, since_last);
                let full = EVENTS.query(AVAILABLE) >= abi::WAKE_BYTES;
                entry.submit(if full { FORCE_WAKEUP } else { NO_WAKEUP });
                ReportOutcome::Reported
            } else {
                ReportOutcome::Lost
            }
        }
    };
    if let Some(counts) = budget.by_reason.get(slot) {
        match outcome {
            ReportOutcome::Reported => {}
            ReportOutcome::Suppressed | ReportOutcome::Repeated => counts.suppressed.count(),
            ReportOutcome::Lost => counts.lost.count(),
        }
    }
    outcome
}

/// Fills an event. Field by field: it is too large for the stack.
#[inline(always)]
fn write<S: Source>(
    frame: &S,
    record: &mut MaybeUninit<Record>,
    flow: &Flow,
    decision: &Decision,
    since_last: SuppressedSince,
) {
    let record = record.as_mut_ptr();
    // SAFETY: `record` is borrowed exclusively and as large as a record; it is written field by field and never read.
    unsafe {
        (&raw mut (*record).time).write(boot_time());
        (&raw mut (*record).flow).write(*flow);
        (&raw mut (*record).decision).write(*decision);
        (&raw mut (*record).generation).write(generation());
        (&raw mut (*record).suppressed).write(since_last.suppressed);
        (&raw mut (*record).repeats).write(since_last.repeats);
        (&raw mut (*record).since).write(since_last.since);
        (&raw mut (*record).reserved).write(0);
        let head = (&raw mut (*record).head).cast::<u8>();
        let captured = frame.copy(head, flow.length);
        (&raw mut (*record).captured).write(captured);
    }
}
