//! Frames towards devices.
//!
//! Their flow is judged in the device's view: its own end is the source, see [`answers::mirror`]. The order is: essential,
//! refuse, accept, asked, related, the group's `inbound`. Only groups with a rule for such frames, or `inbound = "drop"`,
//! are judged at all.

pub(super) mod kinds;

use super::answers::{self, has_echo};
use super::flooded::{Flood, flood, is_flood};
use super::quoted::Subject;
use super::rules::Endpoint;
use super::{
    FrameContext, Policy, asked, datagrams, group_entry, hops, identify, in_time, outcome,
};
use crate::flow::{Flow, Fragment};
use crate::image::{self, Corrupt, GroupEntry, Mode, NO_DEVICE, NO_RULE, Word, beside, flag, kind};
use crate::parse::verifier_barrier;
use crate::reason::{Reason, Verdict};
use crate::wire::{protocol, tcp};
use kinds::{hides_its_address, hides_its_port, is_essential, is_ip};

/// What is left to do about a frame towards a device.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: no rule is about such frames.
    Nothing = 0,
    /// It must be judged.
    Judge = 1,
    /// It is judged: [`FrameContext::decision`] says how.
    Done = 2,
    /// It is accepted, and its flow must be noted: [`answers::admit`].
    Admit = 3,
    /// It is refused, unless it is about what may pass: [`relate`].
    Relate = 4,
}

impl Next {
    /// The step of that number.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Judge,
            2 => Self::Done,
            3 => Self::Admit,
            4 => Self::Relate,
            _ => Self::Nothing,
        }
    }
}

/// Whether any frame towards a device may be refused.
#[inline(always)]
pub(super) fn is_on<P: Policy>(policy: &P) -> bool {
    image::constant(&policy.layout().flags) & flag::INBOUND != 0
}

/// What a group has of accept and refuse rules.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Line of their descriptor, 0 if there are none.
    pub(super) line: u32,
    /// Whether there are accept rules.
    pub(super) accepts: bool,
    /// Whether there are refuse rules.
    refuses: bool,
}

/// The accept and refuse rules of a group with this descriptor.
#[inline(always)]
pub(super) fn descriptor<P: Policy>(policy: &P, descriptor: u32) -> Result<Rules, Corrupt> {
    if !answers::is_on(policy) || descriptor == image::ABSENT {
        return Ok(Rules { line: 0, accepts: false, refuses: false });
    }
    let beside = policy.line(descriptor.wrapping_add(1)).ok_or(Corrupt)?;
    let kinds = beside.word(beside::KINDS).ok_or(Corrupt)?;
    Ok(Rules {
        line: beside.word(beside::INBOUND).ok_or(Corrupt)?,
        accepts: kinds & beside::ACCEPTS != 0,
        refuses: kinds & beside::REFUSES != 0,
    })
}

/// Judges the frame towards a device in `context`, whose flow is in the device's view.
#[inline(always)]
pub fn judge<P: Policy>(policy: &P, context: &mut FrameContext) -> Next {
    let next = match judged(policy, context) {
        Ok(None) => return Next::Nothing,
        Ok(Some((reason, next))) => {
            context.decision.reason = reason;
            next
        }
        Err(reason) => {
            context.decision.reason = reason;
            Next::Done
        }
    };
    verifier_barrier();
    context.decision.verdict = outcome(context);
    next
}

/// The entry by which a frame to a group of receivers is judged, which no group has.
const NO_GROUP: GroupEntry = GroupEntry::new(image::ABSENT, Mode::Enforce, false);

/// How far a frame is judged before the rules.
enum Step {
    /// No rule is about such frames.
    Nothing,
    /// It passes.
    Passes,
    /// By the rules of a descriptor in this line, 0 for none, and by the entry of their group.
    ByRules(GroupEntry, u32),
}

/// The reason of the verdict, and what is left to do; `None` if no rule is about frames towards this device.
#[inline(always)]
fn judged<P: Policy>(
    policy: &P,
    context: &mut FrameContext,
) -> Result<Option<(Reason, Next)>, Reason> {
    let step = if is_flood(&context.flow) {
        match flood(policy, &context.flow)? {
            Flood::Unjudged => Step::Nothing,
            Flood::Essential => Step::Passes,
            Flood::ByRules(line) => Step::ByRules(NO_GROUP, line),
        }
    } else {
        to_device(policy, context)?
    };
    let (entry, rules) = match step {
        Step::Nothing => return Ok(None),
        Step::Passes => return Ok(Some((Reason::InboundPass, Next::Done))),
        Step::ByRules(entry, rules) => (entry, rules),
    };
    verifier_barrier();
    let otherwise = if entry.is_shut() { Reason::InboundDrop } else { Reason::InboundPass };
    if !is_ip(&context.flow) {
        return Ok(Some((otherwise, Next::Done)));
    }
    match datagrams::datagram(policy, context) {
        Ok(datagram) => context.datagram = datagram,
        Err(_) if is_flood(&context.flow) => return Err(Reason::Flooded),
        Err(reason) if entry.is_shut() => {
            context.flow.fault = reason.number();
            return Err(Reason::InboundMalformed);
        }
        Err(_) if context.flow.fragment.is_later() => {
            return Ok(Some((Reason::InboundPass, Next::Done)));
        }
        // A second first fragment has ports of its own, which the device may take for those of the datagram.
        Err(_) => context.datagram = datagrams::first(policy, &context.flow),
    }
    verifier_barrier();
    let (reason, next) = by_rules(policy, context, (entry, rules))?;
    if reason.passes() && context.flow.fragment != Fragment::Whole {
        datagrams::keep(policy, context);
    }
    Ok(Some((reason, next)))
}

/// The part of [`judged`] that is about the group of the device.
#[inline(always)]
fn to_device<P: Policy>(policy: &P, context: &mut FrameContext) -> Result<Step, Reason> {
    if let Err(reason) = identify(policy, context) {
        return if is_on(policy) { Err(reason) } else { Ok(Step::Nothing) };
    }
    verifier_barrier();
    let entry = group_entry(policy, context.decision.group)?;
    context.entry = entry.0;
    let entry = in_time(policy, entry)?;
    context.identity.observes = u8::from(entry.observes());
    context.identity.ends |= u32::from(GroupEntry(context.entry).is_timed());
    let rules = descriptor(policy, entry.descriptor())?;
    if rules.line == 0 && !entry.is_shut() {
        // A stack of tags hides the address by which the device would be found.
        let hides = is_on(policy)
            && context.decision.device == NO_DEVICE
            && hides_its_address(context.flow.fault);
        return if hides { Err(Reason::InboundMalformed) } else { Ok(Step::Nothing) };
    }
    verifier_barrier();
    if is_essential(policy, &context.flow) {
        return Ok(Step::Passes);
    }
    if context.flow.fault != 0 {
        // A rule that refuses a port cannot let pass what hides it.
        let hidden = hides_its_port(context.flow.fault);
        if entry.is_shut() || rules.refuses && hidden {
            return Err(Reason::InboundMalformed);
        }
        // A redirect, for one: its fault is none of ICMP, which a rule may refuse.
        if !rules.refuses || hidden || context.flow.family == 0 {
            return Ok(Step::Nothing);
        }
    }
    Ok(Step::ByRules(entry, rules.line))
}

/// Refuse, accept, asked, and what the group does with the rest.
#[inline(always)]
fn by_rules<P: Policy>(
    policy: &P,
    context: &mut FrameContext,
    (entry, rules): (GroupEntry, u32),
) -> Result<(Reason, Next), Reason> {
    let FrameContext { flow, decision, datagram, identity, .. } = context;
    let (family, address) = (flow.family, flow.destination);
    let mut word = Word::NONE;
    if rules != 0 {
        let service = about(flow, (datagram.service, datagram.port));
        let found = policy.rule(rules, Endpoint { family, address, service })?;
        identity.ends |= u32::from(found.ends);
        word = found.word;
    }
    decision.rule = NO_RULE;
    match word.kind() {
        kind::DROP => {
            decision.rule = word.payload();
            return Err(Reason::Refuse);
        }
        kind::PASS if !entry.quarantines() => {
            decision.rule = word.payload();
            let opens = !is_flood(flow) && answers::may_open(flow);
            return Ok((Reason::Accept, if opens { Next::Admit } else { Next::Done }));
        }
        kind::PASS | kind::NONE => {}
        _ => return Err(Reason::Corrupt),
    }
    if is_flood(&context.flow) {
        return Err(Reason::Flooded);
    }
    if !entry.is_shut() {
        return Ok((Reason::InboundPass, Next::Done));
    }
    if entry.quarantines() {
        return Err(Reason::InboundDrop);
    }
    verifier_barrier();
    let flow = &context.flow;
    if context.quoted.is != 0 {
        return Ok((Reason::InboundDrop, Next::Relate));
    }
    let (mut service, port) = (context.datagram.service, context.datagram.port);
    let is_answer = if flow.protocol == protocol::TCP {
        flow.tcp_flags & (tcp::SYN | tcp::ACK) != tcp::SYN
    } else {
        let is_reply = !has_echo(flow.protocol) || answers::is_reply(flow.family, service);
        is_reply && asked::was(policy, flow, (service, port))
    };
    if has_echo(flow.protocol) {
        service = answers::asked(flow, port);
    }
    if is_answer && may_send(policy, entry, Endpoint { family, address, service })? {
        return Ok((Reason::Asked, Next::Done));
    }
    Err(Reason::InboundDrop)
}

/// Lets an ICMP error pass: towards a device if it is about what the device may send, or about an answer it may give; of
/// a device if it is about what an accept rule lets others open. Its flow is in the device's view.
#[inline(always)]
pub fn relate<P: Policy>(policy: &P, context: &mut FrameContext) {
    let (rule, reason) = match related(policy, context) {
        Ok(None) => return,
        Ok(Some(found)) => found,
        Err(Corrupt) => (NO_RULE, Reason::Corrupt),
    };
    (context.decision.rule, context.decision.reason) = (rule, reason);
    verifier_barrier();
    context.decision.verdict = outcome(context);
}

/// The rule by which the flow passes that an error is about; `None` if it does not.
#[inline(always)]
fn related<P: Policy>(
    policy: &P,
    context: &FrameContext,
) -> Result<Option<(u32, Reason)>, Corrupt> {
    let FrameContext { flow, quoted, identity, .. } = context;
    let Some(subject) = Subject::of(flow, quoted) else { return Ok(None) };
    let hops = image::constant(&policy.layout().flags) & flag::BOUND_HOPS != 0;
    if flow.direction == 0
        && hops
        && identity.bound_hops != 0
        && !hops::leads_there(policy, context)?
    {
        return Ok(Some((NO_RULE, Reason::DestinationBinding)));
    }
    let entry = in_time(policy, GroupEntry(context.entry))?;
    let (family, address) = (flow.family, subject.peer);
    // A device tells errors only about what it was sent: whether a rule lets it send there is no matter.
    let to = Endpoint { family, address, service: subject.service };
    if flow.direction != 0 && may_send(policy, entry, to)? {
        return Ok(Some((NO_RULE, Reason::Related)));
    }
    let rule = answers::of_subject(policy, flow, (entry, &subject))?;
    Ok(rule.map(|rule| (rule, Reason::Related)))
}

/// Whether the device may send to this endpoint, by its own rules.
#[inline(always)]
fn may_send<P: Policy>(policy: &P, entry: GroupEntry, to: Endpoint) -> Result<bool, Corrupt> {
    if entry.descriptor() != image::ABSENT {
        match policy.rule(entry.descriptor(), to)?.word.kind() {
            kind::NONE => {}
            kind => return Ok(kind == kind::PASS),
        }
    }
    Ok(entry.default_pass())
}

/// The service that a frame in the device's view is about, for accept and refuse rules: the device's port, or the type
/// and code of ICMP.
#[inline(always)]
fn about(flow: &Flow, (service, port): (u32, u32)) -> u32 {
    if has_echo(flow.protocol) { service } else { answers::asked(flow, port) }
}

/// Judges the frame towards a device in `context`, whose flow is as it leaves, and notes it: for the host. Whether any rule
/// is about such frames.
pub fn judge_and_note<P: Policy>(policy: &P, context: &mut FrameContext, segments: u32) -> bool {
    let mut next = answers::recall(policy, context, segments);
    if next == Next::Judge {
        next = judge(policy, context);
    }
    match next {
        Next::Admit => answers::admit(policy, context, segments),
        Next::Relate => relate(policy, context),
        Next::Nothing | Next::Judge | Next::Done => {}
    }
    next != Next::Nothing
}

/// Sets the decision on a frame of a flow that is known to be accepted.
#[inline(always)]
pub(super) fn known(context: &mut FrameContext) {
    context.decision.reason = Reason::Accept;
    context.decision.verdict = Verdict::Pass;
}
