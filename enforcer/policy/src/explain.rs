//! Explains how a described flow is decided, why, and which rules nearly decided.
//!
//! - `answer`: [`Request`] and [`Explanation`]
//! - `endpoint`: parses the texts of a request
//! - `sender`: identifies the sender, and records assumptions about it
//! - [`inbound`](inbound()): the same for a frame that another host sends to a device
//! - `flooded`: the same for a frame to a group of receivers
//! - `invent`: plausible values for what is not known
//! - [`heard`]: what the gateway knows about the location of devices
//! - [`frame`](frame()): the described frame, byte by byte
//! - [`captured`](captured()): a captured frame in place of a described one
//! - [`link`]: captures with link types other than Ethernet
//! - `near`: rules that nearly decided
//!
//! The frame is a real one. The same bytes can be judged by the shared code on the host and run through the
//! program in the kernel, so that an explanation cannot contradict enforcement.

mod answer;
mod captured;
mod endpoint;
mod flooded;
mod frame;
pub mod heard;
mod inbound;
mod invent;
pub mod link;
mod near;
mod sender;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::decide::FrameContext;
use enforcer_common::flow::{Address, FAMILY_V4, FAMILY_V6, Flow};
use enforcer_common::image::{NO_DEVICE, NO_RULE};
use enforcer_common::reason::Reason;
use enforcer_common::wire::{protocol, tcp};

pub use self::answer::{Explanation, NearMiss, Request, RuleWords};
pub use self::captured::{Captured, captured, source_of};
pub use self::frame::{Described, Unjudged, dhcp_discover, frame, frame_heard};
pub use self::inbound::inbound;
pub use self::sender::{asked_source, protected};
use super::{
    Action, Compiled, CompiledRule, Device, End, Group, Host, Place, Policy, Range, Rule, Service,
    To,
};
use crate::image::{HostImage, Time};

/// Why a request cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The sender is neither an address nor a name in the policy.
    #[error("there is no device `{name}`")]
    Device {
        /// As requested.
        name: String,
        /// A name that was probably meant.
        hint: String,
    },
    /// The destination is not one address with at most one port.
    #[error("{message}")]
    Endpoint {
        /// What is wrong with it.
        message: String,
        /// What to write instead.
        hint: String,
    },
    /// The protocol is unknown.
    #[error("`{name}` is not a protocol")]
    Protocol {
        /// As requested.
        name: String,
    },
    /// The protocol has ports, and none is given.
    #[error("{protocol} needs a port")]
    PortMissing {
        /// The protocol.
        protocol: String,
        /// What to write instead.
        hint: String,
    },
    /// The protocol has no ports, and one is given.
    #[error("{protocol} has no ports")]
    PortGiven {
        /// The protocol.
        protocol: String,
        /// What to write instead.
        hint: String,
    },
    /// Sender, destination and protocol are not of one family.
    #[error("{from} cannot reach {to}: one is IPv4, the other IPv6")]
    Family {
        /// The sender or the protocol.
        from: String,
        /// The destination.
        to: String,
        /// What to write instead.
        hint: String,
    },
    /// The interface is not protected, or none is.
    #[error("interface `{name}` is not protected")]
    Interface {
        /// As requested.
        name: String,
        /// The protected interfaces.
        hint: String,
    },
    /// The captured data is not a frame.
    #[error("frame {number}: {why}")]
    Captured {
        /// Position in the request, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// No interface is protected.
    #[error("no interface is protected, so that none could receive the frame")]
    NoInterface,
    /// The number is not a VLAN id.
    #[error("there is no VLAN {id}")]
    Vlan {
        /// As requested.
        id: u16,
    },
}

impl Error {
    /// What to do about the error.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Device { hint, .. }
            | Self::Endpoint { hint, .. }
            | Self::PortMissing { hint, .. }
            | Self::PortGiven { hint, .. }
            | Self::Family { hint, .. }
            | Self::Interface { hint, .. } => Some(hint),
            Self::Protocol { .. } => Some("write tcp, udp, sctp, icmp, icmpv6 or a number to 255"),
            Self::NoInterface => Some("protect one with `enforcer run --interface IF`"),
            Self::Captured { .. } => Some("a frame begins with its Ethernet header"),
            Self::Vlan { .. } => Some("VLAN ids are 1 to 4094; 0 is an untagged frame"),
        }
    }
}

/// Explains a request with the host's copy of the decision code.
///
/// # Errors
///
/// The request does not describe a frame.
pub fn on_host(
    policy: &Policy,
    host: &Host,
    compiled: &Compiled,
    request: &Request,
    now: i64,
) -> Result<Explanation, Error> {
    let described = frame(policy, host, request)?;
    Ok(frames_on_host(policy, host, compiled, &[described], now).swap_remove(0))
}

/// Explains captured frames, in order, with the host's copy of the decision code.
pub fn frames_on_host(
    policy: &Policy,
    host: &Host,
    compiled: &Compiled,
    frames: &[Described],
    now: i64,
) -> Vec<Explanation> {
    let reference = HostImage::new(&compiled.image, now);
    let explained = frames.iter().map(|described| match judge(&reference, described) {
        Ok(case) => explain(policy, host, compiled, described, &case, Time::wall(now), "host"),
        Err(unjudged) => not_judged(host, described, &unjudged),
    });
    explained.collect()
}

/// Judges a frame with the host's copy of the decision code.
///
/// # Errors
///
/// The frame is not judged: it does not come from a device, or the capture holds too little of it.
pub fn judge(reference: &HostImage<'_>, described: &Described) -> Result<FrameContext, Unjudged> {
    if let Some(unjudged) = &described.unjudged {
        return Err(unjudged.clone());
    }
    let Described { frame, known, interface, .. } = described;
    reference.decide_from(frame, *known, *interface).ok_or_else(|| link::cut(*known, frame.len()))
}

/// The explanation of a frame that is not judged.
pub fn not_judged(host: &Host, described: &Described, unjudged: &Unjudged) -> Explanation {
    Explanation {
        verdict: "not-judged",
        reason: unjudged.reason,
        text: unjudged.text.clone(),
        decided_by: "none",
        frame: match described.words.as_str() {
            "" => captured::spoken(host, described),
            words => words.to_owned(),
        },
        ..Explanation::default()
    }
}

/// Puts a decision into words. `case` is the decision about the described frame, `compiled` the image by
/// which it was made, `now` its time.
pub fn explain(
    policy: &Policy,
    host: &Host,
    compiled: &Compiled,
    described: &Described,
    case: &FrameContext,
    now: Time,
    decided_by: &'static str,
) -> Explanation {
    let decision = &case.decision;
    let number = decision.group as usize;
    let group = number.checked_sub(1).and_then(|index| policy.groups.get(index));
    let rule = (decision.rule != NO_RULE)
        .then(|| compiled.rules.get(decision.rule as usize).copied().flatten())
        .flatten();
    let near = near::Near { policy, host, case, group: number.checked_sub(1), rule, now };
    Explanation {
        verdict: decision.verdict.name(),
        reason: decision.reason.name(),
        text: decision.reason.words().to_owned(),
        decided_by,
        frame: match described.words.as_str() {
            "" => captured::words(host, &case.flow),
            words => words.to_owned(),
        },
        assumed: described.assumed.clone(),
        device: device(policy, compiled, case).map(|device| device.name.clone()),
        group: group.map_or_else(|| "unknown".to_owned(), |group| group.name.clone()),
        mode: group.map_or(policy.unknown.mode, |group| group.mode).to_string(),
        rule: rule.and_then(|rule| row(policy, rule)),
        near_misses: near.misses(),
        suggestion: group.and_then(|group| suggestion(group, case)),
        notes: Vec::new(),
    }
}

/// The named device that sent the frame, by MAC, or by address if it has no MAC.
fn device<'p>(policy: &'p Policy, compiled: &Compiled, case: &FrameContext) -> Option<&'p Device> {
    let slot = case.decision.device;
    if slot != NO_DEVICE
        && let Some(Some(slot)) = compiled.slots.get(slot as usize)
        && let Some(index) = slot.device
    {
        return policy.devices.get(index);
    }
    let source = address(&case.flow, case.flow.source)?;
    sender::owner(policy, source).filter(|device| device.mac.is_none())
}

/// A rule in words.
pub fn row(policy: &Policy, number: CompiledRule) -> Option<RuleWords> {
    let (section, rule) = number.rule(policy)?;
    Some(RuleWords {
        id: rule.id.clone(),
        group: section.name(),
        action: number.action.name(),
        to: rule.to_text.clone(),
        service: rule.service_text.clone(),
        reason: rule.reason.clone(),
        owner: rule.owner.clone(),
        until: rule.until.and_then(End::wall).map(super::write::time),
        place: line(&rule.place),
        live: rule.live,
    })
}

/// `policy.toml:12`; a rule that is not in a file has no line.
fn line(place: &Place) -> String {
    if place.line == 0 {
        return place.file.to_string();
    }
    format!("{}:{}", place.file, place.line)
}

/// The smallest rule that would let the frame pass, to be pasted into the group: one more entry of its list
/// of its rules, or the list if it has none.
fn suggestion(group: &Group, case: &FrameContext) -> Option<String> {
    if case.decision.reason != Reason::Default {
        return None;
    }
    let range = Range::single(address(&case.flow, case.flow.destination)?);
    let flow = &case.flow;
    if looks_like_an_answer(flow) {
        let service = Service::ports(flow.protocol, flow.source_port, flow.source_port);
        return Some(smallest(&group.accept, Action::Accept, (range, service)));
    }
    Some(smallest(&group.allow, Action::Allow, (range, smallest_service(flow))))
}

/// Whether a frame comes from the port of a service and goes to one that systems choose for their own end: then it most
/// likely answers, and a rule for its destination would be one for every high port.
fn looks_like_an_answer(flow: &Flow) -> bool {
    /// The first port that Linux chooses (`net.ipv4.ip_local_port_range`).
    const CHOSEN: u16 = 32_768;
    let opens =
        flow.protocol == protocol::TCP && flow.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
    endpoint::has_ports(flow.protocol)
        && (1..CHOSEN).contains(&flow.source_port)
        && flow.destination_port >= CHOSEN
        && !opens
}

/// A rule for one range and service, to paste into the list `rules` of such rules, or the list if it is empty.
fn smallest(rules: &[Rule], action: Action, (range, service): (Range, Service)) -> String {
    let rule = Rule {
        id: String::new(),
        to: To::Range(range),
        to_text: range.to_string(),
        services: vec![service],
        service_text: service.to_string(),
        reason: None,
        owner: None,
        until: None,
        live: false,
        place: Place { file: "".into(), line: 0, column: 0 },
    };
    let text = super::write::write_rule(action, &rule);
    if rules.is_empty() { format!("{} = [{text}]", action.name()) } else { format!("{text},") }
}

/// The smallest service that a policy can name and that includes the frame's.
fn smallest_service(flow: &Flow) -> Service {
    if endpoint::has_ports(flow.protocol) {
        return Service::ports(flow.protocol, flow.destination_port, flow.destination_port);
    }
    Service::protocol(flow.protocol)
}

/// An address of the flow's family.
fn address(flow: &Flow, address: Address) -> Option<IpAddr> {
    match flow.family {
        FAMILY_V4 => Some(Ipv4Addr::from_bits(address.to_v4()).into()),
        FAMILY_V6 => Some(Ipv6Addr::from_bits(address.to_v6()).into()),
        _ => None,
    }
}
