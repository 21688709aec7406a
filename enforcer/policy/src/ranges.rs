//! The ranges of a set, stored by family: a set may have a million of them, and an IPv4 range takes 8 bytes
//! this way instead of the 48 of a [`Range`].

use super::Range;

/// Ranges as written: unsorted, possibly nested and overlapping. IPv4 ranges come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    /// Adds a range.
    pub fn push(&mut self, range: Range) {
        match range {
            Range::V4(first, last) => self.v4.push((first, last)),
            Range::V6(first, last) => self.v6.push((first, last)),
        }
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        self.v4.shrink_to_fit();
        self.v6.shrink_to_fit();
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there are no ranges.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over the ranges.
    pub fn iter(&self) -> impl Iterator<Item = Range> + Clone {
        let v4 = self.v4.iter().map(|&(first, last)| Range::V4(first, last));
        v4.chain(self.v6.iter().map(|&(first, last)| Range::V6(first, last)))
    }
}

impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut all = Self::default();
        ranges.into_iter().for_each(|range| all.push(range));
        all
    }
}
