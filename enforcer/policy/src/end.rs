//! When rules and modes end.

use enforcer_common::image::clock;

use crate::image::Time;

/// When a rule or a mode ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In seconds since 1970-01-01 UTC: an end given as a date.
    Wall(i64),
    /// In seconds since boot, including suspend: an end given as a duration. Steps of the wall clock do not
    /// affect it.
    Boot(i64),
}

impl End {
    /// The date, if the end is one.
    pub fn wall(self) -> Option<i64> {
        match self {
            Self::Wall(end) => Some(end),
            Self::Boot(_) => None,
        }
    }

    /// Whether the end has been reached. For a `held` end this must be certain, because a wrong clock must
    /// not end a restriction early. For any other end it is enough that it is possible.
    pub fn has_come(self, now: Time, held: bool) -> bool {
        match self {
            Self::Wall(end) if held => end <= now.earliest,
            Self::Wall(end) => end <= now.latest,
            Self::Boot(end) => end <= now.boot,
        }
    }

    /// The end's [clock] in an image, and the seconds on that clock.
    pub fn in_image(self, held: bool) -> (u64, u64) {
        let (clock, end) = match self {
            Self::Wall(end) if held => (clock::HELD, end),
            Self::Wall(end) => (clock::WALL, end),
            Self::Boot(end) => (clock::BOOT, end),
        };
        (clock, u64::try_from(end).unwrap_or(0))
    }
}
