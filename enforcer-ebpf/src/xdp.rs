//! The programs: how the kernel calls them, and what it gets back.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use enforcer_common::abi::STAGE_JUDGE;
use enforcer_common::decide::FrameContext;
use enforcer_common::reason::Verdict;

use crate::context::Context;
use crate::dispatch::{refuse, tail_call};
use crate::frame::Incoming;
use crate::maps::{STAGES, cpu};
use crate::{context, flow_cache, frame, nonlinear, probe, record, runs};

/// Attached to interfaces: finds the generation in force.
#[xdp(frags)]
pub(crate) fn dispatch(ctx: XdpContext) -> u32 {
    tail_call(&ctx)
}

/// [`dispatch`] for kernels without fragments.
#[xdp]
pub(crate) fn dispatch_linear(ctx: XdpContext) -> u32 {
    tail_call(&ctx)
}

/// A generation: knows the verdict on a frame of a cached flow, and has the others judged.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn classify(ctx: XdpContext) -> u32 {
    recall::<true>(&ctx)
}

/// [`classify`] for kernels without fragments.
#[xdp]
#[inline(always)]
pub(crate) fn classify_linear(ctx: XdpContext) -> u32 {
    recall::<false>(&ctx)
}

/// A generation: judges frames.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn judge(ctx: XdpContext) -> u32 {
    by_policy::<true>(&ctx)
}

/// [`judge`] for kernels without fragments.
#[xdp]
#[inline(always)]
pub(crate) fn judge_linear(ctx: XdpContext) -> u32 {
    by_policy::<false>(&ctx)
}

/// Knows the verdict on a frame of a cached flow, and calls [`judge`] for the others.
#[inline(always)]
fn recall<const FRAGMENTS: bool>(ctx: &XdpContext) -> u32 {
    // A probe asks for more than the cache holds, and is no run of the driver's.
    if !probe::may_be(ctx) {
        let (interface, cpu) = (ctx.ingress_ifindex() as u32, cpu());
        // First, while both are at hand.
        runs::count(interface, cpu);
        if let Some(verdict) = flow_cache::verdict::<FRAGMENTS>(ctx, interface, cpu) {
            return action(verdict);
        }
    }
    // SAFETY: the context is the one that the kernel passed. It returns only when the slot is empty.
    unsafe { STAGES.tail_call(ctx, STAGE_JUDGE) };
    refuse()
}

#[inline(always)]
fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass | Verdict::WouldDrop => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

/// Judges a frame by the policy.
#[inline(always)]
fn by_policy<const FRAGMENTS: bool>(ctx: &XdpContext) -> u32 {
    let length = frame::length::<FRAGMENTS>(ctx);
    let Some(context) = context::element() else { return xdp_action::XDP_DROP };
    // SAFETY: a run comes here once, and no other place makes a `Context`.
    let mut context = unsafe { Context::new(context) };
    *context = FrameContext::NEW;
    context.flow.interface = ctx.ingress_ifindex() as u32;
    context.flow.length = length;
    let apart = FRAGMENTS && nonlinear::is(frame::linear(ctx), length);
    let read = if apart { context.read_nonlinear(ctx) } else { context.read(ctx) };
    if !read {
        return xdp_action::XDP_DROP;
    }
    if context.is_quoted() {
        context.read_quoted::<FRAGMENTS>(ctx);
    }
    context.judge(!probe::is(ctx));
    if !probe::answer(ctx, &context.decision) {
        if context.decision.reason.is_essential() {
            context.limit_essential();
        }
        // It has metadata, but of somebody else's.
        if probe::may_be(ctx) {
            runs::count(context.flow.interface, cpu());
        }
        let may = record::record(&Incoming::<FRAGMENTS>(ctx), &context.flow, &context.decision);
        context.set_cacheable(may);
        context.keep(ctx);
    }
    action(context.decision.verdict)
}
