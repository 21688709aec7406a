//! Judges a frame by a fixed policy, and every truncation of it.

use enforcer_common::decide::FrameContext;
use enforcer_common::flow::{Class, FAMILY_NONE, Flow, Fragment};
use enforcer_common::image::NO_RULE;
use enforcer_common::packet::HEADERS;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire;
use enforcer_policy::Mode;
use enforcer_policy::image::HostImage;

use super::parse;
use crate::naive;
use crate::random::{NOW, host};

/// The input is an interface, minutes after [`NOW`], and a frame.
///
/// The verdict equals that of the naive model; a shorter frame passes only if the whole one does.
pub fn run(input: &[u8]) {
    let &[interface, minutes, ref frame @ ..] = input else { return };
    let interface = super::interface(interface);
    let now = NOW + 60 * i64::from(minutes);
    let case = decide(frame, interface, now);
    agrees(&case, now);
    later_fragments(frame, interface, now);
    for length in 0..frame.len().min(HEADERS) {
        let cut = decide(&frame[..length], interface, now);
        if cut.decision.reason.passes() {
            agrees(&cut, now);
            passes_whole(&frame[..length], &cut, &case);
        }
    }
}

/// Judges a frame without earlier frames.
fn decide(frame: &[u8], interface: u32, now: i64) -> FrameContext {
    HostImage::new(&super::fixed().1.image, now).decide(frame, interface)
}

/// Compares a verdict with the naive model.
fn agrees(case: &FrameContext, now: i64) {
    let (policy, compiled) = super::fixed();
    let decision = case.decision;
    let rule =
        compiled.rules.get(decision.rule as usize).and_then(|rule| rule.as_ref()?.rule(policy));
    assert!(rule.is_some() || decision.rule == NO_RULE, "{decision:?}");
    let answer = naive::Answer {
        verdict: decision.verdict,
        reason: decision.reason,
        rule: rule.map(|(_, rule)| rule.id.clone()),
        group: decision.group,
    };
    assert_eq!(answer, naive::decide(policy, &host(), &case.flow, now), "{:?}", case.flow);
    assert_eq!(decision.verdict == Verdict::Pass, decision.reason.passes(), "{decision:?}");
    if decision.verdict == Verdict::WouldDrop {
        let group = decision.group.checked_sub(1).map(|at| &policy.groups[at as usize]);
        assert_eq!(group.map(|group| group.mode), Some(Mode::Observe), "{decision:?}");
    }
}

/// If a truncated frame passes, it contains its whole packet. The original frame, with
/// the rest, is then dropped for it if and only if the rest is more than padding.
fn passes_whole(frame: &[u8], cut: &FrameContext, whole: &FrameContext) {
    let flow = &cut.flow;
    if flow.family != FAMILY_NONE && flow.class != Class::Arp {
        let network = usize::from(flow.network);
        let (_, end) = parse::length(&frame[network..], flow);
        assert!(network + end <= frame.len(), "passes without its end: {flow:?}");
        let padded = network + end.max(wire::PADDED);
        if whole.flow.length as usize > padded {
            assert_eq!(whole.decision.reason, Reason::TrailingBytes, "cut to {}", frame.len());
            return;
        }
    }
    let reason = whole.decision.reason;
    let tunnel = match flow.class {
        Class::Arp => reason == Reason::ArpMalformed,
        Class::Eapol | Class::Stp => reason == Reason::EssentialShape,
        Class::Ip
        | Class::Neighbour
        | Class::Multicast
        | Class::Dhcp
        | Class::OddDhcp
        | Class::Lldp => false,
    };
    let same = whole.decision == cut.decision;
    assert!(same || tunnel, "cut to {}: {:?}, not {reason:?}", frame.len(), cut.decision.reason);
}

/// A later fragment passes if and only if a first fragment of the same datagram and device passed.
fn later_fragments(frame: &[u8], interface: u32, now: i64) {
    let reference = HostImage::new(&super::fixed().1.image, now);
    let first = reference.decide(frame, interface);
    if first.flow.fragment != Fragment::First || first.flow.fault != 0 {
        return;
    }
    let next = Flow {
        class: Class::Ip,
        fragment: Fragment::Later,
        fragment_offset: first.flow.fragment_length,
        source_port: 0,
        destination_port: 0,
        ..first.flow
    };
    let overlap = Flow { fragment_offset: next.fragment_offset - 8, ..next };
    let other = Flow { fragment_id: next.fragment_id ^ 1, ..next };
    let reason = |flow| reference.judge(flow).decision.reason;
    assert!(!reason(overlap).passes() && !reason(other).passes(), "{first:?}");
    let passed = first.decision.verdict != Verdict::Drop;
    let rest = reference.judge(next).decision;
    assert_eq!(rest.verdict != Verdict::Drop, passed, "{first:?}, then {rest:?}");
    // A second first fragment could start a shorter datagram, which the rest would overlap.
    let again = reference.decide(frame, interface).decision.reason;
    assert!(!passed || again == Reason::FragmentOverlap, "{first:?}, then {again:?}");
}
