//! The frame that this CPU is judging.
//!
//! Every function can look the element up, and some have to: see [`once`](crate::once). So two references to it could
//! be alive at once. [`Context`] rules that out: it lends the element, and what looks it up again is called through it.

use core::ops::{Deref, DerefMut};

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use enforcer_common::decide::inbound::Next;
use enforcer_common::decide::{self, FrameContext, asked};

use crate::policy::Maps;
use crate::{inbound, linear, nonlinear, once};

/// Too large for the stack, and see `verifier_barrier`.
#[map]
static FRAME_CONTEXT: PerCpuArray<FrameContext> = PerCpuArray::with_max_entries(1, 0);

/// Lends the context of this CPU.
///
/// A pointer inside, no reference: a reference would have to stay the only way to the element.
pub(crate) struct Context(*mut FrameContext);

impl Context {
    /// Lends `element`.
    ///
    /// # Safety
    ///
    /// It comes from [`element`], the run has no other `Context`, and no reference to it is alive.
    #[inline(always)]
    pub(crate) unsafe fn new(element: *mut FrameContext) -> Self {
        Self(element)
    }

    /// Reads a frame whose headers are linear.
    #[inline(always)]
    pub(crate) fn read(&mut self, ctx: &XdpContext) -> bool {
        // SAFETY: `self` is borrowed exclusively, so no reference from it is alive, and it is the only source of one.
        unsafe { linear::read(ctx) }
    }

    /// Reads a frame whose headers are not all linear.
    #[inline(always)]
    pub(crate) fn read_nonlinear(&mut self, ctx: &XdpContext) -> bool {
        // SAFETY: as in `read`.
        unsafe { nonlinear::read(ctx) }
    }

    /// Whether the frame that has been read quotes another one, and that makes a difference.
    #[inline(always)]
    pub(crate) fn is_quoted(&self) -> bool {
        decide::is_quoted(&Maps, self)
    }

    /// Reads what the frame quotes that has been read; `FRAGMENTS` as in [`crate::frame::length`].
    #[inline(always)]
    pub(crate) fn read_quoted<const FRAGMENTS: bool>(&mut self, ctx: &XdpContext) {
        // SAFETY: as in `read`.
        let read = unsafe { if FRAGMENTS { nonlinear::quote(ctx) } else { linear::quote(ctx) } };
        let _ = core::hint::black_box(read);
    }

    /// Judges the frame that has been read; `counts` is false for a frame that only asks.
    #[inline(always)]
    pub(crate) fn judge(&mut self, counts: bool) {
        // SAFETY: as in `read`.
        unsafe { once::judge_frame() };
        if self.may_answer() {
            // SAFETY: as above.
            unsafe { inbound::answer_frame(counts.into()) };
        }
        if self.may_relate() {
            // SAFETY: as above.
            unsafe { inbound::relate_frame() };
        }
        if counts && asked::asks(self) {
            // SAFETY: as above.
            unsafe { inbound::ask_frame() };
        }
    }

    /// Judges the frame that has been read, which goes to a device, and notes what it opens. Whether any rule is about
    /// such frames.
    #[inline(always)]
    pub(crate) fn judge_inbound(&mut self, segments: u32) -> bool {
        // SAFETY: as in `read`.
        let mut next = Next::from_number(unsafe { inbound::recall_frame(segments) });
        if matches!(next, Next::Judge) {
            // SAFETY: as above.
            next = Next::from_number(unsafe { inbound::judge_inbound() });
        }
        match next {
            Next::Nothing => return false,
            Next::Judge | Next::Done => {}
            Next::Admit => {
                // SAFETY: as above.
                unsafe { inbound::admit_frame(segments) };
            }
            Next::Relate => {
                // SAFETY: as above.
                unsafe { inbound::relate_frame() };
            }
        }
        true
    }

    /// Remembers the frame that has been judged, for the next one like it.
    #[inline(always)]
    pub(crate) fn keep(&mut self, ctx: &XdpContext) {
        // SAFETY: as in `read`, and the context is the one that the kernel passed.
        unsafe { once::keep_flow(ctx.ctx) };
    }

    /// Refuses an essential frame that is one too many.
    #[inline(always)]
    pub(crate) fn limit_essential(&mut self) {
        // SAFETY: as in `read`.
        unsafe { once::limit_essential() };
    }
}

impl Deref for Context {
    type Target = FrameContext;

    #[inline(always)]
    fn deref(&self) -> &FrameContext {
        // SAFETY: an element of a map lasts as long as the run, and this CPU alone uses it, see `maps`. While it is
        // lent, `self` is borrowed, and it is the only source of references.
        unsafe { &*self.0 }
    }
}

impl DerefMut for Context {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut FrameContext {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { &mut *self.0 }
    }
}

/// The context of this CPU. A pointer: whether a reference may be made of it depends on who has one already.
#[inline(always)]
pub(crate) fn element() -> Option<*mut FrameContext> {
    FRAME_CONTEXT.get_ptr_mut(0)
}
