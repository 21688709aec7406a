//! The time of an event: a moment, and the local offset at that moment.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};

/// A moment with its offset from UTC. Its text is RFC 3339 with microseconds and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The moment.
    pub at: Timestamp,
    /// The offset of local time.
    pub offset: Offset,
}

impl Time {
    /// Now.
    pub fn now() -> Self {
        Timestamp::now().into()
    }

    /// The time of day, to the millisecond: `12:03:04.123`.
    pub fn of_day(self) -> String {
        self.zoned().strftime("%H:%M:%S%.3f").to_string()
    }

    /// Suricata's format: no colon in the offset.
    pub fn without_colon(self) -> String {
        self.zoned().strftime("%Y-%m-%dT%H:%M:%S%.6f%z").to_string()
    }

    fn zoned(self) -> jiff::ZonedDateTime {
        self.at.to_zoned_datetime(TimeZone::fixed(self.offset))
    }
}

/// The local offset at that moment.
impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self { at, offset: TimeZone::system().to_offset(at) }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.zoned().strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").fmt(f)
    }
}

impl FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let offset = Pieces::parse(text)?.to_numeric_offset().unwrap_or(Offset::UTC);
        Ok(Self { at: text.parse()?, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_stays() {
        let text = "2026-11-23T12:03:04.123456+01:00";
        let time: Time = text.parse().unwrap();
        assert_eq!(time.to_string(), text);
        assert_eq!(time.of_day(), "12:03:04.123");
        assert_eq!(time.without_colon(), "2026-11-23T12:03:04.123456+0100");
        let other: Time = "2026-11-23T11:03:04.1Z".parse().unwrap();
        assert_eq!(other.to_string(), "2026-11-23T11:03:04.100000+00:00");
        assert!("yesterday".parse::<Time>().is_err());
    }
}
