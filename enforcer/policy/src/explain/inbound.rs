//! What becomes of a frame towards a device.

use std::net::IpAddr;

use enforcer_common::flow::Flow;
use enforcer_common::image::NO_RULE;
use enforcer_common::packet::{Frame as _, Packet};
use enforcer_common::parse::parse;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::tcp;

use super::endpoint::{self, has_ports};
use super::flooded::{flooded, is_flood};
use super::frame::{CLIENT_PORT, frame_heard};
use super::heard::Heard;
use super::near::Sets;
use super::{Error, Explanation, NearMiss, Request, address, device, line, row, smallest};
use crate::image::{HostImage, Time};
use crate::{Action, Compiled, Group, Host, Mac, Policy, Range, Rule, Service};

/// Explains what becomes of a frame that another host sends to a device, and that opens something: in the request,
/// `from` is the other host, and `to` the device, with the port of its service. It may also be the broadcast address or a
/// multicast group: then the interface by which the frame leaves decides.
///
/// It is decided on the host, as if nobody had asked or answered before.
///
/// # Errors
///
/// The request does not describe such a frame.
pub fn inbound(
    policy: &Policy,
    host: &Host,
    heard: &Heard,
    compiled: &Compiled,
    request: &Request,
    now: Time,
) -> Result<Explanation, Error> {
    if is_flood(request) {
        return flooded(policy, host, compiled, request, now);
    }
    let protocol = endpoint::parse_protocol(&request.proto)?;
    let peer = endpoint::parse_address(&request.from)?;
    let (name, port) = split(&request.to);
    let port = match (has_ports(protocol), port) {
        (true, None) => {
            let (protocol, hint) = (request.proto.clone(), format!("write `{name}:22`"));
            return Err(Error::PortMissing { protocol, hint });
        }
        (false, Some(_)) => {
            let (protocol, hint) = (request.proto.clone(), format!("write `{name}` alone"));
            return Err(Error::PortGiven { protocol, hint });
        }
        (_, port) => port.map(|port| endpoint::parse_port(&request.to, port)).transpose()?,
    };
    // The device is found as the sender of a frame to the other host.
    let to = if port.is_some() { endpoint::join(peer, CLIENT_PORT) } else { peer.to_string() };
    let asked = Request { from: name.to_owned(), mac: None, to, ..request.clone() };
    let described = frame_heard(policy, host, heard, &asked)?;
    let packet = Packet::from_slice(&described.frame);
    let mut flow = Flow { interface: described.interface, length: packet.length(), ..Flow::NEW };
    // It is well-formed: it was made here.
    let _ = parse(&packet, &mut flow);
    flow.direction = 1;
    flow.source_port = port.unwrap_or(0);
    flow.tcp_flags = tcp::SYN;
    let reference = HostImage::at(&compiled.image, now);
    let (case, is_judged) = reference.judge_inbound(flow);
    let (verdict, reason, text) = if is_judged {
        let (verdict, reason) = (case.decision.verdict, case.decision.reason);
        (verdict, reason, reason.words())
    } else {
        let text = "no rule is about what is sent to this device";
        (Verdict::Pass, Reason::InboundPass, text)
    };
    let number = case.decision.group as usize;
    let group = number.checked_sub(1).and_then(|index| policy.groups.get(index));
    let rule = (case.decision.rule != NO_RULE)
        .then(|| compiled.rules.get(case.decision.rule as usize).copied().flatten())
        .flatten();
    let service = match port {
        Some(port) => Service::ports(protocol, port, port),
        None => Service::protocol(protocol),
    };
    let own = address(&flow, flow.source).map_or_else(|| name.to_owned(), |own| own.to_string());
    let mut interfaces = host.interfaces.iter();
    let interface = interfaces.find(|known| known.index == described.interface);
    let interface = interface.map_or("an interface", |known| known.name.as_str());
    Ok(Explanation {
        verdict: verdict.name(),
        reason: reason.name(),
        text: text.to_owned(),
        decided_by: "host",
        frame: format!("{peer} to {own} {service}, leaving by {interface}"),
        assumed: described.assumed,
        device: device(policy, compiled, &case).map(|device| device.name.clone()),
        group: group.map_or_else(|| "unknown".to_owned(), |group| group.name.clone()),
        mode: group.map_or(policy.unknown.mode, |group| group.mode).to_string(),
        rule: rule.and_then(|rule| row(policy, rule)),
        near_misses: group.map_or_else(Vec::new, |group| {
            let action = if reason.passes() { Action::Refuse } else { Action::Accept };
            misses(host, (group.rules(action), action), reason, (peer, service))
        }),
        suggestion: group.and_then(|group| suggestion(group, reason, (peer, service))),
        notes: notes(reason, name, peer),
    })
}

/// The device and the port of `bed-12:22`, `10.20.0.12:22`, `[2001:db8::12]:22`, or of a device alone.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    if Mac::parse(text).is_some() || text.parse::<IpAddr>().is_ok() {
        return (text, None);
    }
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, port.strip_prefix(':'));
    }
    match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, Some(port)),
        _ => (text, None),
    }
}

/// Rules that nearly decide otherwise: of a frame that passes the refuse rules, of one that is dropped the accept rules.
pub(super) fn misses(
    host: &Host,
    (rules, action): (&[Rule], Action),
    reason: Reason,
    (peer, service): (IpAddr, Service),
) -> Vec<NearMiss> {
    const SHOWN: usize = 3;
    let verb = if action.passes() { "accepts" } else { "refuses" };
    let mut sets = Sets::default();
    let near = |rule: &Rule| {
        let fits = rule.services.iter().any(|own| own.contains(service.first));
        let why = match (sets.holds(&rule.to, host, peer), fits) {
            (true, true) if reason == Reason::Refuse => {
                "it accepts it, but refuse rules win".to_owned()
            }
            (true, false) => {
                format!("right sender, but it {verb} {}, not {service}", rule.service_text)
            }
            (false, true) => format!("right service, but it {verb} it from {}", rule.to_text),
            (true, true) | (false, false) => return None,
        };
        Some(NearMiss { rule: rule.id.clone(), place: line(&rule.place), why })
    };
    rules.iter().filter_map(near).take(SHOWN).collect()
}

/// The smallest accept rule by which the frame would pass, if nothing else is missing.
fn suggestion(group: &Group, reason: Reason, (peer, service): (IpAddr, Service)) -> Option<String> {
    if reason != Reason::InboundDrop {
        return None;
    }
    Some(smallest(&group.accept, Action::Accept, (Range::single(peer), service)))
}

fn notes(reason: Reason, device: &str, peer: IpAddr) -> Vec<String> {
    if reason != Reason::InboundDrop {
        return Vec::new();
    }
    vec![format!("what {device} asks {peer} for comes in, if its own rules let it ask")]
}
