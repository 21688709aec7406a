//! Judges the frames that arrived, as dissected by tshark, by the policy.
//!
//! Nothing here uses the enforcer's parser: `docs/evasions.md` has the criterion in words.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::tshark::{Reading, number};
use super::{A4, A6, D6, DEVICE, VLAN};
use enforcer_testkit::corpus::{D4, OWN4, OWN6};

/// Whether a frame is the gateway's own: it announces itself, and looks for hosts behind it.
pub(super) fn is_of_gateway(line: &str) -> bool {
    let reading = Reading::new(line);
    let from = ["ip.src", "ipv6.src", "arp.src.proto_ipv4"];
    let from = from.iter().find_map(|name| reading.first(name)).unwrap_or_default();
    // The MACs of the outer port and of the bridge. Neither forwards link-local addresses.
    reading.is("eth.src", &["02:00:00:00:ff:01", "02:00:00:00:ff:02"])
        && (["10.77.0.1", "10.88.0.1", "fd77::1", "fd88::1", "::"].contains(&from)
            || from.starts_with("fe80::"))
}

/// A later fragment behind a router that may have dropped the first one.
pub(super) const UNDECIDED: &str = "later fragment, its first one stayed with the router";

/// Why a frame is allowed, or what is wrong with it.
pub(super) type Judgement = Result<&'static str, &'static str>;

/// Judges frames in the order in which they arrived.
pub(super) struct Oracle {
    /// Datagrams whose first fragment was allowed: the ranges of bytes that have arrived.
    datagrams: HashMap<Vec<String>, Vec<(u32, u32)>>,
    bridged: bool,
}

/// The network layer of a frame, whatever its version.
struct Packet<'a> {
    /// Source, destination, identification and protocol.
    key: [String; 4],
    /// Protocol number of the payload.
    protocol: u32,
    /// The dissectors of the payload, and of its payload.
    inside: [&'a str; 2],
    /// Range of bytes in its datagram.
    range: (u32, u32),
    /// Whether more fragments follow.
    more: bool,
}

impl Oracle {
    /// Behind a bridge frames still have the device's own Ethernet header, and only the enforcer
    /// drops frames.
    pub(super) fn new(bridged: bool) -> Self {
        Self { bridged, datagrams: HashMap::new() }
    }

    /// The fault of a later fragment; a router may have refused its first one itself, for example
    /// because of a TTL of 1 or a header checksum.
    fn undecided(&self, what: &'static str) -> Judgement {
        if self.bridged { Err(what) } else { Ok(UNDECIDED) }
    }

    /// Judges a line of tshark.
    pub(super) fn judge(&mut self, line: &str) -> Judgement {
        let reading = &Reading::new(line);
        let tags = reading.protocols[1..]
            .iter()
            .take_while(|name| ["vlan", "ieee8021ad"].contains(name))
            .count();
        // Ids of tags inside a tunnel follow those of the frame.
        let ids: Vec<u32> = reading.all("vlan.id").filter_map(number).take(tags).collect();
        let service = reading.all("ieee8021ad.id").filter_map(number).any(|id| id != 0);
        let named: Vec<u32> = ids.into_iter().filter(|id| *id != 0).collect();
        if service || !(named.is_empty() || named == [u32::from(VLAN)]) {
            return Err("VLAN");
        }
        // A router has replaced it by its own address.
        let own = !self.bridged || reading.first("eth.src") == Some(&mac(DEVICE));
        let network = 14 + 4 * tags as u32;
        let layers = &reading.protocols[1 + tags..];
        let vlan = named.first().copied().unwrap_or(0).to_string();
        match layers.first().copied() {
            Some("arp") => arp(reading, network),
            Some("ip") => self.packet(reading, v4(reading, layers, network)?, vlan, own),
            Some("ipv6") => {
                let packet = v6(reading, layers, network)?;
                if packet.inside[0] == "icmpv6" && on_link(reading, network, own) {
                    return Ok("neighbour discovery");
                }
                self.packet(reading, packet, vlan, own)
            }
            _ => Err("EtherType"),
        }
    }

    /// Judges an IP packet; `own` says that the frame is the device's.
    fn packet(
        &mut self,
        reading: &Reading<'_>,
        packet: Packet<'_>,
        vlan: String,
        own: bool,
    ) -> Judgement {
        let source = [Ipv4Addr::from(A4).to_string(), Ipv6Addr::from(A6).to_string()];
        let server = [Ipv4Addr::from(D4).to_string(), Ipv6Addr::from(D6).to_string()];
        let [from, to, ..] = &packet.key;
        if dhcp(reading, &packet) {
            return Ok("DHCP");
        }
        if !own {
            return Err("source MAC");
        }
        if !source.contains(from) {
            return Err("source address");
        }
        if !server.contains(to) {
            return Err("destination address");
        }
        // The lowest bit of the first byte.
        let group = reading.first("eth.dst").and_then(|mac| u8::from_str_radix(&mac[..2], 16).ok());
        if group.is_none_or(|byte| byte & 1 != 0) {
            return Err("unicast packet in a multicast frame");
        }
        let mut key = packet.key.to_vec();
        key.extend([vlan, reading.first("eth.src").unwrap_or_default().to_owned()]);
        let (start, end) = packet.range;
        if start > 0 {
            let arrived = self.datagrams.entry(key);
            let Entry::Occupied(mut arrived) = arrived else {
                return self.undecided("fragment without its first one");
            };
            if arrived.get().iter().any(|(other, last)| start < *last && *other < end) {
                return self.undecided("fragment overlaps what has arrived");
            }
            arrived.get_mut().push(packet.range);
            return Ok("later fragment");
        }
        if !service(reading, &packet) {
            return Err("service");
        }
        if packet.more {
            self.datagrams.insert(key, vec![packet.range]);
            return Ok("first fragment");
        }
        Ok(if from.contains(':') { "service, IPv6" } else { "service, IPv4" })
    }
}

/// Whether protocol and port are on the list, and the parser could read both.
fn service(reading: &Reading<'_>, packet: &Packet<'_>) -> bool {
    if packet.inside[1] == "_ws.malformed" {
        return false;
    }
    match (packet.protocol, packet.inside[0]) {
        (6, "tcp") => reading.number("tcp.dstport") == Some(443),
        (17, "udp") => {
            reading.number("udp.dstport").is_some_and(|port| (5000..=5010).contains(&port))
                && reading.number("udp.dstport") != Some(5005)
        }
        // No redirect, and no router discovery.
        (1, "icmp") => {
            !packet.key[0].contains(':')
                && reading.number("icmp.type").is_some_and(|kind| ![5, 9, 10].contains(&kind))
        }
        _ => false,
    }
}

fn v4<'a>(
    reading: &Reading<'a>,
    layers: &[&'a str],
    network: u32,
) -> Result<Packet<'a>, &'static str> {
    let numbers =
        ["ip.proto", "ip.hdr_len", "ip.len", "ip.frag_offset", "ip.flags.mf", "frame.len"];
    let [Some(protocol), Some(header), Some(total), Some(offset), Some(more), Some(frame)] =
        numbers.map(|name| reading.number(name))
    else {
        return Err("unreadable IPv4");
    };
    if network + total > frame || total < header || header < 20 {
        return Err("length");
    }
    let text = |name| reading.first(name).unwrap_or_default().to_owned();
    let layer = |at: usize| layers.get(at).copied().unwrap_or_default();
    // Both versions count offsets in eight bytes: RFC 791 section 3.1, RFC 8200 section 4.5.
    Ok(Packet {
        key: [text("ip.src"), text("ip.dst"), text("ip.id"), protocol.to_string()],
        protocol,
        inside: [layer(1), layer(2)],
        range: (offset * 8, offset * 8 + total - header),
        more: more != 0,
    })
}

fn v6<'a>(
    reading: &Reading<'a>,
    layers: &[&'a str],
    network: u32,
) -> Result<Packet<'a>, &'static str> {
    let (Some(payload), Some(frame)) = (reading.number("ipv6.plen"), reading.number("frame.len"))
    else {
        return Err("unreadable IPv6");
    };
    if payload == 0 || network + 40 + payload > frame {
        return Err("length");
    }
    let lengths = |name| reading.all(name).filter_map(number);
    let (mut hops, mut options) =
        (lengths("ipv6.hopopts.len_oct"), lengths("ipv6.dstopts.len_oct"));
    let mut fragments = reading
        .all("ipv6.fraghdr.offset")
        .zip(reading.all("ipv6.fraghdr.more"))
        .zip(reading.all("ipv6.fraghdr.nxt").zip(reading.all("ipv6.fraghdr.ident")));
    let mut at = 0;
    let (mut range, mut more, mut id) = ((0, 0), false, "");
    let mut upper = 1;
    let mut continued = None;
    for layer in &layers[1..] {
        at += match *layer {
            "ipv6.hopopts" => hops.next().ok_or("unreadable IPv6")?,
            "ipv6.dstopts" => options.next().ok_or("unreadable IPv6")?,
            "ipv6.fraghdr" => 8,
            _ => break,
        };
        upper += 1;
        if *layer == "ipv6.fraghdr" {
            let ((offset, follows), (next, ident)) = fragments.next().ok_or("unreadable IPv6")?;
            let offset = number(offset).ok_or("unreadable IPv6")? * 8;
            let follows = number(follows) == Some(1);
            if offset > 0 || follows {
                range = (offset, offset + payload.checked_sub(at).ok_or("length")?);
                (more, id) = (follows, ident);
            }
            if offset > 0 {
                continued = number(next);
                break;
            }
        }
    }
    let layer = |at: usize| layers.get(at).copied().unwrap_or_default();
    let inside = [layer(upper), layer(upper + 1)];
    let protocol = continued.unwrap_or(match inside[0] {
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" => 58,
        // A protocol that is not on the list.
        _ => u32::MAX,
    });
    let text = |name| reading.first(name).unwrap_or_default().to_owned();
    // RFC 8200 section 4.5: the fragments of a datagram need not name the same next header.
    let key = [text("ipv6.src"), text("ipv6.dst"), id.to_owned(), String::new()];
    Ok(Packet { key, protocol, inside, range, more })
}

/// A client's message to every server, or to the gateway.
fn dhcp(reading: &Reading<'_>, packet: &Packet<'_>) -> bool {
    let ports = [reading.number("udp.srcport"), reading.number("udp.dstport")];
    let [from, to, ..] = &packet.key;
    let whole = packet.range.0 == 0 && !packet.more && packet.protocol == 17;
    let clients = ["0.0.0.0".into(), Ipv4Addr::from(A4).to_string()];
    let clients6 = [Ipv6Addr::from(A6).to_string()];
    let servers = ["255.255.255.255".into(), Ipv4Addr::from(OWN4).to_string()];
    let servers6 = ["ff02::1:2".into(), Ipv6Addr::from(OWN6).to_string()];
    let v4 = ports == [Some(68), Some(67)] && clients.contains(from) && servers.contains(to);
    let v6 = ports == [Some(546), Some(547)]
        && (clients6.contains(from) || link_local(from))
        && servers6.contains(to);
    whole && (v4 || v6)
}

/// Neighbour discovery (RFC 4861) and reports (RFC 3810) that stay on the link, in which only the
/// device claims its address, and the device claims no other except link-local ones; at most 256
/// bytes, because more would be a tunnel. `own`: the frame is the device's.
///
/// A hop limit of 255 shows that no router has forwarded it: it is still on its link, whatever the
/// destination.
fn on_link(reading: &Reading<'_>, network: u32, own: bool) -> bool {
    let (Some(from), Some(to)) = (reading.first("ipv6.src"), reading.first("ipv6.dst")) else {
        return false;
    };
    let device = Ipv6Addr::from(A6).to_string();
    let may_use = |address: &str| link_local(address) || own == (address == device);
    let group = to.starts_with("ff");
    let near = link_group(to) || !group && reading.is("ipv6.hlim", &["255"]);
    let short = reading.number("frame.len").is_some_and(|length| length <= network + 40 + 256);
    let target = reading.first("icmpv6.nd.na.target_address");
    let message = match reading.number("icmpv6.type") {
        Some(131 | 132 | 143) => reading.is("ipv6.hlim", &["1"]) && link_group(to),
        Some(133 | 135) => reading.is("ipv6.hlim", &["255"]),
        Some(136) => reading.is("ipv6.hlim", &["255"]) && target.is_some_and(may_use),
        _ => false,
    };
    message && near && short && (may_use(from) || from == "::")
}

/// fe80::/10.
fn link_local(address: &str) -> bool {
    address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_unicast_link_local())
}

/// ff02::/16.
fn link_group(address: &str) -> bool {
    address.parse::<Ipv6Addr>().is_ok_and(|address| address.segments()[0] == 0xff02)
}

/// Plain ARP with at most Ethernet's padding, in which only the device claims its address, and the
/// device claims no other.
fn arp(reading: &Reading<'_>, network: u32) -> Judgement {
    let number = |name| reading.number(name);
    let plain = reading.is("arp.opcode", &["1", "2"])
        && ["arp.hw.type", "arp.proto.type", "arp.hw.size", "arp.proto.size"].map(number)
            == [Some(1), Some(0x0800), Some(6), Some(4)]
        && reading.first("arp.src.hw_mac") == reading.first("eth.src")
        && number("frame.len").is_some_and(|length| length <= network + 46);
    let device = reading.is("eth.src", &[&mac(DEVICE)]);
    let claims = reading.is("arp.src.proto_ipv4", &[&Ipv4Addr::from(A4).to_string()]);
    let probe = reading.is("arp.src.proto_ipv4", &["0.0.0.0"]);
    if plain && (probe || device == claims) { Ok("ARP") } else { Err("ARP") }
}

/// In tshark's notation.
fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
