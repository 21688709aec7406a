//! What time it is, as far as it is known: pure.
//!
//! A gateway may boot in 1970, or a day ahead, and be put right in the middle of a shift. So its clock is
//! evidence, and what follows is two times: the earliest that it may be, and the latest. What drops
//! frames ends by the first, what lets them pass by the second. Both are the wall clock, while that
//! is known to be right.

use serde::{Deserialize, Serialize};

use crate::image::Time;

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;
/// 2026-01-01: it is later than that wherever this program runs.
const EARLIEST: i64 = 1_767_225_600 * SECOND;
/// What a trusted clock may go back: time stands still until it has caught up. One that goes back further
/// is wrong.
const BACK: i64 = 3_600 * SECOND;
/// What the clock of another boot may be behind without being wrong: a hardware clock counts seconds.
const COARSE: i64 = 2 * SECOND;
/// A step ahead that is worth a word.
const STEP: i64 = 60 * SECOND;

/// How the id of a boot begins where the kernel does not tell it: a start of the daemon counts as one.
pub(super) const MADE_UP: char = '?';

/// What the machine's clocks say, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Since 1970-01-01 UTC.
    pub(super) wall: i64,
    /// Since boot, time asleep included.
    pub(super) boot: i64,
    /// For how long this boot has been running: `boot`, but for tests, which cannot restart the machine.
    pub(super) uptime: i64,
    /// Whether the wall clock is known to be right: the kernel calls it synchronised, or the operator
    /// trusts it.
    pub(super) trusted: bool,
}

/// What is known of the time; kept on disk, so that a later boot knows it as well.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Known {
    /// Which boot `boot` belongs to; see [`MADE_UP`].
    pub(super) boot_id: String,
    /// When this was known, boot clock.
    pub(super) boot: i64,
    /// The earliest time that it may have been, in nanoseconds since 1970-01-01 UTC.
    earliest: i64,
    /// The latest time that the clock has ever shown.
    seen: i64,
    /// Whether the clock has been behind `seen` since boot: then nothing says how late it may be.
    held: bool,
}

/// What an operator should know of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It shows a time, so many nanoseconds before one that has been.
    Behind(i64),
    /// It went so many nanoseconds ahead at once, and nothing confirms that.
    Ahead(i64),
    /// Nothing says that it is right.
    Unsynchronised,
}

impl Known {
    /// Nothing but what every machine knows.
    pub(super) const NOTHING: Self =
        Self { boot_id: String::new(), boot: 0, earliest: EARLIEST, seen: EARLIEST, held: true };

    /// What is known after a look at the clocks of a boot, and what is to be said about them.
    pub(super) fn look(&self, boot_id: &str, now: Reading) -> (Self, Option<Doubt>) {
        let same = self.boot_id == boot_id && now.boot >= self.boot;
        let passed = match same {
            true => now.boot - self.boot,
            // It may be the same boot.
            false if boot_id.starts_with(MADE_UP) || self.boot_id.starts_with(MADE_UP) => 0,
            // Another boot is later, by at least the time for which it has been running.
            false => now.uptime,
        };
        let earliest = self.earliest.saturating_add(passed);
        let seen = self.seen.saturating_add(passed);
        let next = Self {
            boot_id: boot_id.to_owned(),
            boot: now.boot,
            earliest,
            seen,
            held: self.held || !same,
        };
        if now.trusted && now.wall >= earliest.saturating_sub(BACK) {
            let time = now.wall.max(self.earliest);
            return (Self { earliest: time, seen: time, held: false, ..next }, None);
        }
        if now.trusted || now.wall < seen.saturating_sub(COARSE) {
            return (next, Some(Doubt::Behind(seen.max(earliest) - now.wall)));
        }
        let step = now.wall - seen;
        let doubt = if same && step > STEP { Doubt::Ahead(step) } else { Doubt::Unsynchronised };
        (Self { seen: now.wall.max(seen), held: false, ..next }, Some(doubt))
    }

    /// What has to be added to the boot clock for the latest time and for the earliest one, in
    /// nanoseconds.
    pub(super) fn offsets(&self) -> (i64, i64) {
        let latest = if self.held { i64::MAX } else { self.seen.saturating_sub(self.boot) };
        (latest, self.earliest.saturating_sub(self.boot))
    }

    /// The time at a reading of the same boot's clock.
    pub(super) fn at(&self, boot: i64) -> Time {
        let (latest, earliest) = self.offsets();
        let seconds = |offset: i64| boot.saturating_add(offset) / SECOND;
        Time { earliest: seconds(earliest), latest: seconds(latest), boot: boot / SECOND }
    }

    /// Whether nothing says how late it may be.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// The latest time that is known to have been, in seconds since 1970-01-01 UTC.
    pub(super) fn last(&self) -> i64 {
        self.seen / SECOND
    }
}

/// What is left of a time that ends at `deadline`, in seconds on the boot clock of a boot whose last
/// known second was `last`; and when that is over in a boot whose clock says `now`.
pub(super) fn resumed(deadline: i64, last: i64, now: i64) -> i64 {
    now.saturating_add(deadline.saturating_sub(last).max(0))
}

#[cfg(test)]
mod tests;
