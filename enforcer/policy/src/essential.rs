//! Essentials, which are decided before any rule, and their rate limits.

/// Essentials, which are decided before any rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Essential {
    /// ARP.
    pub arp: bool,
    /// Router and neighbour solicitations, neighbour advertisements, MLD reports.
    pub neighbour_discovery: bool,
    /// DHCPv4 and DHCPv6 client messages to servers.
    pub dhcp: bool,
    /// 802.1X.
    pub eapol: bool,
    /// LLDP.
    pub lldp: bool,
    /// Spanning tree. Off by default: an edge port should not receive BPDUs.
    pub stp: bool,
    /// Rate limits.
    pub rates: Rates,
}

impl Default for Essential {
    fn default() -> Self {
        Self {
            arp: true,
            neighbour_discovery: true,
            dhcp: true,
            eapol: true,
            lldp: true,
            stp: false,
            rates: Rates::default(),
        }
    }
}

/// Rate limits of essentials, per second. The bursts are in `enforcer_common`'s `decide::limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// DHCP frames per device.
    pub dhcp: u32,
    /// ARP frames per device.
    pub arp: u32,
    /// ND and MLD frames per device.
    pub neighbour_discovery: u32,
    /// 802.1X frames per device.
    pub eapol: u32,
    /// LLDP and spanning tree frames per device.
    pub lldp: u32,
    /// Bytes per device, for all of these together.
    pub bytes: u32,
    /// New MAC addresses per interface, of devices that the policy does not name.
    pub new_macs: u32,
    /// New IP addresses per MAC address without bound addresses.
    pub new_addresses: u32,
}

impl Rates {
    /// Allowed values.
    pub const RANGE: std::ops::RangeInclusive<u32> = 1..=100_000_000;

    /// The rates with their names in a document.
    pub fn named(&self) -> [(&'static str, u32); 8] {
        let mut copy = *self;
        copy.named_mut().map(|(name, rate)| (name, *rate))
    }

    /// The rates with their names, mutable.
    pub fn named_mut(&mut self) -> [(&'static str, &mut u32); 8] {
        [
            ("dhcp", &mut self.dhcp),
            ("arp", &mut self.arp),
            ("neighbour-discovery", &mut self.neighbour_discovery),
            ("eapol", &mut self.eapol),
            ("lldp", &mut self.lldp),
            ("bytes", &mut self.bytes),
            ("new-macs", &mut self.new_macs),
            ("new-addresses", &mut self.new_addresses),
        ]
    }
}

impl Default for Rates {
    /// High enough for a hospital ward that boots at once: docs/internals/essential-rates.md.
    fn default() -> Self {
        Self {
            dhcp: 10,
            arp: 50,
            neighbour_discovery: 50,
            eapol: 20,
            lldp: 1,
            bytes: 8_000,
            new_macs: 8,
            new_addresses: 1,
        }
    }
}
