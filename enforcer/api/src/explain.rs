//! Requests that ask how a flow or a captured frame is decided, and their answers.

use serde::{Deserialize, Serialize};

use crate::RuleRow;

/// `POST /v1/explain`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExplainRequest {
    /// MAC, address or device name.
    pub from: String,
    /// Source MAC of the frame, if `from` is not a MAC. If absent: the MAC in the gateway's neighbour
    /// table, else the one in the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// `ADDR`, `ADDR:PORT` or `[ADDR]:PORT`.
    pub to: String,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6` or a number.
    pub proto: String,
    /// Interface that would receive the frame. If absent: the one where the device was seen, else the
    /// device's own, else the first protected one.
    #[serde(default)]
    pub interface: Option<String>,
    /// VLAN id of a tagged frame; 0 for an untagged one. If absent: the VLAN where the device was seen,
    /// else the device's own.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// Whether the frame goes to a device: then `from` is the address of who sends it, and `to` is `DEVICE` or
    /// `DEVICE:PORT`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inbound: bool,
}

/// `POST /v1/explain/frames`: captured frames, in order. The answer is a list of [`Explanation`]s.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExplainFrames {
    /// The frames.
    pub frames: Vec<CapturedFrame>,
}

/// A frame of [`ExplainFrames`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct CapturedFrame {
    /// First bytes of the frame, in base64. The first 512 bytes, counted from the Ethernet header, are
    /// always enough.
    pub packet: String,
    /// Length of the frame in bytes, without FCS. If absent: the length of `packet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// Interface that receives the frame. If absent: the one where its MAC was seen, else the first
    /// protected one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Link-layer header type, numbered as in capture files: 1 (Ethernet, the default), 113 and 276 (Linux
    /// cooked), 101, 228 and 229 (IP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
    /// `true` if the frame arrived on the interface, `false` if it was sent from there. If absent, its MACs
    /// decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<bool>,
}

/// The answer to [`ExplainRequest`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Explanation {
    /// `pass`, `drop` or `would-drop`; `not-judged` for a captured frame that did not come from a device,
    /// or of which the capture holds too little.
    pub verdict: String,
    /// Name of the reason. If the verdict is `not-judged`: `outgoing`, `unprotected`, `capture-cut`,
    /// `capture-lacks`, `link-type` or `no-frame`.
    pub reason: String,
    /// The reason in words.
    pub text: String,
    /// `kernel` if the loaded program decided, `host` if the same code outside the kernel did, `none` if
    /// the verdict is `not-judged`; group and mode are empty then.
    pub decided_by: String,
    /// The frame in words.
    pub frame: String,
    /// Values that the request did not give and that were assumed, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
    /// Device name, if it has one.
    pub device: Option<String>,
    /// Group of the device.
    pub group: String,
    /// Mode of the group.
    pub mode: String,
    /// The deciding rule, if a rule decided.
    pub rule: Option<RuleRow>,
    /// Rules that nearly matched, each with what is missing.
    pub near_misses: Vec<NearMiss>,
    /// If the group's default dropped the frame: the smallest rule that would allow it, to paste into the
    /// group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// What else may happen to the frame, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A rule that nearly matched.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct NearMiss {
    /// The rule.
    pub rule: String,
    /// File and line of the rule.
    pub place: String,
    /// What would have to be different for it to match, in words.
    pub why: String,
}
