//! Counters and events.

use aya_ebpf::programs::XdpContext;
use enforcer_common::abi::{self, PROBE_BYTES, PROBE_MAGIC, ReasonCounter};
use enforcer_common::decide::Decision;
use enforcer_common::event::{self, Record};
use enforcer_common::flow::Flow;
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::{Reason, Verdict};

use crate::maps::{BUDGETS, EVENTS, REASONS, RULES, SEEN, boot_time, generation};

/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`.
const FORCE_WAKEUP: u64 = 2;
/// `BPF_RB_AVAIL_DATA`.
const AVAILABLE: u64 = 0;

/// Counts a frame of `bytes` bytes and returns its reason's counters.
#[inline(always)]
pub(crate) fn count(reason: Reason, bytes: u32) -> Option<&'static mut ReasonCounter> {
    let counter = REASONS.get_ptr_mut(u32::from(reason.number()))?;
    // SAFETY: this CPU's element, and no other program runs on this CPU meanwhile.
    let counter = unsafe { &mut *counter };
    counter.frames += 1;
    counter.bytes += u64::from(bytes);
    Some(counter)
}

/// Counts a judged frame and, if it is a drop, reports it within its device's budget.
#[inline(always)]
pub(crate) fn record(flow: &Flow, decision: &Decision) {
    if decision.rule != NO_RULE
        && let Some(counter) = RULES.get_ptr_mut(decision.rule)
    {
        // SAFETY: as in `count`.
        let counter = unsafe { &mut *counter };
        counter.frames += 1;
        counter.bytes += u64::from(flow.length);
    }
    let Some(counter) = count(decision.reason, flow.length) else {
        return;
    };
    match decision.verdict {
        Verdict::Pass => return,
        Verdict::WouldDrop => counter.would_drop += 1,
        Verdict::Drop => {}
    }
    report(flow, decision, counter);
}

#[inline(always)]
fn report(flow: &Flow, decision: &Decision, counter: &mut ReasonCounter) {
    let digest = event::digest(flow);
    let index = (flow.source_mac ^ flow.source_mac >> 10) as u32 & (abi::BUDGETS - 1);
    let (Some(seen), Some(budget)) =
        (SEEN.get_ptr_mut(digest as u32 & (abi::SEEN - 1)), BUDGETS.get_ptr_mut(index))
    else {
        counter.suppressed += 1;
        return;
    };
    // SAFETY: as in `count`.
    let (seen, budget) = unsafe { (&mut *seen, &mut *budget) };
    let fresh = *seen != digest;
    *seen = digest;
    let time = boot_time();
    let Some(suppressed) = event::spend(budget, flow.source_mac, time, fresh) else {
        counter.suppressed += 1;
        return;
    };
    let Some(mut entry) = EVENTS.reserve::<Record>(0) else {
        counter.lost += 1;
        return;
    };
    entry.write(Record {
        time,
        flow: *flow,
        decision: *decision,
        generation: generation(),
        suppressed,
    });
    let full = EVENTS.query(AVAILABLE) >= abi::WAKE_BYTES;
    entry.submit(if full { FORCE_WAKEUP } else { NO_WAKEUP });
}

/// Writes the decision over a probe's metadata; `false` when the frame is no probe.
#[inline(always)]
pub(crate) fn answer_probe(ctx: &XdpContext, decision: &Decision) -> bool {
    let metadata = ctx.metadata();
    if metadata + PROBE_BYTES > ctx.metadata_end() {
        return false;
    }
    let magic = metadata as *mut u64;
    // SAFETY: `PROBE_BYTES` of metadata lie in front of the frame.
    if unsafe { magic.read_unaligned() } != PROBE_MAGIC {
        return false;
    }
    let answer = (metadata + 8) as *mut Decision;
    // SAFETY: eight bytes of magic and sixteen of decision lie in `PROBE_BYTES`.
    unsafe { answer.write_unaligned(*decision) };
    true
}
