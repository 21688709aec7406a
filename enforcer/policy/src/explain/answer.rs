//! Request and result of an explanation.

/// A flow, as requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// MAC, address or device name.
    pub from: String,
    /// Source MAC of the frame, if `from` is not a MAC. If absent: the MAC in the gateway's neighbour
    /// table, else the one in the policy.
    pub mac: Option<String>,
    /// `ADDR`, `ADDR:PORT` or `[ADDR]:PORT`.
    pub to: String,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6` or a number.
    pub proto: String,
    /// Interface that would receive the frame. If absent: the one where the device was seen, else the
    /// device's own, else the first protected one.
    pub interface: Option<String>,
    /// VLAN id of a tagged frame; 0 for an untagged one. If absent: the VLAN where the device was seen,
    /// else the device's own.
    pub vlan: Option<u16>,
}

/// How a frame is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// `pass`, `drop` or `would-drop`; `not-judged` for a captured frame that did not come from a device,
    /// or of which the capture holds too little.
    pub verdict: &'static str,
    /// Name of the reason. If the verdict is `not-judged`: `outgoing`, `unprotected`, `capture-cut`,
    /// `capture-lacks`, `link-type` or `no-frame`.
    pub reason: &'static str,
    /// The reason in words.
    pub text: String,
    /// `kernel` if the loaded program decided, `host` if the same code outside the kernel did, `none` if
    /// the verdict is `not-judged`; group and mode are empty then.
    pub decided_by: &'static str,
    /// The frame in words.
    pub frame: String,
    /// Values that the request did not give and that were assumed, in words.
    pub assumed: Vec<String>,
    /// Device name, if it has one.
    pub device: Option<String>,
    /// Group of the device.
    pub group: String,
    /// Mode of the group.
    pub mode: String,
    /// The deciding rule, if a rule decided.
    pub rule: Option<RuleWords>,
    /// Rules that nearly matched, each with what is missing.
    pub near_misses: Vec<NearMiss>,
    /// If the group's default dropped the frame: the smallest rule that would allow it, to paste into the
    /// group.
    pub suggestion: Option<String>,
    /// What else may happen to the frame, in words.
    pub notes: Vec<String>,
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleWords {
    /// Stable id.
    pub id: String,
    /// Group of the rule.
    pub group: String,
    /// `allow` or `deny`.
    pub action: &'static str,
    /// Remote end, as written.
    pub to: String,
    /// Services, as written.
    pub service: String,
    /// Why the rule exists.
    pub reason: Option<String>,
    /// Who is responsible for the rule.
    pub owner: Option<String>,
    /// When the rule ends, RFC 3339.
    pub until: Option<String>,
    /// File and line, or the user who made the rule by command.
    pub place: String,
    /// Whether the rule was made by command and is not in the policy file.
    pub live: bool,
}

/// A rule that nearly matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The rule.
    pub rule: String,
    /// File and line of the rule.
    pub place: String,
    /// What would have to be different for it to match, in words.
    pub why: String,
}
