//! The demo's hospital, as namespaces on this machine.
//!
//! ```text
//!   dev1 10.20.0.11 ─┐                    ┌ cen0 10.30.0.1 ── central 10.30.0.10
//!   dev2 10.20.0.12 ─┼─ switch ── lan0 gw ┤
//!   a CMS8000       ─┘     10.20.0.1      └ wan0 203.0.113.2 ── internet 203.0.113.1
//!   202.114.4.20, on request                                    198.51.100.10, 202.114.4.119, .120
//! ```
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use super::Netns;

/// A device of the first bed.
pub const DEV1_MAC: &str = "00:1b:44:11:3a:b6";
/// A device of the second bed.
pub const DEV2_MAC: &str = "00:1b:44:11:3a:b7";
/// The monitor with the hard-coded addresses.
pub const MONITOR_MAC: &str = "02:00:00:c8:00:20";
/// The gateway's own MAC on the LAN.
pub const LAN0_MAC: &str = "02:00:00:20:00:01";
/// The first device.
pub const DEV1: &str = "10.20.0.11";
/// The first device.
pub const DEV1_V6: &str = "2001:db8:20::11";
/// The second device.
pub const DEV2: &str = "10.20.0.12";
/// The second device.
pub const DEV2_V6: &str = "2001:db8:20::12";
/// The gateway on the LAN.
pub const GATEWAY: &str = "10.20.0.1";
/// The gateway on the LAN.
pub const GATEWAY_V6: &str = "2001:db8:20::1";
/// The hospital's central station, behind the gateway.
pub const CENTRAL: &str = "10.30.0.10";
/// The hospital's central station, behind the gateway.
pub const CENTRAL_V6: &str = "2001:db8:30::10";
/// The vendor's update server.
pub const UPDATES: &str = "198.51.100.10";
/// The vendor's update server.
pub const UPDATES_V6: &str = "2001:db8:5::10";
/// The source address that a host guide prescribes for a CMS8000 (ICSMA-25-030-01).
pub const MONITOR: &str = "202.114.4.20";
/// The hard-coded address that a CMS8000 mounts and reports to (ICSMA-25-030-01).
pub const HOSTILE: &str = "202.114.4.119";
/// Its neighbour, for HL7 (ICSMA-25-030-01).
pub const HOSTILE_HL7: &str = "202.114.4.120";

/// The namespaces of one lab; all of them, with every link, are removed when this value is dropped.
#[derive(Debug)]
pub struct Lab {
    /// A device; its interface is `eth0`.
    pub dev1: Netns,
    /// A device; its interface is `eth0`.
    pub dev2: Netns,
    /// The gateway: `lan0` to the devices, `cen0` to the central station, `wan0` to the internet.
    pub gw: Netns,
    /// The central station; its interface is `eth0`.
    pub central: Netns,
    /// The internet: `eth0`, and the servers' addresses on `lo`.
    pub internet: Netns,
    switch: Netns,
    prefix: String,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// Builds the lab. The name, such as the test's, becomes part of the namespaces' names.
    ///
    /// # Panics
    /// When the kernel or `ip` refuses, or not root.
    #[track_caller]
    pub fn gateway(name: &str) -> Self {
        let prefix = prefix(name);
        let create = |role: &str| Netns::create(&format!("{prefix}-{role}"));
        let lab = Self {
            dev1: create("dev1"),
            dev2: create("dev2"),
            gw: create("gw"),
            central: create("central"),
            internet: create("internet"),
            switch: create("switch"),
            prefix: prefix.clone(),
        };
        lab.wire();
        lab
    }

    fn wire(&self) {
        let (gw, switch) = (&self.gw, &self.switch);
        switch.sysctl("ipv6/conf/default/disable_ipv6", "1");
        switch.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0");
        switch.ip("link set br0 up");
        self.replug();
        gw.veth(("cen0", "02:00:00:30:00:01"), &self.central, ("eth0", "02:00:00:30:00:10"));
        gw.veth(("wan0", "02:00:00:03:00:02"), &self.internet, ("eth0", "02:00:00:03:00:01"));

        for (interface, addresses) in [
            ("lan0", ["10.20.0.1/24", "2001:db8:20::1/64"]),
            ("cen0", ["10.30.0.1/24", "2001:db8:30::1/64"]),
            ("wan0", ["203.0.113.2/24", "2001:db8:ffff::2/64"]),
        ] {
            addresses.iter().for_each(|address| gw.address(interface, address));
        }
        gw.sysctl("ipv4/ip_forward", "1");
        gw.sysctl("ipv6/conf/all/forwarding", "1");
        gw.ip("route add default via 203.0.113.1");
        gw.ip("route add default via 2001:db8:ffff::1");
        gw.ip(&format!("route add {HOSTILE} via 203.0.113.1"));
        gw.ip(&format!("route add {HOSTILE_HL7} via 203.0.113.1"));

        self.plug(&self.dev1, "dev1", DEV1_MAC);
        self.plug(&self.dev2, "dev2", DEV2_MAC);
        for (device, v4, v6) in [(&self.dev1, DEV1, DEV1_V6), (&self.dev2, DEV2, DEV2_V6)] {
            host(device, &format!("{v4}/24"), &format!("{v6}/64"), GATEWAY, GATEWAY_V6);
        }
        let (v4, v6) = (format!("{CENTRAL}/24"), format!("{CENTRAL_V6}/64"));
        host(&self.central, &v4, &v6, "10.30.0.1", "2001:db8:30::1");
        let (v4, v6) = ("203.0.113.1/24", "2001:db8:ffff::1/64");
        host(&self.internet, v4, v6, "203.0.113.2", "2001:db8:ffff::2");
        for address in [UPDATES, UPDATES_V6, HOSTILE, HOSTILE_HL7] {
            self.internet.address("lo", address);
        }
    }

    /// Plugs a cable from a namespace (`eth0`) into the devices' switch.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    pub fn plug(&self, netns: &Netns, port: &str, mac: &str) {
        // The switch's end has a MAC that no device has.
        let far = format!("02:00:00:20:ff{}", &mac[mac.len() - 3..]);
        netns.veth(("eth0", mac), &self.switch, (port, &far));
        self.switch.ip(&format!("link set {port} master br0"));
    }

    /// Makes the gateway's `lan0`, without an address, and plugs it into the devices' switch.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    pub fn replug(&self) {
        self.gw.veth(("lan0", LAN0_MAC), &self.switch, ("gw", "02:00:00:20:ff:01"));
        self.switch.ip("link set gw master br0");
    }

    /// Lets the devices' switch carry frames with this many bytes of payload.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    pub fn switch_mtu(&self, mtu: u32) {
        for port in ["gw", "dev1", "dev2", "br0"] {
            self.switch.ip(&format!("link set {port} mtu {mtu}"));
        }
    }

    /// One more namespace on the devices' LAN, without addresses.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    pub fn device(&self, role: &str, mac: &str) -> Netns {
        let netns = Netns::create(&format!("{}-{role}", self.prefix));
        self.plug(&netns, role, mac);
        netns
    }

    /// A CMS8000 as found in the field: 202.114.4.20/24 without a gateway, so that it believes the
    /// hard-coded addresses to be its neighbours. The gateway answers its ARP for them (proxy ARP, on
    /// because an earlier network needed it), routes, and so lets them out.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    pub fn monitor(&self) -> Netns {
        let monitor = self.device("monitor", MONITOR_MAC);
        monitor.address("eth0", &format!("{MONITOR}/24"));
        self.gw.sysctl("ipv4/conf/lan0/proxy_arp", "1");
        // A proxy otherwise delays its answer by up to 0.8 s.
        self.gw.sysctl("ipv4/neigh/lan0/proxy_delay", "0");
        self.gw.ip(&format!("route add {MONITOR}/32 dev lan0"));
        monitor
    }
}

/// Prefix of the names of a lab's namespaces; first removes leftovers of killed labs.
///
/// # Panics
/// When something is missing that a lab needs.
#[track_caller]
pub fn prefix(name: &str) -> String {
    let missing = super::missing();
    assert!(missing.is_empty(), "the lab needs: {}", missing.join(", "));
    sweep();
    let number = LABS.fetch_add(1, Ordering::Relaxed);
    format!("enf-{}-{number}-{name}", std::process::id())
}

/// Addresses and default routes of a host on `eth0`.
fn host(netns: &Netns, v4: &str, v6: &str, gateway: &str, gateway_v6: &str) {
    netns.address("eth0", v4);
    netns.address("eth0", v6);
    netns.ip(&format!("route add default via {gateway}"));
    netns.ip(&format!("route add default via {gateway_v6}"));
}

/// Deletes leftovers of labs whose process was killed: the process id is in the name.
fn sweep() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("enf-").and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another process may sweep at the same time.
            let _ = std::process::Command::new("ip").args(["netns", "delete", &name]).output();
        }
    }
}
