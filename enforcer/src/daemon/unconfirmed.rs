//! A policy that returns to the one before unless it is confirmed.

use std::sync::Arc;

use jiff::Timestamp;

use super::active::Active;
use crate::clock::boot_clock;
use crate::events::Time;
use crate::policy::Change;

/// An active policy that is not confirmed yet.
pub(super) struct Unconfirmed {
    /// The policy that returns unless this one is confirmed.
    pub(super) previous: Arc<Active>,
    /// When it returns, in nanoseconds on the boot clock.
    pub(super) deadline: u64,
    /// The same as a date, for display.
    pub(super) at: Timestamp,
    /// The differences between the two, for the history.
    pub(super) changes: Vec<Change>,
}

impl Unconfirmed {
    /// When the previous policy returns, RFC 3339.
    pub(super) fn until(&self) -> String {
        Time::from(self.at).to_string()
    }

    pub(super) fn is_overdue(&self) -> bool {
        boot_clock() >= self.deadline
    }
}
