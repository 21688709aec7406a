//! Rows of the lists: devices, rules, revisions.

use serde::{Deserialize, Serialize};

use crate::Change;

/// `GET /v1/devices`: one line a device, named or seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct DeviceRow {
    /// Name, if it has one.
    pub device: Option<String>,
    /// MAC address, if known.
    pub mac: Option<String>,
    /// Last source address seen, or the bound ones.
    pub ip: Option<String>,
    /// Group.
    pub group: String,
    /// Mode of the group.
    pub mode: String,
    /// Dropped frames since the daemon knows it, with and without an event.
    pub dropped: u64,
    /// The same for frames that would have been dropped.
    pub would_drop: u64,
    /// Last event, RFC 3339.
    pub last_seen: Option<String>,
    /// Last refused destination, e.g. `202.114.4.119 tcp/515`.
    pub last_destination: Option<String>,
}

/// `GET /v1/rules`: one line a rule.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RuleRow {
    /// Stable id.
    pub id: String,
    /// Group.
    pub group: String,
    /// `allow` or `deny`.
    pub action: String,
    /// Remote end as written.
    pub to: String,
    /// Services as written.
    pub service: String,
    /// Why it is there.
    pub reason: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When it ends, RFC 3339.
    pub until: Option<String>,
    /// How many seconds are left, of a rule for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Frames that it decided, kept across policy changes.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// File and line, or who made it by command.
    pub place: String,
    /// Whether it was made by command and stands beside the policy file.
    #[serde(default)]
    pub live: bool,
}

/// `GET /v1/history`: one line a revision or live change, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct HistoryRow {
    /// Revision.
    pub revision: u64,
    /// Whether it is in force.
    pub in_force: bool,
    /// When it came into force, RFC 3339.
    pub since: String,
    /// Who put it in force.
    pub who: String,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// File as the operator named it.
    pub file: String,
    /// SHA-256 of document and set files, hexadecimal.
    pub digest: String,
    /// Lines of the difference from the revision before that add something.
    pub added: usize,
    /// That remove something.
    pub removed: usize,
    /// That change something.
    pub changed: usize,
    /// The first 200 of those lines.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Of a change by command, beside the policy file: what was done. `revision` is the one that it
    /// stands beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// Why nothing but the number is known: what is kept of it is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}
