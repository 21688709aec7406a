//! What a hostile device sends, one frame after the other, and what becomes of it.
// tidy: long because it is a table, and reads as one
#![allow(missing_docs, reason = "a test binary")]

use std::net::{IpAddr, Ipv4Addr};

use enforcer::image::HostImage;
use enforcer::policy::{Mac, Site, SiteInterface, compile, read};
use enforcer_common::reason::{Reason, Verdict};

#[expect(dead_code, unreachable_pub, reason = "shared with the kernel tests")]
#[path = "../../tests/src/frames/mod.rs"]
mod frames;
#[expect(dead_code, unreachable_pub, reason = "shared with the kernel tests")]
#[path = "../../tests/src/random.rs"]
mod random;

use frames::{BROADCAST, Ethernet, Extension, GATEWAY, MORE, Tcp, V4, V6, ether_type, icmp, udp};

const NOW: i64 = 1_800_000_000;
const DEVICE: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OWN4: u32 = 0x0a4d_0001;
const A4: u32 = 0x0a4d_0002;
const D4: u32 = 0x0a58_0002;
const A6: u128 = 0xfd77 << 112 | 2;
const D6: u128 = 0xfd88 << 112 | 2;
const LINK: u128 = 0xfe80 << 112 | 2;
const ALL_NODES: u128 = 0xff02 << 112 | 1;
const NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// One device, bound to its addresses, that may speak to TCP port 443 and nothing else.
const POLICY: &str = r#"
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

fn ethernet() -> Ethernet {
    Ethernet::new(DEVICE)
}

fn ip4(packet: Vec<u8>) -> Vec<u8> {
    ethernet().frame(ether_type::IPV4, &packet)
}

fn ip6(packet: Vec<u8>) -> Vec<u8> {
    ethernet().frame(ether_type::IPV6, &packet)
}

fn v4(protocol: u8) -> V4 {
    V4::new(A4, D4, protocol)
}

fn v6(protocol: u8) -> V6 {
    V6::new(A6, D6, protocol)
}

fn tcp(port: u16) -> Vec<u8> {
    Tcp::new(port).segment(b"")
}

fn options(kind: u8, length: u8) -> Extension {
    Extension::Options { kind, length }
}

fn fragment(offset: u16, more: bool) -> Extension {
    Extension::Fragment { offset, more, id: 7 }
}

/// To everybody, with this header.
fn everybody(header: V4, payload: &[u8]) -> Vec<u8> {
    ethernet().to(BROADCAST).frame(ether_type::IPV4, &header.packet(payload))
}

fn nodes(header: V6, payload: &[u8]) -> Vec<u8> {
    ethernet().to(NODES).frame(ether_type::IPV6, &header.packet(payload))
}

fn tags(tags: &[(u16, u16)], kind: u16, payload: &[u8]) -> Vec<u8> {
    Ethernet { tags: tags.to_vec(), ..ethernet() }.frame(kind, payload)
}

fn cases() -> Vec<(&'static str, Vec<u8>, Reason)> {
    use Reason as R;
    let t = v4(6).packet(&tcp(25));
    let allowed = v4(6).packet(&tcp(443));
    let from = |source: [u8; 6]| Ethernet { source, ..ethernet() };
    let kind = |kind| ethernet().frame(kind, &t);
    let snap = |head: &[u8]| ethernet().llc(&[head, &t].concat());
    let mut cases = vec![
        ("what is allowed", ip4(allowed.clone()), R::Allow),
        ("what is allowed, IPv6", ip6(v6(6).packet(&tcp(443))), R::Allow),
        ("VLAN 10", tags(&[(0x8100, 10)], 0x0800, &t), R::VlanUndeclared),
        ("priority tag", tags(&[(0x8100, 0xe000)], 0x0800, &t), R::Default),
        ("two priority tags", tags(&[(0x8100, 0); 2], 0x0800, &t), R::Default),
        (
            "service and two tags",
            tags(&[(0x88a8, 0), (0x8100, 0), (0x8100, 0)], 0x0800, &t),
            R::VlanDepth,
        ),
        ("QinQ", tags(&[(0x88a8, 5), (0x8100, 10)], 0x0800, &t), R::VlanUndeclared),
        ("five tags", tags(&[(0x8100, 0); 5], 0x0800, &t), R::VlanDepth),
        ("twenty tags", tags(&[(0x8100, 0); 20], 0x0800, &t), R::VlanDepth),
        ("TPID 9100", tags(&[(0x9100, 0)], 0x0800, &t), R::EtherType),
        ("TPID 9200", tags(&[(0x9200, 0)], 0x0800, &t), R::EtherType),
        ("service tag", tags(&[(0x88a8, 0)], 0x0800, &t), R::Default),
        ("half a tag", ethernet().frame(0x8100, &[0, 0]), R::TruncatedEthernet),
        ("SNAP", snap(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), R::Llc),
        ("DSAP 6", snap(&[6, 6, 3]), R::Llc),
        ("SNAP in a tag", tags(&[(0x8100, 0)], 60, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), R::Llc),
        ("PPPoE", kind(0x8864), R::EtherType),
        ("MPLS", kind(0x8847), R::EtherType),
        ("experimental EtherType", kind(0x88b5), R::EtherType),
        ("MACsec", kind(0x88e5), R::EtherType),
        ("RARP", kind(0x8035), R::EtherType),
        ("IPv4 as IPv6", ethernet().frame(0x86dd, &[&t[..], &t].concat()), R::IpVersion),
        ("IPv6 as IPv4", ethernet().frame(0x0800, &v6(6).packet(&tcp(25))), R::IpVersion),
        ("unicast to everybody", ethernet().to(BROADCAST).frame(0x0800, &allowed), R::CastMismatch),
        (
            "unicast to a group",
            ethernet().to([1, 0, 0x5e, 0, 0, 0xfb]).frame(0x0800, &allowed),
            R::CastMismatch,
        ),
        (
            "unknown MAC",
            from([2, 0xde, 0xad, 0xbe, 0xef, 1])
                .frame(0x0800, &V4::new(0x0a4d_0009, D4, 6).packet(&tcp(443))),
            R::Unknown,
        ),
        (
            "unknown MAC, known address",
            from([2, 0xde, 0xad, 0xbe, 0xef, 1]).frame(0x0800, &allowed),
            R::SourceBinding,
        ),
        ("multicast MAC", from([3, 0, 0, 0, 0, 2]).frame(0x0800, &allowed), R::SourceMacMulticast),
        ("the gateway's MAC", from(GATEWAY).frame(0x0800, &allowed), R::SourceMacOwn),
        (
            "port in options",
            ip4(V4 { options: vec![1, 1, 1, 0xbb, 4, 0, 0, 0], ..v4(6) }.packet(&tcp(25))),
            R::Options,
        ),
        ("forty NOPs", ip4(V4 { options: vec![1; 40], ..v4(6) }.packet(&tcp(25))), R::Options),
        ("IHL 4", ip4(V4 { words: Some(4), ..v4(6) }.packet(&tcp(25))), R::HeaderLength),
        ("IHL 0", ip4(V4 { words: Some(0), ..v4(6) }.packet(&tcp(25))), R::HeaderLength),
        (
            "IHL 15 beyond the frame",
            ip4(V4 { words: Some(15), ..v4(6) }.packet(&[0x9c, 0x40, 1, 0xbb])),
            R::TruncatedNetwork,
        ),
        ("version 5", ip4(V4 { version: 5, ..v4(6) }.packet(&tcp(25))), R::IpVersion),
        (
            "source route",
            ip4(V4 { options: vec![131, 7, 4, 10, 88, 0, 99], ..v4(6) }.packet(&tcp(443))),
            R::SourceRoute,
        ),
        (
            "total length below the header",
            ip4(V4 { total: Some(24), ..v4(6) }.packet(&tcp(443))),
            R::TruncatedTransport,
        ),
        (
            "total length beyond the frame",
            ip4(V4 { total: Some(1400), ..v4(6) }.packet(&tcp(443))),
            R::Length,
        ),
        ("TTL 1", ip4(V4 { ttl: 1, ..v4(6) }.packet(&tcp(25))), R::Default),
        (
            "first fragment",
            ip4(V4 { fragment: MORE, ..v4(6) }.packet(&Tcp::new(25).segment(b"four"))),
            R::Default,
        ),
        (
            "later fragment that looks like 443",
            ip4(V4 { fragment: 5, ..v4(6) }.packet(&tcp(443))),
            R::FragmentOrphan,
        ),
        (
            "later fragment that looks like 25",
            ip4(V4 { fragment: 5, ..v4(6) }.packet(&tcp(25))),
            R::FragmentOrphan,
        ),
        (
            "tiny fragment to 25",
            ip4(V4 { fragment: MORE, ..v4(6) }.packet(&tcp(25)[..8])),
            R::FragmentTiny,
        ),
        (
            "tiny fragment to 443",
            ip4(V4 { fragment: MORE, ..v4(6) }.packet(&tcp(443)[..8])),
            R::FragmentTiny,
        ),
        ("fragment at 8", ip4(V4 { fragment: 1, ..v4(6) }.packet(&tcp(443))), R::FragmentTiny),
        (
            "later fragment of UDP",
            ip4(V4 { fragment: 9, ..v4(17) }.packet(b"x")),
            R::FragmentOrphan,
        ),
        ("UDP 443", ip4(v4(17).packet(&udp(40000, 443, b""))), R::Default),
        (
            "source port 443",
            ip4(v4(6).packet(&Tcp { source: 443, ..Tcp::new(25) }.segment(b""))),
            R::Default,
        ),
        (
            "ACK alone",
            ip4(v4(6).packet(&Tcp { flags: 0x10, ..Tcp::new(25) }.segment(b""))),
            R::Default,
        ),
        ("no flags", ip4(v4(6).packet(&Tcp { flags: 0, ..Tcp::new(25) }.segment(b""))), R::Default),
        (
            "data offset 0",
            ip4(v4(6).packet(&Tcp { words: Some(0), ..Tcp::new(443) }.segment(b""))),
            R::DataOffset,
        ),
        ("half a TCP header to 443", ip4(v4(6).packet(&tcp(443)[..8])), R::TruncatedTransport),
        ("half a TCP header to 25", ip4(v4(6).packet(&tcp(25)[..8])), R::TruncatedTransport),
        ("half a UDP header", ip4(v4(17).packet(&[0x9c, 0x40, 0, 0x35])), R::TruncatedTransport),
        ("UDP length 4", ip4(v4(17).packet(&frames::udp_of_length(40000, 53, 4, b""))), R::Length),
        ("SCTP 443", ip4(v4(132).packet(&frames::sctp(40000, 443))), R::Default),
        ("ping", ip4(v4(1).packet(&icmp(8, 0, b"data"))), R::Default),
        ("redirect", ip4(v4(1).packet(&icmp(5, 1, b""))), R::Redirect),
        ("DNS", ip4(v4(17).packet(&udp(40000, 53, b"dns"))), R::Default),
        ("VXLAN", ip4(v4(17).packet(&udp(40000, 4789, &t))), R::Default),
        (
            "VXLAN to the gateway",
            ip4(V4 { destination: OWN4, ..v4(17) }.packet(&udp(40000, 4789, &t))),
            R::Default,
        ),
        ("hop-by-hop", ip6(v6(6).extension(options(0, 0)).packet(&tcp(25))), R::Default),
        ("destination options", ip6(v6(6).extension(options(60, 0)).packet(&tcp(25))), R::Default),
        ("atomic fragment", ip6(v6(6).extension(fragment(0, false)).packet(&tcp(25))), R::Default),
        (
            "first fragment, IPv6",
            ip6(v6(6).extension(fragment(0, true)).packet(&Tcp::new(25).segment(b"four"))),
            R::Default,
        ),
        (
            "later fragment, IPv6",
            ip6(v6(6).extension(fragment(40, false)).packet(&tcp(443))),
            R::FragmentOrphan,
        ),
        (
            "no header in the first",
            ip6(v6(6).extension(fragment(0, true)).extension(options(60, 0)).packet(b"")),
            R::FragmentTiny,
        ),
        ("no next header", ip6(v6(59).packet(b"data")), R::NoNextHeader),
        (
            "hop-by-hop second",
            ip6(v6(6).extension(options(60, 0)).extension(options(0, 0)).packet(&tcp(25))),
            R::ExtensionOrder,
        ),
        (
            "long options",
            ip6(v6(6).extension(options(60, 100)).packet(&tcp(25))),
            R::ExtensionLength,
        ),
        (
            "jumbogram",
            ip6(V6 { length: Some(0), ..v6(6).extension(options(0, 0)) }.packet(&tcp(25))),
            R::Jumbogram,
        ),
        ("payload length 0", ip6(V6 { length: Some(0), ..v6(6) }.packet(&tcp(25))), R::Length),
        (
            "v4-mapped",
            ip6(V6 { destination: 0xffff << 32 | u128::from(D4), ..v6(6) }.packet(&tcp(443))),
            R::MartianDestination,
        ),
        (
            "from v4-mapped",
            ip6(V6 { source: 0xffff << 32 | u128::from(A4), ..v6(6) }.packet(&tcp(443))),
            R::MartianSource,
        ),
        ("6to4", ip6(V6 { destination: 0x2002 << 112 | 1, ..v6(6) }.packet(&tcp(25))), R::Default),
        (
            "link-local beyond the link",
            ip6(V6 { source: LINK, ..v6(6) }.packet(&tcp(443))),
            R::MartianSource,
        ),
        ("ping, IPv6", ip6(v6(58).packet(&icmp(128, 0, b"data"))), R::Default),
        (
            "options beyond the packet",
            ip6(v6(0).packet(&[6, 20, 0, 0, 0, 0, 0, 0])),
            R::TruncatedExtension,
        ),
        (
            "a neighbour's address",
            ip4(V4 { source: A4 + 1, ..v4(6) }.packet(&tcp(443))),
            R::SourceBinding,
        ),
        ("from 0.0.0.0", ip4(V4 { source: 0, ..v4(6) }.packet(&tcp(443))), R::MartianSource),
        (
            "from 127.0.0.1",
            ip4(V4 { source: 0x7f00_0001, ..v4(6) }.packet(&tcp(443))),
            R::MartianSource,
        ),
        (
            "from off the subnet",
            ip4(V4 { source: D4 + 48, ..v4(6) }.packet(&tcp(443))),
            R::SourceBinding,
        ),
        (
            "mDNS",
            everybody(V4 { destination: 0xe000_00fb, ..v4(17) }, &udp(5353, 5353, b"")),
            R::Default,
        ),
        (
            "broadcast",
            everybody(V4 { destination: u32::MAX, ..v4(17) }, &udp(40000, 9999, b"")),
            R::Default,
        ),
        (
            "directed broadcast",
            ip4(V4 { destination: 0x0a58_00ff, ..v4(17) }.packet(&udp(40000, 9999, b""))),
            R::Default,
        ),
        (
            "all nodes",
            nodes(V6 { destination: ALL_NODES, ..v6(17) }, &udp(40000, 9999, b"")),
            R::Default,
        ),
        (
            "all nodes, DHCP ports",
            nodes(V6 { destination: ALL_NODES, ..v6(17) }, &udp(546, 547, b"")),
            R::Default,
        ),
        (
            "global group",
            nodes(V6 { destination: 0xff0e << 112 | 1, ..v6(17) }, &udp(40000, 9999, b"")),
            R::Default,
        ),
        ("longest frame", ip4(v4(6).packet(&Tcp::new(25).segment(&[b'y'; 1460]))), R::Default),
        ("no packet", ethernet().frame(0x0800, b""), R::TruncatedNetwork),
    ];
    for protocol in [0, 4, 33, 41, 47, 50, 51, 97, 115, 136, 255] {
        cases.push(("protocol", ip4(v4(protocol).packet(&tcp(443))), R::Default));
    }
    for protocol in [4, 41, 47, 50, 51] {
        cases.push(("protocol, IPv6", ip6(v6(protocol).packet(&tcp(443))), R::Default));
    }
    for (kind, left) in [(0, 1), (4, 0), (253, 0)] {
        let header = v6(6).extension(Extension::Routing { kind, left });
        cases.push(("routing header", ip6(header.packet(&tcp(443))), R::RoutingHeader));
    }
    for kind in [135, 139, 140, 253] {
        let header = v6(6).extension(options(kind, 0));
        cases.push(("extension header", ip6(header.packet(&tcp(443))), R::ExtensionHeader));
    }
    for count in [5, 7, 30] {
        let header = V6 { extensions: vec![options(60, 0); count], ..v6(6) };
        cases.push(("many options", ip6(header.packet(&tcp(443))), R::ExtensionDepth));
    }
    cases.extend(link());
    cases
}

/// What stays on the link: some of it must pass, or the network dies.
fn link() -> Vec<(&'static str, Vec<u8>, Reason)> {
    use Reason as R;
    let arp = |operation, mac, sender, tail: &[u8]| {
        let packet = frames::arp(operation, mac, sender, OWN4);
        ethernet().to(BROADCAST).frame(ether_type::ARP, &[&packet, tail].concat())
    };
    let reserved = |last| ethernet().to([1, 0x80, 0xc2, 0, 0, last]);
    let nd = |source| V6 { hops: 255, ..V6::new(source, ALL_NODES, 58) };
    let long = [frames::neighbour(135, A6), vec![b'x'; 600]].concat();
    let mut tail = nodes(nd(A6), &frames::neighbour(135, A6));
    tail.resize(800, b'x');
    let discover = frames::dhcp_discover(DEVICE);
    vec![
        ("ARP request", arp(1, DEVICE, A4, b""), R::Arp),
        ("ARP probe", arp(1, DEVICE, 0, b""), R::Arp),
        ("ARP with a tail", arp(2, DEVICE, A4, &[b'x'; 600]), R::ArpMalformed),
        ("ARP for the gateway", arp(2, DEVICE, OWN4, b""), R::ArpSpoof),
        ("ARP for a neighbour", arp(2, DEVICE, A4 + 1, b""), R::ArpSpoof),
        ("ARP of another MAC", arp(2, GATEWAY, A4, b""), R::ArpMalformed),
        ("LLDP", reserved(0xe).frame(ether_type::LLDP, b"x"), R::Lldp),
        ("LLDP to the gateway", ethernet().frame(ether_type::LLDP, b"x"), R::EtherType),
        ("EAPOL", reserved(3).frame(ether_type::EAPOL, b"x"), R::Eapol),
        ("EAPOL tunnel", ethernet().frame(ether_type::EAPOL, b"x"), R::EapolDestination),
        ("BPDU", reserved(0).llc(&frames::bpdu()), R::EssentialOff),
        (
            "DHCP",
            everybody(V4 { source: 0, destination: u32::MAX, ..v4(17) }, &udp(68, 67, &discover)),
            R::Dhcp,
        ),
        ("DHCP tunnel", ip4(v4(17).packet(&udp(68, 67, &discover))), R::Default),
        (
            "DHCP server",
            everybody(V4 { destination: u32::MAX, ..v4(17) }, &udp(67, 68, &discover)),
            R::RogueDhcp,
        ),
        (
            "DHCPv6",
            nodes(V6::new(LINK, 0xff02 << 112 | 0x1_0002, 17), &udp(546, 547, b"")),
            R::Dhcp,
        ),
        ("solicitation", nodes(nd(A6), &frames::neighbour(135, D6)), R::Neighbour),
        ("duplicate detection", nodes(nd(0), &frames::neighbour(135, A6)), R::Neighbour),
        ("advertisement", nodes(nd(A6), &frames::neighbour(136, A6)), R::Neighbour),
        (
            "advertisement of another",
            nodes(nd(A6), &frames::neighbour(136, A6 + 1)),
            R::NeighbourSpoof,
        ),
        ("solicitation with much in it", nodes(nd(A6), &long), R::NeighbourMalformed),
        ("solicitation with much behind it", tail, R::NeighbourMalformed),
        ("router advertisement", nodes(nd(LINK), &icmp(134, 0, &[0; 8])), R::RogueRouter),
        (
            "router advertisement in a fragment",
            nodes(nd(LINK).extension(fragment(0, true)), &icmp(134, 0, &[0; 8])),
            R::RogueRouter,
        ),
    ]
}

#[test]
fn evasions() {
    let (policy, problems) = read("evasions.toml", POLICY, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    let site = Site {
        interfaces: vec![SiteInterface {
            name: "lan0".into(),
            index: 1,
            mac: Mac(GATEWAY),
            prefixes: vec![(IpAddr::V4(Ipv4Addr::from(OWN4)), 24)],
        }],
        own: vec![IpAddr::V4(Ipv4Addr::from(OWN4))],
        now: NOW,
    };
    let compiled = compile(&policy, &site).unwrap();
    for (name, frame, reason) in cases() {
        let host = HostImage::new(&compiled.image, NOW);
        let case = host.decide(&frame, 1);
        assert_eq!(case.decision.reason, reason, "{name}: {:?}", case.flow);
        let verdict = if reason.passes() { Verdict::Pass } else { Verdict::Drop };
        assert_eq!(case.decision.verdict, verdict, "{name}");
    }

    // An allowed first fragment, and what then claims to belong to it.
    let host = HostImage::new(&compiled.image, NOW);
    let part = |fragment, id, payload: &[u8]| {
        host.decide(&ip4(V4 { fragment, id, ..v4(6) }.packet(payload)), 1).decision.reason
    };
    let segment = Tcp::new(443).segment(&[0; 20]);
    assert_eq!(part(MORE, 1, &segment), Reason::Allow);
    assert_eq!(part(5, 1, b"rest"), Reason::FragmentOfPassed);
    assert_eq!(part(2, 1, &tcp(25)), Reason::FragmentOverlap);
    assert_eq!(part(0, 1, &tcp(25)), Reason::Default);
    assert_eq!(part(5, 2, b"rest"), Reason::FragmentOrphan);
}
