//! How to walk the lines of an image.

use super::{
    ABSENT, Corrupt, GroupEntry, INNER_32, INNER_64, LEAF_32, LEAF_64, Line, Lines, MAX_DEPTH_32,
    MAX_DEPTH_64, MAX_DEPTH_LIVE, MAX_DEPTH_LIVE_64, MAX_DEPTH_TOP, TOP_ENDS, Word, kind, top,
};

#[inline(always)]
fn fetch<L: Lines + ?Sized>(lines: &L, number: u32) -> Result<&Line, Corrupt> {
    lines.line(number).ok_or(Corrupt)
}

/// 1 if `end < key`, for a key of 32 bits in 64.
///
/// Subtraction and shift: a branch would double the verifier's paths with each end. `key` must come
/// out of [`opaque`], or the compiler turns this into a branch.
#[inline(always)]
fn below_32(end: u32, key: u64) -> u32 {
    (u64::from(end).wrapping_sub(key) >> 63) as u32
}

/// 2^64 over the golden ratio, odd: multiplying by it spreads numbers that differ little.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The same number, hidden from the compiler's analysis.
#[inline(always)]
pub(crate) fn opaque(number: u64) -> u64 {
    core::hint::black_box(number)
}

/// 1 for 0, and 0 for every other number below 2^63; no branch, as in [`below_32`].
#[inline(always)]
pub(crate) fn is_zero(number: u64) -> u64 {
    opaque(number).wrapping_sub(1) >> 63
}

/// 1 if `end < key`: the borrow of `end - key` (Hacker's Delight, section 2-13).
#[inline(always)]
fn below_64(end: u64, key: u64) -> u32 {
    (((!end & key) | ((!end | key) & end.wrapping_sub(key))) >> 63) as u32
}

/// Number of the words `first..=last` of `line` that are below `key`.
#[inline(always)]
fn rank_32<const FIRST: usize, const COUNT: usize>(line: &Line, key: u64) -> u32 {
    let mut rank = 0;
    let mut index = FIRST;
    while index < FIRST + COUNT {
        rank += below_32(line.word(index).unwrap_or(u32::MAX), key);
        index += 1;
    }
    rank
}

#[inline(always)]
fn rank_64<const FIRST: usize, const COUNT: usize>(line: &Line, key: u64) -> u32 {
    let mut rank = 0;
    let mut index = FIRST;
    while index < FIRST + COUNT {
        rank += below_64(line.0.get(index).copied().unwrap_or(u64::MAX), key);
        index += 1;
    }
    rank
}

/// Follows `depth` inner lines from `number` and reads the leaf.
#[inline(always)]
fn descend_32<const MAX: u32, L: Lines + ?Sized>(
    lines: &L,
    mut number: u32,
    depth: u32,
    key: u64,
) -> Result<Word, Corrupt> {
    let mut level = 0;
    while level < MAX {
        if level < depth {
            let line = fetch(lines, number)?;
            let child = line.word(0).ok_or(Corrupt)?;
            number = child.wrapping_add(rank_32::<1, INNER_32>(line, key));
        }
        level += 1;
    }
    let leaf = fetch(lines, number)?;
    let rank = rank_32::<0, LEAF_32>(leaf, key);
    leaf.word(LEAF_32 + (rank as usize & (LEAF_32 - 1))).map(Word).ok_or(Corrupt)
}

/// Looks a 32-bit key up in the tree that `word` names; other kinds of word are the answer.
#[inline(always)]
pub fn look_up_32<L: Lines + ?Sized>(lines: &L, word: Word, key: u32) -> Result<Word, Corrupt> {
    bounded_32::<MAX_DEPTH_32, L>(lines, word, key)
}

/// The same in a tree with at most `MAX` inner levels: a deeper one is [`Corrupt`].
#[inline(always)]
fn bounded_32<const MAX: u32, L: Lines + ?Sized>(
    lines: &L,
    word: Word,
    key: u32,
) -> Result<Word, Corrupt> {
    let depth = word.kind().wrapping_sub(kind::TREE_32);
    if depth > MAX_DEPTH_32 {
        return Ok(word);
    }
    if depth > MAX {
        return Err(Corrupt);
    }
    descend_32::<MAX, L>(lines, word.payload(), depth, opaque(u64::from(key)))
}

/// Looks a 64-bit key up in the tree that `word` names; other kinds of word are the answer.
#[inline(always)]
pub fn look_up_64<L: Lines + ?Sized>(lines: &L, word: Word, key: u64) -> Result<Word, Corrupt> {
    lines.tree_64(word, key)
}

/// [`look_up_64`] itself, for [`Lines::tree_64`].
#[inline(always)]
pub fn walk_64<L: Lines + ?Sized>(lines: &L, word: Word, key: u64) -> Result<Word, Corrupt> {
    bounded_64::<MAX_DEPTH_64, L>(lines, word, key)
}

/// The same in a tree with at most `MAX` inner levels: a deeper one is [`Corrupt`].
#[inline(always)]
fn bounded_64<const MAX: u32, L: Lines + ?Sized>(
    lines: &L,
    word: Word,
    key: u64,
) -> Result<Word, Corrupt> {
    let depth = word.kind().wrapping_sub(kind::TREE_64);
    if depth > MAX_DEPTH_64 {
        return Ok(word);
    }
    if depth > MAX {
        return Err(Corrupt);
    }
    let mut number = word.payload();
    let mut level = 0;
    while level < MAX {
        if level < depth {
            let line = fetch(lines, number)?;
            let child = line.word(0).ok_or(Corrupt)?;
            number = child.wrapping_add(rank_64::<1, INNER_64>(line, key));
        }
        level += 1;
    }
    let leaf = fetch(lines, number)?;
    let rank = rank_64::<0, LEAF_64>(leaf, key) as usize;
    // A key above the last end of a leaf cannot occur here; the last slot would answer.
    let slot = if rank < LEAF_64 { rank } else { LEAF_64 - 1 };
    leaf.word(2 * LEAF_64 + slot).map(Word).ok_or(Corrupt)
}

/// Looks an IPv6 address up: the upper half and, if that is not enough, the lower half.
#[inline(always)]
pub fn look_up_128<L: Lines + ?Sized>(
    lines: &L,
    word: Word,
    high: u64,
    low: u64,
) -> Result<Word, Corrupt> {
    let word = look_up_64(lines, word, high)?;
    look_up_64(lines, word, low)
}

/// The hashes that select a key's two candidate lines in a table.
#[inline(always)]
pub const fn bucket_hashes(key: u64) -> (u32, u32) {
    // Fibonacci hashing; packets never insert, so the constant need not be secret.
    let mixed = (key ^ key >> 23).wrapping_mul(GOLDEN);
    ((mixed >> 40) as u32, (mixed >> 16) as u32)
}

/// Looks up the value of a 48-bit key in a small table. The key is nearly always the same.
#[inline(always)]
pub fn look_up_usual<L: Lines + ?Sized>(
    lines: &L,
    first: u32,
    mask: u32,
    key: u64,
) -> Result<Option<u16>, Corrupt> {
    let (one, two) = bucket_hashes(key);
    let line = fetch(lines, first.wrapping_add(one & mask))?;
    let mut slot = 0;
    while slot < 8 {
        let entry = line.0.get(slot).copied().unwrap_or(0);
        if entry >> 16 == key {
            return Ok((entry != 0).then_some(entry as u16));
        }
        slot += 1;
    }
    let (entry, _) = in_bucket(fetch(lines, first.wrapping_add(two & mask))?, key);
    Ok((entry != 0).then_some(entry as u16))
}

/// Looks a 48-bit key up in a table: its value and slot number.
///
/// A key is in its second line only if its first one is full.
#[inline(always)]
pub fn look_up_exact<L: Lines + ?Sized>(
    lines: &L,
    first: u32,
    mask: u32,
    key: u64,
) -> Result<Option<(u16, u32)>, Corrupt> {
    let (one, two) = bucket_hashes(key);
    let mut bucket = one & mask;
    let mut line = fetch(lines, first.wrapping_add(bucket))?;
    let mut found = in_bucket(line, key);
    let [.., last] = line.0;
    if found.0 == 0 && last != 0 {
        bucket = two & mask;
        line = fetch(lines, first.wrapping_add(bucket))?;
        found = in_bucket(line, key);
    }
    let (entry, slot) = found;
    // An empty entry is 0: the all-zero key is not in any table.
    Ok((entry != 0).then_some((entry as u16, bucket * 8 + slot)))
}

/// The entry of a key and its position; 0 and 8 if there is none.
///
/// No branches: the position is unpredictable, and this is one path for the verifier. The position is counted and not
/// masked: at `0 or -1 & constant` Linux 6.18 follows both values.
#[inline(always)]
fn in_bucket(line: &Line, key: u64) -> (u64, u32) {
    let key = opaque(key);
    let (mut found, mut place, mut missing) = (0, 0, 1);
    let mut slot = 0;
    while slot < 8 {
        let entry = line.0.get(slot as usize).copied().unwrap_or(0);
        let differs = entry >> 16 ^ key;
        // 1 if equal: a key has 48 bits.
        let is = opaque(differs.wrapping_sub(1) >> 63);
        found |= entry & is.wrapping_neg();
        missing &= is ^ 1;
        place += missing as u32;
        slot += 1;
    }
    (found, place)
}

/// Looks a 32-bit key up in the tree whose [`top`] is line `number`.
#[inline(always)]
pub fn look_up_top<L: Lines + ?Sized>(lines: &L, number: u32, key: u32) -> Result<Word, Corrupt> {
    bounded_top::<MAX_DEPTH_TOP, L>(lines, number, key)
}

#[inline(always)]
fn bounded_top<const MAX: u32, L: Lines + ?Sized>(
    lines: &L,
    number: u32,
    key: u32,
) -> Result<Word, Corrupt> {
    let line = fetch(lines, number)?;
    let depth = line.word(top::DEPTH).ok_or(Corrupt)?;
    if depth == ABSENT {
        return Ok(Word::NONE);
    }
    let child = line.word(top::CHILD).ok_or(Corrupt)?;
    let key = opaque(u64::from(key));
    let rank = rank_32::<{ top::ENDS }, TOP_ENDS>(line, key);
    if depth > MAX {
        return Err(Corrupt);
    }
    descend_32::<MAX, L>(lines, child.wrapping_add(rank), depth, key)
}

/// Looks an IPv6 destination up in a group's descriptor.
#[inline(always)]
pub fn destination_v6<L: Lines + ?Sized>(
    lines: &L,
    number: u32,
    high: u64,
    low: u64,
) -> Result<Word, Corrupt> {
    let word = fetch(lines, number)?.word(top::V6).map(Word).ok_or(Corrupt)?;
    look_up_128(lines, word, high, low)
}

/// Looks an IPv4 destination and a service up in the descriptor of live rules.
#[inline(always)]
pub fn live_v4<L: Lines + ?Sized>(
    lines: &L,
    number: u32,
    key: u32,
    service: u32,
) -> Result<Word, Corrupt> {
    let word = bounded_top::<MAX_DEPTH_LIVE, L>(lines, number, key)?;
    bounded_32::<MAX_DEPTH_LIVE, L>(lines, word, service)
}

/// The same for IPv6.
#[inline(always)]
pub fn live_v6<L: Lines + ?Sized>(
    lines: &L,
    number: u32,
    (high, low): (u64, u64),
    service: u32,
) -> Result<Word, Corrupt> {
    let word = fetch(lines, number)?.word(top::V6).map(Word).ok_or(Corrupt)?;
    let word = bounded_64::<MAX_DEPTH_LIVE_64, L>(lines, word, high)?;
    let word = bounded_64::<MAX_DEPTH_LIVE_64, L>(lines, word, low)?;
    bounded_32::<MAX_DEPTH_LIVE, L>(lines, word, service)
}

/// Reads a group's entry.
#[inline(always)]
pub fn group_entry<L: Lines + ?Sized>(
    lines: &L,
    groups: u32,
    count: u32,
    group: u32,
) -> Result<GroupEntry, Corrupt> {
    if group >= count {
        return Err(Corrupt);
    }
    // In one piece, so that mode and descriptor belong together.
    lines.entry(groups.wrapping_add(group >> 3), group).map(GroupEntry).ok_or(Corrupt)
}

/// Reads one of the 64-bit numbers of an index that starts at line `first`.
#[inline(always)]
pub fn index_64<L: Lines + ?Sized>(lines: &L, first: u32, number: u32) -> Result<u64, Corrupt> {
    let line = fetch(lines, first.wrapping_add(number >> 3))?;
    line.0.get((number & 7) as usize).copied().ok_or(Corrupt)
}

/// Whether `vlan` is in the bitmap that starts at `first`.
#[inline(always)]
pub fn declares_vlan<L: Lines + ?Sized>(lines: &L, first: u32, vlan: u16) -> Result<bool, Corrupt> {
    if first == ABSENT {
        return Ok(false);
    }
    let vlan = u32::from(vlan);
    let line = fetch(lines, first.wrapping_add(vlan >> 9 & 7))?;
    let bits = line.0.get((vlan >> 6 & 7) as usize).ok_or(Corrupt)?;
    Ok(bits >> (vlan & 63) & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_free_comparisons_are_right_at_the_edges() {
        let edges = [0u64, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
        for &a in &edges {
            for &b in &edges {
                assert_eq!(below_32(a as u32, b), u32::from(a < b), "{a} {b}");
                let (wide_a, wide_b) = (a << 32 | a, b << 32 | b);
                assert_eq!(below_64(wide_a, wide_b), u32::from(wide_a < wide_b));
            }
        }
    }

    #[test]
    fn a_number_outside_the_image_is_corrupt() {
        let lines: &[Line] = &[Line::default()];
        assert_eq!(look_up_32(lines, Word::new(kind::TREE_32, 1), 0), Err(Corrupt));
        assert_eq!(look_up_64(lines, Word::new(kind::TREE_64 + 7, 9), 0), Err(Corrupt));
        assert_eq!(group_entry(lines, 0, 8, 8), Err(Corrupt));
        assert_eq!(look_up_exact(lines, ABSENT, 0, 1), Err(Corrupt));
    }

    #[test]
    fn words_keep_kind_and_payload() {
        let word = Word::new(kind::TREE_64 + 7, Word::MAX_PAYLOAD);
        assert_eq!((word.kind(), word.payload()), (15, Word::MAX_PAYLOAD));
    }
}
