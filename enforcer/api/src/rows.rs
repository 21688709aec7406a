//! Rows of lists: devices, flows, rules and revisions.

use serde::{Deserialize, Serialize};

use crate::Change;

/// A row of `GET /v1/devices`: a device that the policy names or that was seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct DeviceRow {
    /// Device name, if it has one.
    pub device: Option<String>,
    /// MAC address, if known.
    pub mac: Option<String>,
    /// Last source address that was seen, else the addresses bound in the policy.
    pub ip: Option<String>,
    /// Group of the device.
    pub group: String,
    /// Mode of the group.
    pub mode: String,
    /// Dropped frames since the daemon first saw the device, with and without an event.
    pub dropped: u64,
    /// The same count for frames that would have been dropped.
    pub would_drop: u64,
    /// Time of the last event, RFC 3339.
    pub last_seen: Option<String>,
    /// Last refused destination, e.g. `202.114.4.119 tcp/515`.
    pub last_destination: Option<String>,
}

/// `GET /v1/flows`: what others have opened towards devices.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct FlowList {
    /// The flows, those of each device together.
    pub flows: Vec<FlowRow>,
    /// Flows that found no room in the kernel's table, since it was made.
    pub full: u64,
}

/// A flow that was opened towards a device.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct FlowRow {
    /// Device name, if it has one.
    pub device: Option<String>,
    /// MAC address of the device.
    pub mac: String,
    /// Address of the device.
    pub ip: String,
    /// Interface that the device is behind.
    pub interface: String,
    /// Group of the device.
    pub group: String,
    /// Service of the device, e.g. `tcp/22` or `icmp`.
    pub service: String,
    /// Address of the other end.
    pub peer: String,
    /// Port of the other end, if the protocol has ports.
    pub peer_port: Option<u16>,
    /// Accept rule that covers it; none if the policy in force has no such rule any more.
    pub rule: Option<String>,
    /// Seconds since it was opened.
    pub age: u64,
    /// Seconds since the last frame of the other end.
    pub idle: u64,
    /// Whether the device has answered.
    pub answered: bool,
    /// Frames towards the device.
    pub frames_to: u64,
    /// Bytes of these frames.
    pub bytes_to: u64,
    /// Frames from the device.
    pub frames_from: u64,
    /// Bytes of these frames.
    pub bytes_from: u64,
}

/// A row of `GET /v1/rules`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RuleRow {
    /// Stable id.
    pub id: String,
    /// Group of the rule.
    pub group: String,
    /// `allow`, `deny`, `accept` or `refuse`.
    pub action: String,
    /// Remote end, as written: of an accept or refuse rule, who sends to the device.
    pub to: String,
    /// Services, as written.
    pub service: String,
    /// Why the rule exists.
    pub reason: Option<String>,
    /// Who is responsible for the rule.
    pub owner: Option<String>,
    /// When the rule ends, RFC 3339.
    pub until: Option<String>,
    /// Seconds that are left, for a rule with a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Frames that the rule decided; kept across policy changes.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// File and line, or the user who made the rule by command.
    pub place: String,
    /// Whether the rule was made by command and is not in the policy file.
    #[serde(default)]
    pub live: bool,
}

/// A row of `GET /v1/history`: a revision or a live change. The oldest comes first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct HistoryRow {
    /// Number of the revision.
    pub revision: u64,
    /// Whether the revision is in force.
    pub in_force: bool,
    /// When it came into force, RFC 3339.
    pub since: String,
    /// Who put it in force.
    pub who: String,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// File name as the operator gave it.
    pub file: String,
    /// SHA-256 of the document and the set files, hexadecimal.
    pub digest: String,
    /// Number of differences from the previous revision that add something.
    pub added: usize,
    /// Number of differences that remove something.
    pub removed: usize,
    /// Number of differences that change something.
    pub changed: usize,
    /// The first 200 differences.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// For a live change: what was done. `revision` is then the revision that was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// Why only the number is known: the stored revision is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}
