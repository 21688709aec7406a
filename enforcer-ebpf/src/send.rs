//! The transmit side: what is sent to devices.
//!
//! What is not refused is left to other programs on the interface.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use enforcer_common::abi::{SLOT_CURRENT, SLOT_PREVIOUS};
use enforcer_common::decide::{self, FrameContext};
use enforcer_common::packet::Directed;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire;

use crate::context::{self, Context};
use crate::dispatch::is_overdue;
use crate::frame::Outgoing;
use crate::maps::SENDS;
use crate::nonlinear::{self, Head};
use crate::record;

/// Attached to interfaces: finds the generation in force.
#[classifier]
pub(crate) fn send_dispatch(ctx: TcContext) -> i32 {
    // With constant slots, as in `dispatch::tail_call`.
    // SAFETY: the context is the one that the kernel passed. It returns only when the slot is empty: the policy in force
    // has no rules for frames towards devices, or root has emptied it, and the daemon fills it.
    unsafe {
        if is_overdue() {
            SENDS.tail_call(&ctx, SLOT_PREVIOUS);
            compiler_fence(Ordering::SeqCst);
        } else {
            SENDS.tail_call(&ctx, SLOT_CURRENT);
        }
    }
    TC_ACT_UNSPEC
}

/// A generation: judges what is sent to devices, and notes what is asked of them.
#[classifier]
#[inline(always)]
pub(crate) fn send(ctx: TcContext) -> i32 {
    let Some(context) = context::element() else { return TC_ACT_UNSPEC };
    // SAFETY: a run comes here once, and no other place makes a `Context`.
    let mut context = unsafe { Context::new(context) };
    *context = FrameContext::NEW;
    let skb = ctx.skb.skb;
    // SAFETY: the kernel passes it, and checks reads of its fields.
    let (interface, segments) = unsafe { ((*skb).ifindex, (*skb).gso_segs) };
    context.flow.interface = interface;
    context.flow.length = ctx.len();
    context.flow.direction = 1;
    // SAFETY: `context` is not used until this returns.
    unsafe { read(&ctx) };
    if context.is_quoted() {
        // SAFETY: as above, and what is quoted was read without a fault.
        let _ = core::hint::black_box(unsafe { quote() });
    }
    tag(&mut context, skb);
    if !context.judge_inbound(segments.max(1)) {
        return TC_ACT_UNSPEC;
    }
    record::record(&Outgoing(&ctx), &context.flow, &context.decision);
    match context.decision.verdict {
        Verdict::Pass | Verdict::WouldDrop => TC_ACT_UNSPEC,
        Verdict::Drop => TC_ACT_SHOT,
    }
}

/// Reads a frame into this CPU's context, by way of a copy: of a large one most headers are not linear, and the verifier
/// walks the parser once.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[inline(never)]
unsafe fn read(ctx: &TcContext) -> bool {
    let (Some(context), Some(head)) = (context::element(), nonlinear::head()) else { return false };
    // SAFETY: as in `context::Context::deref`, except that the caller holds no reference, and nothing below makes one.
    let context = unsafe { &mut *context };
    let length = context.flow.length;
    let held = nonlinear::held(length);
    // SAFETY: the context is the one that the kernel passed, and `held` bytes fit.
    let failed = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), 0, head.cast(), held as u32) };
    if failed == 0 {
        // SAFETY: `held` bytes were just written.
        let frame = unsafe { Head::new(head, held, length) };
        decide::read(&Directed::<_, true>(frame), context);
    } else {
        context.flow.fault = Reason::ReadFailed.number();
    }
    failed == 0
}

/// Reads what the frame quotes that this CPU has read. Not inlined, as [`read`].
///
/// # Safety
///
/// No reference to this CPU's context is alive, and [`read`] was successful.
#[inline(never)]
unsafe fn quote() -> bool {
    let (Some(context), Some(head)) = (context::element(), nonlinear::head()) else { return false };
    // SAFETY: as in `read`.
    let context = unsafe { &mut *context };
    let length = context.flow.length;
    // SAFETY: `read` has written these bytes.
    decide::read_quoted(&unsafe { Head::new(head, nonlinear::held(length), length) }, context);
    true
}

/// Adds the VLAN tag that the kernel keeps beside a frame until the driver writes it.
#[inline(always)]
fn tag(context: &mut FrameContext, skb: *const __sk_buff) {
    // SAFETY: as in `send`.
    let (present, tag) = unsafe { ((*skb).vlan_present, (*skb).vlan_tci) };
    if present == 0 {
        return;
    }
    // A receiver may take either of two tags for the frame's.
    if usize::from(context.flow.network) > wire::ETHERNET {
        context.flow.fault = Reason::VlanUndeclared.number();
        return;
    }
    let [outer, _] = &mut context.flow.vlans;
    *outer = tag as u16 & 0xfff;
}
