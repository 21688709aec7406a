//! Live changes: changes made by command, in addition to the policy file.

use serde::{Deserialize, Serialize};

/// A live change, requested or in force.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LiveChange {
    /// Stable id, derived from the content: `l-` for rules, `m-` for modes.
    #[serde(default)]
    pub id: String,
    /// Group, device name, MAC address or IP address.
    pub target: String,
    /// What the change does.
    #[serde(flatten)]
    pub action: LiveAction,
    /// Why the change is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who is responsible for the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When the change ends, in seconds since 1970-01-01 UTC. For a change with `for`, an answer gives the
    /// expected end by the machine's clock, for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Requested duration in seconds, instead of `until`. It is counted by the boot clock, so that setting
    /// the wall clock does not affect it.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<u64>,
    /// End of a change with `for`, in seconds on the boot clock. Internal to the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// Seconds that are left of a change with `for`; only in answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// When the change was made, in seconds since 1970-01-01 UTC.
    #[serde(default)]
    pub since: i64,
    /// Who made the change.
    #[serde(default)]
    pub by: String,
}

impl LiveChange {
    /// A request without reason, owner and end.
    pub fn new(target: impl Into<String>, action: LiveAction) -> Self {
        Self {
            id: String::new(),
            target: target.into(),
            action,
            reason: None,
            owner: None,
            until: None,
            lasts: None,
            deadline: None,
            left: None,
            since: 0,
            by: String::new(),
        }
    }
}

/// What a [`LiveChange`] does.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum LiveAction {
    /// Adds an allow rule.
    Allow(Endpoint),
    /// Adds a deny rule.
    Deny(Endpoint),
    /// Adds an accept rule; `to` is who may open something.
    Accept(Endpoint),
    /// Adds a refuse rule; `to` is who may not send it.
    Refuse(Endpoint),
    /// Sets the mode of a group.
    Mode {
        /// The mode.
        mode: Mode,
    },
}

/// The remote end of a live rule, as the operator wrote it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Endpoint {
    /// Same syntax as `to` in a policy.
    pub to: String,
    /// Same syntax as `service` in a policy.
    pub service: String,
}

/// What happens to the frames that a group's decision would drop.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are dropped.
    Enforce,
    /// They pass; the event says `would-drop`.
    Observe,
    /// All frames are dropped except the essentials.
    Quarantine,
}

/// `POST /v1/live`: makes a live change.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LiveRequest {
    /// The change. The daemon fills in `id`, `since` and `by`.
    #[serde(flatten)]
    pub change: LiveChange,
    /// Protection of the operator's own session.
    #[serde(flatten)]
    pub guard: Guard,
}

/// The answer to a live change, made or revoked.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct LiveReport {
    /// The change that was made or revoked.
    pub change: LiveChange,
    /// Generation in force after the call.
    pub generation: u64,
    /// Remarks for the operator, for example that a deny rule still takes precedence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Milliseconds from the request until the change was in force.
    pub milliseconds: f64,
}

/// Protection of the operator's own session. Body of `POST /v1/rollback` and `DELETE /v1/live/ID`; without
/// a body, nothing is protected.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Guard {
    /// Make the change even if it cuts off the operator's own session.
    #[serde(default)]
    pub force: bool,
    /// The operator's own session.
    #[serde(default)]
    pub session: Option<Session>,
}

/// A remote session that must not be cut off, as the gateway sees it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Session {
    /// The operator's end of the session.
    pub peer: std::net::SocketAddr,
    /// The gateway's end of the session.
    pub local: std::net::SocketAddr,
}
