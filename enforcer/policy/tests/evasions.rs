//! Frames of a hostile device and their verdicts: the table that the kernel tests replay, and
//! further cases.
#![allow(missing_docs, reason = "a test binary")]

use enforcer_common::reason::{Reason, Verdict};
use enforcer_policy::image::HostImage;
use enforcer_policy::{compile, read};
use enforcer_testkit::{corpus, frames};

use enforcer_testkit::corpus::{
    A4, A6, ALL_NODES, BEHIND, D6, DEVICE, Due, LINK, NODES, NOW, OWN4,
};
use enforcer_testkit::frames::{
    BROADCAST, Ethernet, Extension, GATEWAY, MORE, Tcp, V4, V6, ether_type, icmp, udp,
};

#[test]
fn table_is_complete_and_its_markers_are_its_own() {
    let rows = corpus::rows(GATEWAY);
    let mut numbers: Vec<u16> = rows.iter().map(|row| row.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2].into_iter().chain(5..=130).chain(148..=168).collect::<Vec<_>>());
    for row in &rows {
        // Frames before the last one may only prepare the case.
        let about = |frame: &&corpus::Frame| (row.due == Due::Drop) != frame.reason.passes();
        assert!(row.frames.iter().any(|frame| about(&frame)), "row {}", row.number);
        for other in &rows {
            for frame in &other.frames {
                let own = other.number == row.number && about(&frame);
                assert_eq!(row.is_in(&frame.bytes), own, "{} in {}", row.number, other.number);
            }
        }
        assert_eq!(row.open.len(), 2, "row {}", row.number);
        assert!(row.reason.passes() == (row.due != Due::Drop), "row {}", row.number);
    }
    let without: Vec<u16> =
        rows.iter().filter(|row| row.marker.is_none()).map(|row| row.number).collect();
    assert_eq!(without, [15, 129, 161, 162, 163]);
}

#[test]
fn host_decides_every_row() {
    let image = corpus::image();
    for to in [GATEWAY, BEHIND] {
        let reference = HostImage::new(&image, NOW);
        for row in corpus::rows(to) {
            for frame in &row.frames {
                let case = reference.decide(&frame.bytes, 1);
                let name = row.name;
                assert_eq!(case.decision.reason, frame.reason, "{name}: {:?}", case.flow);
                let verdict = if frame.reason.passes() { Verdict::Pass } else { Verdict::Drop };
                assert_eq!(case.decision.verdict, verdict, "{name}");
            }
        }
    }
}

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
    V4::new(A4, corpus::D4, protocol)
}

fn v6(protocol: u8) -> V6 {
    V6::new(A6, D6, protocol)
}

fn tcp(port: u16) -> Vec<u8> {
    Tcp::new(port).segment(b"")
}

fn nodes(header: V6, payload: &[u8]) -> Vec<u8> {
    ethernet().to(NODES).frame(ether_type::IPV6, &header.packet(payload))
}

/// Cases that are not in the table.
fn beside() -> Vec<(&'static str, Vec<u8>, Reason)> {
    use Reason as R;
    let arp = |operation, mac, sender| {
        let packet = frames::arp(operation, mac, sender, OWN4);
        ethernet().to(BROADCAST).frame(ether_type::ARP, &packet)
    };
    let probe = |target| {
        let packet = frames::arp(1, DEVICE, 0, target);
        ethernet().to(BROADCAST).frame(ether_type::ARP, &packet)
    };
    let nd = |source| V6 { hops: 255, ..V6::new(source, ALL_NODES, 58) };
    let long = [frames::neighbour(135, A6), vec![b'x'; 600]].concat();
    let mut tail = nodes(nd(A6), &frames::neighbour(135, A6));
    tail.resize(800, b'x');
    let discover = frames::dhcp_discover(DEVICE);
    let servers = 0xff02 << 112 | 0x1_0002;
    let tags = vec![(0x88a8, 0), (0x8100, 0), (0x8100, 0)];
    let three = Ethernet { tags, ..ethernet() }.frame(0x0800, &v4(6).packet(&tcp(443)));
    let everybody = V4 { destination: u32::MAX, ..v4(17) }.packet(&udp(67, 68, &discover));
    let client =
        |source, destination| V4 { source, destination, ..v4(17) }.packet(&udp(68, 67, &discover));
    let solicit = udp(546, 547, &frames::dhcp_solicit());
    let client6 = |source| {
        let packet = V6::new(source, servers, 17).packet(&solicit);
        ethernet().to(frames::group_mac(servers)).frame(ether_type::IPV6, &packet)
    };
    let everyone = |packet: Vec<u8>| ethernet().to(BROADCAST).frame(ether_type::IPV4, &packet);
    let fragment = |offset, more| Extension::Fragment { offset, more, id: 7 };
    let again = v6(6).extension(fragment(0, true)).extension(fragment(40, false));
    let mut cases = vec![
        ("service and two tags", three, R::VlanDepth),
        (
            "strict source route behind NOPs",
            ip4(V4 { options: vec![1, 1, 1, 137, 7, 4, 10, 88, 0, 99], ..v4(6) }.packet(&tcp(443))),
            R::SourceRoute,
        ),
        ("SCTP 443", ip4(v4(132).packet(&frames::sctp(40000, 443))), R::Default),
        (
            "VXLAN to the gateway",
            ip4(V4 { destination: OWN4, ..v4(17) }.packet(&udp(40000, 4789, &tcp(443)))),
            R::Default,
        ),
        ("router solicitation, IPv4", ip4(v4(1).packet(&icmp(10, 0, b""))), R::Redirect),
        ("two fragment headers", ip6(again.packet(&[0; 40])), R::ExtensionOrder),
        ("ARP probe", probe(A4), R::Arp),
        ("ARP probe for an address that nobody has", probe(A4 + 90), R::Arp),
        ("ARP probe for the gateway's address", probe(OWN4), R::ArpSpoof),
        ("ARP for a neighbour", arp(2, DEVICE, A4 + 1), R::ArpSpoof),
        ("ARP of another MAC", arp(2, GATEWAY, A4), R::ArpMalformed),
        ("LLDP to the gateway", ethernet().frame(ether_type::LLDP, b"x"), R::EtherType),
        ("DHCP server", ethernet().to(BROADCAST).frame(ether_type::IPV4, &everybody), R::RogueDhcp),
        ("DHCP discover", everyone(client(0, u32::MAX)), R::Dhcp),
        ("DHCP discover to one MAC", ip4(client(0, u32::MAX)), R::CastMismatch),
        ("DHCP renewal", ip4(client(A4, OWN4)), R::Dhcp),
        ("DHCP from an address that is not its own", ip4(client(A4 + 1, OWN4)), R::SourceBinding),
        ("DHCP from anywhere", everyone(client(0xcc25_a2f8, u32::MAX)), R::SourceBinding),
        ("DHCPv6", client6(LINK), R::Dhcp),
        ("DHCPv6 from an address that is not its own", client6(A6 + 1), R::SourceBinding),
        (
            "all nodes, DHCP ports",
            nodes(V6 { destination: ALL_NODES, ..v6(17) }, &udp(546, 547, b"")),
            R::Default,
        ),
        ("duplicate detection", nodes(nd(0), &frames::neighbour(135, A6)), R::Neighbour),
        ("advertisement", nodes(nd(A6), &frames::neighbour(136, A6)), R::Neighbour),
        (
            "advertisement of another",
            nodes(nd(A6), &frames::neighbour(136, A6 + 1)),
            R::NeighbourSpoof,
        ),
        ("solicitation with much in it", nodes(nd(A6), &long), R::NeighbourMalformed),
        ("solicitation with much behind it", tail, R::TrailingBytes),
    ];
    for protocol in [4, 41, 47, 50, 51] {
        cases.push(("protocol, IPv6", ip6(v6(protocol).packet(&tcp(443))), R::Default));
    }
    for (kind, left) in [(0, 1), (2, 1), (4, 0), (253, 0)] {
        let header = v6(6).extension(Extension::Routing { kind, left });
        cases.push(("routing header", ip6(header.packet(&tcp(443))), R::RoutingHeader));
    }
    for kind in [135, 139, 140, 253, 254] {
        let header = v6(6).extension(Extension::Options { kind, length: 0 });
        cases.push(("extension header", ip6(header.packet(&tcp(443))), R::ExtensionHeader));
    }
    cases
}

#[test]
fn host_decides_what_is_beside_the_table() {
    let image = corpus::image();
    for (name, frame, reason) in beside() {
        let case = HostImage::new(&image, NOW).decide(&frame, 1);
        assert_eq!(case.decision.reason, reason, "{name}: {:?}", case.flow);
    }
}

/// An allowed first fragment, and later fragments that claim to belong to it.
#[test]
fn later_fragments_belong_to_what_passed() {
    let image = corpus::image();
    let reference = HostImage::new(&image, NOW);
    let part = |fragment, id, payload: &[u8]| {
        reference.decide(&ip4(V4 { fragment, id, ..v4(6) }.packet(payload)), 1).decision.reason
    };
    let segment = Tcp::new(443).segment(&[0; 20]);
    assert_eq!(part(MORE, 1, &segment), Reason::Allow);
    assert_eq!(part(MORE | 5, 1, b"restrest"), Reason::FragmentOfPassed);
    assert_eq!(part(2, 1, &tcp(25)), Reason::FragmentOverlap);
    assert_eq!(part(5, 1, b"other"), Reason::FragmentOverlap);
    // Nor may a second, shorter first fragment, which the rest would overlap.
    assert_eq!(part(MORE, 1, &Tcp::new(443).segment(&[0; 4])), Reason::FragmentOverlap);
    assert_eq!(part(6, 1, b"next"), Reason::FragmentOfPassed);
    assert_eq!(part(7, 1, b"more"), Reason::FragmentOverlap);
    assert_eq!(part(0, 1, &tcp(25)), Reason::Default);
    assert_eq!(part(5, 2, b"rest"), Reason::FragmentOrphan);
    // The datagram is complete: the identification may be reused.
    assert_eq!(part(MORE, 1, &segment), Reason::Allow);
    assert_eq!(part(5, 1, b"rest"), Reason::FragmentOfPassed);
}

/// IPv6 fragments need not have the same next header (RFC 8200 section 4.5): later ones have that of the
/// datagram's first extension header.
#[test]
fn later_fragments_behind_options() {
    let image = corpus::image();
    let reference = HostImage::new(&image, NOW);
    let part = |next: u8, offset, more, payload: &[u8]| {
        let header = v6(next).extension(Extension::Fragment { offset, more, id: 7 });
        reference.decide(&ip6(header.packet(payload)), 1).decision.reason
    };
    let options = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &Tcp::new(443).segment(&[0; 20])].concat();
    assert_eq!(part(60, 0, true, &options), Reason::Allow);
    assert_eq!(part(60, 48, false, b"rest"), Reason::FragmentOfPassed);
}

/// One device's first fragments displace its own datagrams, not another's.
#[test]
fn a_flood_of_first_fragments_is_its_senders_loss() {
    let text = corpus::POLICY.replace("default = \"drop\"", "default = \"pass\"");
    let (policy, problems) = read("evasions.toml", &text, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    let image = compile(&policy, &corpus::host()).unwrap().image;
    let reference = HostImage::new(&image, NOW);
    let segment = Tcp::new(443).segment(&[0; 20]);
    let part = |mac: &[u8; 6], source, fragment, id, payload: &[u8]| {
        let packet = V4 { source, fragment, id, ..v4(6) }.packet(payload);
        let mut frame = ip4(packet);
        frame[6..12].copy_from_slice(mac);
        reference.decide(&frame, 1).decision.reason
    };
    assert_eq!(part(&DEVICE, A4, MORE, 1, &segment), Reason::Allow);
    for id in 0..9_000 {
        let reason = part(&[2, 9, 9, 9, 9, 9], A4 + 9, MORE, id, &segment);
        assert_eq!(reason, Reason::UnknownPass);
    }
    assert_eq!(part(&DEVICE, A4, 5, 1, b"rest"), Reason::FragmentOfPassed);
}
