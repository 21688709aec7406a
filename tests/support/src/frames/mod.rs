//! Frames byte by byte, and random ones.
//!
//! - `transport`: payloads of IP and of other EtherTypes
//! - `compose`: random frames
//!
//! Builders nest from the inside out: a transport header is the payload of an IP packet, which is the
//! payload of a frame. Lengths and checksums are correct unless the caller sets them.

pub mod compose;
mod transport;

pub use transport::{
    Tcp, arp, bpdu, dhcp_discover, dhcp_solicit, eapol, group_mac, icmp, lldp, neighbour, sctp,
    udp, udp_of_length,
};

/// EtherTypes used here.
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

/// Shortest frame that the kernel's test run accepts.
pub const SHORTEST: usize = 14;
/// Longest frame here: an Ethernet frame with its header.
pub const LONGEST: usize = 1514;

/// Broadcast.
pub const BROADCAST: [u8; 6] = [0xff; 6];
/// MAC of the interface `lan0` in the world of `random::host`.
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

    /// Changes the destination.
    pub fn to(self, destination: [u8; 6]) -> Self {
        Self { destination, ..self }
    }

    /// Adds an 802.1Q tag.
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

/// An IPv4 header; `None` stands for the correct value.
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

    /// The packet around `payload`, with header checksum. The payload's own checksum is filled in if the
    /// payload is complete.
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
    /// A header of this kind with options that have no effect, and `length` times eight bytes after the
    /// first eight: 0 hop-by-hop, 60 destination options, 135 mobility.
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
    /// Number of the header.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Options { kind, .. } => *kind,
            Self::Routing { .. } => 43,
            Self::Fragment { .. } => 44,
        }
    }

    /// Bytes of the header, with the number of the next one.
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

/// An IPv6 header and its extension headers; `None` stands for the correct value.
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

    /// Adds an extension header.
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The packet around `payload`, whose own checksum is filled in if the payload is complete.
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

/// Fills in the checksum of a transport header. `addresses` are the source and the destination.
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
        // In UDP, zero means that there is no checksum.
        [0, 0] if protocol == 17 => [0xff, 0xff],
        sum => sum,
    };
    payload[at..at + 2].copy_from_slice(&sum);
}
