//! The flow cache of each CPU.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use enforcer_common::decide::flow_cache::{self, Key, Memory, Number, V4, V6};
use enforcer_common::decide::{FrameContext, answers};
use enforcer_common::flow::{FAMILY_V4, FAMILY_V6};
use enforcer_common::image::Line;
use enforcer_common::packet::Packet;
use enforcer_common::reason::{Reason, Verdict};

use crate::frame::{length, linear};
use crate::maps::{MMAPABLE, cpu};
use crate::policy::Maps;
use crate::{counters, record};

/// The cache, [`flow_cache::LINES`] lines a CPU; sized by the loader. Memory that is mapped begins on
/// a page, so that a line is a line of the cache.
#[map]
static FLOW_CACHE: Array<Line> = Array::with_max_entries(1, MMAPABLE);

/// Set by the loader: 1 if the cache is on.
#[unsafe(no_mangle)]
static CACHES_FLOWS: u32 = 0;

/// Whether the cache is on.
#[inline(always)]
fn is_on() -> bool {
    enforcer_common::image::constant(&CACHES_FLOWS) != 0
}

/// The cache of this CPU.
struct FlowCache {
    first: u32,
}

impl FlowCache {
    /// Of a CPU.
    ///
    /// # Safety
    ///
    /// The program runs on this CPU, and has no other one at the same time.
    #[inline(always)]
    unsafe fn of(cpu: u32) -> Self {
        Self { first: cpu.wrapping_mul(flow_cache::LINES) }
    }
}

impl Memory for FlowCache {
    #[inline(always)]
    fn line(&mut self, number: Number) -> Option<&mut Line> {
        let line = FLOW_CACHE.get_ptr_mut(self.first.wrapping_add(number.get()))?;
        // SAFETY: a line of a map lasts as long as the run, and this CPU alone uses those from `first` on that have a
        // `Number`, see `maps`. While one is lent, `self` is borrowed exclusively, and there is no other cache.
        Some(unsafe { &mut *line })
    }
}

/// The verdict on a frame because one like it had it before; if there is one, the frame is counted.
#[inline(always)]
pub(crate) fn verdict<const FRAGMENTS: bool>(
    ctx: &XdpContext,
    interface: u32,
    cpu: u32,
) -> Option<Verdict> {
    // Of a frame in pieces nothing here tells where it ends.
    if !is_on() || !is_whole::<FRAGMENTS>(ctx) {
        return None;
    }
    let frame = frame(ctx);
    match flow_cache::family(&frame) {
        FAMILY_V4 => verdict_by(&V4::read(&frame, interface)?, &frame, cpu),
        FAMILY_V6 => verdict_by(&V6::read(&frame, interface)?, &frame, cpu),
        _ => None,
    }
}

#[inline(always)]
fn verdict_by<K: Key>(key: &K, frame: &Packet<'_>, cpu: u32) -> Option<Verdict> {
    // SAFETY: `cpu` is where the program runs, and the other cache is that of `insert`, which does not run meanwhile.
    let mut cache = unsafe { FlowCache::of(cpu) };
    let bytes = frame.linear() as u32;
    let Some(cached) = flow_cache::find(&mut cache, &Maps, key) else {
        return answers_again(key, frame, bytes);
    };
    if matches!(cached.verdict, Verdict::Pass) {
        counters::pass(cached.rule, cached.reason, bytes);
    } else {
        record::again(&key.refused(&cached), cached.rule, bytes)?;
    }
    Some(cached.verdict)
}

/// [`Verdict::Pass`] if a frame answers like one before it: the frame is counted.
#[inline(always)]
fn answers_again<K: Key>(key: &K, frame: &Packet<'_>, bytes: u32) -> Option<Verdict> {
    if !answers::is_on(&Maps) {
        return None;
    }
    let rule = answers::again(&Maps, key, K::ends(frame)?, bytes)?;
    counters::pass(rule, Reason::Answer.number(), bytes);
    Some(Verdict::Pass)
}

/// Remembers a context that has been judged, if the next one like it may be cached.
#[inline(always)]
pub(crate) fn keep(ctx: &XdpContext, context: &FrameContext) {
    if !is_on() || !flow_cache::is_cacheable(context) {
        return;
    }
    let frame = frame(ctx);
    let interface = ctx.ingress_ifindex() as u32;
    if context.flow.family == FAMILY_V4
        && let Some(key) = V4::read(&frame, interface)
    {
        insert(&key, context);
    } else if context.flow.family == FAMILY_V6
        && let Some(key) = V6::read(&frame, interface)
    {
        insert(&key, context);
    }
}

#[inline(always)]
fn insert<K: Key>(key: &K, context: &FrameContext) {
    // SAFETY: the program runs on this CPU, and the other cache is that of `verdict_by`, which does not run meanwhile.
    let mut cache = unsafe { FlowCache::of(cpu()) };
    flow_cache::insert(&mut cache, key, context);
}

/// Whether all of a frame is in its linear part.
#[inline(always)]
fn is_whole<const FRAGMENTS: bool>(ctx: &XdpContext) -> bool {
    !FRAGMENTS || length::<FRAGMENTS>(ctx) as usize == linear(ctx)
}

#[inline(always)]
fn frame(ctx: &XdpContext) -> Packet<'_> {
    let (start, end) = (ctx.data(), ctx.data_end());
    // SAFETY: the kernel keeps `data..data_end` readable while the program runs.
    unsafe { Packet::new(start as *const u8, end as *const u8, end.wrapping_sub(start) as u32) }
}
