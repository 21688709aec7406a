//! Flow and policy to verdict and reason.
//!
//! - `identify`: the device behind a frame, and its group
//! - `essential`: frames that are decided before any rule
//! - [`limits`]: rates of essentials
//! - `rules`: deny, allow, default verdict
//! - [`hops`]: whether a frame goes to the MAC of its next hop
//! - [`answers`]: frames that answer what others were let to open
//! - [`inbound`]: frames towards devices
//! - [`asked`]: what devices have asked for
//! - [`quoted`]: what ICMP errors are about
//! - [`datagrams`]: state of fragmented datagrams
//! - [`flow_cache`]: cached verdicts of flows
//!
//! The order is the contract of the policy language: malformed, place, essential, source binding,
//! quarantine, deny, allow, answer, default verdict, next hop.

pub mod answers;
pub mod asked;
pub mod datagrams;
mod essential;
pub mod flow_cache;
pub mod hops;
mod identify;
pub mod inbound;
pub mod limits;
pub mod quoted;
pub mod rules;

use crate::flow::{Class, Flow};
use crate::image::clock::Clocks;
use crate::image::{
    self, Corrupt, GroupEntry, Layout, Lines, NO_DEVICE, NO_RULE, Word, flag, kind,
};
use crate::keyed::Keys;
use crate::packet::Frame;
use crate::parse::{parse, verifier_barrier};
use crate::reason::{Reason, Verdict};
use answers::Answers;
use asked::Question;
use datagrams::{Datagram, FragmentState};
use essential::essential;
use hops::Hop;
use identify::identify;
use quoted::Quoted;
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

    /// A line of the table of answers, by number: below [`answers::LINES`].
    fn answers(&self, number: u32) -> Option<&Answers>;

    /// [`rules::find`]. The kernel has it as a function of its own, so that its verifier walks it once.
    #[inline(always)]
    fn rule(&self, descriptor: u32, to: Endpoint) -> Result<Found, Corrupt> {
        rules::find(self, descriptor, to)
    }
}

/// The verdict on a frame, and its reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Rule that decided, or [`NO_RULE`].
    pub rule: u32,
    /// Slot in the MAC table, or [`NO_DEVICE`].
    pub device: u32,
    /// Group; 0 for unknown devices.
    pub group: u32,
    /// The reason.
    pub reason: Reason,
    /// The verdict.
    pub verdict: Verdict,
    /// Zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<Decision>() == 16);

impl Decision {
    /// Reads a decision that the kernel wrote; `None` if it holds an invalid enum value.
    pub fn from_bytes(bytes: &[u8; 16]) -> Option<Self> {
        let [r0, r1, r2, r3, d0, d1, d2, d3, g0, g1, g2, g3, reason, verdict, ..] = *bytes;
        Some(Self {
            rule: u32::from_ne_bytes([r0, r1, r2, r3]),
            device: u32::from_ne_bytes([d0, d1, d2, d3]),
            group: u32::from_ne_bytes([g0, g1, g2, g3]),
            reason: Reason::from_number(reason)?,
            verdict: match verdict {
                0 => Verdict::Pass,
                1 => Verdict::Drop,
                2 => Verdict::WouldDrop,
                _ => return None,
            },
            reserved: 0,
        })
    }
}

/// What the image says about the sender, besides device and group.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    /// The source tree's word for the source address.
    source: Word,
    /// The value's upper two bits in the MAC table.
    bound: u16,
    /// Whether the frame's VLAN is declared on the interface: 0 or 1.
    declared: u8,
    /// Whether the group is observed: 0 or 1.
    observes: u8,
    /// The receiving interface's number in the image.
    interface: u32,
    /// Whether the next identical frame must be judged again: 0 or 1.
    ends: u32,
    /// Whether no device may use the source MAC: 0 or 1.
    own_mac: u32,
    /// Whether the next hops of the receiving interface are bound: 0 or 1.
    bound_hops: u32,
}

/// A frame on its way to a verdict. In map memory in the kernel, see `verifier_barrier`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameContext {
    /// The parsed frame.
    pub flow: Flow,
    /// The decision so far.
    pub decision: Decision,
    identity: Identity,
    datagram: FragmentState,
    /// The group entry that decides, as stored in the image.
    entry: u64,
    /// Line of the descriptor of the group's accept rules if no rule decided, otherwise 0.
    accept: u32,
    reserved: u32,
    /// What an ICMP error is about, if the policy has rules for it.
    quoted: Quoted,
}

impl FrameContext {
    /// The state before parsing.
    pub const NEW: Self = Self {
        flow: Flow::NEW,
        decision: Decision {
            rule: NO_RULE,
            device: NO_DEVICE,
            group: 0,
            reason: Reason::NoPolicy,
            verdict: Verdict::Drop,
            reserved: 0,
        },
        identity: Identity {
            source: Word::NONE,
            bound: 0,
            declared: 1,
            observes: 0,
            interface: 0,
            ends: 0,
            own_mac: 0,
            bound_hops: 0,
        },
        datagram: FragmentState::NONE,
        entry: 0,
        accept: 0,
        reserved: 0,
        quoted: Quoted::NONE,
    };

    /// Whether the frame passes if it is an answer: [`answers::judge`] says so.
    #[inline(always)]
    pub fn may_answer(&self) -> bool {
        self.accept != 0
    }

    /// Whether the frame of a device, which is refused, passes if it is an ICMP error about what may pass:
    /// [`inbound::relate`] says so.
    #[inline(always)]
    pub fn may_relate(&self) -> bool {
        self.accept != 0 && self.quoted.is != 0 && !self.decision.reason.passes()
    }

    /// Sets whether the frame's event permits caching the verdict.
    ///
    /// Stored in map memory, so that the verifier merges the paths.
    #[inline(always)]
    pub fn set_cacheable(&mut self, may: bool) {
        self.identity.ends |= u32::from(!may);
        verifier_barrier();
    }

    /// A context with a parsed flow and no decision.
    pub fn of(flow: Flow) -> Self {
        Self { flow, ..Self::NEW }
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
