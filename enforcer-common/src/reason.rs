//! Why a verdict was given.

use crate::image::Corrupt;

/// The outcome for a frame.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It continues to the kernel.
    Pass = 0,
    /// It is dropped.
    Drop = 1,
    /// The decision was to drop, but the group is observed, so the frame continues.
    WouldDrop = 2,
}

impl Verdict {
    /// Its name in events, queries and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::WouldDrop => "would-drop",
        }
    }

    /// The verdict of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Pass, Self::Drop, Self::WouldDrop].into_iter().find(|verdict| verdict.name() == name)
    }
}

/// One list generates the enum, the names and the words, so that none can be forgotten.
macro_rules! reasons {
    ($($name:ident = $number:literal $text:literal $words:literal,)*) => {
        /// Why a verdict was given. Numbers and names are stable.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $words] $name = $number,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in events and counters.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The reason in words.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }

            /// The reason with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    Allow = 0 "allow" "a rule allows it",
    DefaultPass = 1 "default-pass" "no rule matches, the group's default is pass",
    UnknownPass = 2 "unknown-pass" "the device is in no group, unknown devices pass",
    Arp = 3 "arp" "ARP, essential",
    Neighbour = 4 "neighbour-discovery" "IPv6 neighbour discovery, essential",
    Dhcp = 5 "dhcp" "DHCP client to server, essential",
    Eapol = 6 "eapol" "802.1X, essential",
    Lldp = 7 "lldp" "LLDP, essential",
    Stp = 8 "stp" "spanning tree, essential",
    FragmentOfPassed = 9 "fragment-of-passed" "later fragment of a datagram that passed",
    Answer = 10 "answer" "it answers what an accept rule lets others open",
    Accept = 11 "accept" "towards a device: an accept rule takes it",
    InboundPass = 12 "inbound-pass" "towards a device: nothing refuses it",
    Asked = 13 "asked" "towards a device: it answers what the device may send",
    Related = 14 "related" "an ICMP error about what may pass",

    Deny = 16 "deny" "a rule denies it",
    Default = 17 "default-drop" "no rule allows it",
    Unknown = 18 "unknown-device" "the device is in no group",
    Quarantine = 19 "quarantine" "the group is in quarantine",
    SourceBinding = 20 "source-binding" "source address not bound to this device",
    VlanBinding = 21 "vlan-binding" "device seen in another VLAN than its own",
    InterfaceBinding = 22 "interface-binding" "device seen on another interface than its own",
    EssentialOff = 23 "essential-off" "essential protocol, switched off by the policy",
    Refuse = 24 "refuse" "towards a device: a rule refuses it",
    InboundDrop = 25 "inbound-drop" "towards a device: nothing accepts it, and it answers nothing",
    Flooded = 29 "flooded" "broadcast or multicast towards devices",
    EssentialRate = 31 "essential-rate" "more essential frames than a device may send",

    ArpSpoof = 32 "arp-spoof" "ARP claims an address that is not the device's",
    NeighbourSpoof = 33 "nd-spoof" "neighbour discovery claims an address that is not the device's",
    RogueRouter = 34 "rogue-ra" "router advertisement from a device",
    RogueDhcp = 35 "rogue-dhcp" "a device answers as a DHCP server",
    Redirect = 36 "icmp-redirect" "ICMP redirect or router discovery from a device",
    IdentityRate = 37 "identity-rate" "more new MAC or IP addresses than may appear",
    DestinationBinding = 38 "destination-binding" "destination MAC is not the next hop of the destination",
    InboundMalformed = 39 "inbound-malformed" "towards a device: what it is about cannot be read",

    TruncatedEthernet = 48 "truncated-l2" "the frame ends inside the Ethernet header",
    TruncatedNetwork = 49 "truncated-l3" "the frame ends inside the network header",
    TruncatedTransport = 50 "truncated-l4" "the packet ends inside the transport header",
    TruncatedExtension = 51 "truncated-ext" "the packet ends inside an IPv6 extension header",
    EtherType = 52 "ethertype" "EtherType that no policy can allow",
    Llc = 53 "llc" "802.3 frame with a length instead of an EtherType",
    VlanDepth = 54 "vlan-depth" "more than two VLAN tags",
    VlanUndeclared = 55 "vlan-undeclared" "VLAN not declared for this interface",
    IpVersion = 56 "ip-version" "IP version and EtherType disagree",
    HeaderLength = 57 "bad-ihl" "IPv4 header length below 20 bytes",
    Options = 58 "ip-options" "IPv4 options, or IPv6 options other than padding",
    SourceRoute = 59 "source-route" "IPv4 source route option",
    Length = 60 "length" "length fields and frame disagree",
    FragmentOrphan = 61 "fragment" "fragment whose first part did not pass",
    FragmentTiny = 62 "tiny-fragment" "first fragment without the whole transport header",
    FragmentOverlap = 63 "fragment-overlap" "fragment that overlaps what has passed",
    ExtensionHeader = 64 "ext-header" "IPv6 extension header that no policy can allow",
    ExtensionOrder = 65 "ext-order" "IPv6 extension headers out of order",
    ExtensionDepth = 66 "ext-depth" "more than four IPv6 extension headers",
    ExtensionLength = 67 "ext-length" "more than 256 bytes of IPv6 extension headers",
    RoutingHeader = 68 "routing-header" "IPv6 routing header",
    NoNextHeader = 69 "no-next-header" "IPv6 packet without an upper layer",
    Jumbogram = 70 "jumbogram" "IPv6 jumbogram",
    DataOffset = 71 "bad-doff" "TCP data offset outside the segment",
    MartianSource = 72 "martian-source" "source address that no host may use",
    MartianDestination = 73 "martian-destination" "destination address that cannot be routed",
    CastMismatch = 74 "l2-l3-cast" "destination MAC and IP address do not fit",
    SourceMacMulticast = 75 "src-mac-multicast" "multicast source MAC",
    SourceMacOwn = 76 "src-mac-own" "source MAC is one of the gateway's own",
    EapolDestination = 77 "eapol-destination" "802.1X outside the reserved multicast block",
    ArpMalformed = 78 "arp-malformed" "ARP that is not plain IPv4 over Ethernet",
    NeighbourMalformed = 79 "nd-malformed" "neighbour discovery that did not start on this link",
    TrailingBytes = 80 "trailing-bytes" "bytes behind the packet that are not padding",
    EssentialShape = 81 "essential-shape" "essential protocol, but not its format",
    SourceMacZero = 82 "src-mac-zero" "source MAC is 00:00:00:00:00:00",

    NoPolicy = 96 "no-policy" "no policy is loaded",
    Corrupt = 97 "image-corrupt" "the policy image cannot be walked",
    InterfaceUnknown = 98 "interface-unknown" "interface that the policy image does not know",
    ReadFailed = 99 "read-failed" "the kernel does not hand out the frame's headers",
}

impl Reason {
    /// Slots of a table that is indexed by [`Reason::number`].
    pub const COUNT: usize = 128;

    /// The lowest number of a refusal.
    pub const FIRST_REFUSAL: u8 = Self::Deny.number();
    /// Slots of a table that is indexed by a refusal's number minus [`Reason::FIRST_REFUSAL`].
    pub const REFUSALS: usize = 84;

    /// The number in the kernel's counters and events.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The reason in [`crate::flow::Flow::fault`].
    #[inline(always)]
    pub const fn from_fault(number: u8) -> Option<Self> {
        if number == 0 { None } else { Self::from_number(number) }
    }

    /// Whether a frame with this outcome passes, before the mode is applied.
    ///
    /// No `_` arm: a new reason must not compile until its verdict is chosen.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        match self {
            Self::Allow
            | Self::DefaultPass
            | Self::UnknownPass
            | Self::Arp
            | Self::Neighbour
            | Self::Dhcp
            | Self::Eapol
            | Self::Lldp
            | Self::Stp
            | Self::FragmentOfPassed
            | Self::Answer
            | Self::Accept
            | Self::InboundPass
            | Self::Asked
            | Self::Related => true,
            Self::Deny
            | Self::Default
            | Self::Unknown
            | Self::Quarantine
            | Self::SourceBinding
            | Self::VlanBinding
            | Self::InterfaceBinding
            | Self::EssentialOff
            | Self::Refuse
            | Self::InboundDrop
            | Self::Flooded
            | Self::EssentialRate
            | Self::ArpSpoof
            | Self::NeighbourSpoof
            | Self::RogueRouter
            | Self::RogueDhcp
            | Self::Redirect
            | Self::IdentityRate
            | Self::DestinationBinding
            | Self::InboundMalformed
            | Self::TruncatedEthernet
            | Self::TruncatedNetwork
            | Self::TruncatedTransport
            | Self::TruncatedExtension
            | Self::EtherType
            | Self::Llc
            | Self::VlanDepth
            | Self::VlanUndeclared
            | Self::IpVersion
            | Self::HeaderLength
            | Self::Options
            | Self::SourceRoute
            | Self::Length
            | Self::FragmentOrphan
            | Self::FragmentTiny
            | Self::FragmentOverlap
            | Self::ExtensionHeader
            | Self::ExtensionOrder
            | Self::ExtensionDepth
            | Self::ExtensionLength
            | Self::RoutingHeader
            | Self::NoNextHeader
            | Self::Jumbogram
            | Self::DataOffset
            | Self::MartianSource
            | Self::MartianDestination
            | Self::CastMismatch
            | Self::SourceMacMulticast
            | Self::SourceMacOwn
            | Self::EapolDestination
            | Self::ArpMalformed
            | Self::NeighbourMalformed
            | Self::TrailingBytes
            | Self::EssentialShape
            | Self::SourceMacZero
            | Self::NoPolicy
            | Self::Corrupt
            | Self::InterfaceUnknown
            | Self::ReadFailed => false,
        }
    }

    /// Whether a frame passes as essential: it counts against limits, see [`crate::decide::limits`].
    #[inline(always)]
    pub const fn is_essential(self) -> bool {
        matches!(
            self,
            Self::Arp | Self::Neighbour | Self::Dhcp | Self::Eapol | Self::Lldp | Self::Stp
        )
    }

    /// Whether an observed group may let such a frame pass. Faults of enforcer itself drop in every
    /// mode.
    #[inline(always)]
    pub const fn observable(self) -> bool {
        self.number() < Self::NoPolicy.number()
    }
}

impl From<Corrupt> for Reason {
    #[inline(always)]
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_and_round_trip() {
        for &reason in Reason::ALL {
            assert!((reason.number() as usize) < Reason::COUNT);
            assert_eq!(Reason::from_number(reason.number()), Some(reason));
            let slot = usize::from(reason.number().wrapping_sub(Reason::FIRST_REFUSAL));
            assert_eq!(slot < Reason::REFUSALS, !reason.passes(), "{reason:?}");
        }
        assert_eq!(Reason::from_number(127), None);
    }

    #[test]
    fn names_are_unique() {
        for (at, a) in Reason::ALL.iter().enumerate() {
            for b in &Reason::ALL[at + 1..] {
                assert_ne!(a.name(), b.name());
                assert_ne!(a.number(), b.number());
            }
        }
    }

    #[test]
    fn passing_reasons_stand_below_sixteen() {
        // The kernel counts and reports passes and refusals differently: keep the boundary.
        for &reason in Reason::ALL {
            assert_eq!(reason.passes(), reason.number() < 16, "{}", reason.name());
        }
    }
}
