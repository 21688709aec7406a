//! What becomes of a frame to a group of receivers behind an interface.

use std::net::IpAddr;

use enforcer_common::decide::hops::group_mac;
use enforcer_common::flow::Flow;
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::{self, protocol, tcp};

use super::endpoint::{self, Endpoint};
use super::frame::CLIENT_PORT;
use super::inbound::{misses, split};
use super::sender::{first_interface, named, vlan};
use super::{Error, Explanation, Request, row, smallest};
use crate::address::numbers;
use crate::compile::title;
use crate::image::{HostImage, Time};
use crate::{Action, Compiled, Host, HostInterface, Interface, Mode, Policy, Range, Service};

/// Length of the shortest frame.
const SHORTEST: u32 = 60;

/// Whether a request is about a frame by broadcast or to a multicast group.
pub(super) fn is_flood(request: &Request) -> bool {
    let (name, _) = split(&request.to);
    name.parse().is_ok_and(|to: IpAddr| {
        let (family, number) = numbers(to);
        group_mac(family, number).is_some()
    })
}

/// Explains what becomes of it where it leaves: by the interface of the request, or else by the first one with
/// `flooded = "essential"`.
///
/// # Errors
///
/// The request does not describe such a frame.
pub(super) fn flooded(
    policy: &Policy,
    host: &Host,
    compiled: &Compiled,
    request: &Request,
    now: Time,
) -> Result<Explanation, Error> {
    let to = Endpoint::parse(&request.to, &request.proto)?;
    let peer = endpoint::parse_address(&request.from)?;
    if peer.is_ipv4() != to.address.is_ipv4() {
        let hint = "write addresses of one family".to_owned();
        let (from, to) = (peer.to_string(), to.address.to_string());
        return Err(Error::Family { from, to, hint });
    }
    let mut assumed = Vec::new();
    let interface = interface(policy, host, request, &mut assumed)?;
    let vlan = vlan(request, None, None, &mut assumed)?;
    let flow = flow(&to, peer, (interface, vlan));
    let (case, is_judged) = HostImage::at(&compiled.image, now).judge_inbound(flow);
    let (verdict, reason) = match is_judged {
        true => (case.decision.verdict, case.decision.reason),
        false => (Verdict::Pass, Reason::InboundPass),
    };
    let service = match to.port {
        Some(port) => Service::ports(to.protocol, port, port),
        None => Service::protocol(to.protocol),
    };
    let rule = (case.decision.rule != NO_RULE)
        .then(|| compiled.rules.get(case.decision.rule as usize).copied().flatten())
        .flatten();
    let declared = policy.interfaces.iter().find(|declared| declared.name == interface.name);
    let refused = declared.filter(|_| reason == Reason::Flooded);
    let name = &interface.name;
    Ok(Explanation {
        verdict: verdict.name(),
        reason: reason.name(),
        text: match is_judged {
            true => reason.words().to_owned(),
            false => format!("all broadcast and multicast leaves by {name}"),
        },
        decided_by: "host",
        frame: format!("{peer} to {}, leaving by {name}", to.words()),
        assumed,
        device: None,
        // In the place of the group that it does not belong to.
        group: title(name),
        mode: Mode::Enforce.to_string(),
        rule: rule.and_then(|rule| row(policy, rule)),
        near_misses: refused.map_or_else(Vec::new, |declared| {
            misses(host, (&declared.accept, Action::Accept), reason, (peer, service))
        }),
        suggestion: refused.map(|declared: &Interface| {
            smallest(&declared.accept, Action::Accept, (Range::single(peer), service))
        }),
        notes: notes(reason),
    })
}

/// The interface of the request, or else the first one that does not let everything leave.
fn interface<'h>(
    policy: &Policy,
    host: &'h Host,
    request: &Request,
    assumed: &mut Vec<String>,
) -> Result<&'h HostInterface, Error> {
    if let Some(name) = &request.interface {
        return named(host, name);
    }
    let is_strict = |known: &&HostInterface| {
        let mut declared = policy.interfaces.iter();
        declared.any(|it| it.name == known.name && it.floods_essentials_only)
    };
    let Some(strict) = host.interfaces.iter().find(is_strict) else {
        return first_interface(host, assumed);
    };
    if host.interfaces.len() > 1 {
        assumed.push(format!("interface {}, which has `flooded = \"essential\"`", strict.name));
    }
    Ok(strict)
}

/// The flow of the frame in the receivers' view.
fn flow(to: &Endpoint, peer: IpAddr, (interface, vlan): (&HostInterface, Option<u16>)) -> Flow {
    let ((family, source), (_, destination)) = (numbers(to.address), numbers(peer));
    let asked = match to.protocol {
        protocol::ICMP => 8 << 8,
        protocol::ICMPV6 => 128 << 8,
        _ if to.port.is_some() => CLIENT_PORT,
        _ => 0,
    };
    Flow {
        source_mac: group_mac(family, source).unwrap_or(wire::BROADCAST_MAC),
        destination_mac: wire::mac(interface.mac.0),
        source,
        destination,
        interface: interface.index,
        length: SHORTEST,
        vlans: [vlan.unwrap_or(0), 0],
        source_port: to.port.unwrap_or(0),
        destination_port: asked,
        protocol: to.protocol,
        family,
        tcp_flags: if to.protocol == protocol::TCP { tcp::SYN } else { 0 },
        direction: 1,
        ..Flow::NEW
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "nothing is to be said about the others")]
fn notes(reason: Reason) -> Vec<String> {
    let note = match reason {
        Reason::Accept => "what a device answers needs a rule of its own group",
        Reason::Flooded => "essential messages leave all the same, such as those of a DHCP server",
        _ => return Vec::new(),
    };
    vec![note.to_owned()]
}
