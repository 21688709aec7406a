//! Events from the kernel to a terminal.
//!
//! - `flood`: millions of drops, ten terminals: events, suppressed and lost add up
//! - `capture`: `tail --pcap` read by tshark and tcpdump
//! - `eve`: the lines of `tail --eve`, checked against Suricata's schema
mod capture;
mod eve;
mod flood;

use crate::harness::frames::mac;
use crate::harness::topology::{DEV1, DEV1_MAC, DEV2, DEV2_MAC, LAN0_MAC};
use enforcer_testkit::frames::{Ethernet, V4, ether_type, udp};

/// Two devices that may reach nothing.
const POLICY: &str = r#"schema = 1
[devices.loud]
mac = "00:1b:44:11:3a:b6"
[devices.quiet]
mac = "00:1b:44:11:3a:b7"
[groups.beds]
members = ["loud", "quiet"]
deny = [{ to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }]
[unknown]
default = "drop"
"#;

/// A datagram of a device to the internet.
fn datagram(from: (&str, &str), to: u32, port: u16, payload: &[u8]) -> Vec<u8> {
    let source = from.1.parse::<std::net::Ipv4Addr>().expect("an address").to_bits();
    let packet = V4::new(source, to, 17).packet(&udp(40_000, port, payload));
    Ethernet::new(mac(from.0)).to(mac(LAN0_MAC)).frame(ether_type::IPV4, &packet)
}

const LOUD: (&str, &str) = (DEV1_MAC, DEV1);
const QUIET: (&str, &str) = (DEV2_MAC, DEV2);
