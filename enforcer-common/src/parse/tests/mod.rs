//! Named frames: the parser's verdict on them and the fields that it read.
//!
//! - `link`: Ethernet, tags, 802.3, ARP
//! - `network`: IPv4 and IPv6
//! - `extensions`: IPv6 extension headers and fragments
//! - `transport`: TCP, UDP, ICMP, ND, MLD and DHCP
//!
//! Frames are built byte by byte here: a builder shared with the product could share its errors.

mod extensions;
mod link;
mod network;
mod transport;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::parse;
use crate::flow::{Address, Flow};
use crate::packet::{Frame, Packet};
use crate::reason::Reason;

const DEVICE: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BROADCAST: [u8; 6] = [0xff; 6];
/// The group address of all nodes, RFC 2464 section 7.
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

fn read(frame: &[u8]) -> (Result<(), Reason>, Flow) {
    let mut flow = Flow { length: frame.len() as u32, ..Flow::NEW };
    let result = parse(&Packet::from_slice(frame), &mut flow);
    (result, flow)
}

#[track_caller]
fn accepts(frame: &[u8]) -> Flow {
    let (result, flow) = read(frame);
    assert_eq!(result, Ok(()), "{flow:?}");
    flow
}

#[track_caller]
fn refuses(frame: &[u8], reason: Reason) -> Flow {
    let (result, flow) = read(frame);
    assert_eq!(result, Err(reason), "{flow:?}");
    flow
}

fn to(destination: [u8; 6], ether_type: u16, packet: &[u8]) -> Vec<u8> {
    [&destination[..], &DEVICE, &ether_type.to_be_bytes(), packet].concat()
}

/// Tags as TPID and VID, outermost first.
fn tagged(tags: &[(u16, u16)], ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [GATEWAY, DEVICE].concat();
    for (kind, id) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(packet);
    frame
}

/// An IPv4 header whose every field can be wrong.
#[derive(Clone)]
struct V4 {
    version: u8,
    words: u8,
    total: Option<u16>,
    fragment: u16,
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
    options: Vec<u8>,
}

const V4_SOURCE: [u8; 4] = [10, 77, 0, 2];
const V4_DESTINATION: [u8; 4] = [10, 88, 0, 2];

fn v4(protocol: u8) -> V4 {
    V4 {
        version: 4,
        words: 5,
        total: None,
        fragment: 0,
        protocol,
        source: V4_SOURCE,
        destination: V4_DESTINATION,
        options: Vec::new(),
    }
}

impl V4 {
    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let length = (20 + self.options.len() + payload.len()) as u16;
        let mut packet = vec![self.version << 4 | self.words, 0];
        packet.extend(self.total.unwrap_or(length).to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([64, self.protocol, 0, 0]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(&self.options);
        packet.extend(payload);
        packet
    }

    fn frame(&self, payload: &[u8]) -> Vec<u8> {
        to(GATEWAY, 0x0800, &self.packet(payload))
    }

    fn with_options(mut self, options: &[u8]) -> Self {
        self.words = 5 + (options.len() / 4) as u8;
        self.options = options.to_vec();
        self
    }
}

/// An IPv6 header whose every field can be wrong; the payload brings the extension headers.
#[derive(Clone)]
struct V6 {
    version: u8,
    length: Option<u16>,
    next: u8,
    hops: u8,
    source: &'static str,
    destination: &'static str,
}

fn v6(next: u8) -> V6 {
    V6 {
        version: 6,
        length: None,
        next,
        hops: 64,
        source: "2001:db8:77::2",
        destination: "2001:db8:88::2",
    }
}

impl V6 {
    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![self.version << 4, 0, 0, 0];
        packet.extend(self.length.unwrap_or(payload.len() as u16).to_be_bytes());
        packet.extend([self.next, self.hops]);
        packet.extend(address(self.source));
        packet.extend(address(self.destination));
        packet.extend(payload);
        packet
    }

    fn frame(&self, payload: &[u8]) -> Vec<u8> {
        to(GATEWAY, 0x86dd, &self.packet(payload))
    }

    fn multicast(&self, payload: &[u8]) -> Vec<u8> {
        to(ALL_NODES, 0x86dd, &self.packet(payload))
    }
}

fn address(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

fn address_v6(text: &str) -> Address {
    Address::v6(address(text))
}

fn address_v4(bytes: [u8; 4]) -> Address {
    Address::v4(Ipv4Addr::from(bytes).into())
}

/// A TCP header with nothing behind it.
fn tcp(port: u16) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40];
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

/// A UDP header whose length field says `length`.
fn udp(source: u16, destination: u16, length: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for field in [source, destination, length, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(data);
    datagram
}

/// ICMP or ICMPv6 with four more bytes of header, then `data`.
fn icmp(kind: u8, code: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0, 0, 0, 0, 0], data].concat()
}

/// A frame of which only the beginning can be read, as when a driver splits headers off.
struct Split<'a> {
    linear: &'a [u8],
    length: u32,
}

impl Frame for Split<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        Packet::from_slice(self.linear).read(offset)
    }

    fn length(&self) -> u32 {
        self.length
    }
}

#[track_caller]
fn refuses_split(frame: &[u8], linear: usize, reason: Reason) {
    let split = Split { linear: &frame[..linear], length: frame.len() as u32 };
    let mut flow = Flow { length: split.length(), ..Flow::NEW };
    assert_eq!(parse(&split, &mut flow), Err(reason), "{linear} bytes: {flow:?}");
}

/// Frames that pass whole, each with the length from which on it passes.
fn whole_frames() -> Vec<(&'static str, Vec<u8>, usize)> {
    let all = |name, frame: Vec<u8>| {
        let length = frame.len();
        (name, frame, length)
    };
    let chain = [&[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(443)].concat();
    let later = [&[6, 0, 0, 40, 0, 0, 0, 7][..], b"payload!"].concat();
    let neighbour = icmp(135, 0, &address("2001:db8:88::9"));
    let mut padded = v4(17).frame(&udp(40000, 53, 8, b""));
    let inside = padded.len();
    padded.resize(60, 0);
    vec![
        all("tcp", v4(6).frame(&tcp(443))),
        all("tcp data", v4(6).frame(&[tcp(443), b"data".to_vec()].concat())),
        all("udp", v4(17).frame(&udp(40000, 53, 12, b"data"))),
        ("udp padded", padded, inside),
        all("tagged", tagged(&[(0x8100, 10), (0x8100, 0)], 0x0800, &v4(6).packet(&tcp(443)))),
        all("tcp v6", v6(6).frame(&tcp(443))),
        all("udp v6", v6(17).frame(&udp(40000, 53, 12, b"data"))),
        all("extensions", v6(0).frame(&chain)),
        all("later fragment v6", v6(44).frame(&later)),
        all("nd", V6 { hops: 255, ..v6(58) }.frame(&neighbour)),
        all("icmp", v4(1).frame(&icmp(8, 0, b"ping"))),
        all("sctp", v4(132).frame(&[0x9c, 0x40, 0x0b, 0x59, 0, 0, 0, 0, 0, 0, 0, 0])),
        all("gre", v4(47).frame(&[0, 0, 8, 0])),
        all("arp", to(BROADCAST, 0x0806, &link::arp(1))),
        ("arp padded", to(BROADCAST, 0x0806, &[link::arp(1), vec![0; 18]].concat()), 42),
        ("lldp", to([1, 0x80, 0xc2, 0, 0, 0xe], 0x88cc, b"\x02\x07\x04anything"), 16),
        all("eapol", to([1, 0x80, 0xc2, 0, 0, 3], 0x888e, b"\x01\x00\x00\x03eap")),
        all("stp", to([1, 0x80, 0xc2, 0, 0, 0], 7, &[0x42, 0x42, 3, 0, 0, 0, 0])),
        all("dhcp", transport::discover().to_vec()),
    ]
}

/// Every truncation of every whole frame: memory behind the cut has no influence, and no incomplete
/// frame is accepted.
#[test]
fn truncated_frames() {
    for (name, frame, enough) in whole_frames() {
        assert_eq!(read(&frame).0, Ok(()), "{name}");
        for length in 0..frame.len() {
            // In a separate buffer, so that a read past the end is detected.
            let alone = frame[..length].to_vec().into_boxed_slice();
            let (result, flow) = read(&alone);
            assert_eq!(result.is_ok(), length >= enough, "{name}, {length} bytes: {result:?}");

            let mut other = frame.clone();
            other[length..].iter_mut().for_each(|byte| *byte = !*byte);
            assert_eq!(read(&other[..length]), (result, flow), "{name}, {length} bytes");
        }
    }
}

/// The same for frames that continue, but cannot be read there.
#[test]
fn truncated_linear_parts() {
    for (name, frame, _) in whole_frames() {
        let read_to = |linear| {
            let split = Split { linear: &frame[..linear], length: frame.len() as u32 };
            let mut flow = Flow { length: split.length(), ..Flow::NEW };
            (parse(&split, &mut flow), flow)
        };
        let whole = read_to(frame.len());
        for linear in 0..frame.len() {
            let (result, flow) = read_to(linear);
            assert!(result.is_err() || (result, flow) == whole, "{name}, {linear} bytes: {flow:?}");
        }
    }
}

/// A changed byte never causes a panic, and never a header outside the frame.
#[test]
fn damaged_frames() {
    for (name, frame, _) in whole_frames() {
        for at in 12..frame.len() {
            for value in [0, 1, 0x0f, 0x7f, 0x80, 0xff] {
                let mut frame = frame.clone();
                frame[at] = value;
                let (result, flow) = read(&frame);
                let end = usize::from(flow.network) + usize::from(flow.fragment_length);
                assert!(result.is_err() || end <= frame.len(), "{name}: {at} is {value}: {flow:?}");
            }
        }
    }
}
