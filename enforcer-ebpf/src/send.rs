//! The transmit side: what is asked of devices.
//!
//! The programs only look. Whatever they find, other programs on the interface have their turn.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::bindings::{__sk_buff, TC_ACT_UNSPEC};
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use enforcer_common::abi::{SLOT_CURRENT, SLOT_PREVIOUS};
use enforcer_common::decide::{self, FrameContext};
use enforcer_common::packet::Packet;

use crate::context::{self, Context};
use crate::dispatch::is_overdue;
use crate::maps::SENDS;
use crate::nonlinear::{self, Head};

/// Attached to interfaces: finds the generation in force.
#[classifier]
pub(crate) fn send_dispatch(ctx: TcContext) -> i32 {
    // With constant slots, as in `dispatch::tail_call`.
    // SAFETY: the context is the one that the kernel passed. It returns only when the slot is empty: the policy in force
    // has no accept rules.
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

/// A generation: notes what is asked of devices.
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
    // SAFETY: `context` is not used until this returns.
    if unsafe { read(&ctx) } {
        tag(&mut context, skb);
        context.note(segments.max(1));
    }
    TC_ACT_UNSPEC
}

/// Reads a frame into this CPU's context, by way of a copy if its headers are not linear.
///
/// # Safety
///
/// No reference to this CPU's context is alive.
#[inline(never)]
unsafe fn read(ctx: &TcContext) -> bool {
    let Some(context) = context::element() else { return false };
    // SAFETY: as in `context::Context::deref`, except that the caller holds no reference, and nothing below makes one.
    let context = unsafe { &mut *context };
    let (start, end) = (ctx.data(), ctx.data_end());
    let length = context.flow.length;
    if !nonlinear::is(end.wrapping_sub(start), length) {
        // SAFETY: the kernel keeps `data..data_end` readable while the program runs.
        let packet = unsafe { Packet::new(start as *const u8, end as *const u8, length) };
        decide::read(&packet, context);
        return true;
    }
    let Some(head) = nonlinear::head() else { return false };
    let held = nonlinear::held(length);
    // SAFETY: the context is the one that the kernel passed, and `held` bytes fit.
    let failed = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), 0, head.cast(), held as u32) };
    if failed == 0 {
        // SAFETY: `held` bytes were just written.
        decide::read(&unsafe { Head::new(head, held, length) }, context);
    }
    failed == 0
}

/// Adds the VLAN tag that the kernel keeps beside a frame until the driver writes it.
#[inline(always)]
fn tag(context: &mut FrameContext, skb: *const __sk_buff) {
    // SAFETY: as in `send`.
    let (present, tag) = unsafe { ((*skb).vlan_present, (*skb).vlan_tci) };
    if present != 0 {
        let [outer, _] = &mut context.flow.vlans;
        *outer = tag as u16 & 0xfff;
    }
}
