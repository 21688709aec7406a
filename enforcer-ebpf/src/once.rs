//! The decision, a walk through a tree, limits on what passes whatever the rules say, and the flow cache.
//!
//! Functions with external linkage and nothing but numbers or the kernel's context as arguments: the verifier walks each of them once
//! (Linux 5.6, 51c39bb1d5d1), whatever it knows where they are called.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use enforcer_common::decide::rules::{Endpoint, Found};
use enforcer_common::decide::{self, limits, rules};
use enforcer_common::flow::Address;
use enforcer_common::image::{Corrupt, Word, walk};

use crate::clock::tick_time;
use crate::policy::Maps;
use crate::{context, flow_cache};

/// Judges the frame that this CPU has read by the rules. Returns 0.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn judge_frame() -> u64 {
    if let Some(context) = context::element() {
        // SAFETY: as in `context::Context::deref`, except that the caller holds no reference, and `Maps` makes none.
        decide::judge_by_rules(&Maps, unsafe { &mut *context });
    }
    0
}

/// Remembers the frame that this CPU has judged, if the next one like it may be cached. Returns 0.
///
/// # Safety
///
/// `ctx` is the context that the kernel passed, and no exclusive reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn keep_flow(ctx: *mut xdp_md) -> u64 {
    if let Some(context) = context::element() {
        // SAFETY: as in `judge_frame`.
        flow_cache::keep(&XdpContext::new(ctx), unsafe { &*context });
    }
    0
}

/// [`rules::find`]: the word, with bit 32 for an end, or all ones if the image is corrupt. `which` is the descriptor, and
/// from bit 32 on the family.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_rule(which: u64, high: u64, low: u64, service: u32) -> u64 {
    let to = Endpoint { family: (which >> 32) as u8, address: Address { high, low }, service };
    match rules::find(&Maps, which as u32, to) {
        Ok(Found { word, ends }) => u64::from(word.0) | u64::from(ends) << 32,
        Err(Corrupt) => u64::MAX,
    }
}

/// Refuses the essential frame that this CPU judges, if it is one too many. Returns 0.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn limit_essential() -> u64 {
    if let Some(context) = context::element() {
        // SAFETY: as in `judge_frame`.
        limits::limit(&Maps, tick_time(), unsafe { &mut *context });
    }
    0
}

/// [`walk::walk_64`]: the word, or all ones if the image is corrupt.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn walk_tree(word: u32, key: u64) -> u64 {
    walk::walk_64(&Maps, Word(word), key).map_or(u64::MAX, |word| u64::from(word.0))
}

/// [`limits::charge`]: 1 if there was room.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn charge_limit(
    meter: u32,
    word: u32,
    cost: u64,
    now: u64,
    window: u64,
) -> u64 {
    limits::charge(&Maps, meter, word, cost, now, window).into()
}

/// [`limits::find`]: 1 if it has been there.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_address(
    sender: u64,
    high: u64,
    low: u64,
    now: u64,
    note: u32,
) -> u64 {
    limits::find(&Maps, sender, Address { high, low }, now, note != 0).into()
}
