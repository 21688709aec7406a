//! A clinic: three LANs behind a gateway, 41 devices by role, and a policy without a rule for high ports.
//!
//! ```text
//!   ward0    10.41.0.1   12 monitors, a CMS8000, 6 pumps, 4 cameras, a printer
//!   imaging0 10.42.0.1   a CT, 4 more modalities
//!   office0  10.43.0.1   the central station, the archive, the monitoring server, 8 workstations, an unknown
//!   wan0     203.0.113.2 the internet
//! ```

mod tests;

use std::collections::BTreeMap;

use crate::harness::{Daemon, Netns, topology};

/// The policy.
pub(crate) const POLICY: &str = include_str!("policy.toml");

/// LANs: the gateway's interface, and the second byte of their addresses.
const LANS: [(&str, u8); 3] = [("ward0", 41), ("imaging0", 42), ("office0", 43)];

/// Devices: role, LAN, how many, the last byte of the first address, and the MAC of the first one.
const ROLES: [(&str, usize, u8, u8, [u8; 6]); 12] = [
    ("monitor", 0, 12, 100, [2, 0, 0, 0x41, 1, 0]),
    ("cms8000", 0, 1, 20, [2, 0, 0, 0xc8, 0, 0x20]),
    ("pump", 0, 6, 130, [2, 0, 0, 0x41, 2, 0]),
    ("camera", 0, 4, 64, [2, 0, 0, 0x41, 3, 0]),
    ("printer", 0, 1, 40, [2, 0, 0, 0x41, 0, 0x28]),
    ("ct", 1, 1, 32, [2, 0, 0, 0x42, 0, 0x20]),
    ("modality", 1, 4, 64, [2, 0, 0, 0x42, 1, 0]),
    ("central", 2, 1, 10, [2, 0, 0, 0x43, 0, 10]),
    ("archive", 2, 1, 20, [2, 0, 0, 0x43, 0, 20]),
    ("monitoring", 2, 1, 9, [2, 0, 0, 0x43, 0, 9]),
    ("workstation", 2, 8, 32, [2, 0, 0, 0x43, 1, 0]),
    ("unknown", 1, 1, 200, [2, 0, 0, 0x99, 0, 1]),
];

/// The namespaces; all of them are removed when this value is dropped.
pub(crate) struct Clinic {
    /// The gateway: `ward0`, `imaging0`, `office0`, `wan0`.
    pub(crate) gw: Netns,
    /// The internet, with the addresses of the advisory on `lo`.
    pub(crate) internet: Netns,
    /// Devices by role and number from 1, such as `monitor-3`.
    devices: BTreeMap<String, Device>,
    _switches: Vec<Netns>,
}

/// A device: its interface is `eth0`.
pub(crate) struct Device {
    /// Its namespace.
    pub(crate) netns: Netns,
    /// Its address.
    pub(crate) ip: String,
}

impl Clinic {
    /// Builds the lab.
    pub(crate) fn build(name: &str) -> Self {
        let prefix = topology::prefix(name);
        let create = |role: &str| {
            let netns = Netns::create(&format!("{prefix}-{role}"));
            netns.sysctl("ipv6/conf/default/disable_ipv6", "1");
            netns
        };
        let (gw, internet) = (create("gw"), create("internet"));
        gw.sysctl("ipv4/ip_forward", "1");
        let mut switches = Vec::new();
        for (interface, net) in LANS {
            let switch = create(interface);
            switch.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0");
            switch.ip("link set br0 up");
            let (own, far) =
                (format!("02:00:00:{net:02}:ff:01"), format!("02:00:00:{net:02}:ff:02"));
            gw.veth((interface, &own), &switch, ("gw", &far));
            switch.ip("link set gw master br0");
            gw.address(interface, &format!("10.{net}.0.1/24"));
            switches.push(switch);
        }
        gw.veth(("wan0", "02:00:00:03:00:02"), &internet, ("eth0", "02:00:00:03:00:01"));
        gw.address("wan0", "203.0.113.2/24");
        gw.ip("route add default via 203.0.113.1");
        internet.address("eth0", "203.0.113.1/24");
        internet.address("lo", topology::HOSTILE);
        internet.ip("route add 10.40.0.0/13 via 203.0.113.2");

        let mut devices = BTreeMap::new();
        for (role, lan, count, host, mac) in ROLES {
            let Some((_, net)) = LANS.get(lan) else { continue };
            for number in 0..count {
                let [a, b, c, d, e, f] = mac;
                let mac = [a, b, c, d, e, f + number].map(|byte| format!("{byte:02x}")).join(":");
                let (ip, name) =
                    (format!("10.{net}.0.{}", host + number), format!("{role}-{}", number + 1));
                let netns = create(&name);
                netns.veth(("eth0", &mac), &switches[lan], (&name, &far(net, host + number)));
                switches[lan].ip(&format!("link set {name} master br0"));
                netns.address("eth0", &format!("{ip}/24"));
                netns.ip(&format!("route add default via 10.{net}.0.1"));
                devices.insert(name, Device { netns, ip });
            }
        }
        assert_eq!(devices.len(), 41);
        Self { gw, internet, devices, _switches: switches }
    }

    /// A device by role and number, such as `monitor-3`.
    pub(crate) fn device(&self, name: &str) -> &Device {
        self.devices.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// All devices of a role.
    pub(crate) fn all<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Device> {
        let is = move |name: &str| name.rsplit_once('-').is_some_and(|(of, _)| of == role);
        self.devices.iter().filter(move |(name, _)| is(name)).map(|(_, device)| device)
    }

    /// The daemon, on the three LANs.
    pub(crate) fn daemon(&self, policy: &str) -> Daemon<'_> {
        Daemon::start(&self.gw, &LANS.map(|(interface, _)| interface), policy)
    }
}

/// The MAC of a switch's port: no device has it.
fn far(net: &u8, host: u8) -> String {
    format!("02:00:ff:{net:02}:00:{host:02x}")
}
