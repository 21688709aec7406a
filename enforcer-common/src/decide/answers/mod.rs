//! Answers: frames by which a device answers what an accept rule lets others open.
//!
//! A frame towards a device that an accept rule covers is noted as a flow. A frame of the device passes if it belongs
//! to a noted flow and the rule still covers it: an entry of the table is evidence that the other side spoke first,
//! and never permission. A device cannot make an entry, and what is lost with one is noted again with the next frame
//! of the other side.
//!
//! The table is shared by all CPUs, because the one that sends is not the one that receives. It has sets ([`Size`]) of
//! four flows, a word of four 16-bit tags for each set, and two lines for each flow:
//!
//! | line | words |
//! |---|---|
//! | key | digest · other end (2) · device (2) · device's MAC and VLAN · interface, protocol, family · ports |
//! | state | seen and flags · stamp · rule and group · frames and bytes to the device · from it · created |
//!
//! Nothing is locked. A reader compares the digest and all words of the key, so a line that two CPUs are writing
//! matches no flow. Frames and bytes are counted without atomic additions: they are for display.

mod again;
mod size;
mod table;
#[cfg(test)]
mod tests;

use super::inbound::{self, Next};
use super::quoted::Subject;
use super::rules::Endpoint;
use super::{FrameContext, Policy, datagrams, group_entry, hops, identify, in_time, outcome};
use crate::flow::{Class, FAMILY_V4, Flow, Fragment};
use crate::image::{self, Corrupt, GroupEntry, NO_RULE, flag, kind};
use crate::parse::verifier_barrier;
use crate::reason::Reason;
use crate::wire::{self, echo, protocol, tcp};

pub use again::again;
pub use size::{Size, WAYS};
pub use table::{
    Answers, CLOSED, ECHO, Key, QUIET, RESET, TCP, UDP, UNANSWERED, counter, is_over, state,
};
use table::{Judge, Place, answered, find, is_alive, is_fresh, mark, renew, write};

/// Whether the policy has accept rules.
#[inline(always)]
pub fn is_on<P: Policy>(policy: &P) -> bool {
    image::constant(&policy.layout().flags) & flag::ANSWERS != 0
}

/// Lets a frame pass that no rule allows, if it is an answer. `counts` is false for a frame that only asks: the flow stays
/// as it is.
#[inline(always)]
pub fn judge<P: Policy>(policy: &P, context: &mut FrameContext, counts: bool) {
    let reason = match answer(policy, context, counts) {
        Ok(Some(reason)) => reason,
        Ok(None) => return,
        Err(Corrupt) => Reason::Corrupt,
    };
    context.decision.reason = reason;
    if !reason.passes() {
        context.decision.rule = NO_RULE;
    }
    context.decision.verdict = outcome(context);
}

/// The reason by which an answer passes, or not after all; `None` if the frame is no answer.
#[inline(always)]
fn answer<P: Policy>(
    policy: &P,
    context: &mut FrameContext,
    counts: bool,
) -> Result<Option<Reason>, Corrupt> {
    let Some(rule) = accepted(policy, context, counts)? else { return Ok(None) };
    context.decision.rule = rule;
    let hops = image::constant(&policy.layout().flags) & flag::BOUND_HOPS != 0;
    if hops && context.identity.bound_hops != 0 && !hops::leads_there(policy, context)? {
        return Ok(Some(Reason::DestinationBinding));
    }
    let fragment = context.flow.fragment;
    if fragment == Fragment::Whole {
        return Ok(Some(Reason::Answer));
    }
    datagrams::keep(policy, context);
    Ok(Some(if fragment.is_later() { Reason::FragmentOfPassed } else { Reason::Answer }))
}

/// The accept rule that covers the flow that a frame of a device answers.
#[inline(always)]
fn accepted<P: Policy>(
    policy: &P,
    context: &FrameContext,
    counts: bool,
) -> Result<Option<u32>, Corrupt> {
    let FrameContext { flow, datagram, entry, accept, identity, .. } = context;
    let replies = reply_kind(flow.family) << 8;
    if is_echo(flow) && datagram.service & 0xffff != replies {
        return Ok(None);
    }
    if opens(flow.tcp_flags) {
        return Ok(None);
    }
    let key = Key::of(flow, datagram.service, datagram.port);
    let place = key.place(policy);
    let Some(line) = find(policy, place, &key) else { return Ok(None) };
    let Some(entries) = policy.answers(line.wrapping_add(1)) else { return Ok(None) };
    let [seen, stamp, by, ..] = entries;
    if is_over(seen.get(), flow.protocol, policy.seconds()) {
        return Ok(None);
    }
    let (by_sender, known) = (Judge::Sender.stamp(policy, place, *entry), stamp.get());
    let (mut rule, mut ends) = ((by.get() >> 32) as u32, false);
    if known != by_sender && known != !by_sender {
        let to = Endpoint {
            family: flow.family,
            address: flow.destination,
            service: asked(flow, datagram.port),
        };
        let found = policy.rule(*accept, to)?;
        if found.word.kind() != kind::PASS {
            return Ok(None);
        }
        (rule, ends) = (found.word.payload(), found.ends);
    }
    // What was checked up to here holds for each frame of the flow, unless something has an end.
    let judge = if identity.ends == 0 { Judge::Receiver } else { Judge::Sender };
    let stamp = judge.stamp(policy, place, *entry);
    if known != stamp && !ends {
        mark(policy, line, (u64::from(rule) << 32 | u64::from(context.decision.group), stamp));
    }
    if counts {
        answered(entries, flow.tcp_flags, flow.length);
    }
    Ok(Some(rule))
}

/// Whether a segment with these control bits opens a connection, instead of answering.
#[inline(always)]
fn opens(flags: u8) -> bool {
    flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// Notes one more frame of a known flow towards a device. The flow in `context` is the frame's as it leaves, and is the
/// device's view of it afterwards; `segments` is the number of frames that the kernel will make of the frame.
#[inline(always)]
pub fn recall<P: Policy>(policy: &P, context: &mut FrameContext, segments: u32) -> Next {
    let flow = &mut context.flow;
    mirror(flow);
    let judges = inbound::is_on(policy);
    let otherwise = if judges { Next::Judge } else { Next::Nothing };
    if flow.fault != 0 || flow.class != Class::Ip || flow.fragment.is_later() {
        return otherwise;
    }
    // A device has one MAC; groups and the broadcast address have no device.
    if flow.source_mac & wire::MULTICAST_MAC != 0 || is_echo(flow) && !is_request(flow) {
        return otherwise;
    }
    verifier_barrier();
    let flags = opening(&context.flow);
    let (key, place) = whereabouts(policy, context);
    let known = find(policy, place, &key);
    // A new connection with the ports of an old one is a new flow.
    if let Some(line) = known
        && flags != tcp::SYN
        && is_alive(policy, context.flow.protocol, line)
        && is_fresh(policy, line, place)
    {
        // A first fragment is judged, so that the rest of its datagram is let in.
        if judges && context.flow.fragment != Fragment::Whole {
            return Next::Judge;
        }
        renew(policy, context, line, segments);
        inbound::known(context);
        return Next::Done;
    }
    if judges || may_open(&context.flow) { Next::Judge } else { Next::Nothing }
}

/// Whether a frame towards a device, in the device's view, may be one of a new flow.
#[inline(always)]
pub(super) fn may_open(flow: &Flow) -> bool {
    if flow.fragment.is_later() {
        return false;
    }
    match flow.protocol {
        protocol::TCP => {
            let flags = opening(flow);
            flags == tcp::SYN || flags == tcp::ACK
        }
        protocol::ICMP | protocol::ICMPV6 => is_request(flow),
        _ => true,
    }
}

/// Notes the flow of a frame that an accept rule takes.
#[inline(always)]
pub fn admit<P: Policy>(policy: &P, context: &mut FrameContext, segments: u32) {
    verifier_barrier();
    let (key, place) = whereabouts(policy, context);
    let by = u64::from(context.decision.rule) << 32 | u64::from(context.decision.group);
    let ends = context.identity.ends != 0;
    let stamp = if ends { 0 } else { Judge::Sender.stamp(policy, place, context.entry) };
    let known = find(policy, place, &key);
    if let Some(line) = known
        && opening(&context.flow) != tcp::SYN
        && is_alive(policy, context.flow.protocol, line)
    {
        mark(policy, line, (by, stamp));
        renew(policy, context, line, segments);
    } else {
        let _ = write(policy, context, (&key, place, known), (by, stamp), segments);
    }
}

/// The accept rule of a flow that an ICMP error is about, if it is noted and the rule still covers it. `flow` is the
/// error's in the device's view.
#[inline(always)]
pub(super) fn of_subject<P: Policy>(
    policy: &P,
    flow: &Flow,
    (entry, subject): (GroupEntry, &Subject),
) -> Result<Option<u32>, Corrupt> {
    let rules = inbound::descriptor(policy, entry.descriptor())?;
    if !rules.accepts {
        return Ok(None);
    }
    let Subject { peer, far, near, protocol, .. } = *subject;
    let key = Key::new(flow, (protocol, peer), (far, near));
    let Some(line) = find(policy, key.place(policy), &key) else { return Ok(None) };
    if !is_alive(policy, protocol, line) {
        return Ok(None);
    }
    let service = service_of(flow.family, protocol, near);
    let to = Endpoint { family: flow.family, address: peer, service };
    let found = policy.rule(rules.line, to)?;
    Ok((found.word.kind() == kind::PASS).then(|| found.word.payload()))
}

/// Key and place of the flow of a frame towards a device, in the device's view.
#[inline(always)]
fn whereabouts<P: Policy>(policy: &P, context: &FrameContext) -> (Key, Place) {
    let flow = &context.flow;
    let key = Key::of(flow, flow.service(), port(flow));
    (key, key.place(policy))
}

/// The device's port, or the identifier of an echo.
#[inline(always)]
fn port(flow: &Flow) -> u32 {
    u32::from(flow.source_port | flow.echo)
}

/// The control bits by which a segment opens something or not.
#[inline(always)]
fn opening(flow: &Flow) -> u8 {
    flow.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST)
}

/// The accept rule of the device's group that covers a frame towards it, and whether it ends. The flow in `context` is in
/// the device's view. For the host, which asks without a frame.
pub fn rule_for<P: Policy>(
    policy: &P,
    context: &mut FrameContext,
) -> Result<Option<(u32, bool)>, Reason> {
    identify(policy, context)?;
    let entry = group_entry(policy, context.decision.group)?;
    context.entry = entry.0;
    if in_time(policy, entry)?.quarantines() || entry.descriptor() == image::ABSENT {
        return Ok(None);
    }
    let rules = inbound::descriptor(policy, entry.descriptor())?;
    if !rules.accepts {
        return Ok(None);
    }
    let flow = &context.flow;
    let service = asked(flow, port(flow));
    let to = Endpoint { family: flow.family, address: flow.destination, service };
    let found = policy.rule(rules.line, to)?;
    let rule = (found.word.kind() == kind::PASS).then(|| found.word.payload());
    Ok(rule.map(|rule| (rule, found.ends)))
}

/// The service that a frame in the device's view is about.
#[inline(always)]
pub(super) fn asked(flow: &Flow, port: u32) -> u32 {
    service_of(flow.family, flow.protocol, port)
}

/// The service of a port of a protocol; echoes have that of a request.
#[inline(always)]
fn service_of(family: u8, number: u8, port: u32) -> u32 {
    let protocol = u32::from(number) << 16;
    match number {
        protocol::TCP | protocol::UDP | protocol::SCTP => protocol | port,
        protocol::ICMP | protocol::ICMPV6 => protocol | u32::from(request_kind(family)) << 8,
        _ => protocol,
    }
}

/// Whether a service is that of a reply to an echo.
#[inline(always)]
pub(super) fn is_reply(family: u8, service: u32) -> bool {
    service & 0xffff == reply_kind(family) << 8
}

/// Whether a packet of ICMP asks for an echo.
#[inline(always)]
pub(super) fn is_request(flow: &Flow) -> bool {
    u32::from(flow.destination_port) == u32::from(request_kind(flow.family)) << 8
}

#[inline(always)]
fn is_echo(flow: &Flow) -> bool {
    has_echo(flow.protocol)
}

/// Whether flows of a protocol are echoes, with an identifier instead of ports.
#[inline(always)]
pub const fn has_echo(protocol: u8) -> bool {
    matches!(protocol, protocol::ICMP | protocol::ICMPV6)
}

#[inline(always)]
fn request_kind(family: u8) -> u8 {
    if family == FAMILY_V4 { echo::V4_REQUEST } else { echo::V6_REQUEST }
}

#[inline(always)]
fn reply_kind(family: u8) -> u32 {
    u32::from(if family == FAMILY_V4 { echo::V4_REPLY } else { echo::V6_REPLY })
}

/// Turns the flow of a frame towards a device into the device's view of it: its own end is the source. Doing it again
/// turns it back, apart from the direction.
#[inline(always)]
pub fn mirror(flow: &mut Flow) {
    (flow.source_mac, flow.destination_mac) = (flow.destination_mac, flow.source_mac);
    (flow.source, flow.destination) = (flow.destination, flow.source);
    // Types of ICMP have no other end.
    if !is_echo(flow) {
        (flow.source_port, flow.destination_port) = (flow.destination_port, flow.source_port);
    }
    flow.direction = 1;
}
