//! The packet that an ICMP error quotes: RFC 792, and RFC 4443 section 2.4 (c).
//!
//! Errors are the only frames that are about another flow than their own. What they quote says which.

use super::answers::has_echo;
use crate::flow::{Address, FAMILY_V4, Flow, Fragment};
use crate::packet::Frame;
use crate::wire::{self, protocol};

/// The quoted packet, as far as it is plain: no options, no extension headers, not a later fragment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quoted {
    /// Its source address.
    pub source: Address,
    /// Its destination address.
    pub destination: Address,
    /// Its source port, host order.
    pub source_port: u16,
    /// Its destination port, host order; for ICMP and ICMPv6 `type << 8 | code`.
    pub destination_port: u16,
    /// Identifier of an echo, host order.
    pub echo: u16,
    /// Its upper-layer protocol.
    pub protocol: u8,
    /// 1 if a packet is quoted; otherwise 0, and the other fields say nothing.
    pub is: u8,
}

const _: () = assert!(size_of::<Quoted>() == 40);

impl Quoted {
    /// Nothing is quoted.
    pub const NONE: Self = Self {
        source: Address::v4(0),
        destination: Address::v4(0),
        source_port: 0,
        destination_port: 0,
        echo: 0,
        protocol: 0,
        is: 0,
    };
}

/// A flow between a device and another end, as a quoted packet tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The other end.
    pub(super) peer: Address,
    /// The other end's port, or the identifier of an echo.
    pub(super) far: u32,
    /// The device's port, or the identifier of an echo.
    pub(super) near: u32,
    /// Protocol and destination port of a frame of the device, see [`Flow::service`].
    pub(super) service: u32,
    /// Its protocol.
    pub(super) protocol: u8,
}

impl Subject {
    /// What an error in `flow`, in the device's view, is about: the quoted packet goes to the one who gets the error,
    /// or comes from the one who sends it.
    #[inline(always)]
    pub(super) fn of(flow: &Flow, quoted: &Quoted) -> Option<Self> {
        if quoted.is == 0 {
            return None;
        }
        let Quoted { source, destination, source_port, destination_port, echo, protocol, .. } =
            *quoted;
        // Towards the device the error is about what the device has sent. From it, about what it was sent, and the
        // error must go to who sent that.
        let inwards = flow.direction != 0;
        if flow.source != if inwards { source } else { destination }
            || !inwards && flow.destination != source
        {
            return None;
        }
        let (peer, far, near) = if inwards {
            (destination, destination_port, source_port)
        } else {
            (source, source_port, destination_port)
        };
        // An echo has one number for both ends, and a frame of the device has its own type.
        let (far, near) = if has_echo(protocol) { (echo, echo) } else { (far, near) };
        let port = if has_echo(protocol) && inwards { destination_port } else { far };
        let (far, near) = (u32::from(far), u32::from(near));
        let service = u32::from(protocol) << 16 | u32::from(port);
        Some(Self { peer, far, near, service, protocol })
    }
}

/// Whether a packet is an error of ICMP: unreachable, time exceeded, parameter problem; of ICMPv6 also packet too big.
#[inline(always)]
pub(super) fn is_error(flow: &Flow) -> bool {
    let kind = flow.destination_port >> 8;
    let is = match flow.protocol {
        protocol::ICMP => flow.family == FAMILY_V4 && (kind == 3 || kind == 11 || kind == 12),
        protocol::ICMPV6 => flow.family != FAMILY_V4 && (1..=4).contains(&kind),
        _ => false,
    };
    is && flow.fragment == Fragment::Whole
}

/// Reads what an error quotes. The headers in front of it have no options and no extensions.
#[inline(always)]
pub(super) fn read<F: Frame>(frame: &F, flow: &Flow, quoted: &mut Quoted) -> Option<()> {
    const ICMP: usize = 8;
    let network = usize::from(flow.network & 31);
    let behind = if flow.family == FAMILY_V4 {
        let at = network + wire::IPV4 + ICMP;
        let head = frame.read::<{ wire::IPV4 }>(at)?;
        let [version, _, _, _, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            head;
        if version != 0x45 || wire::be16(f0, f1) & 0x1fff != 0 {
            return None;
        }
        quoted.protocol = protocol;
        quoted.source = Address::v4(u32::from_be_bytes([s0, s1, s2, s3]));
        quoted.destination = Address::v4(u32::from_be_bytes([d0, d1, d2, d3]));
        at + wire::IPV4
    } else {
        let [first] = frame.read::<1>(network + 6)?;
        let at = network + wire::IPV6 + ICMP;
        let [version, _, _, _, _, _, next, _] = frame.read::<8>(at)?;
        if first != protocol::ICMPV6 || version >> 4 != 6 {
            return None;
        }
        quoted.protocol = next;
        quoted.source = Address::v6(frame.read::<16>(at + 8)?);
        quoted.destination = Address::v6(frame.read::<16>(at + 24)?);
        at + wire::IPV6
    };
    // An error quotes at least eight bytes of what is behind the header (RFC 792).
    let [s0, s1, d0, d1, i0, i1, _, _] = frame.read::<8>(behind)?;
    if has_echo(quoted.protocol) {
        quoted.destination_port = wire::be16(s0, s1);
        quoted.echo = wire::be16(i0, i1);
    } else {
        quoted.source_port = wire::be16(s0, s1);
        quoted.destination_port = wire::be16(d0, d1);
    }
    quoted.is = 1;
    Some(())
}
