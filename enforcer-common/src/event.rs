//! Events: what the kernel reports to user space about a frame, and when.
//!
//! Each refused frame ends in exactly one of three ways: an event of its own, *suppressed* by its
//! device's budget, or *lost* because the ring was full. The counters of the last two are kept for
//! each device and reason.

mod budget;

use core::mem::offset_of;

use crate::abi::HEAD;
use crate::decide::Decision;
use crate::flow::{Address, Class, Flow, Fragment};
use crate::image::NO_DEVICE;
use crate::keyed::Keys;
use crate::reason::{Reason, Verdict};

pub use budget::{
    Due, Held, INTERFACES, NO_HOLDER, Place, SuppressedSince, due, find, held_by, hold, holder,
    others, slot, suppress, tell,
};

/// One event in the ring, in host order: it is written and read on one machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Boot clock when the verdict was given, in nanoseconds.
    pub time: u64,
    /// The parsed frame.
    pub flow: Flow,
    /// The decision.
    pub decision: Decision,
    /// Generation that decided.
    pub generation: u32,
    /// Events of this device suppressed since its last one.
    pub suppressed: u32,
    /// Frames of this flow suppressed since it was last reported.
    pub repeats: u32,
    /// Milliseconds since then; 0 for a flow that is new.
    pub since: u32,
    /// Bytes of `head` that are the frame's.
    pub captured: u32,
    /// Zero.
    pub reserved: u32,
    /// The frame's first bytes.
    pub head: [u8; HEAD],
}

impl Record {
    /// Reads a record from the ring; `None` if it has a different size or an invalid enum value.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let at = |offset: usize| bytes.get(offset).copied();
        let flow = offset_of!(Self, flow);
        let decision = offset_of!(Self, decision);
        if bytes.len() != size_of::<Self>()
            || at(flow + offset_of!(Flow, class))? > Class::OddDhcp as u8
            || at(flow + offset_of!(Flow, fragment))? > Fragment::Last as u8
            || at(decision + offset_of!(Decision, verdict))? > Verdict::WouldDrop as u8
        {
            return None;
        }
        Reason::from_number(at(decision + offset_of!(Decision, reason))?)?;
        // SAFETY: the length is that of a record, the enums hold one of their values, and every
        // other field takes any bits.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }

    /// The frame's first bytes, as many as there are.
    pub fn frame(&self) -> &[u8] {
        self.head.get(..self.captured as usize).unwrap_or(&self.head)
    }
}

/// The identity of a refused flow: device, other end, service, interface, VLANs, direction and the reason of the
/// refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The device's MAC as a number.
    pub source_mac: u64,
    /// The other end's address.
    pub destination: Address,
    /// Index of the device's interface.
    pub interface: u32,
    /// VLAN ids, outermost first.
    pub vlans: [u16; 2],
    /// [`Flow::service`] of a frame from the device; [`Flow::own_service`] of one towards it.
    pub service: u32,
    /// Number of the [`Reason`].
    pub reason: u8,
    /// Drop, or would drop.
    pub verdict: Verdict,
    /// Whether the policy names the device's MAC.
    pub named: bool,
    /// See [`Flow::direction`].
    pub direction: u8,
}

impl Refused {
    /// The identity of a frame's flow.
    #[inline(always)]
    pub fn new(flow: &Flow, decision: &Decision) -> Self {
        Self {
            source_mac: flow.source_mac,
            destination: flow.destination,
            interface: flow.interface,
            vlans: flow.vlans,
            service: if flow.direction == 0 { flow.service() } else { flow.own_service() },
            direction: flow.direction,
            reason: decision.reason.number(),
            verdict: decision.verdict,
            named: decision.device != NO_DEVICE,
        }
    }

    /// The holder of its budget entry.
    #[inline(always)]
    pub fn holder(&self) -> u64 {
        holder(self.source_mac, self.interface, self.verdict, self.direction)
    }

    /// A 63-bit digest of all fields.
    ///
    /// Keyed with a secret: an attacker who found two flows with the same digest could have the
    /// second counted as a repeat of the first, without an event of its own.
    #[inline(always)]
    pub fn digest(&self, keys: &Keys) -> u64 {
        let [outer, inner] = self.vlans;
        let way = u64::from(self.interface) << 32 | u64::from(outer) << 16 | u64::from(inner);
        let why = u64::from(self.direction) << 48
            | (self.verdict as u64) << 40
            | u64::from(self.reason) << 32;
        let Address { high, low } = self.destination;
        keys.digest([self.source_mac, high, low, way, why | u64::from(self.service), 0, 0])
    }
}

/// The entry of [`crate::abi::map::SIGHTINGS`] of a holder: that of its device in the MAC table, if it has one
/// below half of them, otherwise one of the other half.
#[inline(always)]
pub fn sighting(keys: &Keys, holder: u64, device: u32) -> u32 {
    const HALF: u32 = crate::abi::SIGHTINGS / 2;
    const { assert!(HALF == 1 << 13) };
    if device < HALF { device } else { HALF | keys.slot::<13>(holder) }
}

#[cfg(test)]
mod tests;
