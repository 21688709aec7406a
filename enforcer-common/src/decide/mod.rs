//! Flow and policy to verdict and reason.
//!
//! - `context`: a frame on its way to a verdict
//! - `identify`: the device behind a frame, and its group
//! - `essential`: frames that are decided before any rule
//! - [`limits`]: rates of essentials
//! - `rules`: deny, allow, default verdict
//! - [`hops`]: whether a frame goes to the MAC of its next hop
//! - [`answers`]: frames that answer what others were let to open
//! - [`inbound`]: frames towards devices
//! - [`flooded`]: those of them to groups of receivers
//! - [`asked`]: what devices have asked for
//! - [`quoted`]: what ICMP errors are about
//! - [`datagrams`]: state of fragmented datagrams
//! - [`flow_cache`]: cached verdicts of flows
//!
//! The order is the contract of the policy language: malformed, place, essential, source binding,
//! quarantine, deny, allow, answer, default verdict, next hop.

pub mod answers;
pub mod asked;
mod context;
pub mod datagrams;
mod essential;
pub mod flooded;
pub mod flow_cache;
pub mod hops;
mod identify;
pub mod inbound;
pub mod limits;
pub mod quoted;
pub mod rules;

use crate::flow::Class;
use crate::image::clock::Clocks;
use crate::image::{self, Corrupt, GroupEntry, Layout, Lines, NO_RULE, Word, flag, kind};
use crate::keyed::Keys;
use crate::packet::Frame;
use crate::parse::{parse, verifier_barrier};
use crate::reason::{Reason, Verdict};
use answers::Answers;
use asked::Question;
pub use context::{Decision, FrameContext};
use datagrams::Datagram;
use essential::essential;
use hops::Hop;
use identify::identify;
use rules::{Endpoint, Found, rules};

/// What differs between the kernel and the host.
pub trait Policy: Lines + Sized {
    /// The layout of the image.
    fn layout(&self) -> &Layout;

    /// The current time.
    fn clocks(&self) -> Result<Clocks, Corrupt>;

    /// Seconds since boot.
    fn boot(&self) -> u64;

    /// The same, as of the last tick of a clock: cheaper in the kernel.
    #[inline(always)]
    fn seconds(&self) -> u64 {
        self.boot()
    }

    /// The keys of digests and slots.
    fn keys(&self) -> &Keys;

    /// The kept state of a datagram, by number: below [`datagrams::ENTRIES`].
    fn datagram(&self, number: u32) -> Option<&Datagram>;

    /// The entry of the table of next hops: a MAC as a number.
    fn hop(&self, hop: &Hop) -> Option<u64>;

    /// A number of the image that no other one has had since the machine was started.
    fn nonce(&self) -> u64;

    /// An entry of the table of what devices have asked for, by number: below [`asked::ENTRIES`].
    fn question(&self, number: u32) -> Option<&Question>;

    /// The size of the table of answers.
    #[inline(always)]
    fn answers_size(&self) -> answers::Size {
        answers::Size::USUAL
    }

    /// A line of the table of answers, by number: below [`answers::Size::lines`].
    fn answers(&self, number: u32) -> Option<&Answers>;

    /// [`rules::find`]. The kernel has it as a function of its own, so that its verifier walks it once.
    #[inline(always)]
    fn rule(&self, descriptor: u32, to: Endpoint) -> Result<Found, Corrupt> {
        rules::find(self, descriptor, to)
    }
}

/// Judges a frame that interface `interface` received; `context` must be [`FrameContext::NEW`].
#[inline(always)]
pub fn decide<F: Frame, P: Policy>(
    frame: &F,
    interface: u32,
    policy: &P,
    context: &mut FrameContext,
) {
    context.flow.interface = interface;
    context.flow.length = frame.length();
    read(frame, context);
    if is_quoted(policy, context) {
        read_quoted(frame, context);
    }
    judge(policy, context);
}

/// Reads a frame into `context`, whose interface and length are known.
#[inline(always)]
pub fn read<F: Frame>(frame: &F, context: &mut FrameContext) {
    if let Err(fault) = parse(frame, &mut context.flow) {
        context.flow.fault = fault.number();
    }
}

/// Whether the frame that has been read is an ICMP error, and what it quotes makes a difference: then [`read_quoted`]
/// comes next.
#[inline(always)]
pub fn is_quoted<P: Policy>(policy: &P, context: &FrameContext) -> bool {
    image::constant(&policy.layout().flags) & (flag::ANSWERS | flag::INBOUND) != 0
        && quoted::is_error(&context.flow)
        && context.flow.fault == 0
}

/// Reads what an ICMP error quotes.
#[inline(always)]
pub fn read_quoted<F: Frame>(frame: &F, context: &mut FrameContext) {
    quoted::read(frame, &context.flow, &mut context.quoted);
}

/// Judges the flow in `context`, and notes what it asks for.
#[inline(always)]
pub fn judge<P: Policy>(policy: &P, context: &mut FrameContext) {
    judge_by_rules(policy, context);
    if context.may_answer() {
        answers::judge(policy, context, true);
    }
    if context.may_relate() {
        inbound::relate(policy, context);
    }
    if asked::asks(context) {
        asked::note(policy, context);
    }
}

/// Judges the flow in `context`, apart from answers: if [`FrameContext::may_answer`], [`answers::judge`] has the last
/// word.
#[inline(always)]
pub fn judge_by_rules<P: Policy>(policy: &P, context: &mut FrameContext) {
    verifier_barrier();
    let reason = match identify(policy, context) {
        Ok(()) => {
            verifier_barrier();
            match verdict_on(policy, context) {
                Ok(reason) | Err(reason) => reason,
            }
        }
        Err(reason) => reason,
    };
    context.decision.reason = reason;
    verifier_barrier();
    context.decision.verdict = outcome(context);
}

/// The verdict that follows from the reason of the decision.
#[inline(always)]
fn outcome(context: &FrameContext) -> Verdict {
    let reason = context.decision.reason;
    if reason.passes() {
        Verdict::Pass
    } else if context.identity.observes != 0 && reason.observable() {
        Verdict::WouldDrop
    } else {
        Verdict::Drop
    }
}

/// Whether the device may use an address with this `word` in the source tree.
#[inline(always)]
fn may_use(context: &FrameContext, word: Word) -> bool {
    if word.kind() == kind::DROP {
        return word.payload() == context.decision.device;
    }
    context.identity.bound & image::BOUND_SOURCES == 0
}

/// Returns the reason of the verdict, and sets the rule if one decides.
#[inline(always)]
fn verdict_on<P: Policy>(policy: &P, context: &mut FrameContext) -> Result<Reason, Reason> {
    let layout = policy.layout();
    let entry = group_entry(policy, context.decision.group)?;
    context.entry = entry.0;
    if entry.is_timed() {
        context.identity.ends = 1;
    }
    let entry = in_time(policy, entry)?;
    // The mode applies to malformed frames too.
    context.identity.observes = u8::from(entry.observes());
    if let Some(fault) = Reason::from_fault(context.flow.fault) {
        return Err(fault);
    }
    // Checked before anything passes: a single frame makes a bridge send the answers to another
    // port.
    if context.identity.own_mac != 0 {
        return Err(Reason::SourceMacOwn);
    }
    if context.identity.declared == 0 {
        return Err(Reason::VlanUndeclared);
    }
    if context.identity.bound & image::BOUND_PLACE != 0 {
        place(policy, context)?;
    }
    if context.flow.class != Class::Ip
        && let Some(reason) = essential(policy, context)?
    {
        return Ok(reason);
    }
    verifier_barrier();
    if !may_use(context, context.identity.source) {
        return Err(Reason::SourceBinding);
    }
    if entry.quarantines() {
        return Err(Reason::Quarantine);
    }
    let reason = rules(policy, context, entry)?;
    if image::constant(&layout.flags) & flag::BOUND_HOPS == 0 || context.identity.bound_hops == 0 {
        return Ok(reason);
    }
    // A neighbour may be elsewhere by the next frame.
    context.identity.ends = 1;
    verifier_barrier();
    if reason.passes() && !hops::leads_there(policy, context)? {
        context.decision.rule = NO_RULE;
        return Err(Reason::DestinationBinding);
    }
    Ok(reason)
}

/// The entry of a group of the policy.
#[inline(always)]
fn group_entry<P: Policy>(policy: &P, group: u32) -> Result<GroupEntry, Corrupt> {
    let layout = policy.layout();
    let groups = image::constant(&layout.groups);
    image::group_entry(policy, groups, image::constant(&layout.group_count), group)
}

/// The entry with the mode that applies now.
#[inline(always)]
fn in_time<P: Policy>(policy: &P, entry: GroupEntry) -> Result<GroupEntry, Corrupt> {
    if !entry.is_timed() {
        return Ok(entry);
    }
    let line = policy.line(entry.descriptor()).ok_or(Corrupt)?;
    let until = line.word(image::top::UNTIL).ok_or(Corrupt)?;
    let GroupEntry(after) = entry.afterwards();
    let masks = image::clock::masks(entry.clock());
    let before = policy.clocks()?.is_before(u64::from(until), masks).wrapping_neg();
    Ok(GroupEntry(after ^ (after ^ entry.0) & before))
}

/// Whether the device is where it belongs.
#[inline(always)]
fn place<P: Policy>(policy: &P, context: &FrameContext) -> Result<(), Reason> {
    let flow = &context.flow;
    let first = image::constant(&policy.layout().places);
    let packed = image::index_64(policy, first, context.decision.device)?;
    let vlan = packed >> image::place::VLAN_SHIFT & 0xfff;
    if packed & image::place::HAS_VLAN != 0 && u64::from(flow.vlan()) != vlan {
        return Err(Reason::VlanBinding);
    }
    let interface = packed as u32;
    if interface != 0 && flow.interface != interface {
        return Err(Reason::InterfaceBinding);
    }
    Ok(())
}
