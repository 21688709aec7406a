//! The length of a frame, and its first bytes for its event.

use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use enforcer_common::abi::HEAD;

/// Bytes of the linear part of a frame.
#[inline(always)]
pub(crate) fn linear(ctx: &XdpContext) -> usize {
    ctx.data_end().wrapping_sub(ctx.data())
}

/// Bytes of the whole frame.
#[inline(always)]
pub(crate) fn length<const FRAGMENTS: bool>(ctx: &XdpContext) -> u32 {
    if FRAGMENTS {
        // SAFETY: the helper takes the context that the kernel passed.
        unsafe { bpf_xdp_get_buff_len(ctx.ctx) as u32 }
    } else {
        linear(ctx) as u32
    }
}

/// A frame that is being judged.
pub(crate) trait Source {
    /// Whether it goes towards a device: [`enforcer_common::flow::Flow::direction`], known to the compiler.
    const INBOUND: bool;

    /// Copies up to [`HEAD`] of its first bytes, of `length` in all; returns how many.
    ///
    /// # Safety
    ///
    /// `head` points to [`HEAD`] bytes that may be written.
    unsafe fn copy(&self, head: *mut u8, length: u32) -> u32;
}

/// A frame that was received: `FRAGMENTS` as in [`length`].
pub(crate) struct Incoming<'a, const FRAGMENTS: bool>(pub(crate) &'a XdpContext);

impl<const FRAGMENTS: bool> Source for Incoming<'_, FRAGMENTS> {
    const INBOUND: bool = false;

    #[inline(always)]
    unsafe fn copy(&self, head: *mut u8, length: u32) -> u32 {
        let Self(ctx) = self;
        if !FRAGMENTS {
            // SAFETY: as for this.
            return unsafe { copy(ctx, head) };
        }
        let held = held(length);
        // SAFETY: the context is the one that the kernel passed, and `held` bytes fit: at most `HEAD`.
        let failed = unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, head.cast(), held) };
        if failed == 0 { held } else { 0 }
    }
}

/// A frame that is about to leave.
pub(crate) struct Outgoing<'a>(pub(crate) &'a TcContext);

impl Source for Outgoing<'_> {
    const INBOUND: bool = true;

    #[inline(always)]
    unsafe fn copy(&self, head: *mut u8, length: u32) -> u32 {
        let Self(ctx) = self;
        let held = held(length);
        // SAFETY: as in `Incoming`.
        let failed = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), 0, head.cast(), held) };
        if failed == 0 { held } else { 0 }
    }
}

/// Bytes of a frame of `length` bytes that an event carries. The bounds by arithmetic, as in `nonlinear::held`.
#[inline(always)]
fn held(length: u32) -> u32 {
    let last = (length.wrapping_sub(1) as usize).min(HEAD - 1);
    // SAFETY: it reads a local variable; volatile, so that the compiler does not see that no bit is masked.
    (unsafe { core::ptr::read_volatile(&raw const last) } & (HEAD - 1)) as u32 + 1
}

/// [`Source::copy`] where there is no helper for it (before Linux 5.18) and frames are linear: word by
/// word, so that of a short frame up to three bytes are left out.
///
/// # Safety
///
/// As for [`Source::copy`].
#[inline(always)]
unsafe fn copy(ctx: &XdpContext, head: *mut u8) -> u32 {
    const WORD: usize = size_of::<u32>();
    let (start, end) = (ctx.data(), ctx.data_end());
    let mut copied = 0;
    while copied < HEAD {
        let word = start + copied;
        if word + WORD > end {
            break;
        }
        // SAFETY: the word lies in the frame and in `head`.
        unsafe {
            let word = (word as *const u32).read_unaligned();
            head.add(copied).cast::<u32>().write_unaligned(word);
        }
        copied += WORD;
    }
    copied as u32
}
