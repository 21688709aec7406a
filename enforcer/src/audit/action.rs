//! What an entry of the audit trail is about.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The daemon started to enforce.
    Start,
    /// The daemon ended; what is in force stays in force.
    Stop,
    /// A policy was applied.
    Apply,
    /// The policy file was read again (SIGHUP).
    Reload,
    /// A live rule that allows.
    Allow,
    /// A live rule that denies.
    Deny,
    /// A live accept rule.
    Accept,
    /// A live refuse rule.
    Refuse,
    /// A live change was taken back.
    Revoke,
    /// The mode of a group.
    Mode,
    /// A change was confirmed in time.
    Confirm,
    /// An earlier revision was put in force.
    Rollback,
    /// Everything was removed from the kernel.
    Detach,
    /// A change was not confirmed: what was in force before returned.
    Returned,
    /// A live change came to its end.
    Ended,
    /// Another program changed the enforcing objects, or the trail itself.
    Tamper,
    /// A request was refused, because of who made it.
    Refused,
    /// The trail was damaged or cut, and continues.
    Recovered,
    /// Entries could not be kept.
    Lost,
    /// Entries that are older than the settings ask for were removed.
    Forgot,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
