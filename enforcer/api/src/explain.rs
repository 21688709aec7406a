//! What becomes of a flow, as it is asked and answered.

use serde::{Deserialize, Serialize};

use crate::RuleRow;

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
