//! Builds the trees and tables of an image from intervals.

use std::collections::HashMap;

use enforcer_common::image::{
    ABSENT, INNER_32, INNER_64, LEAF_32, LEAF_64, Line, MAX_DEPTH_32, MAX_DEPTH_64, MAX_DEPTH_LIVE,
    MAX_DEPTH_LIVE_64, MAX_DEPTH_TOP, TOP_ENDS, Word, bucket_hashes, kind, table_entry, top,
};

/// An interval: keys from the end of the previous interval up to and including `end` map to `word`.
pub(super) type Interval = (u128, Word);

/// There are more intervals than a tree of this kind can hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Maximum inner levels of trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    top: u32,
    tree_32: u32,
    tree_64: u32,
}

impl Limits {
    /// Limits of the trees for a policy's rules.
    pub(super) const WRITTEN: Self =
        Self { top: MAX_DEPTH_TOP, tree_32: MAX_DEPTH_32, tree_64: MAX_DEPTH_64 };
    /// Limits of the trees for live rules.
    pub(super) const LIVE: Self =
        Self { top: MAX_DEPTH_LIVE, tree_32: MAX_DEPTH_LIVE, tree_64: MAX_DEPTH_LIVE_64 };
}

/// Builds the lines of an image; equal small trees are shared.
pub(super) struct Builder {
    pub(super) lines: Vec<Line>,
    /// Number of lines before `lines`.
    base: u32,
    pub(super) limits: Limits,
    small: HashMap<Vec<Interval>, Word>,
    single: HashMap<Line, Word>,
    /// Rules, by number, that decide at some endpoint.
    pub(super) decides: Vec<bool>,
}

impl Builder {
    /// Builds the lines that follow the first `base` lines of an image.
    pub(super) fn behind(base: u32) -> Self {
        let (small, single) = (HashMap::new(), HashMap::new());
        let (lines, decides) = (Vec::new(), Vec::new());
        Self { lines, base, limits: Limits::WRITTEN, small, single, decides }
    }

    /// Records that a rule decides at some endpoint.
    pub(super) fn decides(&mut self, number: u32) {
        let number = number as usize;
        if self.decides.len() <= number {
            self.decides.resize(number + 1, false);
        }
        if let Some(noted) = self.decides.get_mut(number) {
            *noted = true;
        }
    }

    /// Number of the next line.
    pub(super) fn next(&self) -> u32 {
        // 2^28 lines are 16 GiB: memory runs out first.
        u32::try_from(self.lines.len()).map_or(ABSENT, |lines| self.base + lines)
    }

    /// Appends lines and returns the number of the first.
    pub(super) fn append(&mut self, lines: impl IntoIterator<Item = Line>) -> u32 {
        let first = self.next();
        self.lines.extend(lines);
        first
    }

    /// A line that may be shared, as a word of `kind`.
    pub(super) fn shared(&mut self, kind: u32, line: Line) -> Word {
        if let Some(&word) = self.single.get(&line) {
            return word;
        }
        let word = Word::new(kind, self.append([line]));
        self.single.insert(line, word);
        word
    }

    /// Builds a tree with 32-bit keys; a single interval becomes its own word.
    pub(super) fn tree_32(&mut self, intervals: &[Interval]) -> Result<Word, TooLarge> {
        if let [(_, word)] = intervals {
            return Ok(*word);
        }
        if let Some(&word) = self.small.get(intervals) {
            let depth = word.kind() - kind::TREE_32;
            return if depth > self.limits.tree_32 { Err(TooLarge) } else { Ok(word) };
        }
        let (mut level, mut depth) = (self.leaves_32(intervals), 0);
        while level.len() > 1 {
            level = self.inner_32(&level);
            depth += 1;
        }
        if depth > self.limits.tree_32 {
            return Err(TooLarge);
        }
        let root = level.first().map_or(ABSENT, |node| node.1);
        let word = Word::new(kind::TREE_32 + depth, root);
        self.small.insert(intervals.to_vec(), word);
        Ok(word)
    }

    /// Builds a large tree with 32-bit keys whose root is a line of its own: the words of that line, see
    /// [`top`].
    pub(super) fn top_32(
        &mut self,
        intervals: &[Interval],
        line: &mut Line,
    ) -> Result<(), TooLarge> {
        let mut level = self.leaves_32(intervals);
        let mut depth = 0;
        while level.len() > TOP_ENDS + 1 {
            level = self.inner_32(&level);
            depth += 1;
        }
        if depth > self.limits.top {
            return Err(TooLarge);
        }
        line.set_word(top::DEPTH, depth);
        line.set_word(top::CHILD, level.first().map_or(ABSENT, |node| node.1));
        for slot in 0..TOP_ENDS {
            line.set_word(top::ENDS + slot, end_32(&level, slot));
        }
        Ok(())
    }

    fn leaves_32(&mut self, intervals: &[Interval]) -> Vec<(u128, u32)> {
        let first = self.next();
        let mut nodes = Vec::with_capacity(intervals.len().div_ceil(LEAF_32));
        for (number, chunk) in intervals.chunks(LEAF_32).enumerate() {
            let mut line = Line::default();
            for slot in 0..LEAF_32 {
                let (end, word) = chunk.get(slot).copied().unwrap_or((u128::MAX, Word::NONE));
                line.set_word(slot, end.min(u128::from(u32::MAX)) as u32);
                line.set_word(LEAF_32 + slot, word.0);
            }
            self.lines.push(line);
            nodes.push((last_end(chunk), first + number as u32));
        }
        nodes
    }

    fn inner_32(&mut self, children: &[(u128, u32)]) -> Vec<(u128, u32)> {
        let mut nodes = Vec::with_capacity(children.len().div_ceil(INNER_32 + 1));
        for chunk in children.chunks(INNER_32 + 1) {
            let mut line = Line::default();
            line.set_word(0, chunk.first().map_or(ABSENT, |node| node.1));
            for slot in 0..INNER_32 {
                line.set_word(1 + slot, end_32(chunk, slot));
            }
            nodes.push((chunk.last().map_or(0, |node| node.0), self.append([line])));
        }
        nodes
    }

    /// Builds a tree with 64-bit keys; a single interval becomes its own word.
    pub(super) fn tree_64(&mut self, intervals: &[Interval]) -> Result<Word, TooLarge> {
        if let [(_, word)] = intervals {
            return Ok(*word);
        }
        let first = self.next();
        let mut level = Vec::with_capacity(intervals.len().div_ceil(LEAF_64));
        for (number, chunk) in intervals.chunks(LEAF_64).enumerate() {
            let mut line = Line::default();
            for slot in 0..LEAF_64 {
                let (end, word) = chunk.get(slot).copied().unwrap_or((u128::MAX, Word::NONE));
                if let Some(quad) = line.0.get_mut(slot) {
                    *quad = end.min(u128::from(u64::MAX)) as u64;
                }
                line.set_word(2 * LEAF_64 + slot, word.0);
            }
            self.lines.push(line);
            level.push((last_end(chunk), first + number as u32));
        }
        let mut depth = 0;
        while level.len() > 1 {
            level = self.inner_64(&level);
            depth += 1;
        }
        if depth > self.limits.tree_64 {
            return Err(TooLarge);
        }
        Ok(Word::new(kind::TREE_64 + depth, level.first().map_or(ABSENT, |node| node.1)))
    }

    fn inner_64(&mut self, children: &[(u128, u32)]) -> Vec<(u128, u32)> {
        let mut nodes = Vec::with_capacity(children.len().div_ceil(INNER_64 + 1));
        for chunk in children.chunks(INNER_64 + 1) {
            let mut line = Line([u64::MAX; 8]);
            if let Some(quad) = line.0.first_mut() {
                *quad = 0;
            }
            line.set_word(0, chunk.first().map_or(ABSENT, |node| node.1));
            for (slot, node) in chunk.iter().take(chunk.len().saturating_sub(1)).enumerate() {
                if let Some(quad) = line.0.get_mut(1 + slot) {
                    *quad = node.0 as u64;
                }
            }
            nodes.push((chunk.last().map_or(0, |node| node.0), self.append([line])));
        }
        nodes
    }

    /// Builds a tree with 128-bit keys: upper halves, and lower halves where they differ within one upper
    /// half.
    pub(super) fn tree_128(&mut self, intervals: &[Interval]) -> Result<Word, TooLarge> {
        const LOW: u128 = u64::MAX as u128;
        let mut upper: Vec<Interval> = Vec::new();
        let mut lower: Vec<Interval> = Vec::new();
        let mut start = 0u128;
        for &(end, word) in intervals {
            // Finish the upper half that an earlier interval began.
            if start & LOW != 0 {
                let high_end = (start | LOW).min(end);
                push(&mut lower, (high_end & LOW, word));
                if high_end & LOW == LOW {
                    let tree = self.tree_64(&lower)?;
                    push(&mut upper, (start >> 64, tree));
                    lower.clear();
                }
                if high_end == end {
                    start = end.wrapping_add(1);
                    continue;
                }
                start = high_end + 1;
            }
            // Whole upper halves, then the beginning of the next.
            let whole = if end & LOW == LOW { Some(end >> 64) } else { (end >> 64).checked_sub(1) };
            if let Some(last) = whole
                && last >= start >> 64
            {
                push(&mut upper, (last, word));
            }
            if end & LOW != LOW {
                push(&mut lower, (end & LOW, word));
            }
            start = end.wrapping_add(1);
        }
        self.tree_64(&upper)
    }

    /// A table of exact 48-bit keys: its first line, its mask, and the slot of each key.
    ///
    /// Deterministic: keys are inserted in the given order, with cuckoo moves. A table that gets too full
    /// is rebuilt with twice the size.
    pub(super) fn table(&mut self, entries: &[(u64, u16)]) -> (u32, u32, Vec<u32>) {
        let mut buckets = (entries.len() * 4).div_ceil(3 * 8).max(1).next_power_of_two();
        loop {
            if let Some(lines) = fill_table(entries, buckets) {
                let mask = buckets as u32 - 1;
                let slots = entries.iter().map(|entry| slot_of(&lines, mask, entry.0)).collect();
                return (self.append(lines), mask, slots);
            }
            buckets *= 2;
        }
    }
}

/// Appends an interval, or extends the last one if it has the same word.
pub(super) fn push(intervals: &mut Vec<Interval>, (end, word): Interval) {
    match intervals.last_mut() {
        Some(last) if last.1 == word => last.0 = end,
        _ => intervals.push((end, word)),
    }
}

fn last_end(chunk: &[Interval]) -> u128 {
    chunk.last().map_or(0, |interval| interval.0)
}

/// The end of child `slot`; the last child of a node needs none.
fn end_32(children: &[(u128, u32)], slot: usize) -> u32 {
    if slot + 1 >= children.len() {
        return u32::MAX;
    }
    children.get(slot).map_or(u32::MAX, |child| child.0 as u32)
}

fn fill_table(entries: &[(u64, u16)], buckets: usize) -> Option<Vec<Line>> {
    /// Moves after which a table counts as too full.
    const MOVES: usize = 256;
    let mask = buckets as u32 - 1;
    let mut lines = vec![Line::default(); buckets];
    for &(key, value) in entries {
        let mut homeless = table_entry(key, value);
        let mut bucket = None;
        for step in 0.. {
            let (one, two) = bucket_hashes(homeless >> 16);
            let (one, two) = ((one & mask) as usize, (two & mask) as usize);
            let target = match bucket {
                // The second line is used only if the first is full, so that most look-ups read one line.
                None if free(&lines, one) > 0 => one,
                None => two,
                Some(last) if last == one => two,
                Some(_) => one,
            };
            let line = lines.get_mut(target)?;
            if let Some(slot) = line.0.iter_mut().find(|slot| **slot == 0) {
                *slot = homeless;
                break;
            }
            if step == MOVES {
                return None;
            }
            let victim = line.0.get_mut(step % 8)?;
            std::mem::swap(victim, &mut homeless);
            bucket = Some(target);
        }
    }
    Some(lines)
}

fn free(lines: &[Line], bucket: usize) -> usize {
    lines.get(bucket).map_or(0, |line| line.0.iter().filter(|slot| **slot == 0).count())
}

fn slot_of(lines: &[Line], mask: u32, key: u64) -> u32 {
    enforcer_common::image::look_up_exact(lines, 0, mask, key)
        .ok()
        .flatten()
        .map_or(ABSENT, |found| found.1)
}
