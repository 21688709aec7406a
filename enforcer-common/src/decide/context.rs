//! A frame on its way to a verdict.

use super::datagrams::FragmentState;
use super::quoted::Quoted;
use crate::flow::Flow;
use crate::image::{NO_DEVICE, NO_RULE, Word};
use crate::parse::verifier_barrier;
use crate::reason::{Reason, Verdict};

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
pub(super) struct Identity {
    /// The source tree's word for the source address.
    pub(super) source: Word,
    /// The value's upper two bits in the MAC table.
    pub(super) bound: u16,
    /// Whether the frame's VLAN is declared on the interface: 0 or 1.
    pub(super) declared: u8,
    /// Whether the group is observed: 0 or 1.
    pub(super) observes: u8,
    /// The receiving interface's number in the image.
    pub(super) interface: u32,
    /// Whether the next identical frame must be judged again: 0 or 1.
    pub(super) ends: u32,
    /// Whether no device may use the source MAC: 0 or 1.
    pub(super) own_mac: u32,
    /// Whether the next hops of the receiving interface are bound: 0 or 1.
    pub(super) bound_hops: u32,
}

/// A frame on its way to a verdict. In map memory in the kernel, see `verifier_barrier`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameContext {
    /// The parsed frame.
    pub flow: Flow,
    /// The decision so far.
    pub decision: Decision,
    pub(super) identity: Identity,
    pub(super) datagram: FragmentState,
    /// The group entry that decides, as stored in the image.
    pub(super) entry: u64,
    /// Line of the descriptor of the group's accept rules if no rule decided, otherwise 0.
    pub(super) accept: u32,
    reserved: u32,
    /// What an ICMP error is about, if the policy has rules for it.
    pub(super) quoted: Quoted,
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
