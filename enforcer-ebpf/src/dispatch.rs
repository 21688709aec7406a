//! From the interface to the generation in force.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::programs::XdpContext;
use enforcer_common::abi::{SLOT_CURRENT, SLOT_PREVIOUS};
use enforcer_common::reason::Reason;

use crate::clock::boot_time;
use crate::maps::{CONTROL, GENERATIONS, cpu};
use crate::{counters, runs};

/// Finds the generation in force.
#[inline(always)]
pub(crate) fn tail_call(ctx: &XdpContext) -> u32 {
    // Each call has a constant slot, so that the kernel makes direct jumps of them: an indirect one costs
    // 15 to 20 ns with retpolines. The fence keeps LLVM from merging both into one call with a
    // variable slot; `cargo xtask ebpf build` refuses an object with one that is not constant.
    // SAFETY: the context is the one that the kernel passed. It returns only when the slot is
    // empty.
    unsafe {
        if is_overdue() {
            GENERATIONS.tail_call(ctx, SLOT_PREVIOUS);
            compiler_fence(Ordering::SeqCst);
        } else {
            GENERATIONS.tail_call(ctx, SLOT_CURRENT);
        }
    }
    runs::count(ctx.ingress_ifindex() as u32, cpu());
    refuse()
}

/// Refuses a frame that no generation judges. The daemon reads the counter and says so.
///
/// Nothing is logged here: a message is a function, and Linux before 6.0 refuses functions beside a tail call on arm64.
#[inline(always)]
pub(crate) fn refuse() -> u32 {
    counters::count(Reason::NoPolicy, 0);
    xdp_action::XDP_DROP
}

/// Whether a generation that waits to be confirmed was not. The clock is read only then.
#[inline(always)]
pub(crate) fn is_overdue() -> bool {
    let deadline = CONTROL.get(0).map_or(0, |control| control.deadline.get());
    deadline != 0 && boot_time() >= deadline
}
