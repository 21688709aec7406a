//! Frames whose headers are in the linear part.

use aya_ebpf::programs::XdpContext;
use enforcer_common::decide;
use enforcer_common::packet::{Directed, Packet};

use crate::context;

/// Reads a frame whose headers are linear into this CPU's context.
///
/// Not inlined: by which way its end was reached is forgotten on return. What it returns is used, or the
/// register of the result would hold anything, and the verifier refuses a pointer there.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[inline(never)]
pub(crate) unsafe fn read(ctx: &XdpContext) -> bool {
    let Some(context) = context::element() else { return false };
    // SAFETY: as in `context::Context::deref`, except that the caller holds no reference, and nothing below makes one.
    let context = unsafe { &mut *context };
    let (start, end) = (ctx.data() as *const u8, ctx.data_end() as *const u8);
    // SAFETY: the kernel keeps `data..data_end` readable while the program runs.
    let packet = unsafe { Packet::new(start, end, context.flow.length) };
    decide::read(&Directed::<_, false>(packet), context);
    true
}

/// Reads what the frame quotes that this CPU has read. Not inlined, as [`read`].
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[inline(never)]
pub(crate) unsafe fn quote(ctx: &XdpContext) -> bool {
    let Some(context) = context::element() else { return false };
    // SAFETY: as in `read`.
    let context = unsafe { &mut *context };
    let (start, end) = (ctx.data() as *const u8, ctx.data_end() as *const u8);
    // SAFETY: as in `read`.
    let packet = unsafe { Packet::new(start, end, context.flow.length) };
    decide::read_quoted(&packet, context);
    true
}
