//! Frames whose headers are not in the linear part.
//!
//! A driver may put any part of a frame into fragments, all of it even. What the parser can look
//! at is then copied aside and read there: a second pass, so that the usual frame pays for it with
//! one comparison.

use aya_ebpf::helpers::bpf_xdp_load_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use enforcer_common::decide;
use enforcer_common::packet::{Directed, Frame, HEADERS};
use enforcer_common::reason::Reason;

use crate::{context, counters};

/// Room for [`HEADERS`] bytes, in a size whose bounds a mask can give.
const HEAD: usize = HEADERS.next_power_of_two();
/// The first bytes of a frame whose headers are not linear, on this CPU.
#[map]
static HEADS: PerCpuArray<[u8; HEAD]> = PerCpuArray::with_max_entries(1, 0);

/// The copied beginning of a frame.
pub(crate) struct Head {
    start: *const u8,
    /// Bytes that were copied.
    held: usize,
    length: u32,
}

impl Head {
    /// Of a frame of `length` bytes.
    ///
    /// # Safety
    ///
    /// `start` is [`head`], and `held` of its bytes are the frame's.
    #[inline(always)]
    pub(crate) unsafe fn new(start: *mut [u8; HEAD], held: usize, length: u32) -> Self {
        Self { start: start.cast(), held, length }
    }
}

impl Frame for Head {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // The first is what the verifier asks for, the second what is true of this frame.
        if offset > HEADERS - N || offset + N > self.held {
            return None;
        }
        // SAFETY: `start` points to `HEADERS` bytes, of which `offset..offset + N` are a part.
        Some(unsafe { self.start.add(offset).cast::<[u8; N]>().read_unaligned() })
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }
}

/// Room for the beginning of a frame.
#[inline(always)]
pub(crate) fn head() -> Option<*mut [u8; HEAD]> {
    HEADS.get_ptr_mut(0)
}

/// Bytes that are copied of a frame of `length` bytes; one too many of a frame without any, which is refused.
///
/// The bounds by arithmetic: the compiler compares one register and passes a copy of it, whose bounds Linux 6.1 does not
/// know then.
#[inline(always)]
pub(crate) fn held(length: u32) -> usize {
    let last = (length.wrapping_sub(1) as usize).min(HEADERS - 1);
    // SAFETY: it reads a local variable; volatile, so that the compiler does not see that no bit is masked.
    (unsafe { core::ptr::read_volatile(&raw const last) } & (HEAD - 1)) + 1
}

/// Whether headers of a frame of `length` bytes may lie past its `linear` first ones.
#[inline(always)]
pub(crate) fn is(linear: usize, length: u32) -> bool {
    linear < HEADERS && linear < length as usize
}

/// Reads the frame into this CPU's context by way of a copy.
///
/// Not inlined: the verifier walks the parser once more here, and what follows only once.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[inline(never)]
pub(crate) unsafe fn read(ctx: &XdpContext) -> bool {
    let Some(context) = context::element() else { return false };
    // SAFETY: as in `context::Context::deref`, except that the caller holds no reference, and nothing below makes one.
    let context = unsafe { &mut *context };
    context.flow.fault = Reason::ReadFailed.number();
    let Some(head) = head() else { return false };
    let length = context.flow.length;
    let held = held(length);
    // SAFETY: the context is the one that the kernel passed, and `held` bytes fit: at most `HEAD`.
    let failed = unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, head.cast(), held as u32) };
    if failed != 0 {
        let counter = counters::of(Reason::ReadFailed.number());
        if counter.is_some_and(|counter| counters::is_time(counter.frames())) {
            warn!(ctx, "the headers of a frame cannot be read: error {}", failed);
        }
        return true;
    }
    context.flow.fault = 0;
    // SAFETY: `held` bytes were just written.
    let frame = unsafe { Head::new(head, held, length) };
    decide::read(&Directed::<_, false>(frame), context);
    true
}

/// Reads what the frame quotes that this CPU has read, wherever its bytes are. Not inlined, as [`read`].
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[inline(never)]
pub(crate) unsafe fn quote(ctx: &XdpContext) -> bool {
    let (Some(context), Some(head)) = (context::element(), head()) else { return false };
    // SAFETY: as in `read`.
    let context = unsafe { &mut *context };
    let length = context.flow.length;
    let held = held(length);
    // SAFETY: as in `read`.
    let failed = unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, head.cast(), held as u32) };
    if failed == 0 {
        // SAFETY: `held` bytes were just written.
        decide::read_quoted(&unsafe { Head::new(head, held, length) }, context);
    }
    failed == 0
}
