//! Frames byte by byte, and random ones.
//!
//! Builders go from the inside out: a transport header is the payload of an IP packet, which is
//! the payload of a frame. Lengths and checksums are right unless a caller sets them.

use crate::random::{self, Random};

/// EtherTypes that frames here carry.
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// Customer tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1X.
    pub const EAPOL: u16 = 0x888e;
    /// Service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// LLDP.
    pub const LLDP: u16 = 0x88cc;
}

/// Shortest frame that a kernel's test run takes.
pub const SHORTEST: usize = 14;
/// Longest frame here, an Ethernet's with its header.
pub const LONGEST: usize = 1514;

/// To everybody.
pub const BROADCAST: [u8; 6] = [0xff; 6];
/// The interface `lan0` of the world of [`random::site`].
pub const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0xff, 0];
/// More fragments, in [`V4::fragment`].
pub const MORE: u16 = 0x2000;

/// An Ethernet header.
#[derive(Clone, Debug)]
pub struct Ethernet {
    /// Destination MAC.
    pub destination: [u8; 6],
    /// Source MAC.
    pub source: [u8; 6],
    /// VLAN tags as TPID and control field, outermost first.
    pub tags: Vec<(u16, u16)>,
}

impl Ethernet {
    /// From `source` to the gateway, untagged.
    pub fn new(source: [u8; 6]) -> Self {
        Self { destination: GATEWAY, source, tags: Vec::new() }
    }

    /// To another destination.
    pub fn to(self, destination: [u8; 6]) -> Self {
        Self { destination, ..self }
    }

    /// With one more 802.1Q tag.
    pub fn tag(mut self, control: u16) -> Self {
        self.tags.push((ether_type::VLAN, control));
        self
    }

    /// The frame around `payload`.
    pub fn frame(&self, ether_type: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination, self.source].concat();
        for (kind, control) in &self.tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(ether_type.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// The 802.3 frame around `payload`.
    pub fn llc(&self, payload: &[u8]) -> Vec<u8> {
        self.frame(payload.len() as u16, payload)
    }
}

/// An IPv4 header; `None` is what is right.
#[derive(Clone, Debug)]
pub struct V4 {
    /// Version.
    pub version: u8,
    /// Header length in 32-bit words.
    pub words: Option<u8>,
    /// Total length in bytes.
    pub total: Option<u16>,
    /// Identification.
    pub id: u16,
    /// Flags and offset, see [`MORE`].
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub protocol: u8,
    /// Source address, host order.
    pub source: u32,
    /// Destination address, host order.
    pub destination: u32,
    /// Options; padded to a whole word.
    pub options: Vec<u8>,
}

impl V4 {
    /// A header without options.
    pub fn new(source: u32, destination: u32, protocol: u8) -> Self {
        Self {
            version: 4,
            words: None,
            total: None,
            id: 0x1234,
            fragment: 0,
            ttl: 64,
            protocol,
            source,
            destination,
            options: Vec::new(),
        }
    }

    /// The packet around `payload`, header checksum included; the payload's own checksum is
    /// filled in if it is whole.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let header = 20 + options.len();
        let words = self.words.unwrap_or((header / 4) as u8);
        let mut packet = vec![self.version << 4 | words & 0xf, 0];
        packet.extend(self.total.unwrap_or((header + payload.len()) as u16).to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source.to_be_bytes());
        packet.extend(self.destination.to_be_bytes());
        packet.extend(options);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum);
        let mut payload = payload.to_vec();
        if self.fragment & 0x3fff == 0 {
            let addresses = packet[12..20].to_vec();
            fill_checksum(&addresses, self.protocol, &mut payload);
        }
        packet.extend(payload);
        packet
    }
}

/// An IPv6 extension header.
#[derive(Clone, Debug)]
pub enum Extension {
    /// Any header of this number with options that say nothing, `length` times eight bytes
    /// behind the first eight: 0 hop-by-hop, 60 destination options, 135 mobility.
    Options {
        /// Number of the header.
        kind: u8,
        /// Its length field.
        length: u8,
    },
    /// A routing header of this type with these segments left.
    Routing {
        /// Its type.
        kind: u8,
        /// Its segments left.
        left: u8,
    },
    /// A fragment header.
    Fragment {
        /// Offset in bytes, a multiple of eight.
        offset: u16,
        /// Whether more follow.
        more: bool,
        /// Identification.
        id: u32,
    },
}

impl Extension {
    /// Its number.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Options { kind, .. } => *kind,
            Self::Routing { .. } => 43,
            Self::Fragment { .. } => 44,
        }
    }

    /// Its bytes, with the number of what follows it.
    pub fn bytes(&self, next: u8) -> Vec<u8> {
        match *self {
            Self::Options { length, .. } => {
                let mut bytes = vec![next, length];
                // PadN, RFC 8200 section 4.2; no option can be longer than 255 bytes.
                let mut left = (usize::from(length) + 1) * 8 - 2;
                while left > 0 {
                    let data = left.min(257).saturating_sub(2);
                    match left {
                        1 => bytes.push(0),
                        _ => {
                            bytes.extend([1, data as u8]);
                            bytes.resize(bytes.len() + data, 0);
                        }
                    }
                    left -= left.min(257);
                }
                bytes
            }
            Self::Routing { kind, left } => {
                let mut bytes = vec![next, 2, kind, left];
                bytes.resize(24, 0);
                bytes
            }
            Self::Fragment { offset, more, id } => {
                let mut bytes = vec![next, 0];
                bytes.extend((offset & 0xfff8 | u16::from(more)).to_be_bytes());
                bytes.extend(id.to_be_bytes());
                bytes
            }
        }
    }
}

/// An IPv6 header and its extension headers; `None` is what is right.
#[derive(Clone, Debug)]
pub struct V6 {
    /// Version.
    pub version: u8,
    /// Payload length in bytes.
    pub length: Option<u16>,
    /// Hop limit.
    pub hops: u8,
    /// Upper-layer protocol.
    pub protocol: u8,
    /// Source address.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Extension headers, in order.
    pub extensions: Vec<Extension>,
}

impl V6 {
    /// A header without extension headers.
    pub fn new(source: u128, destination: u128, protocol: u8) -> Self {
        Self {
            version: 6,
            length: None,
            hops: 64,
            protocol,
            source,
            destination,
            extensions: Vec::new(),
        }
    }

    /// With one more extension header.
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The packet around `payload`, whose own checksum is filled in if it is whole.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let kinds = self.extensions.iter().map(Extension::kind).chain([self.protocol]);
        let mut behind = Vec::new();
        for (extension, next) in self.extensions.iter().zip(kinds.clone().skip(1)) {
            behind.extend(extension.bytes(next));
        }
        let mut payload = payload.to_vec();
        let addresses = [self.source.to_be_bytes(), self.destination.to_be_bytes()].concat();
        if !self.extensions.iter().any(|extension| extension.kind() == 44) {
            fill_checksum(&addresses, self.protocol, &mut payload);
        }
        behind.extend(payload);
        let mut packet = vec![self.version << 4, 0, 0, 0];
        packet.extend(self.length.unwrap_or(behind.len() as u16).to_be_bytes());
        packet.extend([kinds.clone().next().unwrap_or(self.protocol), self.hops]);
        packet.extend(addresses);
        packet.extend(behind);
        packet
    }
}

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Data offset in 32-bit words; `None` is what is right.
    pub words: Option<u8>,
    /// Flags.
    pub flags: u8,
    /// Options; padded to a whole word.
    pub options: Vec<u8>,
}

impl Tcp {
    /// The first segment of a connection to `destination`.
    pub fn new(destination: u16) -> Self {
        Self { source: 40_000, destination, words: None, flags: 2, options: Vec::new() }
    }

    /// The segment around `data`.
    pub fn segment(&self, data: &[u8]) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = self.words.unwrap_or((5 + options.len() / 4) as u8);
        let mut segment = ports(self.source, self.destination);
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(data);
        segment
    }
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// A UDP datagram around `data`.
pub fn udp(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    udp_of_length(source, destination, 8 + data.len() as u16, data)
}

/// A UDP datagram whose length field says `length`.
pub fn udp_of_length(source: u16, destination: u16, length: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = ports(source, destination);
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    datagram
}

/// An SCTP packet with no chunk; its checksum is zero.
pub fn sctp(source: u16, destination: u16) -> Vec<u8> {
    let mut packet = ports(source, destination);
    packet.resize(12, 0);
    packet
}

/// ICMP or ICMPv6: eight bytes of header, then `data`.
pub fn icmp(kind: u8, code: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0, 0, 0, 0, 0], data].concat()
}

/// A neighbour solicitation (135) or advertisement (136) without options.
pub fn neighbour(kind: u8, target: u128) -> Vec<u8> {
    icmp(kind, 0, &target.to_be_bytes())
}

/// An ARP packet: 1 is a request, 2 a reply.
pub fn arp(operation: u16, sender_mac: [u8; 6], sender: u32, target: u32) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    packet.extend(sender_mac);
    packet.extend(sender.to_be_bytes());
    packet.extend([0; 6]);
    packet.extend(target.to_be_bytes());
    packet
}

/// A DHCP discover of a client, RFC 2131; a UDP payload.
pub fn dhcp_discover(client: [u8; 6]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.extend([0x12, 0x34, 0x56, 0x78]);
    message.resize(28, 0);
    message.extend(client);
    message.resize(236, 0);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 0xff]);
    message
}

/// A spanning tree BPDU, an 802.3 payload.
pub fn bpdu() -> Vec<u8> {
    let mut payload = vec![0x42, 0x42, 3];
    payload.resize(38, 0);
    payload
}

/// The internet checksum, RFC 1071.
pub fn checksum(data: &[u8]) -> [u8; 2] {
    let mut sum = data
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Fills the checksum of a transport header in. `addresses` are the source and the destination.
fn fill_checksum(addresses: &[u8], protocol: u8, payload: &mut [u8]) {
    let (at, pseudo) = match protocol {
        1 => (2, false),
        6 => (16, true),
        17 => (6, true),
        58 => (2, true),
        _ => return,
    };
    if payload.len() < at + 2 {
        return;
    }
    let mut data = Vec::new();
    if pseudo {
        data.extend(addresses);
        data.extend((payload.len() as u32).to_be_bytes());
        data.extend([0, 0, 0, protocol]);
    }
    payload[at..at + 2].fill(0);
    data.extend(&*payload);
    let sum = match checksum(&data) {
        // To UDP zero is no checksum at all.
        [0, 0] if protocol == 17 => [0xff, 0xff],
        sum => sum,
    };
    payload[at..at + 2].copy_from_slice(&sum);
}

/// A frame of the world of [`random`], about half of them well formed.
pub fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame = stack(random);
    if random.once_in(3) {
        damage(random, &mut frame);
    }
    frame.truncate(LONGEST);
    if frame.len() < SHORTEST {
        frame.resize(SHORTEST, 0);
    }
    frame
}

/// Changes a few bytes, most of them in the headers, or the length.
fn damage(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(2) {
        let length = frame.len() as u64;
        match random.below(4) {
            0 => frame.truncate(random.below(length + 1) as usize),
            1 => frame.resize(frame.len() + 1 + random.below(60) as usize, random.next() as u8),
            _ if length == 0 => {}
            _ => {
                let reach = if random.once_in(4) { length } else { length.min(80) };
                let at = random.below(reach) as usize;
                frame[at] = match random.below(3) {
                    0 => frame[at] ^ 1 << random.below(8),
                    1 => random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                    _ => random.next() as u8,
                };
            }
        }
    }
}

/// A frame with headers that belong together, if not always into a frame that may pass.
fn stack(random: &mut Random) -> Vec<u8> {
    let mut ethernet = Ethernet::new(random::mac(random).0);
    match random.below(60) {
        0 => ethernet.source = GATEWAY,
        1 => ethernet.source[0] |= 1,
        _ => {}
    }
    tags(random, &mut ethernet);
    match random.below(24) {
        0 | 1 => {
            let sender = random::v4(random);
            let mac = if random.once_in(12) { GATEWAY } else { ethernet.source };
            let operation = random.pick(&[1, 1, 2, 2, 2, 3]);
            let mut packet = arp(operation, mac, sender, random::v4(random));
            packet.resize(random.pick(&[28, 46, 46, 47]), 0);
            ethernet.to(BROADCAST).frame(ether_type::ARP, &packet)
        }
        2 => {
            let block = [1, 0x80, 0xc2, 0, 0, random.pick(&[0, 3, 14, 15, 16])];
            let ethernet = if random.once_in(5) { ethernet } else { ethernet.to(block) };
            match random.below(3) {
                0 => ethernet.llc(&bpdu()),
                1 => ethernet.frame(ether_type::LLDP, &[0; 46]),
                _ => ethernet.frame(ether_type::EAPOL, &[1, 1, 0, 0]),
            }
        }
        3 if random.once_in(3) => {
            let kind = random.pick(&[0x9100, 0x8864, 0x8847, 0x88b5, 0x88e5, 0x8035]);
            ethernet.frame(kind, &[0; 46])
        }
        3 if random.once_in(2) => ethernet.llc(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
        4..=13 => v4(random, ethernet),
        _ => v6(random, ethernet),
    }
}

fn tags(random: &mut Random, ethernet: &mut Ethernet) {
    let vlan = 10 + random.below(5) as u16;
    let priority = (random.below(8) as u16) << 13;
    match random.below(60) {
        0..=7 => ethernet.tags.push((ether_type::VLAN, priority | vlan)),
        8 => ethernet.tags.push((ether_type::VLAN, priority)),
        9 => ethernet.tags.extend([(ether_type::VLAN, 0), (ether_type::VLAN, vlan)]),
        10 => ethernet.tags.extend([(ether_type::SERVICE_VLAN, 0), (ether_type::VLAN, priority)]),
        11 => ethernet.tags.extend([(ether_type::VLAN, vlan), (ether_type::VLAN, vlan)]),
        12 => ethernet.tags.push((ether_type::SERVICE_VLAN, vlan)),
        13 => ethernet.tags = vec![(ether_type::VLAN, 0); 3 + random.below(18) as usize],
        _ => {}
    }
}

const PORTS: [u16; 10] = [0, 53, 67, 68, 80, 443, 515, 547, 8000, u16::MAX];

/// A transport header and its protocol; `icmp_kinds` are types of the family's own ICMP.
fn transport(random: &mut Random, icmp_protocol: u8, icmp_kinds: &[u8]) -> (u8, Vec<u8>) {
    let port = if random.once_in(5) { random.next() as u16 } else { random.pick(&PORTS) };
    let data = vec![0x42; random.pick(&[0, 0, 4, 12, 44, 100, 1000])];
    match random.below(12) {
        0..=4 => {
            let mut tcp = Tcp::new(port);
            tcp.flags = random.pick(&[2, 2, 0x10, 0x18, 0]);
            tcp.options = vec![1; random.pick(&[0, 0, 12, 40])];
            if random.once_in(20) {
                tcp.words = Some(random.below(16) as u8);
            }
            (6, tcp.segment(&data))
        }
        5..=7 => {
            let source = random.pick(&[40_000, 40_000, 40_000, 67, 68, 546, 547]);
            let length = match random.below(20) {
                0 => random.below(12) as u16,
                1 => random.next() as u16,
                _ => 8 + data.len() as u16,
            };
            (17, udp_of_length(source, port, length, &data))
        }
        8 | 9 => (icmp_protocol, icmp(random.pick(icmp_kinds), 0, &data)),
        10 => (132, sctp(40_000, port)),
        _ => {
            let protocol = random.pick(&[47, 4, 41, 50, 51, 33, 136, 97, 115]);
            (protocol, [ports(port, port), data].concat())
        }
    }
}

/// Mostly an address that a host may send from.
fn source_v4(random: &mut Random) -> u32 {
    let address = random::v4(random);
    let sane = address != 0 && address != u32::MAX;
    if sane || random.once_in(4) { address } else { 0x0a14_0000 | random.below(40) as u32 }
}

fn source_v6(random: &mut Random) -> u128 {
    let address = random::v6(random);
    let sane = matches!(address >> 112, 0xfe80 | 0x2001);
    if sane || random.once_in(4) {
        address
    } else {
        0x2001_0db8 << 96 | u128::from(random.below(24))
    }
}

fn v4(random: &mut Random, mut ethernet: Ethernet) -> Vec<u8> {
    if random.once_in(12) {
        let source = if random.once_in(3) { source_v4(random) } else { 0 };
        let destination = if random.once_in(3) { random::v4(random) } else { u32::MAX };
        let (from, to) = if random.once_in(6) { (67, 68) } else { (68, 67) };
        let packet = V4::new(source, destination, 17);
        let packet = packet.packet(&udp(from, to, &dhcp_discover(ethernet.source)));
        if destination == u32::MAX {
            ethernet = ethernet.to(BROADCAST);
        }
        return ethernet.frame(ether_type::IPV4, &packet);
    }
    let (protocol, mut payload) = transport(random, 1, &[8, 8, 8, 0, 3, 5, 9, 10, 13]);
    let mut header = V4::new(source_v4(random), random::v4(random), protocol);
    header.ttl = random.pick(&[1, 64, 64, 255]);
    let multicast = header.destination >> 28 == 0xe || header.destination == u32::MAX;
    if multicast || random.once_in(40) {
        ethernet.destination = BROADCAST;
    }
    match random.below(30) {
        0 => header.options = vec![1; random.below(41) as usize],
        1 => {
            header.options = vec![1; random.below(5) as usize];
            header.options.extend([random.pick(&[131, 137]), 7, 4, 10, 20, 2, 9]);
        }
        2 => header.words = Some(random.below(16) as u8),
        3 => header.total = Some(random.below(80) as u16),
        4 => header.version = random.below(16) as u8,
        5 | 6 => {
            payload.resize((payload.len().next_multiple_of(8)).min(1400), 0);
            header.fragment = MORE;
        }
        7 => {
            payload.truncate(random.pick(&[0, 8, 16]));
            header.fragment = MORE;
        }
        8 | 9 => header.fragment = random.pick(&[0, MORE]) | random.below(0x1000) as u16,
        10 => header.fragment = random.next() as u16,
        _ => {}
    }
    ethernet.frame(ether_type::IPV4, &header.packet(&payload))
}

fn v6(random: &mut Random, mut ethernet: Ethernet) -> Vec<u8> {
    if random.once_in(4) {
        return link_v6(random, ethernet);
    }
    let (protocol, mut payload) = transport(random, 58, &[128, 128, 128, 129, 1, 3, 134, 137]);
    let mut header = V6::new(source_v6(random), random::v6(random), protocol);
    if header.destination == 0 && !random.once_in(4) {
        header.destination = 0x2001_0db8 << 96 | 1 << 80;
    }
    // A link-local source stays on the link.
    if header.source >> 112 == 0xfe80 && !random.once_in(4) {
        header.destination = random.pick(&[0xfe80, 0xff02]) << 112 | 1;
    }
    if header.destination >> 120 == 0xff || random.once_in(40) {
        ethernet.destination = [0x33, 0x33, 0, 0, 0, 1];
    }
    let options = |random: &mut Random| Extension::Options {
        kind: 60,
        length: random.pick(&[0, 0, 1, 3, 7, 31, 32]),
    };
    let id = random.below(4) as u32;
    match random.below(30) {
        0 => header.extensions.push(Extension::Options { kind: 0, length: 0 }),
        1 => header.extensions.push(options(random)),
        2 => {
            let mut chain: Vec<_> = (0..random.below(7)).map(|_| options(random)).collect();
            let at = random.below(chain.len() as u64 + 1) as usize;
            chain.insert(at, Extension::Options { kind: 0, length: 0 });
            header.extensions = chain;
        }
        3 => {
            let kind = random.pick(&[135, 139, 140, 253, 254]);
            header.extensions.push(Extension::Options { kind, length: 0 });
        }
        4 => {
            let (kind, left) = (random.pick(&[0, 4, 253]), random.below(2) as u8);
            header.extensions.push(Extension::Routing { kind, left });
        }
        5 => header.extensions.push(Extension::Fragment { offset: 0, more: false, id }),
        6 | 7 => {
            payload.resize(payload.len().next_multiple_of(8).min(1400), 0);
            header.extensions.push(Extension::Fragment { offset: 0, more: true, id });
        }
        8 => {
            payload.truncate(random.pick(&[0, 8, 16]));
            header.extensions.push(Extension::Fragment { offset: 0, more: true, id });
            header.extensions.push(options(random));
        }
        9 | 10 => {
            let offset = random.below(0x1000) as u16 * 8;
            header.extensions.push(Extension::Fragment { offset, more: random.once_in(2), id });
        }
        11 => header.protocol = 59,
        12 => {
            header.length = Some(0);
            if random.once_in(2) {
                header.extensions.push(Extension::Options { kind: 0, length: 0 });
            }
        }
        13 => {
            header.length = Some(random.below(80) as u16);
            if random.once_in(2) {
                header.extensions.push(options(random));
            }
        }
        14 => header.version = random.below(16) as u8,
        _ => {}
    }
    ethernet.frame(ether_type::IPV6, &header.packet(&payload))
}

/// Neighbour discovery, multicast reports and DHCPv6.
fn link_v6(random: &mut Random, ethernet: Ethernet) -> Vec<u8> {
    let link_local = 0xfe80 << 112 | u128::from(random.below(24));
    let source = if random.once_in(2) { link_local } else { source_v6(random) };
    let all_nodes = 0xff02 << 112 | 1;
    let (mut header, payload) = match random.below(6) {
        0..=3 => {
            let kind = random.pick(&[133, 135, 135, 136, 136, 136, 134]);
            let source = if random.once_in(8) { 0 } else { source };
            let destination = if random.once_in(3) { random::v6(random) } else { all_nodes };
            let mut header = V6::new(source, destination, 58);
            header.hops = if random.once_in(10) { 64 } else { 255 };
            let mut payload = neighbour(kind, random::v6(random));
            if random.once_in(12) {
                payload.resize(random.pick(&[8, 20, 32, 300]), 0);
            }
            (header, payload)
        }
        4 => {
            let mut header = V6::new(source, 0xff02 << 112 | 0x16, 58);
            header.hops = if random.once_in(6) { 64 } else { 1 };
            header.extensions.push(Extension::Options { kind: 0, length: 0 });
            (header, icmp(random.pick(&[131, 132, 143, 130]), 0, &[0; 20]))
        }
        _ => {
            let (from, to) = if random.once_in(5) { (547, 546) } else { (546, 547) };
            let servers = 0xff02 << 112 | 0x1_0002;
            let destination = if random.once_in(3) { random::v6(random) } else { servers };
            (V6::new(source, destination, 17), udp(from, to, &[1, 0, 0, 7]))
        }
    };
    if random.once_in(20) {
        header.extensions.insert(0, Extension::Fragment { offset: 0, more: false, id: 7 });
    }
    let to = match header.destination >> 120 {
        0xff => [0x33, 0x33, 0, 0, 0, 1],
        _ => GATEWAY,
    };
    ethernet.to(to).frame(ether_type::IPV6, &header.packet(&payload))
}
