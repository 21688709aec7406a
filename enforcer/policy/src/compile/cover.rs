//! Which claims or rules cover a key: the most specific claim, or all rules.

use std::collections::{BTreeSet, HashMap};

use enforcer_common::image::{MAX_EXPIRING, Word, expiry, kind};

use super::tree::{Builder, Interval, TooLarge, push};
use crate::{End, Service};

/// A claimed prefix, with keys of any width.
pub(super) struct Claim {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) word: Word,
}

/// Splits a range into prefixes, each as first and last key.
pub(super) fn prefixes(first: u128, last: u128) -> Vec<(u128, u128)> {
    let mut parts = Vec::new();
    let mut at = first;
    loop {
        // The largest block that starts here and fits into the range.
        let aligned = if at == 0 { 127 } else { at.trailing_zeros().min(127) };
        let left = last - at;
        let fits = if left == u128::MAX { 127 } else { (left + 1).ilog2().min(127) };
        let size = (1u128 << aligned.min(fits)) - 1;
        parts.push((at, at + size));
        if at + size >= last {
            return parts;
        }
        at += size + 1;
    }
}

/// Divides `0..=max` into intervals; in each, the longest of the claims' prefixes decides.
///
/// Claims must be prefixes, so that any two are nested or disjoint.
pub(super) fn most_specific(mut claims: Vec<Claim>, max: u128) -> Vec<Interval> {
    claims.sort_by_key(|claim| (claim.first, std::cmp::Reverse(claim.last)));
    let mut intervals = Vec::new();
    let mut open: Vec<(u128, Word)> = Vec::new();
    // Everything below `done` has been written.
    let mut done = 0u128;
    let mut close = |open: &mut Vec<(u128, Word)>, until: u128, done: &mut u128| {
        while let Some(&(last, word)) = open.last() {
            if last >= until {
                break;
            }
            if last >= *done {
                push(&mut intervals, (last, word));
                *done = last + 1;
            }
            open.pop();
        }
        if until > *done {
            let word = open.last().map_or(Word::NONE, |claim| claim.1);
            push(&mut intervals, (until - 1, word));
            *done = until;
        }
    };
    for claim in claims {
        close(&mut open, claim.first, &mut done);
        open.push((claim.last, claim.word));
    }
    while let Some(&(last, _)) = open.last() {
        if last >= max {
            break;
        }
        close(&mut open, last + 1, &mut done);
    }
    let word = open.last().map_or(Word::NONE, |claim| claim.1);
    if done <= max {
        push(&mut intervals, (max, word));
    }
    intervals
}

/// A rule. Rules are ranked in the order of the decision: deny, then allow.
pub(super) struct Ranked<'a> {
    /// Number of the rule's counter.
    pub(super) number: u32,
    pub(super) pass: bool,
    pub(super) until: Option<End>,
    pub(super) services: &'a [Service],
}

/// Why a cover cannot be built.
#[derive(Debug)]
pub(super) enum CoverError {
    /// Too many intervals.
    TooLarge,
    /// More than [`MAX_EXPIRING`] rules with an end cover one endpoint; the rank of one of them.
    Expiring(usize),
}

impl From<TooLarge> for CoverError {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

/// Divides `0..=max` into intervals; each has the combined decision of all rules that cover it.
///
/// `ranges` are (first, last, rank of the rule), in any order; they may overlap.
pub(super) fn all_rules(
    builder: &mut Builder,
    rules: &[Ranked<'_>],
    ranges: &[(u128, u128, u32)],
    max: u128,
) -> Result<Vec<Interval>, CoverError> {
    let mut events: Vec<(u128, u32, bool)> = Vec::with_capacity(ranges.len() * 2);
    for &(first, last, rank) in ranges {
        events.push((first, rank, true));
        if last < max {
            events.push((last + 1, rank, false));
        }
    }
    events.sort_unstable_by_key(|event| event.0);

    let mut intervals = Vec::new();
    // Number of ranges of each rule that cover the present key.
    let mut depth = vec![0u32; rules.len()];
    let mut active: BTreeSet<u32> = BTreeSet::new();
    // Results by the sum of pseudo-random numbers of the rules in the set: the same sets recur, and
    // comparing them member by member would be slow.
    let mut known: HashMap<u128, Word> = HashMap::new();
    let mut sum = 0u128;
    let mut word = Word::NONE;
    let mut at = 0;
    while at < events.len() {
        let Some(&(key, _, _)) = events.get(at) else { break };
        if key > 0 {
            push(&mut intervals, (key - 1, word));
        }
        while let Some(&(other, rank, begins)) = events.get(at)
            && other == key
        {
            at += 1;
            let Some(open) = depth.get_mut(rank as usize) else { continue };
            if begins {
                *open += 1;
                if *open == 1 {
                    active.insert(rank);
                    sum = sum.wrapping_add(mixed(rank));
                }
            } else {
                *open -= 1;
                if *open == 0 {
                    active.remove(&rank);
                    sum = sum.wrapping_sub(mixed(rank));
                }
            }
        }
        word = match known.get(&sum) {
            Some(&word) => word,
            None => {
                let word = services(builder, rules, &active)?;
                known.insert(sum, word);
                word
            }
        };
    }
    push(&mut intervals, (max, word));
    Ok(intervals)
}

/// 128 pseudo-random bits that depend only on the rank: splitmix64, twice.
fn mixed(rank: u32) -> u128 {
    let half = |seed: u64| {
        let mut z = u64::from(rank).wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    u128::from(half(1)) << 64 | u128::from(half(0x5851_f42d_4c95_7f2d))
}

/// The decision of a set of rules for each service.
fn services(
    builder: &mut Builder,
    rules: &[Ranked<'_>],
    active: &BTreeSet<u32>,
) -> Result<Word, CoverError> {
    let max = Service::ANY.last;
    let mut events: Vec<(u32, u32, bool)> = Vec::new();
    for &rank in active {
        let Some(rule) = rules.get(rank as usize) else { continue };
        for service in merged(rule.services) {
            events.push((service.first, rank, true));
            if service.last < max {
                events.push((service.last + 1, rank, false));
            }
        }
    }
    events.sort_unstable_by_key(|event| event.0);
    let mut intervals: Vec<Interval> = Vec::new();
    let mut covering: BTreeSet<u32> = BTreeSet::new();
    let mut word = Word::NONE;
    let mut at = 0;
    while let Some(&(key, _, _)) = events.get(at) {
        if key > 0 {
            push(&mut intervals, (u128::from(key) - 1, word));
        }
        while let Some(&(other, rank, begins)) = events.get(at)
            && other == key
        {
            if begins {
                covering.insert(rank);
            } else {
                covering.remove(&rank);
            }
            at += 1;
        }
        word = decision(builder, rules, &covering)?;
    }
    push(&mut intervals, (u128::from(u32::MAX), word));
    Ok(builder.tree_32(&intervals)?)
}

fn merged(services: &[Service]) -> Vec<Service> {
    let mut sorted = services.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<Service> = Vec::with_capacity(sorted.len());
    for service in sorted {
        match merged.last_mut() {
            Some(last) if service.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(service.last);
            }
            _ => merged.push(service),
        }
    }
    merged
}

/// The first rule decides. If it has an end, it is followed by the decision without it.
fn decision(
    builder: &mut Builder,
    rules: &[Ranked<'_>],
    covering: &BTreeSet<u32>,
) -> Result<Word, CoverError> {
    let mut chain = Vec::new();
    for &rank in covering {
        let Some(rule) = rules.get(rank as usize) else { continue };
        chain.push(rule);
        if rule.until.is_none() {
            break;
        }
        if chain.len() > MAX_EXPIRING {
            return Err(CoverError::Expiring(rank as usize));
        }
    }
    let mut word = Word::NONE;
    chain.iter().for_each(|rule| builder.decides(rule.number));
    for rule in chain.into_iter().rev() {
        let decided = Word::new(if rule.pass { kind::PASS } else { kind::DROP }, rule.number);
        word = match rule.until {
            None => decided,
            Some(until) => {
                // A wrong clock must not end a deny rule early.
                let (clock, until) = until.in_image(!rule.pass);
                builder.shared(kind::EXPIRES, expiry::line(until, clock, decided, word))
            }
        };
    }
    Ok(word)
}
