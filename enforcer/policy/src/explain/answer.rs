//! What is asked about a flow, and what is said of it.

/// A flow in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// MAC, address or device name.
    pub from: String,
    /// MAC that the frame comes from, if `from` is none; what the gateway's neighbour table has if
    /// absent, else the policy's.
    pub mac: Option<String>,
    /// `ADDR`, `ADDR:PORT` or `[ADDR]:PORT`.
    pub to: String,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6` or a number.
    pub proto: String,
    /// Interface that would receive the frame; the one where it was heard, else the device's own, else
    /// the first protected one, if absent.
    pub interface: Option<String>,
    /// VLAN id, if tagged; 0 for untagged. The one where it was heard, else the device's own, if
    /// absent.
    pub vlan: Option<u16>,
}

/// What becomes of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// `pass`, `drop` or `would-drop`; `not-judged` of a captured frame that is not a device's, or of
    /// which the capture has too little.
    pub verdict: &'static str,
    /// Name of the reason. Where nothing is judged: `outgoing`, `unprotected`, `capture-cut`,
    /// `capture-lacks`, `link-type` or `no-frame`.
    pub reason: &'static str,
    /// The reason in words.
    pub text: String,
    /// `kernel` when the loaded program decided, `host` when the shared code did, `none` where nothing
    /// is judged; group and mode are empty then.
    pub decided_by: &'static str,
    /// The frame in words.
    pub frame: String,
    /// What the request did not say and was assumed, in words.
    pub assumed: Vec<String>,
    /// Device name, if it has one.
    pub device: Option<String>,
    /// Group.
    pub group: String,
    /// Mode of the group.
    pub mode: String,
    /// The deciding rule.
    pub rule: Option<RuleWords>,
    /// Rules of the group that nearly matched, each with what is missing.
    pub near_misses: Vec<NearMiss>,
    /// When the default dropped it: the smallest rule that would allow it, to paste into the group.
    pub suggestion: Option<String>,
    /// What else may become of it, in words.
    pub notes: Vec<String>,
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleWords {
    /// Stable id.
    pub id: String,
    /// Group.
    pub group: String,
    /// `allow` or `deny`.
    pub action: &'static str,
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
    /// File and line, or who made it by command.
    pub place: String,
    /// Whether it was made by command and stands beside the policy file.
    pub live: bool,
}

/// A rule that nearly matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The rule.
    pub rule: String,
    /// File and line.
    pub place: String,
    /// What it would take, in words.
    pub why: String,
}
