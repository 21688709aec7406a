//! Builds the described frame.

use std::net::IpAddr;

use enforcer_common::decide::hops::{Hop, group_mac};
use enforcer_common::wire::{self, ether_type, protocol};

use super::endpoint::Endpoint;
use super::heard::Heard;
use super::sender::Sender;
use super::{Error, Request};
use crate::address::numbers;
use crate::{Host, HostInterface, Mac, Policy, hops};

/// Shortest frame on a wire, without FCS.
const SHORTEST: usize = 60;
/// First port of the range that IANA reserves for clients, RFC 6335 section 6.
pub(super) const CLIENT_PORT: u16 = 49152;
/// Payload of protocols without a known header.
const PAYLOAD: [u8; 16] = [0; 16];

/// A frame, and its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The complete frame, without FCS. Lengths are correct, checksums are zero.
    pub frame: Vec<u8>,
    /// Number of leading bytes that are known; the rest is zeros.
    pub known: usize,
    /// Index of the receiving interface, host order.
    pub interface: u32,
    /// `10.20.0.12 to 202.114.4.119 tcp/443 on lan0`.
    pub words: String,
    /// Values that the request did not give, in words: `source address 10.20.0.12 taken from device
    /// bed-12`.
    pub assumed: Vec<String>,
    /// Why the frame is not judged, if so.
    pub unjudged: Option<Unjudged>,
}

/// Why a captured frame is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unjudged {
    /// A stable name.
    pub reason: &'static str,
    /// The reason in words.
    pub text: String,
}

/// The frame that a request describes: a TCP SYN, a UDP datagram, an echo request, or a few zeros for
/// another protocol.
///
/// # Errors
///
/// The request refers to something that does not exist, or does not describe a single frame.
pub fn frame(policy: &Policy, host: &Host, request: &Request) -> Result<Described, Error> {
    frame_heard(policy, host, &Heard::default(), request)
}

/// The same, with the gateway's knowledge of the sender.
///
/// # Errors
///
/// As [`frame`].
pub fn frame_heard(
    policy: &Policy,
    host: &Host,
    heard: &Heard,
    request: &Request,
) -> Result<Described, Error> {
    let endpoint = Endpoint::parse(&request.to, &request.proto)?;
    let mut sender = Sender::find(policy, host, heard, request, endpoint.address)?;
    let source_port = match dhcp_client(&endpoint) {
        Some(port) => {
            sender.assumed.push(format!("source port {port}, as of a DHCP client"));
            port
        }
        None => CLIENT_PORT,
    };
    let segment = segment(&endpoint, source_port, sender.mac);

    let mut frame = Vec::with_capacity(SHORTEST);
    let next = next_hop(policy, host, sender.interface, endpoint.address, &mut sender.assumed);
    frame.extend(destination_mac(endpoint.address, next).0);
    frame.extend(sender.mac.0);
    if let Some(vlan) = sender.vlan {
        frame.extend(ether_type::VLAN.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    let length = u16::try_from(segment.len()).unwrap_or(0);
    match (sender.address, endpoint.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend(ether_type::IPV4.to_be_bytes());
            frame.extend([0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            // No identification, do not fragment, TTL 64, no checksum.
            frame.extend([0, 0, 0x40, 0, 64, endpoint.protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend(ether_type::IPV6.to_be_bytes());
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([endpoint.protocol, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (from, to) => {
            let hint = "write addresses of one family".to_owned();
            return Err(Error::Family { from: from.to_string(), to: to.to_string(), hint });
        }
    }
    frame.extend(segment);
    frame.resize(frame.len().max(SHORTEST), 0);

    let interface = sender.interface;
    let mut words = format!("{} to {} on {}", sender.address, endpoint.words(), interface.name);
    if let Some(vlan) = sender.vlan {
        words.push_str(&format!(", VLAN {vlan}"));
    }
    let (known, interface, assumed) = (frame.len(), interface.index, sender.assumed);
    Ok(Described { frame, known, interface, words, assumed, unjudged: None })
}

/// Destination MAC of a frame: the next hop's, unless the packet goes to a group or is broadcast.
fn destination_mac(address: IpAddr, next_hop: Mac) -> Mac {
    let (family, number) = numbers(address);
    group_mac(family, number).map_or(next_hop, |group| Mac(wire::mac_bytes(group)))
}

/// MAC of the next hop: the gateway's, or the bound one.
fn next_hop(
    policy: &Policy,
    host: &Host,
    interface: &HostInterface,
    address: IpAddr,
    assumed: &mut Vec<String>,
) -> Mac {
    let mut declared = policy.interfaces.iter().filter(|it| it.name == interface.name);
    let is_bound = declared.any(|it| it.binds_next_hops);
    if !is_bound || address.is_multicast() || host.own.contains(&address) {
        return interface.mac;
    }
    let known = hops(policy, &Host { interfaces: vec![interface.clone()], ..Host::default() });
    let (family, number) = numbers(address);
    let neighbour = known.get(&Hop::address(interface.index, family, number));
    let router = interface.next_hops.first();
    let (mac, whose) = match (neighbour, router) {
        (Some(mac), _) => (Mac(wire::mac_bytes(*mac)), format!("of {address}")),
        (None, _) if interface.on_link.iter().any(|own| own.holds(address)) => {
            (interface.mac, format!("of the gateway: nobody is known to have {address}"))
        }
        (None, Some(router)) => (*router, "of the gateway's next router".to_owned()),
        (None, None) => (interface.mac, "of the gateway".to_owned()),
    };
    assumed.push(format!("destination MAC {mac}, {whose}"));
    mac
}

/// A DHCP client's first message: a discover, or a solicit (RFC 8415 section 8).
fn dhcp_message(address: IpAddr, client: Mac) -> Vec<u8> {
    if address.is_ipv6() { vec![1, 0, 0, 1] } else { dhcp_discover(client) }
}

/// A DHCP client's discover message (RFC 2131 section 2), as a UDP payload.
pub fn dhcp_discover(client: Mac) -> Vec<u8> {
    // Request, Ethernet, address length 6, no relay; the address; the cookie; option 53, and the end.
    let head = [&[1, 1, 6, 0][..], &[0; 24], &client.0, &[0; 202], &[99, 130, 83, 99]].concat();
    [&head[..], &[53, 1, 1, 255]].concat()
}

/// The payload of the network header.
fn segment(endpoint: &Endpoint, source_port: u16, sender: Mac) -> Vec<u8> {
    let port = endpoint.port.unwrap_or(0);
    let mut out = Vec::new();
    match endpoint.protocol {
        protocol::TCP => {
            out.extend(source_port.to_be_bytes());
            out.extend(port.to_be_bytes());
            // Sequence numbers 0, a header of five words, SYN, a window of 64240, no checksum.
            out.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0]);
        }
        protocol::UDP => {
            out.extend(source_port.to_be_bytes());
            out.extend(port.to_be_bytes());
            let payload = match dhcp_client(endpoint) {
                Some(_) => dhcp_message(endpoint.address, sender),
                None => PAYLOAD.to_vec(),
            };
            out.extend((8 + payload.len() as u16).to_be_bytes());
            out.extend([0, 0]);
            out.extend(payload);
        }
        protocol::SCTP => {
            out.extend(source_port.to_be_bytes());
            out.extend(port.to_be_bytes());
            // Verification tag 0, no checksum, an INIT chunk of 20 bytes: RFC 9260 section 3.3.2.
            out.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20]);
            out.extend(PAYLOAD);
        }
        protocol::ICMP => {
            out.extend([8, 0, 0, 0, 0, 1, 0, 1]);
            out.extend(PAYLOAD);
        }
        protocol::ICMPV6 => {
            out.extend([128, 0, 0, 0, 0, 1, 0, 1]);
            out.extend(PAYLOAD);
        }
        _ => out.extend(PAYLOAD),
    }
    out
}

/// The source port of a DHCP client, if the destination is a DHCP server: no other frame goes there.
fn dhcp_client(endpoint: &Endpoint) -> Option<u16> {
    match (endpoint.protocol, endpoint.port, endpoint.address) {
        (protocol::UDP, Some(67), IpAddr::V4(_)) => Some(68),
        (protocol::UDP, Some(547), IpAddr::V6(_)) => Some(546),
        _ => None,
    }
}
