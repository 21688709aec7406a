//! Payloads of IP and of other EtherTypes.

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Data offset in 32-bit words; `None` stands for the correct value.
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

pub(super) fn ports(source: u16, destination: u16) -> Vec<u8> {
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

/// A DHCP client's discover, RFC 2131, as a UDP payload.
pub fn dhcp_discover(client: [u8; 6]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.extend([0x12, 0x34, 0x56, 0x78]);
    message.resize(28, 0);
    message.extend(client);
    message.resize(236, 0);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 0xff]);
    message
}

/// A DHCPv6 client's solicit, RFC 8415, as a UDP payload.
pub fn dhcp_solicit() -> Vec<u8> {
    vec![1, 0x12, 0x34, 0x56, 0, 8, 0, 2, 0, 0]
}

/// The destination MAC of an IPv6 group, RFC 2464 section 7.
pub fn group_mac(group: u128) -> [u8; 6] {
    let [.., a, b, c, d] = group.to_be_bytes();
    [0x33, 0x33, a, b, c, d]
}

/// LLDP: a chassis id with these bytes, at most 255, and the end.
pub fn lldp(chassis: &[u8]) -> Vec<u8> {
    [&[2, 1 + chassis.len() as u8, 7][..], chassis, &[0, 0]].concat()
}

/// An 802.1X packet with this body.
pub fn eapol(body: &[u8]) -> Vec<u8> {
    [&[1, 0][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

/// A spanning tree BPDU, an 802.3 payload.
pub fn bpdu() -> Vec<u8> {
    let mut payload = vec![0x42, 0x42, 3];
    payload.resize(38, 0);
    payload
}
