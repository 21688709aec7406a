//! Frames that only ask.

use aya_ebpf::programs::XdpContext;
use enforcer_common::abi::{PROBE_BYTES, PROBE_MAGIC};
use enforcer_common::decide::Decision;

/// Whether a frame has as much metadata as a probe.
#[inline(always)]
pub(crate) fn may_be(ctx: &XdpContext) -> bool {
    ctx.metadata() + PROBE_BYTES <= ctx.metadata_end()
}

/// Whether a frame is a probe.
#[inline(always)]
pub(crate) fn is(ctx: &XdpContext) -> bool {
    if !may_be(ctx) {
        return false;
    }
    let magic = ctx.metadata() as *const u64;
    // SAFETY: `PROBE_BYTES` of metadata lie in front of the frame.
    (unsafe { magic.read_unaligned() }) == PROBE_MAGIC
}

/// Writes the decision over a probe's metadata; `false` when the frame is no probe.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, decision: &Decision) -> bool {
    if !is(ctx) {
        return false;
    }
    let answer = (ctx.metadata() + 8) as *mut Decision;
    // SAFETY: eight bytes of magic and sixteen of decision lie in `PROBE_BYTES`.
    unsafe { answer.write_unaligned(*decision) };
    true
}
