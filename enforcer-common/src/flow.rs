//! What a frame says about itself.

/// No address family: the frame carries no IP address that could be read.
pub const FAMILY_NONE: u8 = 0;
/// IPv4; also for ARP.
pub const FAMILY_V4: u8 = 4;
/// IPv6.
pub const FAMILY_V6: u8 = 6;

/// An address as numbers, most significant half first. IPv4 stands in the low 32 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The upper 64 bits of an IPv6 address.
    pub high: u64,
    /// The lower 64 bits of an IPv6 address, or an IPv4 address.
    pub low: u64,
}

impl Address {
    /// From an IPv4 address in host order.
    #[inline(always)]
    pub const fn v4(address: u32) -> Self {
        Self { high: 0, low: address as u64 }
    }

    /// From the bytes of an IPv6 address.
    #[inline(always)]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            high: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            low: u64::from_be_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    /// The IPv4 address in host order.
    #[inline(always)]
    pub const fn to_v4(self) -> u32 {
        self.low as u32
    }

    /// The IPv6 address as a number.
    pub const fn to_v6(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }
}

/// The kind of frame, as far as the decision needs it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// An IP packet like any other, or a frame whose kind could not be read.
    #[default]
    Ip = 0,
    /// ARP request or reply; `source` and `destination` are its protocol addresses.
    Arp = 1,
    /// ND solicitation or advertisement; `claim` is the target address.
    Neighbour = 2,
    /// MLD report or done.
    Multicast = 3,
    /// DHCP client message to a server.
    Dhcp = 4,
    /// 802.1X to the reserved block.
    Eapol = 5,
    /// LLDP to the reserved block.
    Lldp = 6,
    /// Spanning tree BPDU to the reserved block.
    Stp = 7,
    /// Ports and direction of a DHCP client message, but in the wrong format.
    OddDhcp = 8,
}

/// Where a packet stands among the fragments of its datagram.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// The whole datagram.
    #[default]
    Whole = 0,
    /// The first fragment, with a whole upper-layer header.
    First = 1,
    /// A later fragment, and not the last one: it has no ports.
    Later = 2,
    /// The last fragment.
    Last = 3,
}

impl Fragment {
    /// Whether the ports are in another fragment.
    #[inline(always)]
    pub const fn is_later(self) -> bool {
        matches!(self, Self::Later | Self::Last)
    }
}

/// What a frame says about itself; fields not reached by the parser are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Source MAC as a number.
    pub source_mac: u64,
    /// Destination MAC as a number.
    pub destination_mac: u64,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Address that the frame claims to own: ND target, ARP sender.
    pub claim: Address,
    /// Index of the interface that received it, host order.
    pub interface: u32,
    /// Length of the whole frame in bytes, without FCS.
    pub length: u32,
    /// Identification of the datagram that a fragment belongs to.
    pub fragment_id: u32,
    /// Offset of a fragment in its datagram, in bytes.
    pub fragment_offset: u16,
    /// Payload of a fragment, in bytes.
    pub fragment_length: u16,
    /// VLAN ids, outermost first.
    pub vlans: [u16; 2],
    /// EtherType behind the tags, or the length of an 802.3 frame, host order.
    pub ether_type: u16,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order; for ICMP and ICMPv6 `type << 8 | code`.
    pub destination_port: u16,
    /// Upper-layer protocol.
    pub protocol: u8,
    /// [`FAMILY_NONE`], [`FAMILY_V4`] or [`FAMILY_V6`].
    pub family: u8,
    /// Kind of frame.
    pub class: Class,
    /// Place among fragments.
    pub fragment: Fragment,
    /// Offset of the network header in bytes, 0 if the frame ended before it.
    pub network: u8,
    /// Number of the [`crate::reason::Reason`] why the frame is malformed, 0 if it is not.
    pub fault: u8,
    /// Control bits of TCP, see [`crate::wire::tcp`].
    pub tcp_flags: u8,
    /// 0 for a frame from a device, 1 for one towards it: then all other fields are in the device's view, so that the
    /// source is its end.
    pub direction: u8,
    /// Identifier of an ICMP or ICMPv6 echo, host order.
    pub echo: u16,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Flow>() == 104);

impl Flow {
    /// A flow before parsing.
    pub const NEW: Self = Self {
        source_mac: 0,
        destination_mac: 0,
        source: Address::v4(0),
        destination: Address::v4(0),
        claim: Address::v4(0),
        interface: 0,
        length: 0,
        fragment_id: 0,
        fragment_offset: 0,
        fragment_length: 0,
        vlans: [0, 0],
        ether_type: 0,
        source_port: 0,
        destination_port: 0,
        protocol: 0,
        family: FAMILY_NONE,
        class: Class::Ip,
        fragment: Fragment::Whole,
        network: 0,
        fault: 0,
        tcp_flags: 0,
        direction: 0,
        echo: 0,
        reserved: 0,
    };

    /// The VLAN that the frame belongs to; 0 when untagged or priority tagged.
    ///
    /// The parser refuses a second tag with an id, so that at most one is not zero.
    #[inline(always)]
    pub const fn vlan(&self) -> u16 {
        let [outer, inner] = self.vlans;
        outer | inner
    }

    /// Number of VLAN tags, 0 to 2.
    pub fn tags(&self) -> u8 {
        self.network.saturating_sub(crate::wire::ETHERNET as u8) / crate::wire::TAG as u8
    }

    /// Protocol and the port of the source as one key: of a frame towards a device, in the device's view, what it is
    /// about.
    #[inline(always)]
    pub const fn own_service(&self) -> u32 {
        let has_types = self.protocol == crate::wire::protocol::ICMP
            || self.protocol == crate::wire::protocol::ICMPV6;
        // Types of ICMP have no other end.
        let port = if has_types { self.destination_port } else { self.source_port };
        (self.protocol as u32) << 16 | port as u32
    }

    /// Protocol and destination port as one key, see [`crate::image`].
    #[inline(always)]
    pub const fn service(&self) -> u32 {
        (self.protocol as u32) << 16 | self.destination_port as u32
    }
}
