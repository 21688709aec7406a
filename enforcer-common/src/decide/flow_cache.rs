//! The flow cache: the verdict of a flow is looked up with two loads instead of being decided again.
//!
//! Only decisions of rules and defaults without an end are cached. An entry holds the group entry that it was decided
//! by, so a live change, which stores another group entry, invalidates it. A refusal is cached only if its flow was
//! reported shortly before: the event budget bounds such flows, so that they cannot evict many allowed ones.
//!
//! The key is everything that the verdict depends on. Malformed frames are detected for each frame; only the plainest
//! shape of frame is looked up at all.
//!
//! There are [`SETS`] sets of four flows. Each set has a word of *tags*, 16 bits of each flow's hash; all tags together
//! stay in the L2 cache. The first frame of a flow stores its tag, the second one its entry. A scan or a flood of new
//! flows therefore evicts nothing and touches no memory but the tags.

mod key;

use super::{Decision, FrameContext, Policy, asked, group_entry};
use crate::image::walk::GOLDEN;
use crate::image::{self, Line};
use crate::reason::{Reason, Verdict};

pub use key::{Ends, Key, V4, V6, family};

/// Sets that a CPU has; a power of two.
pub const SETS: u32 = 1 << 12;
/// Flows of a set: 16 bits of a word each.
const WAYS: u32 = 4;
/// Lines that tags take.
const TAG_LINES: u32 = SETS / 8;
/// Lines that a CPU has.
pub const LINES: u32 = TAG_LINES + SETS * WAYS;

/// The cache of a CPU: [`LINES`] lines.
pub trait Memory {
    /// The line with this number.
    fn line(&mut self, number: Number) -> Option<&mut Line>;
}

/// The number of a line. It is below [`LINES`], so it cannot select a line of another CPU.
#[derive(Clone, Copy, Debug)]
pub struct Number(u32);

impl Number {
    /// The line with the tags of a set.
    #[inline(always)]
    fn tags(set: u32) -> Self {
        Self((set & (SETS - 1)) >> 3)
    }

    /// The line of a flow of a set.
    #[inline(always)]
    fn flow(set: u32, way: u32) -> Self {
        Self(TAG_LINES + (set & (SETS - 1)) * WAYS + (way & (WAYS - 1)))
    }

    /// As a plain number.
    #[inline(always)]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A key's set and its tag.
///
/// The hash has no key: an attacker can choose flows that evict each other, but that only slows the
/// attacker's own traffic.
#[inline(always)]
fn bucket<K: Key>(key: &K) -> (u32, u64) {
    let mixed = key.mixed();
    ((mixed >> 52) as u32 & (SETS - 1), mixed >> 36 & 0xffff)
}

/// The tag in one position of a word.
#[inline(always)]
fn tag_at(tags: u64, way: u32) -> u64 {
    tags >> (16 * way) & 0xffff
}

/// The first position in `tags` that holds `tag`.
///
/// With branches: the position is predicted often enough, and the CPU then fetches the line before
/// the tags have arrived.
#[inline(always)]
fn way(tags: u64, tag: u64) -> Option<u32> {
    let mut way = 0;
    while way < WAYS {
        if tag_at(tags, way) == tag {
            return Some(way);
        }
        way += 1;
    }
    None
}

/// The tags with one more: in the first or second position while they are free, then in a
/// pseudo-random one that differs with each change.
#[inline(always)]
fn with_tag(tags: u64, tag: u64) -> u64 {
    let way = match (tag_at(tags, 0), tag_at(tags, 1)) {
        (0, _) => 0,
        (_, 0) => 1,
        _ => ((tags ^ tag).wrapping_mul(GOLDEN) >> 62) as u32,
    };
    tags ^ (tag_at(tags, way) ^ tag) << (16 * way)
}

/// A verdict in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedVerdict {
    /// Rule that decided, or [`image::NO_RULE`].
    pub rule: u32,
    /// Number of the [`Reason`].
    pub reason: u8,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the policy names the source MAC.
    pub named: bool,
}

/// Set in the last word of a line if the policy names the source MAC.
const NAMED: u64 = 1 << 31;

/// The cached verdict of this key, if it is still valid.
#[inline(always)]
pub fn find<K: Key, M: Memory, P: Policy>(
    memory: &mut M,
    policy: &P,
    key: &K,
) -> Option<CachedVerdict> {
    let (set, tag) = bucket(key);
    let tags = *memory.line(Number::tags(set))?.0.get((set & 7) as usize)?;
    let line = memory.line(Number::flow(set, way(tags, tag)?))?;
    if !key.is(line) {
        return None;
    }
    let [_, _, _, _, _, _, entry, packed] = line.0;
    let group = packed as u32 & 0xffff;
    if group_entry(policy, group).ok()?.0 != entry {
        return None;
    }
    let verdict = match (packed >> 24) as u8 & 3 {
        0 => Verdict::Pass,
        1 => Verdict::Drop,
        _ => Verdict::WouldDrop,
    };
    let (rule, reason) = ((packed >> 32) as u32, (packed >> 16) as u8);
    Some(CachedVerdict { rule, reason, verdict, named: packed & NAMED != 0 })
}

/// Whether the next frame with the same key gets the same verdict.
#[inline(always)]
pub fn is_cacheable(context: &FrameContext) -> bool {
    let Decision { reason, group, .. } = context.decision;
    let passes = asked::is_by_rule(reason);
    let refused =
        matches!(reason, Reason::Deny | Reason::Default | Reason::Unknown | Reason::Quarantine);
    // The key has no source port: another frame with it may be an answer.
    let is_final = context.identity.ends == 0 && !context.may_answer() && !asked::notes(context);
    (passes || refused) && is_final && group <= 0xffff
}

/// Stores the verdict on a frame with this key, or the tag of a new flow; [`is_cacheable`] must hold.
#[inline(always)]
pub fn insert<K: Key, M: Memory>(memory: &mut M, key: &K, context: &FrameContext) -> Option<()> {
    let decision = &context.decision;
    let (set, tag) = bucket(key);
    let tags = memory.line(Number::tags(set))?.0.get_mut((set & 7) as usize)?;
    let Some(way) = way(*tags, tag) else {
        *tags = with_tag(*tags, tag);
        return None;
    };
    let [sender, place, a, b, c, d] = key.words();
    let why = (decision.verdict as u64) << 24 | u64::from(decision.reason.number()) << 16;
    let named = if decision.device == image::NO_DEVICE { 0 } else { NAMED };
    let packed = u64::from(decision.rule) << 32 | named | why | u64::from(decision.group);
    // It moves to the first position, which is searched first; the entry there takes its place.
    *tags ^= (tag_at(*tags, 0) ^ tag) | (tag_at(*tags, 0) ^ tag) << (16 * way);
    let first = Number::flow(set, 0);
    // Word by word: LLVM 22's BPF target crashes on a copy of 64 bytes.
    let before = memory.line(first)?.0.map(core::hint::black_box);
    *memory.line(Number::flow(set, way))? = Line(before);
    *memory.line(first)? = Line([sender, place, a, b, c, d, context.entry, packed]);
    Some(())
}

#[cfg(test)]
mod tests;
