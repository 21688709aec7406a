//! Deny, allow, default verdict.

use super::{FrameContext, Policy, datagrams, inbound};
use crate::flow::{Address, FAMILY_V4, Fragment};
use crate::image::{self, Corrupt, GroupEntry, NO_RULE, Word, kind};
use crate::parse::verifier_barrier;
use crate::reason::Reason;

/// Applies the rules. A later fragment is judged with the service of its first fragment, by the
/// current rules.
#[inline(always)]
pub(super) fn rules<P: Policy>(
    policy: &P,
    context: &mut FrameContext,
    entry: GroupEntry,
) -> Result<Reason, Reason> {
    context.datagram = datagrams::datagram(policy, context)?;
    verifier_barrier();
    context.decision.reason = first_match(policy, context, entry)?;
    verifier_barrier();
    let reason = context.decision.reason;
    let fragment = context.flow.fragment;
    if fragment == Fragment::Whole || !(reason.passes() || entry.observes()) {
        return Ok(reason);
    }
    datagrams::keep(policy, context);
    let later = fragment != Fragment::First;
    Ok(if later && reason.passes() { Reason::FragmentOfPassed } else { reason })
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Family of the address.
    pub family: u8,
    /// The address of the other end.
    pub address: Address,
    /// Protocol and port, see [`crate::flow::Flow::service`].
    pub service: u32,
}

/// What the rules say about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// [`kind::NONE`], or [`kind::PASS`] or [`kind::DROP`] with the number of the rule.
    pub word: Word,
    /// Whether a rule with an end had a say: the next identical frame must be judged again.
    pub ends: bool,
}

/// Looks an endpoint up in a descriptor, live rules included: deny wins in either, and if both agree the policy's rule
/// counts.
#[inline(always)]
pub fn find<P: Policy>(policy: &P, descriptor: u32, to: Endpoint) -> Result<Found, Corrupt> {
    let Endpoint { family, address, service } = to;
    let word = if family == FAMILY_V4 {
        image::look_up_top(policy, descriptor, address.to_v4())?
    } else {
        image::destination_v6(policy, descriptor, address.high, address.low)?
    };
    let word = image::look_up_32(policy, word, service)?;
    let mut found = Found { word, ends: false };
    if image::constant(&policy.layout().flags) & image::flag::EXPIRING != 0 {
        unexpired(policy, &mut found)?;
    }
    let live = policy.line(descriptor).and_then(|line| line.word(image::top::LIVE));
    let live = live.ok_or(Corrupt)?;
    if live != 0 {
        let word = if family == FAMILY_V4 {
            image::live_v4(policy, live, address.to_v4(), service)?
        } else {
            image::live_v6(policy, live, (address.high, address.low), service)?
        };
        let mut other = Found { word, ends: found.ends };
        unexpired(policy, &mut other)?;
        found.ends = other.ends;
        let decided = found.word.kind();
        if decided == kind::NONE || decided == kind::PASS && other.word.kind() == kind::DROP {
            found.word = other.word;
        }
    }
    Ok(found)
}

/// Deny, allow, default verdict.
#[inline(always)]
fn first_match<P: Policy>(
    policy: &P,
    context: &mut FrameContext,
    entry: GroupEntry,
) -> Result<Reason, Reason> {
    let descriptor = entry.descriptor();
    let FrameContext { flow, decision, datagram, identity, accept, .. } = context;
    if descriptor != image::ABSENT {
        let (family, address) = (flow.family, flow.destination);
        let found =
            policy.rule(descriptor, Endpoint { family, address, service: datagram.service })?;
        identity.ends |= u32::from(found.ends);
        decision.rule = NO_RULE;
        match found.word.kind() {
            kind::NONE => {}
            kind::PASS => {
                decision.rule = found.word.payload();
                return Ok(Reason::Allow);
            }
            kind::DROP => {
                decision.rule = found.word.payload();
                return Ok(Reason::Deny);
            }
            _ => return Err(Reason::Corrupt),
        }
    }
    if entry.default_pass() {
        return Ok(if decision.group == 0 { Reason::UnknownPass } else { Reason::DefaultPass });
    }
    if descriptor != image::ABSENT {
        let rules = inbound::descriptor(policy, descriptor)?;
        *accept = if rules.accepts { rules.line } else { 0 };
    }
    Ok(if decision.group == 0 { Reason::Unknown } else { Reason::Default })
}

/// Sets the current value of a word that may have an end, and records that it has one.
#[inline(always)]
fn unexpired<P: Policy>(policy: &P, found: &mut Found) -> Result<(), Corrupt> {
    if found.word.kind() != kind::EXPIRES {
        return Ok(());
    }
    found.ends = true;
    // Read once: the verifier would walk a separate read for each rule.
    let clocks = policy.clocks()?;
    let mut left = image::MAX_EXPIRING;
    while left > 0 && found.word.kind() == kind::EXPIRES {
        let line = policy.line(found.word.payload()).ok_or(Corrupt)?;
        found.word = image::expiry::at(line, &clocks);
        left -= 1;
    }
    Ok(())
}
