//! The entry about removed entries.

use serde::{Deserialize, Serialize};

use super::{Action, Entry, Who};

/// Entries that were removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgot {
    /// Number of the first one.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
    /// When the first one was written, RFC 3339, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When the last one was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// SHA-256 of the last one: the first remaining entry has it as its `previous`.
    pub hash: String,
}

impl Entry {
    /// An entry about entries that were removed.
    pub(super) fn forgot(forgot: Forgot) -> Self {
        let Forgot { first, last, from, to, .. } = &forgot;
        let text = match (from, to) {
            (Some(from), Some(to)) => {
                format!("entries {first} to {last}, of {from} to {to}: older than `audit_keep`")
            }
            _ => format!("entries {first} to {last}, removed by an earlier version"),
        };
        Self { forgot: Some(forgot), ..Self::new(Who::Daemon, Action::Forgot).about(text) }
    }
}
