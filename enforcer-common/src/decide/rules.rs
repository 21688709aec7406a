//! Deny, allow, default verdict; and what a datagram's first fragment says for the rest.

use super::{Case, FRAGMENT_SECONDS, FragmentKey, FragmentState, Policy};
use crate::flow::{FAMILY_V4, Flow, Fragment};
use crate::image::{self, Corrupt, GroupEntry, Word, kind};
use crate::reason::Reason;

/// What the rules say. A later fragment is judged as the service that its first one named, by the
/// rules of now.
#[inline(always)]
pub(super) fn rules<P: Policy>(
    policy: &P,
    case: &mut Case,
    entry: GroupEntry,
) -> Result<Reason, Reason> {
    let fragment = case.flow.fragment;
    let state = if fragment == Fragment::Later {
        datagram(policy, &case.flow)?
    } else {
        FragmentState { since: 0, service: case.flow.service(), end: 0 }
    };
    let reason = first_match(policy, case, entry, state.service)?;
    if fragment == Fragment::Whole || !(reason.passes() || entry.observes()) {
        return Ok(reason);
    }
    let flow = &case.flow;
    let later = fragment == Fragment::Later;
    let since = if later { state.since } else { policy.now() };
    let end = u32::from(flow.fragment_offset) + u32::from(flow.fragment_length);
    policy.keep_fragment(&fragment_key(flow), &FragmentState { since, end, ..state });
    Ok(if later && reason.passes() { Reason::FragmentOfPassed } else { reason })
}

#[inline(always)]
fn fragment_key(flow: &Flow) -> FragmentKey {
    FragmentKey {
        source: flow.source,
        destination: flow.destination,
        source_mac: flow.source_mac,
        id: flow.fragment_id,
        interface: flow.interface,
        vlan: flow.vlan(),
        protocol: flow.protocol,
        family: flow.family,
        reserved: 0,
    }
}

/// The datagram that a later fragment continues. It must not write into what has passed of it:
/// RFC 5722, and for IPv4 the same. So the fragments of a datagram pass in their order only, and
/// one number remembers them all.
#[inline(always)]
fn datagram<P: Policy>(policy: &P, flow: &Flow) -> Result<FragmentState, Reason> {
    let Some(state) = policy.fragment(&fragment_key(flow)) else {
        return Err(Reason::FragmentOrphan);
    };
    if policy.now().wrapping_sub(state.since) > FRAGMENT_SECONDS {
        return Err(Reason::FragmentOrphan);
    }
    if u32::from(flow.fragment_offset) < state.end {
        return Err(Reason::FragmentOverlap);
    }
    Ok(state)
}

/// Deny, allow, default verdict.
#[inline(always)]
fn first_match<P: Policy>(
    policy: &P,
    case: &mut Case,
    entry: GroupEntry,
    service: u32,
) -> Result<Reason, Reason> {
    let Case { flow, decision, .. } = case;
    let descriptor = entry.descriptor();
    if descriptor != image::ABSENT {
        let destination = flow.destination;
        let word = if flow.family == FAMILY_V4 {
            image::look_up_top(policy, descriptor, destination.to_v4())?
        } else {
            image::destination_v6(policy, descriptor, destination.high, destination.low)?
        };
        let word = endpoint(policy, word, service)?;
        match word.kind() {
            kind::NONE => {}
            kind::PASS => {
                decision.rule = word.payload();
                return Ok(Reason::Allow);
            }
            kind::DROP => {
                decision.rule = word.payload();
                return Ok(Reason::Deny);
            }
            _ => return Err(Reason::Corrupt),
        }
    }
    Ok(match (entry.default_pass(), decision.group) {
        (true, 0) => Reason::UnknownPass,
        (true, _) => Reason::DefaultPass,
        (false, 0) => Reason::Unknown,
        (false, _) => Reason::Default,
    })
}

/// From what covers a destination to what decides for one of its services, now.
#[inline(always)]
fn endpoint<P: Policy>(policy: &P, word: Word, service: u32) -> Result<Word, Corrupt> {
    let mut word = image::look_up_32(policy, word, service)?;
    if image::constant(&policy.layout().flags) & image::flag::EXPIRING != 0 {
        let mut left = image::MAX_EXPIRING;
        while left > 0 && word.kind() == kind::EXPIRES {
            let line = policy.line(word.payload()).ok_or(Corrupt)?;
            word = image::expiry::at(line, policy.now())?;
            left -= 1;
        }
    }
    Ok(word)
}
