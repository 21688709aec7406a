//! What is done about a verdict: it is counted, and reported if it is a drop.

use enforcer_common::decide::Decision;
use enforcer_common::decide::flooded::is_flood;
use enforcer_common::event::{self, Refused};
use enforcer_common::flow::Flow;
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::Verdict;

use crate::budgets::{self, Known, known, slot};
use crate::clock::tick_time;
use crate::counters::{count, count_number, count_rule, pass};
use crate::frame::Source;
use crate::maps::KEYS;
use crate::report::{ReportOutcome, report};

/// Counts a judged frame and, if it is a drop, reports it within its device's budget. Whether the
/// frame may be cached: one that passes, and one that was reported shortly before.
#[inline(always)]
pub(crate) fn record<S: Source>(frame: &S, flow: &Flow, decision: &Decision) -> bool {
    if matches!(decision.verdict, Verdict::Pass) {
        // The counters of a rule are those of the device's own frames, of what floods, and of what is refused.
        let is_counted = !S::INBOUND || is_flood(flow);
        let rule = if is_counted { decision.rule } else { NO_RULE };
        pass(rule, decision.reason.number(), flow.length);
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
    let outcome = known
        .map_or(ReportOutcome::Suppressed, |known| report(frame, flow, decision, &refused, known));
    match outcome {
        ReportOutcome::Reported => {}
        ReportOutcome::Suppressed | ReportOutcome::Repeated => counter.add_suppressed(),
        ReportOutcome::Lost => counter.add_lost(),
    }
    matches!(outcome, ReportOutcome::Repeated)
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
