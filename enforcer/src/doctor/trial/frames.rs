//! The frames. Each ends with a unique mark, by which it is recognised when it arrives.

use enforcer_common::reason::Reason;
use enforcer_common::wire::{ether_type, protocol};

use super::FrameContext;
use crate::policy::Mac;
use crate::policy::explain::dhcp_discover;

/// A MAC address that no interface has: locally administered, digits after RFC 7042.
pub(super) const DEVICE: [u8; 6] = [0x02, 0, 0x5e, 0, 0x53, 0x02];
const UNKNOWN: [u8; 6] = [0x02, 0, 0x5e, 0, 0x53, 0x99];
/// Addresses for documentation, RFC 5737 and RFC 3849.
const ADDRESS: [u8; 4] = [192, 0, 2, 2];
const OTHER: [u8; 4] = [192, 0, 2, 3];
const ALLOWED: [u8; 4] = [198, 51, 100, 10];
const DENIED: [u8; 4] = [198, 51, 100, 66];

/// The policy for the frames.
pub(super) const POLICY: &str = r#"
schema = 1
[devices.sample]
mac = "02:00:5e:00:53:02"
ip = ["192.0.2.2"]
[groups.samples]
members = ["sample"]
allow = [{ to = "198.51.100.0/24", service = "tcp/443" }]
deny = [{ to = "198.51.100.66" }]
[unknown]
default = "drop"
"#;

/// Every frame for an interface with the MAC address `own`, under [`POLICY`].
pub(super) fn cases(own: [u8; 6]) -> Vec<FrameContext> {
    let to = |from: [u8; 6], kind: u16, payload: Vec<u8>| ethernet(own, from, kind, &payload);
    let packet = |from, to| ipv4(from, to, &[], 0, protocol::TCP, &tcp(443));
    let v4 = |from: [u8; 6], packet: Vec<u8>| to(from, ether_type::IPV4, packet);
    let tagged = |tags: &[(u16, u16)]| tag(&v4(DEVICE, packet(ADDRESS, ALLOWED)), tags);
    let all = [0xff; 6];
    let arp = |sender| ethernet(all, DEVICE, ether_type::ARP, &arp(DEVICE, sender, OTHER));
    let mut short = packet(ADDRESS, ALLOWED);
    if let Some(first) = short.first_mut() {
        *first = 0x44;
    }
    let dhcp = ipv4([0; 4], [255; 4], &[], 0, protocol::UDP, &discover());
    let source_route = [131, 7, 4, 203, 0, 113, 9, 0];
    let routed = ipv4(ADDRESS, ALLOWED, &source_route, 0, protocol::TCP, &tcp(443));
    let rest = ipv4(ADDRESS, ALLOWED, &[], 100, protocol::TCP, &[0; 16]);
    let smtp = ipv4(ADDRESS, ALLOWED, &[], 0, protocol::TCP, &tcp(25));
    // Type 0, which RFC 5095 abolished.
    let routing = [&[protocol::TCP, 0, 0, 0, 0, 0, 0, 0][..], &tcp(443)].concat();
    let advertisement = [&[134, 0][..], &[0; 14]].concat();
    let cases = [
        ("a VLAN that is not declared", Reason::VlanUndeclared, tagged(&[(0x8100, 20)])),
        ("two VLAN tags", Reason::VlanUndeclared, tagged(&[(0x88a8, 20), (0x8100, 30)])),
        ("the gateway's own MAC", Reason::SourceMacOwn, v4(own, packet(ADDRESS, ALLOWED))),
        (
            "a multicast source MAC",
            Reason::SourceMacMulticast,
            v4([1, 0, 0x5e, 0, 0, 1], packet(ADDRESS, ALLOWED)),
        ),
        ("half a header", Reason::TruncatedNetwork, v4(DEVICE, vec![0x45, 0, 0, 40])),
        ("a wrong header length", Reason::HeaderLength, v4(DEVICE, short)),
        ("a source route", Reason::SourceRoute, v4(DEVICE, routed)),
        ("half a datagram", Reason::FragmentOrphan, v4(DEVICE, rest)),
        ("a strange EtherType", Reason::EtherType, to(DEVICE, 0x88b5, vec![0; 40])),
        (
            "an IPv6 routing header",
            Reason::RoutingHeader,
            to(DEVICE, ether_type::IPV6, ipv6(protocol::ROUTING, &routing)),
        ),
        (
            "a router advertisement",
            Reason::RogueRouter,
            to(DEVICE, ether_type::IPV6, ipv6(protocol::ICMPV6, &advertisement)),
        ),
        ("ARP for another's address", Reason::ArpSpoof, arp([192, 0, 2, 2 ^ 0x40])),
        ("another's address", Reason::SourceBinding, v4(DEVICE, packet(OTHER, ALLOWED))),
        ("a device that is not known", Reason::Unknown, v4(UNKNOWN, packet(OTHER, ALLOWED))),
        ("a destination that is denied", Reason::Deny, v4(DEVICE, packet(ADDRESS, DENIED))),
        ("a service that is not allowed", Reason::Default, v4(DEVICE, smtp)),
        ("ARP", Reason::Arp, arp(ADDRESS)),
        ("a DHCP request", Reason::Dhcp, ethernet(all, DEVICE, ether_type::IPV4, &dhcp)),
        ("what a rule allows", Reason::Allow, v4(DEVICE, packet(ADDRESS, ALLOWED))),
        ("the same with a priority", Reason::Allow, tagged(&[(0x8100, 0xe000)])),
    ];
    (0..)
        .zip(cases)
        .map(|(number, (name, reason, frame))| marked(name, reason, frame, number))
        .collect()
}

/// Bytes of a mark.
const MARK: usize = 8;

/// The mark of frame `number`.
pub(super) fn mark(number: usize) -> [u8; MARK] {
    let mut mark = *b"doctor..";
    mark[6..].copy_from_slice(&(number as u16).to_be_bytes());
    mark
}

/// The number in a frame's mark.
pub(super) fn number(frame: &[u8]) -> Option<usize> {
    let [name @ .., high, low] = frame.last_chunk::<MARK>()?;
    (name == b"doctor").then(|| usize::from(u16::from_be_bytes([*high, *low])))
}

/// Writes the mark over the end of a frame; every frame has room for it there.
fn marked(name: &'static str, reason: Reason, mut frame: Vec<u8>, number: usize) -> FrameContext {
    if let Some(end) = frame.last_chunk_mut() {
        *end = mark(number);
    }
    FrameContext { name, reason, frame }
}

/// A frame with room for a mark behind its payload.
pub(super) fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload, &[0; MARK][..trailer(kind, payload)]].concat()
}

/// Bytes for the mark behind the payload; IP packets contain the mark.
fn trailer(kind: u16, payload: &[u8]) -> usize {
    let is_whole = payload.len() > 20 && kind != ether_type::ARP;
    if is_whole { 0 } else { MARK }
}

/// A frame with tags, outermost first: EtherType of the tag, and its priority and id.
pub(super) fn tag(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let (macs, rest) = frame.split_at_checked(12).unwrap_or_default();
    let tags = tags.iter().flat_map(|(kind, id)| [kind.to_be_bytes(), id.to_be_bytes()].concat());
    macs.iter().copied().chain(tags).chain(rest.iter().copied()).collect()
}

/// An IPv4 packet; `offset` of a fragment in units of eight bytes.
fn ipv4(
    from: [u8; 4],
    to: [u8; 4],
    options: &[u8],
    offset: u16,
    protocol: u8,
    segment: &[u8],
) -> Vec<u8> {
    let header = 20 + options.len();
    let length = (header + segment.len()) as u16;
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    packet.extend(options);
    let sum = checksum(packet.get(..header).unwrap_or_default());
    if let Some(place) = packet.get_mut(10..12) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    packet.extend(segment);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let halves = bytes.chunks_exact(2).map(|half| u32::from(half[0]) << 8 | u32::from(half[1]));
    let sum: u32 = halves.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// An IPv6 packet from fe80::2 to ff02::1.
fn ipv6(next: u8, segment: &[u8]) -> Vec<u8> {
    let segment = [segment, &[0; MARK]].concat();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((segment.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend([&[0xfe, 0x80][..], &[0; 13], &[2]].concat());
    packet.extend([&[0xff, 0x02][..], &[0; 13], &[1]].concat());
    packet.extend(segment);
    packet
}

/// A SYN with room for a mark.
fn tcp(port: u16) -> Vec<u8> {
    let port = port.to_be_bytes();
    let head = [0xc0, 0, port[0], port[1], 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0];
    [&head[..], &[0; MARK]].concat()
}

/// A DHCP discover in UDP, with room for a mark.
fn discover() -> Vec<u8> {
    let message = [&dhcp_discover(Mac(DEVICE))[..], &[0; MARK]].concat();
    let ports = [68, 67, 8 + message.len() as u16, 0].map(u16::to_be_bytes).concat();
    [&ports[..], &message].concat()
}

/// An ARP request, RFC 826; from 0.0.0.0 it is a probe, RFC 5227.
pub(super) fn arp(from: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    [&head[..], &from, &sender, &[0; 6], &target].concat()
}

#[cfg(test)]
mod tests {
    use enforcer_common::reason::Verdict;

    use super::*;
    use crate::image::HostImage;
    use crate::policy::{Host, HostInterface, Mac, compile, read};

    #[test]
    fn the_shared_code_decides_as_the_cases_say() {
        let own = [2, 0, 0, 0, 0, 7];
        let (policy, problems) = read("self-test", POLICY, &mut |_| unreachable!());
        assert_eq!(problems, []);
        let interface = HostInterface {
            name: "lan0".into(),
            index: 7,
            mac: Mac(own),
            prefixes: Vec::new(),
            ..HostInterface::default()
        };
        let host = Host { interfaces: vec![interface], ..Host::default() };
        let compiled = compile(&policy, &host).unwrap();
        let reference = HostImage::new(&compiled.image, 0);
        for (place, case) in cases(own).into_iter().enumerate() {
            let decision = reference.decide(&case.frame, 7).decision;
            assert_eq!(decision.reason, case.reason, "{}", case.name);
            let verdict = if case.reason.passes() { Verdict::Pass } else { Verdict::Drop };
            assert_eq!(decision.verdict, verdict, "{}", case.name);
            assert_eq!(number(&case.frame), Some(place), "{}", case.name);
        }
        assert_eq!(number(b"no mark here"), None);
    }
}
