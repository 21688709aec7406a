//! Offsets, numbers and sizes of the protocols, and how to read their fields.

/// EtherTypes (IEEE 802 numbers registry), host order.
pub mod ether_type {
    /// IPv4, RFC 894.
    pub const IPV4: u16 = 0x0800;
    /// ARP, RFC 826.
    pub const ARP: u16 = 0x0806;
    /// Customer VLAN tag, IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// IPv6, RFC 2464.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1X, EAP over LAN.
    pub const EAPOL: u16 = 0x888e;
    /// Service VLAN tag, IEEE 802.1ad.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Link layer discovery, IEEE 802.1AB.
    pub const LLDP: u16 = 0x88cc;
    /// Smaller values are lengths of an 802.3 frame.
    pub const FIRST: u16 = 0x0600;
}

/// ICMPv6 types of neighbour discovery, RFC 4861 section 4.
pub mod neighbour {
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u16 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u16 = 134;
    /// Multicast listener query, RFC 2710 section 3.1.
    pub const LISTENER_QUERY: u16 = 130;
    /// Neighbour solicitation.
    pub const SOLICITATION: u16 = 135;
    /// Neighbour advertisement.
    pub const ADVERTISEMENT: u16 = 136;
    /// Redirect.
    pub const REDIRECT: u16 = 137;
}

/// IP protocol numbers (IANA).
pub mod protocol {
    /// IPv6 hop-by-hop options, RFC 8200 section 4.3.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP, RFC 792.
    pub const ICMP: u8 = 1;
    /// IGMP, RFC 3376.
    pub const IGMP: u8 = 2;
    /// TCP, RFC 9293.
    pub const TCP: u8 = 6;
    /// UDP, RFC 768.
    pub const UDP: u8 = 17;
    /// IPv6 routing header, RFC 8200 section 4.4.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header, RFC 8200 section 4.5.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
    /// IPv6 no next header, RFC 8200 section 4.7.
    pub const NO_NEXT: u8 = 59;
    /// IPv6 destination options, RFC 8200 section 4.6.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP, RFC 9260.
    pub const SCTP: u8 = 132;
    /// Mobility header, RFC 6275.
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol, RFC 7401.
    pub const HIP: u8 = 139;
    /// Shim6, RFC 5533.
    pub const SHIM6: u8 = 140;
    /// Experiments, RFC 3692.
    pub const EXPERIMENT_1: u8 = 253;
    /// Experiments, RFC 3692.
    pub const EXPERIMENT_2: u8 = 254;
}

/// Control bits of TCP, RFC 9293 section 3.1.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Opens a connection.
    pub const SYN: u8 = 2;
    /// Ends it.
    pub const RST: u8 = 4;
    /// The acknowledgement counts.
    pub const ACK: u8 = 16;
}

/// ICMP types of an echo, RFC 792 and RFC 4443 section 4.
pub mod echo {
    /// Request over IPv4.
    pub const V4_REQUEST: u8 = 8;
    /// Reply over IPv4.
    pub const V4_REPLY: u8 = 0;
    /// Request over IPv6.
    pub const V6_REQUEST: u8 = 128;
    /// Reply over IPv6.
    pub const V6_REPLY: u8 = 129;
}

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET: usize = 14;
/// Length of one VLAN tag, in bytes.
pub const TAG: usize = 4;
/// Length of an IPv4 header without options, in bytes.
pub const IPV4: usize = 20;
/// Length of an IPv6 header, in bytes.
pub const IPV6: usize = 40;
/// Length of an ARP packet for IPv4 over Ethernet, in bytes.
pub const ARP: usize = 28;
/// Smallest payload that Ethernet pads to, in bytes (IEEE 802.3, 60 less the header).
pub const PADDED: usize = 46;

/// The broadcast MAC address, as a number.
pub const BROADCAST_MAC: u64 = 0xffff_ffff_ffff;
/// The multicast bit of a MAC address, as a number.
pub const MULTICAST_MAC: u64 = 0x0100_0000_0000;
/// First of the sixteen addresses that no bridge forwards, 01:80:c2:00:00:00 (IEEE 802.1D).
pub const RESERVED_MAC: u64 = 0x0180_c200_0000;

/// Two bytes in network order as a number.
#[inline(always)]
pub const fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

/// A MAC address as a number, first byte on top.
#[inline(always)]
pub const fn mac(bytes: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = bytes;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The six bytes of a MAC address that is a number.
pub const fn mac_bytes(mac: u64) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = mac.to_be_bytes();
    [a, b, c, d, e, f]
}
