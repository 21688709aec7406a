//! A frame, through two views of its memory.

use std::cell::Cell;

use enforcer_common::flow::{Class, FAMILY_NONE, FAMILY_V4, FAMILY_V6, Flow, Fragment};
use enforcer_common::packet::{Frame, HEADERS, MAX_OFFSET, Packet};
use enforcer_common::parse;
use enforcer_common::reason::Reason;
use enforcer_common::wire::{self, protocol};

const INTERFACE: u32 = 7;

/// A frame of which only some bytes at the start are readable, without pointers.
struct Start<'a> {
    bytes: &'a [u8],
    length: u32,
    /// End of the furthest read.
    reach: Cell<usize>,
}

impl Frame for Start<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.reach.set(self.reach.get().max(offset + N));
        if offset > MAX_OFFSET {
            return None;
        }
        self.bytes.get(offset..offset + N)?.try_into().ok()
    }

    fn length(&self) -> u32 {
        self.length
    }
}

/// Any bytes give a flow or a reason. The fields of the flow are in the first [`HEADERS`] bytes of the
/// frame.
pub fn run(frame: &[u8]) {
    let (result, flow) = read(&Packet::from_slice(frame));
    let start = Start {
        bytes: &frame[..frame.len().min(HEADERS)],
        length: flow.length,
        reach: Cell::default(),
    };
    assert_eq!(read(&start), (result, flow), "by its first bytes");
    assert!(start.reach.get() <= HEADERS, "reads {} bytes", start.reach.get());

    assert_eq!((flow.interface, flow.length as usize, flow.fault), (INTERFACE, frame.len(), 0));
    match result {
        Ok(()) => well_formed(frame, &flow),
        Err(reason) => assert!(!reason.passes() && reason.observable(), "{reason:?}"),
    }
    if frame.len() >= wire::ETHERNET {
        assert_eq!(flow.destination_mac, number(&frame[..6]) as u64);
        assert_eq!(flow.source_mac, number(&frame[6..12]) as u64);
    }
    let network = usize::from(flow.network);
    assert!(network <= frame.len() && [0, 14, 18, 22].contains(&network), "{flow:?}");
    if flow.class != Class::Arp {
        addresses(frame.get(network..).unwrap_or_default(), &flow);
    }
}

fn read<F: Frame>(frame: &F) -> (Result<(), Reason>, Flow) {
    let mut flow = Flow { interface: INTERFACE, length: frame.length(), ..Flow::NEW };
    (parse::parse(frame, &mut flow), flow)
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// The addresses are those of the header.
fn addresses(packet: &[u8], flow: &Flow) {
    let (source, destination) = (flow.source.to_v6(), flow.destination.to_v6());
    match flow.family {
        FAMILY_V4 => {
            assert_eq!(source, number(&packet[12..16]));
            assert_eq!(destination, number(&packet[16..20]));
        }
        FAMILY_V6 => {
            assert_eq!(source, number(&packet[8..24]));
            assert_eq!(destination, number(&packet[24..40]));
        }
        _ => assert_eq!((flow.family, source, destination), (FAMILY_NONE, 0, 0)),
    }
}

/// Properties of every valid frame.
fn well_formed(frame: &[u8], flow: &Flow) {
    assert!(flow.network != 0 && flow.vlans.iter().filter(|&&vlan| vlan != 0).count() <= 1);
    assert!(flow.source_mac & wire::MULTICAST_MAC == 0);
    let packet = &frame[usize::from(flow.network)..];
    if flow.family == FAMILY_NONE || flow.class == Class::Arp {
        assert_ne!(flow.class, Class::Ip, "{flow:?}");
        assert_eq!((flow.protocol, flow.source_port, flow.destination_port), (0, 0, 0));
        return;
    }
    let (header, end) = length(packet, flow);
    assert!(end <= packet.len(), "the packet ends at {end} of {}", packet.len());
    assert!(packet.len() <= end.max(wire::PADDED), "{} bytes behind {end}", packet.len() - end);
    assert!(usize::from(flow.fragment_offset) + usize::from(flow.fragment_length) <= 0xffff);
    assert!(usize::from(flow.fragment_length) <= end - header);
    match flow.fragment {
        Fragment::Whole => assert_eq!((flow.fragment_offset, flow.fragment_length), (0, 0)),
        Fragment::First => assert_eq!(flow.fragment_offset, 0),
        Fragment::Later | Fragment::Last => {
            assert!(flow.fragment_offset > 8, "overwrites what the first one decided");
            assert_eq!((flow.source_port, flow.destination_port), (0, 0));
            return;
        }
    }
    let ports = [flow.source_port.to_be_bytes(), flow.destination_port.to_be_bytes()].concat();
    let stands = |bytes: &[u8]| packet[header..end].windows(bytes.len()).any(|at| at == bytes);
    match flow.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => assert!(stands(&ports), "{flow:?}"),
        protocol::ICMP if flow.family == FAMILY_V4 => assert!(stands(&ports[2..]), "{flow:?}"),
        protocol::ICMPV6 if flow.family == FAMILY_V6 => assert!(stands(&ports[2..]), "{flow:?}"),
        _ => assert_eq!(ports, [0; 4]),
    }
    if flow.class == Class::Neighbour {
        assert!(stands(&flow.claim.to_v6().to_be_bytes()) || flow.claim.to_v6() == 0);
    }
}

/// Where the fixed header and the packet end, in bytes from the network header.
pub(super) fn length(packet: &[u8], flow: &Flow) -> (usize, usize) {
    if flow.family == FAMILY_V4 {
        (wire::IPV4, usize::from(wire::be16(packet[2], packet[3])))
    } else {
        (wire::IPV6, wire::IPV6 + usize::from(wire::be16(packet[4], packet[5])))
    }
}
