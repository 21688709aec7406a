//! TCP, UDP, SCTP, ICMP, ICMPv6, ND, MLD and DHCP.

use super::*;
use crate::flow::{Class, Fragment};

#[test]
fn tcp_ports() {
    let flow = accepts(&v4(6).frame(&tcp(25)));
    assert_eq!((flow.source_port, flow.destination_port), (40000, 25));
    assert_eq!((flow.class, flow.service()), (Class::Ip, 6 << 16 | 25));
    // Flags are ignored: a segment that looks established still needs a rule.
    for flags in [0, 0x10, 0x11, 0xff] {
        let mut segment = tcp(25);
        segment[13] = flags;
        assert_eq!(accepts(&v4(6).frame(&segment)).destination_port, 25);
    }
}

#[test]
fn tcp_data_offset() {
    let with = |words: u8, length: usize| {
        let mut segment = tcp(443);
        segment[12] = words << 4 | 0xf;
        segment.resize(length, 0);
        segment
    };
    for frame in [v4(6).frame(&with(15, 60)), v6(6).frame(&with(15, 61))] {
        assert_eq!(accepts(&frame).destination_port, 443);
    }
    for words in 0..5 {
        refuses(&v4(6).frame(&with(words, 60)), Reason::DataOffset);
    }
    refuses(&v4(6).frame(&with(6, 20)), Reason::DataOffset);
    refuses(&v6(6).frame(&with(15, 59)), Reason::DataOffset);
    // In the frame, but behind the packet.
    let mut frame = v4(6).frame(&with(6, 20));
    frame.resize(60, 0);
    refuses(&frame, Reason::DataOffset);
    // The minimum applies to a first fragment too.
    refuses(&V4 { fragment: 0x2000, ..v4(6) }.frame(&with(4, 24)), Reason::DataOffset);
}

#[test]
fn headers_beyond_the_packet() {
    for (protocol, header) in [(6, 20), (17, 8), (132, 12), (1, 8)] {
        let data = udp(40000, 443, 8, &[0x50; 12]);
        for length in 0..header {
            let frame = v4(protocol).frame(&data[..length]);
            refuses(&frame, Reason::TruncatedTransport);
        }
        accepts(&v4(protocol).frame(&data[..header]));
    }
    for length in 1..8 {
        refuses(&v6(58).frame(&icmp(128, 0, b"")[..length]), Reason::TruncatedTransport);
    }
    refuses_split(&v4(6).frame(&tcp(443)), 53, Reason::TruncatedTransport);
    refuses_split(&v4(17).frame(&udp(1, 2, 8, b"")), 41, Reason::TruncatedTransport);
}

#[test]
fn udp_length() {
    let flow = accepts(&v4(17).frame(&udp(40000, 53, 12, b"data")));
    assert_eq!((flow.source_port, flow.destination_port), (40000, 53));
    // RFC 768 lets a datagram end before its packet.
    accepts(&v4(17).frame(&udp(40000, 53, 8, b"data")));
    for length in [0, 4, 7, 13, 0xffff] {
        refuses(&v4(17).frame(&udp(40000, 53, length, b"data")), Reason::Length);
        refuses(&v6(17).frame(&udp(40000, 53, length, b"data")), Reason::Length);
    }
    // A first fragment holds only a part of the stated length.
    let first = V4 { fragment: 0x2000, ..v4(17) };
    let flow = accepts(&first.frame(&udp(40000, 53, 4000, b"datadata")));
    assert_eq!((flow.fragment, flow.destination_port), (Fragment::First, 53));
    refuses(&first.frame(&udp(40000, 53, 7, b"datadata")), Reason::Length);
}

#[test]
fn sctp_ports() {
    let header = [0x9c, 0x40, 0x0b, 0x59, 0, 0, 0, 0, 0, 0, 0, 0];
    for frame in [v4(132).frame(&header), v6(132).frame(&header)] {
        let flow = accepts(&frame);
        assert_eq!((flow.source_port, flow.destination_port), (40000, 2905));
    }
}

#[test]
fn protocols_without_ports() {
    // UDP-Lite and DCCP have their own ports, which no rule can name.
    for protocol in [2, 33, 97, 115, 136] {
        let flow = accepts(&v4(protocol).frame(&udp(40000, 443, 8, b"")));
        assert_eq!((flow.source_port, flow.destination_port), (0, 0));
        assert_eq!(flow.service(), u32::from(protocol) << 16);
    }
    // Of the other family.
    assert_eq!(accepts(&v4(58).frame(&icmp(134, 0, b""))).destination_port, 0);
    assert_eq!(accepts(&v6(1).frame(&icmp(5, 0, b""))).destination_port, 0);
}

#[test]
fn icmp_type_and_code() {
    assert_eq!(accepts(&v4(1).frame(&icmp(8, 0, b"ping"))).destination_port, 8 << 8);
    assert_eq!(accepts(&v4(1).frame(&icmp(3, 4, b""))).destination_port, 3 << 8 | 4);
    for kind in [5, 9, 10] {
        let flow = refuses(&v4(1).frame(&icmp(kind, 1, b"")), Reason::Redirect);
        assert_eq!(flow.destination_port, u16::from(kind) << 8 | 1);
    }
}

#[test]
fn icmp_v6_type_and_code() {
    let flow = accepts(&v6(58).frame(&icmp(128, 0, b"ping")));
    assert_eq!((flow.destination_port, flow.class), (128 << 8, Class::Ip));
    assert_eq!(accepts(&v6(58).frame(&icmp(1, 4, b""))).destination_port, 1 << 8 | 4);
    refuses(&v6(58).frame(&icmp(137, 0, &[0; 32])), Reason::Redirect);
}

#[test]
fn router_advertisements() {
    let advertisement = icmp(134, 0, &[0; 8]);
    let all = V6 { source: "fe80::2", destination: "ff02::1", hops: 255, ..v6(58) };
    refuses(&all.multicast(&advertisement), Reason::RogueRouter);
    refuses(&v6(58).frame(&advertisement), Reason::RogueRouter);
    // RFC 7113: behind extension headers and in fragments.
    let next = |header: &[u8]| [header, &advertisement].concat();
    let options = V6 { next: 60, ..all.clone() };
    refuses(&options.multicast(&next(&[58, 0, 1, 4, 0, 0, 0, 0])), Reason::RogueRouter);
    let fragments = V6 { next: 44, ..all };
    refuses(&fragments.multicast(&next(&[58, 0, 0, 1, 0, 0, 0, 7])), Reason::RogueRouter);
    refuses(&fragments.multicast(&next(&[58, 0, 0, 0, 0, 0, 0, 7])), Reason::RogueRouter);
}

fn solicitation() -> V6 {
    V6 { source: "fe80::2", destination: "ff02::1:ff00:1", hops: 255, ..v6(58) }
}

#[test]
fn neighbour_discovery() {
    let target = address("2001:db8:77::1");
    for kind in [135, 136] {
        let flow = accepts(&solicitation().multicast(&icmp(kind, 0, &target)));
        assert_eq!((flow.class, flow.claim), (Class::Neighbour, address_v6("2001:db8:77::1")));
        assert_eq!(flow.destination_port, u16::from(kind) << 8);
    }
    let flow = accepts(&solicitation().multicast(&icmp(133, 0, b"")));
    assert_eq!((flow.class, flow.claim), (Class::Neighbour, Address::default()));
    // Duplicate address detection has no source.
    let probe = V6 { source: "::", ..solicitation() };
    assert_eq!(accepts(&probe.multicast(&icmp(135, 0, &target))).class, Class::Neighbour);
}

#[test]
fn neighbour_discovery_that_did_not_start_here() {
    let target = address("2001:db8:77::1");
    for kind in [133, 135, 136] {
        let message = icmp(kind, 0, &target);
        for hops in [0, 1, 64, 254] {
            let frame = V6 { hops, ..solicitation() }.multicast(&message);
            refuses(&frame, Reason::NeighbourMalformed);
        }
        let frame = solicitation().multicast(&icmp(kind, 1, &target));
        refuses(&frame, Reason::NeighbourMalformed);
        // RFC 6980: neither fragments nor, here, any other extension header.
        for header in [[58, 0, 0, 1, 0, 0, 0, 7], [58, 0, 0, 0, 0, 0, 0, 7]] {
            let frame =
                V6 { next: 44, ..solicitation() }.multicast(&[&header, &message[..]].concat());
            refuses(&frame, Reason::NeighbourMalformed);
        }
        let header = [58, 0, 1, 4, 0, 0, 0, 0];
        let frame = V6 { next: 60, ..solicitation() }.multicast(&[&header, &message[..]].concat());
        refuses(&frame, Reason::NeighbourMalformed);
    }
}

#[test]
fn neighbour_discovery_is_short() {
    // Nonces (RFC 7527).
    let message = |length: usize| {
        let nonces = [14, 1, 1, 2, 3, 4, 5, 6].repeat(40);
        let mut message = [icmp(135, 0, &address("2001:db8:77::1")), nonces].concat();
        message.resize(length, 0);
        message
    };
    for options in 0..=4 {
        accepts(&solicitation().multicast(&message(24 + 8 * options)));
    }
    for length in [25, 31, 64, 256, 264] {
        refuses(&solicitation().multicast(&message(length)), Reason::NeighbourMalformed);
    }
    refuses(&solicitation().multicast(&message(23)), Reason::TruncatedTransport);
    refuses_split(&solicitation().multicast(&message(24)), 70, Reason::TruncatedTransport);
    refuses_split(&solicitation().multicast(&message(32)), 80, Reason::TruncatedTransport);
    // A bridge would forward bytes behind the packet, so none are accepted.
    let mut frame = solicitation().multicast(&message(24));
    frame.push(b'x');
    refuses(&frame, Reason::TrailingBytes);
}

/// Hosts believe the link-layer address in the options, not the frame's.
#[test]
fn neighbour_discovery_names_its_own_mac() {
    let frame = |kind, options: &[u8]| {
        let target = address("2001:db8:77::1");
        solicitation().multicast(&icmp(kind, 0, &[&target, options].concat()))
    };
    let link_layer = |kind: u8, mac: [u8; 6]| [&[kind, 1][..], &mac].concat();
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    for (kind, option) in [(135, 1), (136, 2), (136, 1)] {
        let own = link_layer(option, DEVICE);
        accepts(&frame(kind, &own));
        accepts(&frame(kind, &[&nonce[..], &own].concat()));
        let other = link_layer(option, [2, 0, 0, 0, 0, 9]);
        refuses(&frame(kind, &other), Reason::NeighbourSpoof);
        refuses(
            &frame(kind, &[&nonce[..], &nonce, &nonce, &other].concat()),
            Reason::NeighbourSpoof,
        );
        // Nor beyond the options that are checked.
        let behind = [&nonce[..], &nonce, &nonce, &nonce, &other].concat();
        refuses(&frame(kind, &behind), Reason::NeighbourMalformed);
    }
    // An address of another length, and invalid lengths.
    let long = [&[2, 2][..], &DEVICE, &[0; 8]].concat();
    refuses(&frame(136, &long), Reason::NeighbourMalformed);
    refuses(&frame(136, &[14, 0, 0, 0, 0, 0, 0, 0]), Reason::NeighbourMalformed);
    refuses(&frame(136, &[14, 2, 0, 0, 0, 0, 0, 0]), Reason::NeighbourMalformed);
    refuses(&frame(136, &[14, 1, 0, 0]), Reason::NeighbourMalformed);
    let router = |option: &[u8]| solicitation().multicast(&icmp(133, 0, option));
    accepts(&router(&link_layer(1, DEVICE)));
    refuses(&router(&link_layer(1, GATEWAY)), Reason::NeighbourSpoof);
}

#[test]
fn multicast_listener_reports() {
    let from = |source, hops| V6 { source, destination: "ff02::16", hops, ..v6(0) };
    // Router alert, RFC 2710 section 3.
    let alert = [58, 0, 5, 2, 0, 0, 1, 0];
    let report = |kind, length: usize| {
        let mut message = [&alert[..], &icmp(kind, 0, b"")].concat();
        message.resize(length, 0);
        message
    };
    for kind in [131, 132, 143] {
        for source in ["fe80::2", "::"] {
            let flow = accepts(&from(source, 1).multicast(&report(kind, 36)));
            assert_eq!((flow.class, flow.protocol), (Class::Multicast, 58), "{kind} {source}");
        }
        // Anything other than a report is an ordinary packet.
        let flow = accepts(&from("fe80::2", 64).multicast(&report(kind, 36)));
        assert_eq!(flow.class, Class::Ip);
        let flow = accepts(&from("2001:db8:77::2", 1).multicast(&report(kind, 36)));
        assert_eq!(flow.class, Class::Ip);
        let flow = accepts(&from("fe80::2", 1).multicast(&report(kind, 257)));
        assert_eq!(flow.class, Class::Ip);
        refuses(&from("::", 64).multicast(&report(kind, 36)), Reason::MartianSource);
        let far = V6 { destination: "ff05::16", source: "2001:db8:77::2", ..from("", 1) };
        assert_eq!(accepts(&far.multicast(&report(kind, 36))).class, Class::Ip);
        let host = V6 { destination: "fe80::1", ..from("fe80::2", 1) };
        assert_eq!(accepts(&host.frame(&report(kind, 36))).class, Class::Ip);
    }
    // Queries come from routers.
    assert_eq!(accepts(&from("fe80::2", 1).multicast(&report(130, 36))).class, Class::Ip);
}

/// A client's message: RFC 2131 section 2, and a message type option.
fn bootp() -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[28..34].copy_from_slice(&DEVICE);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, 1, 255]);
    message.resize(300, 0);
    message
}

fn boot(source: u16, destination: u16, message: &[u8]) -> Vec<u8> {
    udp(source, destination, 8 + message.len() as u16, message)
}

/// What a client sends first.
pub(super) fn discover() -> Vec<u8> {
    let discover = V4 { source: [0; 4], destination: [255; 4], ..v4(17) };
    to(BROADCAST, 0x0800, &discover.packet(&boot(68, 67, &bootp())))
}

#[test]
fn dhcp_v4_client() {
    let discover = V4 { source: [0; 4], destination: [255; 4], ..v4(17) };
    let frame = |header: &V4, source, destination| {
        to(BROADCAST, 0x0800, &header.packet(&boot(source, destination, &bootp())))
    };
    let flow = accepts(&frame(&discover, 68, 67));
    assert_eq!((flow.class, flow.destination_port), (Class::Dhcp, 67));
    // Renewal: from the lease's address, to the server or by broadcast.
    let renew = v4(17).frame(&boot(68, 67, &bootp()));
    assert_eq!(accepts(&renew).class, Class::Dhcp);
    let rebind = V4 { destination: [255; 4], ..v4(17) };
    assert_eq!(accepts(&frame(&rebind, 68, 67)).class, Class::Dhcp);
    // Without an address nothing else is accepted.
    for (source, destination) in [(68, 68), (67, 67), (40000, 67), (68, 9999)] {
        refuses(&frame(&discover, source, destination), Reason::MartianSource);
        assert_eq!(accepts(&frame(&rebind, source, destination)).class, Class::Ip);
    }
    let far = V4 { source: [0; 4], ..v4(17) }.frame(&boot(68, 67, &bootp()));
    refuses(&far, Reason::MartianSource);
    // TCP with these ports, and fragments.
    let mut segment = tcp(67);
    segment[..2].copy_from_slice(&[0, 68]);
    assert_eq!(accepts(&v4(6).frame(&segment)).class, Class::Ip);
    let first = V4 { fragment: 0x2000, ..v4(17) }.frame(&udp(68, 67, 12, b"bootboot"));
    assert_eq!(accepts(&first).class, Class::Ip);
    let first = V4 { fragment: 0x2000, ..discover };
    let first = to(BROADCAST, 0x0800, &first.packet(&udp(68, 67, 12, b"bootboot")));
    refuses(&first, Reason::MartianSource);
}

/// A datagram with DHCP's ports but not its format is not DHCP.
#[test]
fn dhcp_v4_has_a_format() {
    let header = V4 { source: [0; 4], destination: [255; 4], ..v4(17) };
    let class = |datagram: &[u8]| accepts(&to(BROADCAST, 0x0800, &header.packet(datagram))).class;
    let with = |at: usize, byte: u8| {
        let mut message = bootp();
        message[at] = byte;
        class(&boot(68, 67, &message))
    };
    assert_eq!(class(&boot(68, 67, &bootp())), Class::Dhcp);
    // A reply; another kind of hardware; relayed; another client's; no cookie.
    for (at, byte) in [(0, 2), (1, 6), (2, 16), (3, 1), (33, 9), (28, 4), (236, 0), (239, 0)] {
        assert_eq!(with(at, byte), Class::OddDhcp, "byte {at}");
    }
    let sized = |length: usize| {
        let mut message = bootp();
        message.resize(length, 0);
        class(&boot(68, 67, &message))
    };
    assert_eq!(
        [240, 241, 1016, 1017].map(sized),
        [Class::OddDhcp, Class::Dhcp, Class::Dhcp, Class::OddDhcp]
    );
    // Bytes behind the message, in the packet.
    let longer = udp(68, 67, 8 + 300, &[bootp(), vec![0]].concat());
    assert_eq!(class(&longer), Class::OddDhcp);
}

#[test]
fn dhcp_v6_client() {
    let solicit = V6 { source: "fe80::2", destination: "ff02::1:2", ..v6(17) };
    let message = [1, 0, 0, 1];
    let sent = |kind: u8| accepts(&solicit.multicast(&boot(546, 547, &[kind, 0, 0, 1]))).class;
    for kind in [1, 3, 4, 5, 6, 8, 9, 11] {
        assert_eq!(sent(kind), Class::Dhcp, "{kind}");
    }
    // From servers, of relays, and unknown ones.
    for kind in [0, 2, 7, 10, 12, 13, 14, 32, 33, 255] {
        assert_eq!(sent(kind), Class::OddDhcp, "{kind}");
    }
    let short = accepts(&solicit.multicast(&boot(546, 547, &[1, 0, 0])));
    assert_eq!(short.class, Class::OddDhcp);
    assert_eq!(accepts(&v6(17).frame(&boot(546, 547, &message))).class, Class::Dhcp);
    assert_eq!(accepts(&solicit.multicast(&boot(546, 9999, &message))).class, Class::Ip);
    // No other group has servers in it.
    for destination in ["ff02::1", "ff02::1:3", "ff05::1:3"] {
        let other = V6 { destination, source: "2001:db8:77::2", ..v6(17) };
        assert_eq!(accepts(&other.multicast(&boot(546, 547, &message))).class, Class::Ip);
    }
    // Ports of the other family are ports.
    assert_eq!(accepts(&v6(17).frame(&boot(68, 67, &message))).class, Class::Ip);
    assert_eq!(accepts(&v4(17).frame(&boot(546, 547, &message))).class, Class::Ip);
}

#[test]
fn dhcp_server() {
    let offer = V4 { destination: [255; 4], ..v4(17) }.packet(&udp(67, 68, 8, b""));
    let flow = refuses(&to(BROADCAST, 0x0800, &offer), Reason::RogueDhcp);
    assert_eq!((flow.source_port, flow.destination_port), (67, 68));
    refuses(&v4(17).frame(&udp(67, 68, 8, b"")), Reason::RogueDhcp);
    refuses(&v6(17).frame(&udp(547, 546, 8, b"")), Reason::RogueDhcp);
    let first = V4 { fragment: 0x2000, ..v4(17) };
    refuses(&first.frame(&udp(67, 68, 4000, b"bootboot")), Reason::RogueDhcp);
    assert_eq!(accepts(&v6(17).frame(&udp(67, 68, 8, b""))).class, Class::Ip);
    assert_eq!(accepts(&v4(17).frame(&udp(547, 546, 8, b""))).class, Class::Ip);
}
