//! The XDP programs: thin adapters around `enforcer-common`.
//!
//! - `dispatch`: what is attached; finds the generation in force
//! - `classify`: a generation; judges a frame
//! - `maps`: what is shared with user space
//! - `context`: the frame that this CPU is judging
//! - `once`: what the verifier walks once: the decision, and limits
//! - `probe`: frames that only ask
//! - `record`: what is done about a verdict
//! - `counters`: counters of reasons and rules
//! - `budgets`: budgets of events, and flows that were reported
//! - `frame`: the length of a frame, and its first bytes for its event
//! - `flow_cache`: flows that are not decided again
//! - `clock`: the boot clock
//! - `runs`: proof that the driver runs the program
//! - `nonlinear`: frames whose headers are not in the linear part
//!
//! Each program exists twice: for frames that may be spread over fragments (Linux 5.18 and
//! later), and `_linear` for kernels without them. A program array takes one kind only.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod budgets;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod context;
#[cfg(target_arch = "bpf")]
mod counters;
#[cfg(target_arch = "bpf")]
mod dispatch;
#[cfg(target_arch = "bpf")]
mod flow_cache;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod nonlinear;
#[cfg(target_arch = "bpf")]
mod once;
#[cfg(target_arch = "bpf")]
mod probe;
#[cfg(target_arch = "bpf")]
mod record;
#[cfg(target_arch = "bpf")]
mod runs;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;
    use enforcer_common::decide::FrameContext;
    use enforcer_common::reason::Verdict;

    use crate::context::Context;
    use crate::dispatch::tail_call;
    use crate::maps::cpu;
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

    /// A generation: judges frames.
    #[xdp(frags)]
    #[inline(always)]
    pub(crate) fn classify(ctx: XdpContext) -> u32 {
        judge::<true>(&ctx)
    }

    /// [`classify`] for kernels without fragments.
    #[xdp]
    #[inline(always)]
    pub(crate) fn classify_linear(ctx: XdpContext) -> u32 {
        judge::<false>(&ctx)
    }

    #[inline(always)]
    fn judge<const FRAGMENTS: bool>(ctx: &XdpContext) -> u32 {
        // A probe asks for more than the cache holds, and is no run of the driver's.
        if !probe::may_be(ctx) {
            let (interface, cpu) = (ctx.ingress_ifindex() as u32, cpu());
            // First, while both are at hand.
            runs::count(interface, cpu);
            if let Some(verdict) = flow_cache::verdict::<FRAGMENTS>(ctx, interface, cpu) {
                return action(verdict);
            }
        }
        anew::<FRAGMENTS>(ctx)
    }

    #[inline(always)]
    fn action(verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Pass | Verdict::WouldDrop => xdp_action::XDP_PASS,
            Verdict::Drop => xdp_action::XDP_DROP,
        }
    }

    /// Judges a frame by the policy.
    ///
    /// Not inlined: what was learnt of the frame before is forgotten, so that the verifier walks this once.
    #[inline(never)]
    fn anew<const FRAGMENTS: bool>(ctx: &XdpContext) -> u32 {
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
        context.judge();
        if !probe::answer(ctx, &context.decision) {
            if context.decision.reason.is_essential() {
                context.limit_essential();
            }
            // It has metadata, but of somebody else's.
            if probe::may_be(ctx) {
                runs::count(context.flow.interface, cpu());
            }
            let may = record::record::<FRAGMENTS>(ctx, &context.flow, &context.decision);
            context.set_cacheable(may);
            let _ = core::hint::black_box(flow_cache::keep(ctx, &context));
        }
        action(context.decision.verdict)
    }

    /// A program that could reach this loops, and the verifier refuses it.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    /// Lets the kernel offer its GPL-only helpers.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// The kernel program is built for another target: `cargo xtask ebpf build`.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
