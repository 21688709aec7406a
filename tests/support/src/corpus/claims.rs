//! False essentials, claims of other hosts' addresses, fragments that begin twice, and bytes after packets.

use super::{A6, ALL_NODES, D4, DEVICE, LINK, Make, OWN4, OWN6, Row, ipv6::to_nodes};
use crate::frames::{
    BROADCAST, Extension, MORE, Tcp, V4, V6, arp, dhcp_discover, ether_type, group_mac, neighbour,
    udp,
};
use enforcer_common::reason::Reason as R;

/// Another host's MAC.
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// Rows 153 to 168.
pub(super) fn rows(to: [u8; 6]) -> Vec<Row> {
    let mut rows = dhcp(to);
    rows.extend(link(to));
    rows.extend(neighbours(to));
    rows.extend(packets(to));
    rows.extend(trailing(to));
    rows
}

fn dhcp(to: [u8; 6]) -> Vec<Row> {
    let row = |number, name, reason, mac, message: &dyn Fn(&Make) -> Vec<u8>| {
        let m = Make::new(number, to);
        let header = V4 { source: 0, destination: u32::MAX, ..m.v4(17) };
        let packet = header.packet(&udp(68, 67, &message(&m)));
        m.drop(name, "-F", reason, m.ethernet().to(mac).frame(ether_type::IPV4, &packet))
    };
    vec![
        row(153, "DHCP ports, and no DHCP", R::EssentialShape, BROADCAST, &|m| m.with(&[0; 300])),
        row(154, "DHCP discover to one MAC", R::CastMismatch, to, &|m| {
            m.with(&dhcp_discover(DEVICE))
        }),
        row(155, "DHCP discover for another client", R::EssentialShape, BROADCAST, &|m| {
            m.with(&dhcp_discover(OTHER))
        }),
    ]
}

/// 802.1X and ARP.
fn link(to: [u8; 6]) -> Vec<Row> {
    let (tail, probe, reply) = (Make::new(156, to), Make::new(157, to), Make::new(158, to));
    let zero = Make::new(159, to);
    let packet = |m: &Make, operation, target| {
        let mut packet = m.with(&arp(operation, DEVICE, 0, target));
        packet.resize(46, 0);
        m.ethernet().to(BROADCAST).frame(ether_type::ARP, &packet)
    };
    vec![
        tail.drop("802.1X with 600 bytes behind it", "--", R::EssentialShape, {
            let start = [&tail.with(&[1, 1, 0, 0])[..], &[b'x'; 600]].concat();
            tail.ethernet().to([1, 0x80, 0xc2, 0, 0, 3]).frame(ether_type::EAPOL, &start)
        }),
        probe.drop("ARP probe for the gateway's address", "-F", R::ArpSpoof, {
            packet(&probe, 1, OWN4)
        }),
        reply.drop("ARP reply from 0.0.0.0", "-F", R::ArpMalformed, packet(&reply, 2, OWN4)),
        zero.drop("source MAC of zeros, allowed port", "F-", R::SourceMacZero, {
            zero.from([0; 6]).frame(ether_type::IPV4, &zero.v4(6).packet(&zero.tcp(443)))
        }),
    ]
}

fn neighbours(to: [u8; 6]) -> Vec<Row> {
    let row = |number, name, reason, header: V6, message: &dyn Fn(&Make) -> Vec<u8>| {
        let m = Make::new(number, to);
        let ethernet = m.ethernet().to(group_mac(header.destination));
        let bytes = ethernet.frame(ether_type::IPV6, &header.packet(&message(&m)));
        // The frame has no room for a marker: it is recognised by all of its bytes.
        Row { marker: None, ..m.drop(name, "-F", reason, bytes) }
    };
    let link_layer = |kind: u8, mac: [u8; 6]| [&[kind, 1][..], &mac].concat();
    let made = {
        let [a, b, c, d, e, f] = OTHER;
        0xfe80 << 112 | u128::from(u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]))
    };
    let tail = Make::new(160, to);
    let packet = to_nodes(A6).packet(&neighbour(135, OWN6));
    let tailed =
        tail.ethernet().to(group_mac(ALL_NODES)).frame(ether_type::IPV6, &tail.with(&packet));
    vec![
        tail.drop("solicitation with bytes behind it", "-F", R::TrailingBytes, tailed),
        row(161, "advertisement with another MAC", R::NeighbourSpoof, to_nodes(A6), &|_| {
            [neighbour(136, A6), link_layer(2, OTHER)].concat()
        }),
        row(
            162,
            "advertisement of another's link-local",
            R::NeighbourSpoof,
            to_nodes(LINK),
            &|_| neighbour(136, made),
        ),
        row(163, "probe for the gateway's address, IPv6", R::NeighbourSpoof, to_nodes(0), &|_| {
            neighbour(135, OWN6)
        }),
    ]
}

fn packets(to: [u8; 6]) -> Vec<Row> {
    let (home, twice, unknown) = (Make::new(164, to), Make::new(165, to), Make::new(166, to));
    // RFC 6275 section 6.3: the sender's home address, after two bytes of padding.
    let option = [&[6, 2, 1, 2, 0, 0, 0xc9, 16][..], &(A6 | 0x99).to_be_bytes()].concat();
    let part = |m: &Make, flags, length: usize| {
        let segment = m.segment(Tcp { flags, ..Tcp::new(443) });
        V4 { fragment: MORE, ..m.v4(6) }.packet(&segment[..length])
    };
    let first = twice.ethernet().frame(ether_type::IPV4, &part(&twice, 2, 32));
    let shorter = twice.ethernet().frame(ether_type::IPV4, &part(&twice, 0x10, 24));
    let padded =
        V6 { extensions: vec![Extension::Options { kind: 60, length: 1 }], ..unknown.v6(6) };
    vec![
        home.drop("home address option, allowed port", "FF", R::Options, {
            home.ip6(home.v6(60), &[option, home.tcp(443)].concat())
        }),
        // The second frame, which begins the datagram anew, has only a part of the marker.
        Row {
            marker: Some([&D4.to_be_bytes()[..], &shorter[34..58]].concat()),
            ..twice.drop("second, shorter first fragment", "FF", R::FragmentOverlap, shorter)
        }
        .after(R::Allow, first),
        unknown.drop("16 bytes of options, allowed port", "FF", R::Options, {
            unknown.ip6(padded, &unknown.tcp(443))
        }),
    ]
}

/// Bytes after an allowed packet, which a bridge would forward.
fn trailing(to: [u8; 6]) -> Vec<Row> {
    let (v4, v6) = (Make::new(167, to), Make::new(168, to));
    let tail = |frame: Vec<u8>| [&frame[..], &[b'x'; 1_000]].concat();
    vec![
        v4.drop("1,000 bytes behind an allowed packet", "FF", R::TrailingBytes, {
            tail(v4.ip4(v4.v4(6), &v4.tcp(443)))
        }),
        v6.drop("the same over IPv6", "FF", R::TrailingBytes, {
            tail(v6.ip6(v6.v6(6), &v6.tcp(443)))
        }),
    ]
}
