//! Limits of the present time, derived from clocks that may be wrong: pure.
//!
//! A gateway may boot in 1970 or a day ahead, and its clock may be corrected during operation. The clock is
//! therefore only evidence for two times: the earliest and the latest that it may be. Whatever drops frames
//! ends by the earliest time, whatever lets them pass by the latest. Both equal the wall clock while that
//! is known to be right.

use serde::{Deserialize, Serialize};

use crate::image::Time;

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;
/// 2026-01-01: the present is later than this wherever the program runs.
const EARLIEST: i64 = 1_767_225_600 * SECOND;
/// How far a trusted clock may be set back: the time stands still until the clock has caught up. A clock
/// that goes back further is wrong.
const BACK: i64 = 3_600 * SECOND;
/// How far the clock may be behind after a reboot without being wrong: a hardware clock counts seconds.
const COARSE: i64 = 2 * SECOND;
/// Smallest forward step that is reported.
const STEP: i64 = 60 * SECOND;

/// Prefix of a made-up boot id, for a kernel that does not report one: each start of the daemon then counts
/// as a boot.
pub(super) const MADE_UP: char = '?';

/// A reading of the machine's clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Since 1970-01-01 UTC.
    pub(super) wall: i64,
    /// Since boot, including suspend.
    pub(super) boot: i64,
    /// How long this boot has been running. Equals `boot` except in tests, which cannot restart the
    /// machine.
    pub(super) uptime: i64,
    /// Whether the wall clock is known to be right: the kernel reports it as synchronised, or the settings
    /// declare it trusted.
    pub(super) trusted: bool,
}

/// What is known of the time; stored on disk for later boots.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Known {
    /// The boot to which `boot` belongs; see [`MADE_UP`].
    pub(super) boot_id: String,
    /// When this was recorded, on the boot clock.
    pub(super) boot: i64,
    /// The earliest time that it may have been then, in nanoseconds since 1970-01-01 UTC.
    earliest: i64,
    /// The latest time that the clock has ever shown, in the same unit.
    seen: i64,
    /// Whether the clock has been behind `seen` since boot: the latest time is then unbounded.
    held: bool,
}

/// A problem of the clock that the operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The clock is behind an earlier reading by this many nanoseconds.
    Behind(i64),
    /// The clock jumped ahead by this many nanoseconds, and no source confirms it.
    Ahead(i64),
    /// No source confirms that the clock is right.
    Unsynchronised,
}

impl Known {
    /// What is known without any record.
    pub(super) const NOTHING: Self =
        Self { boot_id: String::new(), boot: 0, earliest: EARLIEST, seen: EARLIEST, held: true };

    /// Updates the record from a reading of a boot's clocks, and returns a problem to report.
    pub(super) fn look(&self, boot_id: &str, now: Reading) -> (Self, Option<Doubt>) {
        let same = self.boot_id == boot_id && now.boot >= self.boot;
        let passed = match same {
            true => now.boot - self.boot,
            // It may be the same boot.
            false if boot_id.starts_with(MADE_UP) || self.boot_id.starts_with(MADE_UP) => 0,
            // Another boot is later, by at least its uptime.
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

    /// Offsets from the boot clock to the latest and to the earliest time, in nanoseconds.
    pub(super) fn offsets(&self) -> (i64, i64) {
        let latest = if self.held { i64::MAX } else { self.seen.saturating_sub(self.boot) };
        (latest, self.earliest.saturating_sub(self.boot))
    }

    /// The time at a reading of the boot clock, in the same boot.
    pub(super) fn at(&self, boot: i64) -> Time {
        let (latest, earliest) = self.offsets();
        let seconds = |offset: i64| boot.saturating_add(offset) / SECOND;
        Time { earliest: seconds(earliest), latest: seconds(latest), boot: boot / SECOND }
    }

    /// Whether the latest time is unbounded.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// The latest time that is known to have passed, in seconds since 1970-01-01 UTC.
    pub(super) fn last(&self) -> i64 {
        self.seen / SECOND
    }
}

/// Converts a deadline to another boot. `deadline` and `last`, the last known second, are on the old boot's
/// clock; `now` and the result are on the new one's.
pub(super) fn resumed(deadline: i64, last: i64, now: i64) -> i64 {
    now.saturating_add(deadline.saturating_sub(last).max(0))
}

#[cfg(test)]
mod tests;
