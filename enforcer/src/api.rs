//! What travels over the unix socket, but for events: those are in [`crate::events::json`].
//!
//! Field names are a contract: scripts read them. Additions are fine, renames are not.

mod failure;
mod status;

use serde::{Deserialize, Serialize};

pub use failure::{ErrorCode, Failure};
pub use status::{GroupStatus, InterfaceStatus, PolicyStatus, ReasonCount, Status};

/// A problem in a policy, as `check --json` and a refused `apply` print it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ProblemReport {
    /// `error` or `warning`.
    pub severity: String,
    /// File as the operator named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A policy on its way to the daemon: the document and the files that its sets name, so that
/// what is in force never depends on files that change later. `PUT /v1/policy`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct PolicyBundle {
    /// The document's file name as the operator gave it.
    pub file: String,
    /// The document.
    pub text: String,
    /// Set files, by the name that the document uses.
    #[serde(default)]
    pub files: std::collections::BTreeMap<String, String>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Return to the policy before unless it is confirmed within so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
    /// Apply even if it cuts the operator's own session off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The operator's own session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// Why it is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A remote session that must not be cut off, seen from the gateway.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Session {
    /// Where the operator sits.
    pub peer: std::net::SocketAddr,
    /// Where the session ends on the gateway.
    pub local: std::net::SocketAddr,
}

/// A change to what is in force, beside the policy file. `POST /v1/live`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LiveRequest {
    /// The change; `id`, `since` and `by` are the daemon's to fill in.
    #[serde(flatten)]
    pub change: crate::policy::live::Change,
    /// What must not be cut off.
    #[serde(flatten)]
    pub guard: Guard,
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

/// The answer to a live change, made or revoked.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct LiveReport {
    /// The change that was made, or the one that was revoked.
    pub change: crate::policy::live::Change,
    /// Generation in force after the call.
    pub generation: u64,
    /// What the operator should know: a deny rule that still wins, say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Milliseconds from the request to the change being in force.
    pub milliseconds: f64,
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

/// The answer to `PUT /v1/policy`. HTTP status 200; 422 when `problems` has an error.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ApplyReport {
    /// Whether the new policy is in force.
    pub applied: bool,
    /// Revision in force after the call.
    pub revision: u64,
    /// Generation in force after the call.
    pub generation: u64,
    /// What differs from the policy that was in force before.
    pub changes: Vec<Change>,
    /// Every problem found.
    pub problems: Vec<ProblemReport>,
    /// Milliseconds from the request to the new policy being in force.
    pub milliseconds: f64,
    /// When the policy before returns unless this one is confirmed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_until: Option<String>,
}

/// One line of a difference between two policies.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Change {
    /// `+` added, `-` removed, `~` changed.
    pub sign: char,
    /// `group`, `device`, `member`, `allow`, `deny`, `mode`, `default`, `interface`, `unknown`, `essential`.
    pub kind: String,
    /// The group or device that it is about, if any.
    pub subject: Option<String>,
    /// In words, e.g. `tcp/443 to @update-servers (CHG-4711)`.
    pub text: String,
    /// Stable id of the rule, if it is about one.
    pub rule: Option<String>,
}

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

/// `POST /v1/explain`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExplainRequest {
    /// MAC, address or device name.
    pub from: String,
    /// MAC that the frame comes from, if `from` is none; what the gateway's neighbour table has if
    /// absent, else the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// `ADDR`, `ADDR:PORT` or `[ADDR]:PORT`.
    pub to: String,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6` or a number.
    pub proto: String,
    /// Interface that would receive the frame; the one where it was heard, else the device's own, else
    /// the first protected one, if absent.
    #[serde(default)]
    pub interface: Option<String>,
    /// VLAN id, if tagged; 0 for untagged. The one where it was heard, else the device's own, if
    /// absent.
    #[serde(default)]
    pub vlan: Option<u16>,
}

/// `POST /v1/explain/frames`: captured frames, in their order. The answer is a list of
/// [`Explanation`]s.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExplainFrames {
    /// The frames.
    pub frames: Vec<CapturedFrame>,
}

/// A frame of [`ExplainFrames`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Its first bytes, in base64; 512 of them from the Ethernet header on are always enough.
    pub packet: String,
    /// Its length in bytes, without FCS; as many as `packet` has if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// Interface that receives it; if absent the one on which its MAC was heard, else the first
    /// protected one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Type of its header, as captures number them: 1 (Ethernet) if absent, 113 and 276 (Linux
    /// cooked), 101, 228 and 229 (IP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
    /// Whether it arrived on the interface, or was sent from there; its MACs tell if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<bool>,
}

/// The answer to [`ExplainRequest`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Explanation {
    /// `pass`, `drop` or `would-drop`; `not-judged` of a captured frame that is not a device's, or of
    /// which the capture has too little.
    pub verdict: String,
    /// Name of the reason. Where nothing is judged: `outgoing`, `unprotected`, `capture-cut`,
    /// `capture-lacks`, `link-type` or `no-frame`.
    pub reason: String,
    /// The reason in words.
    pub text: String,
    /// `kernel` when the loaded program decided, `host` when the shared code did, `none` where nothing
    /// is judged; group and mode are empty then.
    pub decided_by: String,
    /// The frame in words.
    pub frame: String,
    /// What the request did not say and was assumed, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
    /// Device name, if it has one.
    pub device: Option<String>,
    /// Group.
    pub group: String,
    /// Mode of the group.
    pub mode: String,
    /// The deciding rule.
    pub rule: Option<RuleRow>,
    /// Rules of the group that nearly matched, each with what is missing.
    pub near_misses: Vec<NearMiss>,
    /// When the default dropped it: the smallest rule that would allow it, to paste into the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// What else may become of it, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A rule that nearly matched.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct NearMiss {
    /// The rule.
    pub rule: String,
    /// File and line.
    pub place: String,
    /// What it would take, in words.
    pub why: String,
}

/// The answer to `POST /v1/detach`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Detached {
    /// What was removed from the kernel, in words, e.g. `program on lan0`.
    pub removed: Vec<String>,
}
