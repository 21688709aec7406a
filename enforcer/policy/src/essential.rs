//! What is decided before any rule, and how much of it may come.

/// What is decided before any rule.
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
    /// Spanning tree. Off unless switched on: an edge port has no business sending BPDUs.
    pub stp: bool,
    /// How much of it may come.
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

/// How much of what is essential may come, a second. What may come at once is in `enforcer_common`'s
/// `decide::limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// DHCP frames of a device.
    pub dhcp: u32,
    /// ARP frames of a device.
    pub arp: u32,
    /// ND and MLD frames of a device.
    pub neighbour_discovery: u32,
    /// 802.1X frames of a device.
    pub eapol: u32,
    /// LLDP and spanning tree frames of a device.
    pub lldp: u32,
    /// Bytes of a device, of all these together.
    pub bytes: u32,
    /// MAC addresses that an interface has not heard of, of devices that the policy does not name.
    pub new_macs: u32,
    /// IP addresses that a MAC address did not have, where none are bound to it.
    pub new_addresses: u32,
}

impl Rates {
    /// The smallest and the largest of each.
    pub const RANGE: std::ops::RangeInclusive<u32> = 1..=100_000_000;

    /// Each by the name that it has in a document.
    pub fn named(&self) -> [(&'static str, u32); 8] {
        let mut copy = *self;
        copy.named_mut().map(|(name, rate)| (name, *rate))
    }

    /// The same, to be changed.
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
    /// What a ward that boots at once does not notice: docs/internals/essential-rates.md.
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
