//! Policies sent to the daemon, and the results.

use serde::{Deserialize, Serialize};

use crate::Session;

/// A problem in a policy, as `check --json` and a refused `apply` print it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ProblemReport {
    /// `error` or `warning`.
    pub severity: String,
    /// File name as the operator gave it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// `PUT /v1/policy`: the document and the files that its sets name. The files travel with it, so that the
/// active policy never depends on files that change later.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct PolicyBundle {
    /// The document's file name as the operator gave it.
    pub file: String,
    /// The document.
    pub text: String,
    /// Contents of the set files, by the name that the document uses.
    #[serde(default)]
    pub files: std::collections::BTreeMap<String, String>,
    /// Only report what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Restore the previous policy unless this one is confirmed within this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
    /// Apply even if it cuts off the operator's own session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The operator's own session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// Why the policy is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to `PUT /v1/policy`. HTTP status 200; 422 when `problems` has an error.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ApplyReport {
    /// Whether the new policy is in force.
    pub applied: bool,
    /// Revision in force after the call.
    pub revision: u64,
    /// Generation in force after the call.
    pub generation: u64,
    /// Differences from the policy that was in force before.
    pub changes: Vec<Change>,
    /// Every problem that was found.
    pub problems: Vec<ProblemReport>,
    /// Milliseconds from the request until the new policy was in force.
    pub milliseconds: f64,
    /// When the previous policy returns unless this one is confirmed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_until: Option<String>,
}

/// One difference between two policies.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Change {
    /// `+` added, `-` removed, `~` changed.
    pub sign: char,
    /// `group`, `device`, `member`, `allow`, `deny`, `mode`, `default`, `interface`, `unknown`, `essential`.
    pub kind: String,
    /// The group or device concerned, if any.
    pub subject: Option<String>,
    /// The difference in words, e.g. `tcp/443 to @update-servers (CHG-4711)`.
    pub text: String,
    /// Stable id of the rule, if the difference concerns one.
    pub rule: Option<String>,
}

/// The answer to `POST /v1/confirm` and `POST /v1/rollback`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Decided {
    /// Revision in force after the call.
    pub revision: u64,
    /// Generation in force after the call.
    pub generation: u64,
    /// What happened, in words.
    pub text: String,
}
