//! Changes by command, beside the policy file.

use serde::{Deserialize, Serialize};

/// A change that is in force, or was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LiveChange {
    /// Stable id, from the content: `l-` for rules, `m-` for modes.
    #[serde(default)]
    pub id: String,
    /// Group, named device, MAC address or address.
    pub target: String,
    /// What it does.
    #[serde(flatten)]
    pub action: LiveAction,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it ends, in seconds since 1970-01-01 UTC; of one for a time an answer says it by the clock
    /// of the machine, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// For how many seconds it was asked for, instead of `until`: they pass by the boot clock, whatever
    /// becomes of the wall clock.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<u64>,
    /// When they are over, in seconds on the boot clock: the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// How many of them are left, in an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// When it was made, in the same seconds.
    #[serde(default)]
    pub since: i64,
    /// Who made it.
    #[serde(default)]
    pub by: String,
}

impl LiveChange {
    /// What a client asks for: without reason, owner and end.
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
    /// One more allow rule.
    Allow(Endpoint),
    /// One more deny rule.
    Deny(Endpoint),
    /// Another mode for a group.
    Mode {
        /// The mode.
        mode: Mode,
    },
}

/// The remote end of a live rule, as the operator wrote it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Endpoint {
    /// As `to` in a policy.
    pub to: String,
    /// As `service` in a policy.
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
    /// All but the essentials is dropped.
    Quarantine,
}

/// A change to what is in force, beside the policy file. `POST /v1/live`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LiveRequest {
    /// The change; `id`, `since` and `by` are the daemon's to fill in.
    #[serde(flatten)]
    pub change: LiveChange,
    /// What must not be cut off.
    #[serde(flatten)]
    pub guard: Guard,
}

/// The answer to a live change, made or revoked.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct LiveReport {
    /// The change that was made, or the one that was revoked.
    pub change: LiveChange,
    /// Generation in force after the call.
    pub generation: u64,
    /// What the operator should know: a deny rule that still wins, say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Milliseconds from the request to the change being in force.
    pub milliseconds: f64,
}

/// What a request must not cut off. The body of `POST /v1/rollback` and `DELETE /v1/live/ID`, where
/// none means nothing.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Guard {
    /// Do it even if it cuts the operator's own session off.
    #[serde(default)]
    pub force: bool,
    /// The operator's own session.
    #[serde(default)]
    pub session: Option<Session>,
}

/// A remote session that must not be cut off, seen from the gateway.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Session {
    /// Where the operator sits.
    pub peer: std::net::SocketAddr,
    /// Where the session ends on the gateway.
    pub local: std::net::SocketAddr,
}
