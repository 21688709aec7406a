//! Events about refused frames, and about enforcement itself.
//!
//! Inside the process an event is this value. It is rendered at the edge: JSON by [`super::json`], a
//! line by [`super::text`], EVE and captures by their modules.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use enforcer_common::reason::Verdict;

pub use super::protocol::Protocol;
pub use super::reason_name::ReasonName;
use super::time::Time;
use crate::policy::Mac;

/// A name of the policy or the machine, shared by all events that have it.
pub type Name = Arc<str>;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame was refused.
    Drop(Box<Refusal>),
    /// Refused frames without an event of their own.
    Suppressed(Suppressed),
    /// Events are missing at this point.
    Lost(Lost),
    /// Something about enforcement itself was removed, replaced or went away.
    Tamper(Tamper),
    /// An event of a kind that this version does not know.
    Other(Head, Name),
}

/// What every event has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// When it happened.
    pub time: Time,
    /// Interface that received the frame or was about to send it, or that the event is about.
    pub interface: Option<Name>,
    /// Generation in the kernel that decided.
    pub generation: u64,
    /// Revision of the policy that decided.
    pub revision: u64,
}

/// Which way a frame was going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// A device has sent it.
    #[default]
    Out,
    /// It was about to be sent to a device.
    In,
}

impl Direction {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }

    /// The direction of that name; out without one.
    pub fn named(name: Option<&str>) -> Self {
        if name == Some(Self::In.name()) { Self::In } else { Self::Out }
    }
}

/// A refused frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What every event has.
    pub head: Head,
    /// Which way it was going: the device is its source, or its destination.
    pub direction: Direction,
    /// VLAN ids, outermost first.
    pub vlans: Vec<u16>,
    /// The Ethernet header.
    pub ether: Option<Ether>,
    /// Source address, if the frame has a readable one.
    pub source: Option<IpAddr>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// IP protocol.
    pub protocol: Option<Protocol>,
    /// Length of the frame in bytes, without FCS.
    pub length: u32,
    /// Whether it was dropped, or passed because its group is observed.
    pub verdict: Verdict,
    /// Why.
    pub reason: ReasonName,
    /// Name of the device, if it has one.
    pub device: Option<Name>,
    /// Name of the group; `unknown` for devices that are in none.
    pub group: Option<Name>,
    /// The rule that decided, if one did.
    pub rule: Option<Rule>,
    /// Frames of the same flow (see [`enforcer_common::event::Record::digest`]) that were suppressed
    /// since the last event about it. They are counted in [`Suppressed`] events, too.
    pub repeats: u64,
    /// When that last event was.
    pub repeats_since: Option<Time>,
    /// Events of this device suppressed by its budget since its last one.
    pub suppressed: u64,
    /// The first bytes of the frame, if they were kept.
    pub frame: Option<Bytes>,
}

impl Refusal {
    /// The device's address, if the frame has a readable one.
    pub fn device_address(&self) -> Option<IpAddr> {
        match self.direction {
            Direction::Out => self.source,
            Direction::In => self.destination,
        }
    }

    /// The other end's address, if the frame has a readable one.
    pub fn peer(&self) -> Option<IpAddr> {
        match self.direction {
            Direction::Out => self.destination,
            Direction::In => self.source,
        }
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ether {
    /// Source MAC address.
    pub source: Mac,
    /// Destination MAC address.
    pub destination: Mac,
    /// EtherType behind the VLAN tags, host order.
    pub ether_type: u16,
}

/// A rule of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its stable id.
    pub id: Name,
    /// The operator's reason for it.
    pub reason: Option<Name>,
}

/// The device of frames without an event of their own. All fields absent: devices that share a
/// table entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Which way the frames were going.
    pub direction: Direction,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// Name of the device, if it has one.
    pub device: Option<Name>,
    /// Name of its group.
    pub group: Option<Name>,
}

/// Frames of one device, refused for one reason, without an event of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// What every event has.
    pub head: Head,
    /// Who sent them.
    pub sender: Sender,
    /// What became of them.
    pub verdict: Verdict,
    /// Why.
    pub reason: ReasonName,
    /// How many.
    pub count: u64,
}

/// Events that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What every event has.
    pub head: Head,
    /// Why they are missing: [`RING_FULL`] or [`SLOW_READER`].
    pub cause: ReasonName,
    /// How many.
    pub count: u64,
    /// The frames, if known.
    pub frames: Option<LostFrames>,
}

/// The ring between kernel and daemon was full.
pub const RING_FULL: &str = "ring-full";
/// A follower did not read in time.
pub const SLOW_READER: &str = "slow-reader";

/// The frames of missing events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFrames {
    /// Who sent them.
    pub sender: Sender,
    /// What became of them.
    pub verdict: Verdict,
    /// Why; older daemons omit it for some.
    pub reason: Option<ReasonName>,
}

/// Something happened to enforcement itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tamper {
    /// What every event has.
    pub head: Head,
    /// Its kind.
    pub reason: ReasonName,
    /// What happened, and what was done about it.
    pub message: String,
}

impl Event {
    /// What every event has.
    pub fn head(&self) -> &Head {
        match self {
            Self::Drop(refusal) => &refusal.head,
            Self::Suppressed(suppressed) => &suppressed.head,
            Self::Lost(lost) => &lost.head,
            Self::Tamper(tamper) => &tamper.head,
            Self::Other(head, _) => head,
        }
    }

    /// Its type in JSON.
    pub fn kind(&self) -> &str {
        match self {
            Self::Drop(_) => "drop",
            Self::Suppressed(_) => "suppressed",
            Self::Lost(_) => "lost",
            Self::Tamper(_) => "tamper",
            Self::Other(_, kind) => kind,
        }
    }

    /// The refused frame, if it is about one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Drop(refusal) => Some(refusal),
            Self::Suppressed(_) | Self::Lost(_) | Self::Tamper(_) | Self::Other(..) => None,
        }
    }

    /// The verdict on its frames.
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Drop(refusal) => Some(refusal.verdict),
            Self::Suppressed(suppressed) => Some(suppressed.verdict),
            Self::Lost(lost) => lost.frames.as_ref().map(|frames| frames.verdict),
            Self::Tamper(_) | Self::Other(..) => None,
        }
    }

    /// Why the frames were refused, or what happened.
    pub fn reason(&self) -> Option<&ReasonName> {
        match self {
            Self::Drop(refusal) => Some(&refusal.reason),
            Self::Suppressed(suppressed) => Some(&suppressed.reason),
            Self::Lost(lost) => Some(&lost.cause),
            Self::Tamper(tamper) => Some(&tamper.reason),
            Self::Other(..) => None,
        }
    }

    /// Which way the frames were going.
    pub fn direction(&self) -> Direction {
        match self.refusal() {
            Some(refusal) => refusal.direction,
            None => self.sender().map_or(Direction::Out, |sender| sender.direction),
        }
    }

    /// The device of frames without an event of their own.
    fn sender(&self) -> Option<&Sender> {
        match self {
            Self::Suppressed(suppressed) => Some(&suppressed.sender),
            Self::Lost(lost) => lost.frames.as_ref().map(|frames| &frames.sender),
            Self::Drop(_) | Self::Tamper(_) | Self::Other(..) => None,
        }
    }

    /// Name of the device.
    pub fn device(&self) -> Option<&Name> {
        match self.refusal() {
            Some(refusal) => refusal.device.as_ref(),
            None => self.sender()?.device.as_ref(),
        }
    }

    /// Name of the group.
    pub fn group(&self) -> Option<&Name> {
        match self.refusal() {
            Some(refusal) => refusal.group.as_ref(),
            None => self.sender()?.group.as_ref(),
        }
    }

    /// MAC address of the device.
    pub fn mac(&self) -> Option<Mac> {
        match self.refusal() {
            Some(refusal) => refusal.ether.map(|ether| match refusal.direction {
                Direction::Out => ether.source,
                Direction::In => ether.destination,
            }),
            None => self.sender()?.mac,
        }
    }

    /// Number of events or frames that it stands for.
    pub fn count(&self) -> u64 {
        match self {
            Self::Drop(_) | Self::Tamper(_) => 1,
            Self::Suppressed(suppressed) => suppressed.count,
            Self::Lost(lost) => lost.count,
            Self::Other(..) => 0,
        }
    }

    /// Bytes of memory, about.
    pub fn size(&self) -> usize {
        let more = match self {
            Self::Drop(refusal) => {
                let frame = refusal.frame.as_ref().map_or(0, Bytes::len);
                size_of::<Refusal>() + 2 * refusal.vlans.len() + frame
            }
            Self::Tamper(tamper) => tamper.message.len(),
            Self::Suppressed(_) | Self::Lost(_) | Self::Other(..) => 0,
        };
        size_of::<Self>() + more
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use enforcer_common::reason::Reason;

    use super::*;

    /// A drop of `bed-12` towards the address that the advisory names.
    pub(crate) fn refusal() -> Refusal {
        Refusal {
            head: Head {
                time: "2026-11-23T12:03:04.123456+01:00".parse().unwrap(),
                interface: Some("lan0".into()),
                generation: 3,
                revision: 2,
            },
            direction: Direction::Out,
            vlans: vec![20],
            ether: Some(Ether {
                source: Mac([0x00, 0x1b, 0x44, 0x11, 0x3a, 0xb7]),
                destination: Mac([2, 0, 0, 0, 0, 1]),
                ether_type: 0x0800,
            }),
            source: Some([10, 20, 0, 12].into()),
            source_port: Some(40000),
            destination: Some([202, 114, 4, 119].into()),
            destination_port: Some(515),
            protocol: Some(Protocol(6)),
            length: 74,
            verdict: Verdict::Drop,
            reason: Reason::Deny.into(),
            device: Some("bed-12".into()),
            group: Some("patient-monitors".into()),
            rule: Some(Rule { id: "r-1a2b3c4d".into(), reason: Some("ICSMA-25-030-01".into()) }),
            repeats: 0,
            repeats_since: None,
            suppressed: 0,
            frame: None,
        }
    }

    /// The same as an event.
    pub(crate) fn event() -> Event {
        Event::Drop(refusal().into())
    }
}
