//! Deny, allow, default verdict.

use super::{FrameContext, Policy, datagrams};
use crate::flow::{FAMILY_V4, Fragment};
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

/// Deny, allow, default verdict; live rules apply together with those of the policy.
#[inline(always)]
fn first_match<P: Policy>(
    policy: &P,
    context: &mut FrameContext,
    entry: GroupEntry,
) -> Result<Reason, Reason> {
    let descriptor = entry.descriptor();
    if descriptor != image::ABSENT {
        let FrameContext { flow, decision, datagram, identity, .. } = context;
        let destination = flow.destination;
        let word = if flow.family == FAMILY_V4 {
            image::look_up_top(policy, descriptor, destination.to_v4())?
        } else {
            image::destination_v6(policy, descriptor, destination.high, destination.low)?
        };
        let word = image::look_up_32(policy, word, datagram.service)?;
        // A word of the image, until it is a rule's number below.
        decision.rule = if image::constant(&policy.layout().flags) & image::flag::EXPIRING != 0 {
            unexpired(policy, word, &mut identity.ends)?.0
        } else {
            word.0
        };
        let live = policy.line(descriptor).and_then(|line| line.word(image::top::LIVE));
        let live = live.ok_or(Corrupt)?;
        if live != 0 {
            verifier_barrier();
            beside(policy, context, live)?;
        }
        verifier_barrier();
        let word = Word(context.decision.rule);
        context.decision.rule = NO_RULE;
        match word.kind() {
            kind::NONE => {}
            kind::PASS => {
                context.decision.rule = word.payload();
                return Ok(Reason::Allow);
            }
            kind::DROP => {
                context.decision.rule = word.payload();
                return Ok(Reason::Deny);
            }
            _ => return Err(Reason::Corrupt),
        }
    }
    Ok(match (entry.default_pass(), context.decision.group) {
        (true, 0) => Reason::UnknownPass,
        (true, _) => Reason::DefaultPass,
        (false, 0) => Reason::Unknown,
        (false, _) => Reason::Default,
    })
}

/// Replaces the policy's word by that of the live rules if the latter decides: deny wins in either,
/// and if both agree the policy's rule counts.
#[inline(always)]
fn beside<P: Policy>(policy: &P, context: &mut FrameContext, live: u32) -> Result<(), Corrupt> {
    let service = context.datagram.service;
    let destination = context.flow.destination;
    let word = if context.flow.family == FAMILY_V4 {
        image::live_v4(policy, live, destination.to_v4(), service)?
    } else {
        image::live_v6(policy, live, (destination.high, destination.low), service)?
    };
    let word = unexpired(policy, word, &mut context.identity.ends)?;
    let decided = Word(context.decision.rule).kind();
    if decided == kind::NONE || decided == kind::PASS && word.kind() == kind::DROP {
        context.decision.rule = word.0;
    }
    Ok(())
}

/// The current value of a word that may have an end; records in `ends` that it has one.
#[inline(always)]
fn unexpired<P: Policy>(policy: &P, mut word: Word, ends: &mut u32) -> Result<Word, Corrupt> {
    if word.kind() != kind::EXPIRES {
        return Ok(word);
    }
    *ends = 1;
    // Read once: the verifier would walk a separate read for each rule.
    let clocks = policy.clocks()?;
    let mut left = image::MAX_EXPIRING;
    while left > 0 && word.kind() == kind::EXPIRES {
        let line = policy.line(word.payload()).ok_or(Corrupt)?;
        word = image::expiry::at(line, &clocks);
        left -= 1;
    }
    Ok(word)
}
