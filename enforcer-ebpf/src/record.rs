//! What is done about a verdict: counters and events.

use core::mem::MaybeUninit;

use aya_ebpf::programs::XdpContext;
use enforcer_common::abi;
use enforcer_common::decide::Decision;
use enforcer_common::event::{self, Due, Record, Refused, SuppressedSince};
use enforcer_common::flow::Flow;
use enforcer_common::reason::Verdict;

use crate::budgets::{self, Known, budget, known, slot};
use crate::clock::{boot_time, tick_time};
use crate::counters::{count, count_number, count_rule, pass};
use crate::frame;
use crate::maps::{EVENTS, KEYS, generation};

/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`.
const FORCE_WAKEUP: u64 = 2;
/// `BPF_RB_AVAIL_DATA`.
const AVAILABLE: u64 = 0;

/// Counts a judged frame and, if it is a drop, reports it within its device's budget. Whether the
/// frame may be cached: one that passes, and one that was reported shortly before.
#[inline(always)]
pub(crate) fn record<const FRAGMENTS: bool>(
    ctx: &XdpContext,
    flow: &Flow,
    decision: &Decision,
) -> bool {
    if matches!(decision.verdict, Verdict::Pass) {
        pass(decision.rule, decision.reason.number(), flow.length);
        return true;
    }
    // First, while there is one path that leads here for the verifier.
    let refused = Refused::new(flow, decision);
    let known = known(refused.digest(&KEYS));
    count_rule(decision.rule, flow.length);
    let Some(counter) = count(decision.reason, flow.length) else { return false };
    if matches!(decision.verdict, Verdict::WouldDrop) {
        counter.add_would_drop(1);
    }
    let outcome = known.map_or(ReportOutcome::Suppressed, |known| {
        report::<FRAGMENTS>(ctx, flow, decision, &refused, known)
    });
    match outcome {
        ReportOutcome::Reported => {}
        ReportOutcome::Suppressed | ReportOutcome::Repeated => counter.add_suppressed(),
        ReportOutcome::Lost => counter.add_lost(),
    }
    matches!(outcome, ReportOutcome::Repeated)
}

/// What became of a refused frame's event.
#[derive(Clone, Copy)]
enum ReportOutcome {
    Reported,
    Suppressed,
    /// Suppressed, as its flow was reported shortly before.
    Repeated,
    Lost,
}

/// Writes an event, or counts what became of it at its device's entry.
#[inline(always)]
fn report<const FRAGMENTS: bool>(
    ctx: &XdpContext,
    flow: &Flow,
    decision: &Decision,
    refused: &Refused,
    known: Known,
) -> ReportOutcome {
    let time = tick_time();
    let holder = refused.holder();
    budgets::sight(holder, decision.device, time);
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
                write::<FRAGMENTS>(ctx, &mut entry, flow, decision, since_last);
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

/// Counts a refused frame of a cached flow, by its rule and reason and as one without an event.
///
/// `None`, and nothing is counted, if an event is due, or its device has no entry of its own.
#[inline(always)]
pub(crate) fn again(refused: &Refused, rule: u32, bytes: u32) -> Option<()> {
    let Known { seen, place, .. } = known(refused.digest(&KEYS))?;
    let holder = refused.holder();
    let budget = budgets::entry(event::slot(&KEYS, holder, refused.named))?;
    if !event::suppress(budget, seen, holder, place, tick_time()) {
        return None;
    }
    count_rule(rule, bytes);
    // A cached number is one that both tables have.
    if let Some(counter) = count_number(refused.reason, bytes) {
        counter.add_suppressed();
        counter.add_would_drop(matches!(refused.verdict, Verdict::WouldDrop).into());
    }
    // In one register, opaque: verifiers before 6.12 do not learn from the check of a copy.
    let slot = core::hint::black_box(slot(refused.reason));
    if let Some(counts) = budget.by_reason.get(slot) {
        counts.suppressed.count();
    }
    Some(())
}

/// Fills an event. Field by field: it is too large for the stack.
#[inline(always)]
fn write<const FRAGMENTS: bool>(
    ctx: &XdpContext,
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
        let captured =
            if FRAGMENTS { frame::load(ctx, head, flow.length) } else { frame::copy(ctx, head) };
        (&raw mut (*record).captured).write(captured);
    }
}
