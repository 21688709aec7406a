//! What is enforced, as the socket tells it.

use serde::{Deserialize, Serialize};

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// Whether every protected interface is enforcing, as the kernel says.
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
    /// Frames since the pinned counters were made, by reason.
    pub reasons: Vec<ReasonCount>,
    /// Groups and their modes.
    pub groups: Vec<GroupStatus>,
    /// Changes beside the policy file, in force now.
    #[serde(default)]
    pub live: Vec<crate::LiveChange>,
    /// When the policy before returns unless the one in force is confirmed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_until: Option<String>,
    /// What needs the operator's attention, in sentences.
    pub warnings: Vec<String>,
}

/// The policy part of [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct PolicyStatus {
    /// File as the operator named it.
    pub file: String,
    /// Revision: counts applied policies.
    pub revision: u64,
    /// Generation in the kernel.
    pub generation: u64,
    /// SHA-256 of document and set files, hexadecimal.
    pub digest: String,
    /// When it came into force, RFC 3339.
    pub since: String,
    /// Groups, named devices, rules and ranges in it.
    pub groups: usize,
    /// Named devices.
    pub devices: usize,
    /// Rules.
    pub rules: usize,
    /// Size of the image in bytes.
    pub image_bytes: u64,
}

/// One protected interface in [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct InterfaceStatus {
    /// Name.
    pub name: String,
    /// Kernel index; 0 when the interface is gone.
    pub index: u32,
    /// `native`, `generic` or `none`, as the kernel says.
    pub mode: String,
    /// Whether what arrives is judged: the attached program is ours, as the kernel says, and nothing speaks
    /// against it that the driver runs it (see `proof`).
    pub enforcing: bool,
    /// What the backstop does with what is forwarded from it, as the kernel says: `armed` lets it
    /// through, `shut` drops it, `absent` does not look.
    #[serde(default)]
    pub backstop: String,
    /// Whether the driver runs the program: `seen`; `idle` while nothing has arrived; `doubted` and
    /// `refuted` if frames arrive without a run; `none` without a program.
    #[serde(default)]
    pub proof: String,
    /// Frames that the interface has received, by the driver's statistics, at the last look.
    #[serde(default)]
    pub received: u64,
    /// Runs of the program for frames of the interface since the pins were made.
    #[serde(default)]
    pub runs: u64,
    /// Why not, or what to know (generic mode, say).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One reason's counters.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ReasonCount {
    /// Name of the reason.
    pub reason: String,
    /// `pass`, `drop`.
    pub verdict: String,
    /// The reason in words.
    pub text: String,
    /// Frames with this outcome.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that passed only because the group is observed.
    pub would_drop: u64,
    /// Events suppressed by a budget.
    pub suppressed: u64,
    /// Events that the ring could not take.
    pub lost: u64,
}

/// One group in [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct GroupStatus {
    /// Name.
    pub name: String,
    /// `enforce`, `observe` or `quarantine`.
    pub mode: String,
    /// When the mode ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How many seconds are left, of a mode for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// `drop` or `pass`.
    pub default: String,
    /// Members in its definition.
    pub members: usize,
    /// Rules.
    pub rules: usize,
}
