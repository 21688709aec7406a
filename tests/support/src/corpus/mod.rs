//! Frames by which a hostile device tries to evade a policy that allows it only TCP port 443.
//!
//! - `link`: tags, 802.3, EtherTypes and MAC addresses: rows 5 to 29
//! - `ipv4`: headers, fragments, ports and protocols: rows 30 to 76, 150 to 152
//! - `ipv6`: extension headers and tunnels: rows 77 to 107
//! - `local`: addresses and link-local traffic: rows 108 to 130, 148 and 149
//! - `claims`: false essentials, and claims: rows 153 to 168
//!
//! A row is one technique: its frames, byte by byte, and the required result. Every frame that must not get
//! out carries the row's marker, if there is room for one. Rows 1 and 2 are allowed by the policy. The
//! numbers are stable, because documents refer to them. 131 to 147 cannot be shown by a frame.

mod claims;
mod ipv4;
mod ipv6;
mod link;
mod local;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::reason::Reason;
use enforcer_policy::image::Image;
use enforcer_policy::{Host, HostInterface, Mac, compile, read};

use crate::frames::{Ethernet, Extension, GATEWAY, Tcp, V4, V6, ether_type};

/// The device.
pub const DEVICE: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The host behind the gateway: the next hop of a router, the other end of a bridge.
pub const BEHIND: [u8; 6] = [2, 0, 0, 0, 0xee, 0];
/// The gateway's address, 10.77.0.1.
pub const OWN4: u32 = 0x0a4d_0001;
/// The gateway's address, `fd77::1`.
pub const OWN6: u128 = 0xfd77 << 112 | 1;
/// The device's address, 10.77.0.2.
pub const A4: u32 = 0x0a4d_0002;
/// A host behind the gateway, 10.88.0.2.
pub const D4: u32 = 0x0a58_0002;
/// The device's address, `fd77::2`.
pub const A6: u128 = 0xfd77 << 112 | 2;
/// A host behind the gateway, `fd88::2`.
pub const D6: u128 = 0xfd88 << 112 | 2;
/// The device's link-local address.
pub const LINK: u128 = 0xfe80 << 112 | 2;
/// `ff02::1`.
pub const ALL_NODES: u128 = 0xff02 << 112 | 1;
/// The MAC address of [`ALL_NODES`].
pub const NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// A clock reading.
pub const NOW: i64 = 1_800_000_000;

/// One device, bound to its addresses, that may only use TCP port 443.
pub const POLICY: &str = r#"
schema = 1
[unknown]
default = "drop"
[devices.pump]
mac = "02:00:00:00:00:02"
ip = ["10.77.0.2", "fd77::2"]
[groups.pumps]
members = ["pump"]
allow = [{ to = "any", service = "tcp/443" }]
"#;

/// Required result for a row's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// They are not delivered.
    Drop,
    /// They reach the gateway's own stack, but a router does not forward them.
    PassToStack,
    /// They are allowed by the policy.
    Pass,
}

/// A frame, and the reason of its verdict.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The frame from the destination MAC on.
    pub bytes: Vec<u8>,
    /// Reason of the verdict.
    pub reason: Reason,
}

/// One technique.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub number: u16,
    /// Description of the technique.
    pub name: &'static str,
    /// Its frames, in order.
    pub frames: Vec<Frame>,
    /// Required result for the frames that carry the marker.
    pub due: Due,
    /// What a routing and a bridging gateway did without any filter when the table was first
    /// measured: `F` forwarded, `-` not, `?` not known.
    pub open: &'static str,
    /// Bytes by which a frame of this row is recognised wherever it arrives; without a marker, by all of
    /// its bytes.
    pub marker: Option<Vec<u8>>,
    /// Reason of the frames that the row tests.
    pub reason: Reason,
}

impl Row {
    /// Whether a captured frame belongs to this row.
    pub fn is_in(&self, frame: &[u8]) -> bool {
        match &self.marker {
            Some(marker) => frame.windows(marker.len()).any(|window| window == marker),
            None => self.frames.iter().any(|own| own.bytes == frame),
        }
    }

    /// Adds a frame in front, which prepares the case.
    fn after(mut self, reason: Reason, bytes: Vec<u8>) -> Self {
        self.frames.insert(0, Frame { bytes, reason });
        self
    }

    /// Adds a frame of the same kind, possibly with another reason.
    fn also(mut self, reason: Reason, bytes: Vec<u8>) -> Self {
        self.frames.push(Frame { bytes, reason });
        self
    }
}

/// All rows. Frames to a unicast MAC are addressed to `to`: the gateway if it routes, the host behind it if
/// it bridges.
pub fn rows(to: [u8; 6]) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in [allowed, link::rows, ipv4::rows, ipv6::rows, local::rows, claims::rows] {
        rows.extend(part(to));
    }
    rows
}

/// Frames that the policy allows.
fn allowed(to: [u8; 6]) -> Vec<Row> {
    let (one, two) = (Make::new(1, to), Make::new(2, to));
    let (v4, v6) = (one.ip4(one.v4(6), &one.tcp(443)), two.ip6(two.v6(6), &two.tcp(443)));
    vec![
        one.row("allowed, tcp/443", "FF", Due::Pass, Reason::Allow, v4),
        two.row("allowed, tcp/443 over IPv6", "FF", Due::Pass, Reason::Allow, v6),
    ]
}

/// A gateway that receives on the interface with index 1.
pub fn host() -> Host {
    let own: [IpAddr; 2] = [Ipv4Addr::from(OWN4).into(), Ipv6Addr::from(OWN6).into()];
    let prefixes = own.into_iter().zip([24, 64]).collect();
    let lan = HostInterface {
        name: "lan0".into(),
        index: 1,
        mac: Mac(GATEWAY),
        prefixes,
        ..HostInterface::default()
    };
    Host { interfaces: vec![lan], own: own.to_vec(), now: NOW, ..Host::default() }
}

/// [`POLICY`] at [`host`].
///
/// # Panics
/// When it does not compile.
pub fn image() -> Image {
    let (policy, problems) = read("evasions.toml", POLICY, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    compile(&policy, &host()).expect("it compiles").image
}

/// Builds the frames of one row.
struct Make {
    number: u16,
    to: [u8; 6],
    /// Source port of the row's frames.
    port: u16,
}

impl Make {
    fn new(number: u16, to: [u8; 6]) -> Self {
        Self { number, to, port: 0xe000 + number }
    }

    /// The row with its first frame.
    fn row(
        &self,
        name: &'static str,
        open: &'static str,
        due: Due,
        reason: Reason,
        bytes: Vec<u8>,
    ) -> Row {
        let marker = Some(self.marker());
        let frames = vec![Frame { bytes, reason }];
        Row { number: self.number, name, frames, due, open, marker, reason }
    }

    /// A row that must be dropped.
    fn drop(&self, name: &'static str, open: &'static str, reason: Reason, bytes: Vec<u8>) -> Row {
        self.row(name, open, Due::Drop, reason, bytes)
    }

    /// The same for IPv4 packets without room for a marker: destination and ports serve as one.
    fn short(&self, port: u16, name: &'static str, reason: Reason, bytes: Vec<u8>) -> Row {
        let marker = [&D4.to_be_bytes()[..], &self.port.to_be_bytes(), &port.to_be_bytes()];
        let marker = Some(marker.concat());
        Row { marker, ..self.drop(name, "FF", reason, bytes) }
    }

    /// The marker.
    fn marker(&self) -> Vec<u8> {
        format!("evade{:03}", self.number).into_bytes()
    }

    /// Some bytes, then the marker.
    fn with(&self, head: &[u8]) -> Vec<u8> {
        [head, &self.marker()].concat()
    }

    fn ethernet(&self) -> Ethernet {
        Ethernet::new(DEVICE).to(self.to)
    }

    fn from(&self, source: [u8; 6]) -> Ethernet {
        Ethernet { source, ..self.ethernet() }
    }

    fn tags(&self, tags: &[(u16, u16)]) -> Ethernet {
        Ethernet { tags: tags.to_vec(), ..self.ethernet() }
    }

    fn ip4(&self, header: V4, payload: &[u8]) -> Vec<u8> {
        self.ethernet().frame(ether_type::IPV4, &header.packet(payload))
    }

    fn ip6(&self, header: V6, payload: &[u8]) -> Vec<u8> {
        self.ethernet().frame(ether_type::IPV6, &header.packet(payload))
    }

    /// From the device to a host behind the gateway, with the row's own identification.
    fn v4(&self, protocol: u8) -> V4 {
        V4 { id: self.number, ..V4::new(A4, D4, protocol) }
    }

    /// From the device to a host behind the gateway.
    fn v6(&self, protocol: u8) -> V6 {
        V6::new(A6, D6, protocol)
    }

    /// The first segment of a connection, with the marker as data: 32 bytes, so that it can be a first
    /// fragment.
    fn tcp(&self, port: u16) -> Vec<u8> {
        self.segment(Tcp::new(port))
    }

    fn segment(&self, tcp: Tcp) -> Vec<u8> {
        let source = if tcp.source == 40_000 { self.port } else { tcp.source };
        Tcp { source, ..tcp }.segment(&[&self.marker()[..], &[0; 4]].concat())
    }

    fn udp(&self, port: u16) -> Vec<u8> {
        crate::frames::udp(self.port, port, &self.marker())
    }

    /// A packet that must not get out: the start of a connection to a forbidden port.
    fn mail(&self) -> Vec<u8> {
        self.v4(6).packet(&self.tcp(25))
    }

    /// The same over IPv6.
    fn mail6(&self) -> Vec<u8> {
        self.v6(6).packet(&self.tcp(25))
    }

    /// A TCP segment to a port, behind extension headers over IPv6.
    fn behind(&self, extensions: &[Extension], port: u16) -> Vec<u8> {
        let header = V6 { extensions: extensions.to_vec(), ..self.v6(6) };
        self.ip6(header, &self.tcp(port))
    }
}
