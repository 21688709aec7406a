//! Frames towards devices and what answers them, as functions of their own: see [`once`](crate::once).

use enforcer_common::decide::{answers, asked, inbound};

use crate::context;
use crate::policy::Maps;

/// [`answers::judge`] for the frame that this CPU judges; `counts` is 0 for a frame that only asks. Returns 0.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn answer_frame(counts: u32) -> u64 {
    if let Some(context) = context::element() {
        // SAFETY: as in `once::judge_frame`.
        answers::judge(&Maps, unsafe { &mut *context }, counts != 0);
    }
    0
}

/// Notes what the frame asks for that this CPU has judged: [`asked::note`]. Returns 0.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn ask_frame() -> u64 {
    if let Some(context) = context::element() {
        // SAFETY: as in `once::judge_frame`.
        asked::note(&Maps, unsafe { &*context });
    }
    0
}

/// [`inbound::relate`] for the frame that this CPU has judged. Returns 0.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn relate_frame() -> u64 {
    if let Some(context) = context::element() {
        // SAFETY: as in `once::judge_frame`.
        inbound::relate(&Maps, unsafe { &mut *context });
    }
    0
}

/// [`answers::recall`] for the frame towards a device that this CPU has read: the number of the next step.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn recall_frame(segments: u32) -> u64 {
    let Some(context) = context::element() else { return 0 };
    // SAFETY: as in `once::judge_frame`.
    answers::recall(&Maps, unsafe { &mut *context }, segments) as u64
}

/// [`inbound::judge`] for the frame towards a device that this CPU has read: the number of the next step.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn judge_inbound() -> u64 {
    let Some(context) = context::element() else { return 0 };
    // SAFETY: as in `once::judge_frame`.
    inbound::judge(&Maps, unsafe { &mut *context }) as u64
}

/// [`answers::admit`] for the frame that this CPU has judged. Returns 0.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn admit_frame(segments: u32) -> u64 {
    if let Some(context) = context::element() {
        // SAFETY: as in `once::judge_frame`.
        answers::admit(&Maps, unsafe { &mut *context }, segments);
    }
    0
}
