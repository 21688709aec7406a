//! When rules and modes end.

use enforcer_common::image::clock;

use crate::image::Time;

/// When a rule or a mode ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In seconds since 1970-01-01 UTC: what was written as a date.
    Wall(i64),
    /// In seconds since boot, time asleep included: what was to last for some time. No step of the
    /// wall clock changes how long it lasts.
    Boot(i64),
}

impl End {
    /// The end as a date, if it is one.
    pub fn wall(self) -> Option<i64> {
        match self {
            Self::Wall(end) => Some(end),
            Self::Boot(_) => None,
        }
    }

    /// Whether it has come. One that is `held` has come when it certainly has: what drops frames
    /// must not end early because a clock is wrong. Any other has come when it may have.
    pub fn has_come(self, now: Time, held: bool) -> bool {
        match self {
            Self::Wall(end) if held => end <= now.earliest,
            Self::Wall(end) => end <= now.latest,
            Self::Boot(end) => end <= now.boot,
        }
    }

    /// Its [clock] in an image, and the seconds on that.
    pub fn in_image(self, held: bool) -> (u64, u64) {
        let (clock, end) = match self {
            Self::Wall(end) if held => (clock::HELD, end),
            Self::Wall(end) => (clock::WALL, end),
            Self::Boot(end) => (clock::BOOT, end),
        };
        (clock, u64::try_from(end).unwrap_or(0))
    }
}
