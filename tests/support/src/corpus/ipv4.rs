//! IPv4: headers, fragments, ports and protocols.

use super::{Due, Make, Row};
use crate::frames::{Ethernet, MORE, Tcp, V4, ether_type, icmp, sctp, udp_of_length};
use enforcer_common::reason::Reason as R;

/// Beginning of a later fragment that looks like a header to an allowed port.
const MIMIC: [u8; 4] = [0x9c, 0x40, 0x01, 0xbb];

/// Rows 30 to 76, then 150 to 152.
pub(super) fn rows(to: [u8; 6]) -> Vec<Row> {
    let mut rows = header(to);
    rows.extend(fragments(to));
    rows.extend(transport(to));
    rows.extend(protocols(to));
    rows.extend(router_alert(to));
    rows
}

/// IPv4 headers.
fn header(to: [u8; 6]) -> Vec<Row> {
    let m = |number| Make::new(number, to);
    let v4 = |number: u16, name, open, reason, port, change: &dyn Fn(V4) -> V4| {
        let m = m(number);
        m.drop(name, open, reason, m.ip4(change(m.v4(6)), &m.tcp(port)))
    };
    let fake = vec![1, 1, 1, 0xbb, 4, 0, 0, 0];
    let route = vec![131, 7, 4, 10, 88, 0, 99];
    let (beyond, below, broken, segment) = (m(34), m(37), m(39), m(40));
    let mut bad = broken.ip4(broken.v4(6), &broken.tcp(443));
    bad[24..26].copy_from_slice(&[0xde, 0xad]);
    let mut unsummed = segment.ip4(segment.v4(6), &segment.tcp(25));
    unsummed[50..52].copy_from_slice(&[0xde, 0xad]);
    let words = |words| move |header| V4 { words: Some(words), ..header };
    let ports = [beyond.port.to_be_bytes(), 443u16.to_be_bytes()].concat();
    let beyond_frame = beyond.ip4(V4 { words: Some(15), ..beyond.v4(6) }, &ports);
    let below_frame = below.ip4(V4 { total: Some(24), ..below.v4(6) }, &below.tcp(443));
    vec![
        v4(30, "options that look like port 443", "FF", R::Options, 25, &|header| V4 {
            options: fake.clone(),
            ..header
        }),
        v4(31, "forty bytes of NOP options", "FF", R::Options, 25, &|header| V4 {
            options: vec![1; 40],
            ..header
        }),
        v4(32, "header length 16", "--", R::HeaderLength, 25, &words(4)),
        v4(33, "header length 0", "--", R::HeaderLength, 25, &words(0)),
        Row {
            open: "??",
            ..beyond.short(443, "header beyond the frame", R::TruncatedNetwork, beyond_frame)
        },
        v4(35, "version 5", "--", R::IpVersion, 25, &|header| V4 { version: 5, ..header }),
        v4(36, "source route by way of an allowed host", "-F", R::SourceRoute, 443, &|header| V4 {
            options: route.clone(),
            ..header
        }),
        below.short(443, "total length ends in the TCP header", R::TrailingBytes, below_frame),
        v4(38, "total length beyond the frame", "--", R::Length, 25, &|header| V4 {
            total: Some(1400),
            ..header
        }),
        // A router drops it; a bridge forwards it, and the port is allowed anyway.
        broken.row("bad header checksum, allowed port", "--", Due::Pass, R::Allow, bad),
        segment.drop("bad TCP checksum, denied port", "FF", R::Default, unsummed),
        v4(41, "TTL 1", "-F", R::Default, 25, &|header| V4 { ttl: 1, ..header }),
    ]
}

/// Router alert, which a rule can allow only on IGMP to a group.
fn router_alert(to: [u8; 6]) -> Vec<Row> {
    let alert = [148, 4, 0, 0];
    let (port, report, route) = (Make::new(150, to), Make::new(151, to), Make::new(152, to));
    let igmp = |m: &Make, options: &[u8]| {
        let group = V4 { destination: 0xe000_0016, ttl: 1, options: options.into(), ..m.v4(2) };
        let packet = group.packet(&m.with(&[0x22, 0, 0, 0]));
        m.ethernet().to([1, 0, 0x5e, 0, 0, 0x16]).frame(ether_type::IPV4, &packet)
    };
    let segment = V4 { options: alert.into(), ..port.v4(6) };
    let both = [&alert[..], &[131, 7, 4, 10, 88, 0, 99]].concat();
    vec![
        port.drop("router alert, allowed port", "FF", R::Options, {
            port.ip4(segment, &port.tcp(443))
        }),
        report.drop("router alert on IGMP", "-F", R::Default, igmp(&report, &alert)),
        route.drop("the same and a source route", "-F", R::Options, igmp(&route, &both)),
    ]
}

fn fragments(to: [u8; 6]) -> Vec<Row> {
    let m = |number| Make::new(number, to);
    let part = |number: u16, name, reason, protocol, fragment, payload: &[u8]| {
        let m = m(number);
        let header = V4 { fragment, ..m.v4(protocol) };
        m.drop(name, "FF", reason, m.ip4(header, &m.with(payload)))
    };
    let tiny = |number: u16, name, port| {
        let m = m(number);
        let header = V4 { fragment: MORE, ..m.v4(6) };
        m.short(port, name, R::FragmentTiny, m.ip4(header, &m.tcp(port)[..8]))
    };
    let (first, pair) = (m(42), m(47));
    let allowed = Tcp { source: pair.port, ..Tcp::new(443) }.segment(&[0; 12]);
    let allowed = pair.ip4(V4 { fragment: MORE, ..pair.v4(6) }, &allowed);
    let overlap = pair.ip4(pair.v4(6), &pair.tcp(25));
    vec![
        first.drop("first fragment, denied port", "FF", R::Default, {
            first.ip4(V4 { fragment: MORE, ..first.v4(6) }, &first.tcp(25))
        }),
        part(43, "later fragment that looks like port 443", R::FragmentOrphan, 6, 5, &MIMIC),
        part(
            44,
            "later fragment that looks like port 25",
            R::FragmentOrphan,
            6,
            5,
            &[0x9c, 0x40, 0, 25],
        ),
        tiny(45, "tiny first fragment, denied port", 25),
        tiny(46, "tiny first fragment, allowed port", 443),
        pair.drop("an allowed first part, then an overlap", "FF", R::Default, overlap)
            .after(R::Allow, allowed),
        part(48, "fragment at 8: TCP flags overwritten", R::FragmentTiny, 6, 1, &[0; 4]),
        part(49, "later fragment of UDP", R::FragmentOrphan, 17, 9, b""),
    ]
}

/// TCP, UDP, SCTP and ICMP.
fn transport(to: [u8; 6]) -> Vec<Row> {
    let m = |number| Make::new(number, to);
    let tcp = |number, name, reason, change: &dyn Fn(Tcp) -> Tcp| {
        let m = m(number);
        m.drop(name, "FF", reason, m.ip4(m.v4(6), &m.segment(change(Tcp::new(25)))))
    };
    let half = |number, name, port| {
        let m = m(number);
        m.short(port, name, R::TruncatedTransport, m.ip4(m.v4(6), &m.tcp(port)[..8]))
    };
    let other = |number, name, protocol, reason, make: &dyn Fn(&Make) -> Vec<u8>| {
        let m = m(number);
        m.drop(name, "FF", reason, m.ip4(m.v4(protocol), &make(&m)))
    };
    let datagram = m(57);
    let four = [datagram.port.to_be_bytes(), 53u16.to_be_bytes()].concat();
    let four = datagram.ip4(datagram.v4(17), &four);
    let confused = |port| move |m: &Make| m.with(&sctp(m.port, port));
    let bare = |m: &Make| m.with(&[&m.port.to_be_bytes()[..], &[1, 0xbb]].concat());
    let query = |m: &Make| {
        let name = [&[8][..], &m.marker(), &[2, b'i', b'o', 0, 0, 1, 0, 1]].concat();
        let head = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        crate::frames::udp(m.port, 53, &[&head[..], &name].concat())
    };
    vec![
        other(50, "UDP to the allowed port", 17, R::Default, &|m| m.udp(443)),
        tcp(51, "source port 443", R::Default, &|tcp| Tcp { source: 443, ..tcp }),
        tcp(52, "ACK alone", R::Default, &|tcp| Tcp { flags: 0x10, ..tcp }),
        tcp(53, "no TCP flags", R::Default, &|tcp| Tcp { flags: 0, ..tcp }),
        tcp(54, "TCP data offset 0, allowed port", R::DataOffset, &|tcp| Tcp {
            destination: 443,
            words: Some(0),
            ..tcp
        }),
        half(55, "8 bytes of TCP, allowed port", 443),
        half(56, "8 bytes of TCP, denied port", 25),
        datagram.short(53, "4 bytes of UDP", R::TruncatedTransport, four),
        other(58, "UDP length 4", 17, R::Length, &|m| udp_of_length(m.port, 53, 4, &m.marker())),
        other(59, "SCTP to a denied port", 132, R::Default, &confused(25)),
        other(60, "SCTP to the allowed port", 132, R::Default, &confused(443)),
        other(61, "UDP-Lite to the allowed port", 136, R::Default, &bare),
        other(62, "DCCP to the allowed port", 33, R::Default, &bare),
        other(63, "ping with data", 1, R::Default, &|m| icmp(8, 0, &m.marker())),
        other(64, "ICMP redirect", 1, R::Redirect, &|m| icmp(5, 1, &m.marker())),
        other(65, "DNS tunnel", 17, R::Default, &query),
    ]
}

/// Tunnels, and protocols without ports.
fn protocols(to: [u8; 6]) -> Vec<Row> {
    let row = |number, name, protocol, make: &dyn Fn(&Make) -> Vec<u8>| {
        let m = Make::new(number, to);
        m.drop(name, "FF", R::Default, m.ip4(m.v4(protocol), &make(&m)))
    };
    let frame = |m: &Make| Ethernet::new(super::DEVICE).frame(ether_type::IPV4, &m.mail());
    let vxlan = |m: &Make| {
        let data = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &frame(m)].concat();
        crate::frames::udp(m.port, 4789, &data)
    };
    let teredo = Make::new(74, to);
    let mut tunnels = row(74, "Teredo, IKE and WireGuard ports", 17, &|m| {
        crate::frames::udp(m.port, 3544, &m.mail6())
    });
    for port in [500, 4500, 51_820] {
        tunnels = tunnels.also(R::Default, teredo.ip4(teredo.v4(17), &teredo.udp(port)));
    }
    vec![
        row(66, "IPIP", 4, &Make::mail),
        row(67, "6in4", 41, &Make::mail6),
        row(68, "GRE", 47, &|m| [&[0, 0, 8, 0][..], &m.mail()].concat()),
        row(69, "L2TPv3", 115, &|m| m.with(&[0, 0, 0, 1])),
        row(70, "EtherIP", 97, &|m| [&[0x30, 0][..], &frame(m)].concat()),
        row(71, "ESP", 50, &|m| m.with(&[0, 0, 1, 0, 0, 0, 0, 1])),
        row(72, "AH around TCP", 51, &|m| [&authentication()[..], &m.tcp(25)].concat()),
        row(73, "VXLAN", 17, &vxlan),
        tunnels,
        row(75, "protocol 0", 0, &|m| m.tcp(443)),
        row(76, "protocol 255", 255, &|m| m.tcp(443)),
    ]
}

/// An authentication header, RFC 4302, in front of TCP.
pub(super) fn authentication() -> Vec<u8> {
    let mut header = vec![6, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
    header.resize(24, 0);
    header
}
