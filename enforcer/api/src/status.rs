//! The daemon's status.

use serde::{Deserialize, Serialize};

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// Whether every protected interface is enforcing, according to the kernel.
    pub enforcing: bool,
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// When the daemon started, RFC 3339.
    pub started: String,
    /// The policy in force.
    pub policy: PolicyStatus,
    /// The protected interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Frames by reason, since the pinned counters were created.
    pub reasons: Vec<ReasonCount>,
    /// Groups and their modes.
    pub groups: Vec<GroupStatus>,
    /// Live changes that are in force.
    #[serde(default)]
    pub live: Vec<crate::LiveChange>,
    /// When the previous policy returns unless the present one is confirmed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_until: Option<String>,
    /// What needs the operator's attention, in full sentences.
    pub warnings: Vec<String>,
}

/// The policy part of [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct PolicyStatus {
    /// File name as the operator gave it.
    pub file: String,
    /// Revision: counts applied policies.
    pub revision: u64,
    /// Generation in the kernel.
    pub generation: u64,
    /// SHA-256 of the document and the set files, hexadecimal.
    pub digest: String,
    /// When the policy came into force, RFC 3339.
    pub since: String,
    /// Number of groups.
    pub groups: usize,
    /// Number of named devices.
    pub devices: usize,
    /// Number of rules.
    pub rules: usize,
    /// Size of the image in bytes.
    pub image_bytes: u64,
}

/// One protected interface in [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct InterfaceStatus {
    /// Name of the interface.
    pub name: String,
    /// Kernel index; 0 when the interface is gone.
    pub index: u32,
    /// XDP mode according to the kernel: `native`, `generic` or `none`.
    pub mode: String,
    /// Whether arriving frames are judged: according to the kernel the attached program is ours, and
    /// nothing indicates that the driver does not run it (see `proof`). If the policy refuses frames towards
    /// devices, whether these are judged too (see `transmit`).
    pub enforcing: bool,
    /// What the backstop does with frames forwarded from this interface, according to the kernel: `armed`
    /// lets them through, `shut` drops them, `absent` does not check them.
    #[serde(default)]
    pub backstop: String,
    /// Whether the driver runs the program: `seen`; `idle` while no frame has arrived; `doubted` or
    /// `refuted` if frames arrive and the program does not run; `none` without a program.
    #[serde(default)]
    pub proof: String,
    /// Frames that the interface had received at the last check, according to the driver's statistics.
    #[serde(default)]
    pub received: u64,
    /// Runs of the program for frames of the interface, since the pins were created.
    #[serde(default)]
    pub runs: u64,
    /// Whether a program judges what leaves by the interface towards devices: `attached` or `missing`; absent if the
    /// policy has no rules for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transmit: Option<String>,
    /// Why the interface is not enforcing, or a remark (on generic mode, for example).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Counters of one reason.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ReasonCount {
    /// Name of the reason.
    pub reason: String,
    /// `pass` or `drop`.
    pub verdict: String,
    /// The reason in words.
    pub text: String,
    /// Frames with this reason.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Frames that passed only because their group is in mode `observe`.
    pub would_drop: u64,
    /// Events suppressed by a rate limit.
    pub suppressed: u64,
    /// Events lost because the ring buffer was full.
    pub lost: u64,
}

/// One group in [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct GroupStatus {
    /// Name of the group.
    pub name: String,
    /// `enforce`, `observe` or `quarantine`.
    pub mode: String,
    /// When the mode ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Seconds that are left, for a mode with a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// `drop` or `pass`.
    pub default: String,
    /// `drop` or `pass`: the verdict on what is sent to the members.
    #[serde(default)]
    pub inbound: String,
    /// Number of members in the group's definition.
    pub members: usize,
    /// Number of rules.
    pub rules: usize,
}
