//! IPv4 and IPv6.

use super::*;
use crate::flow::{Class, FAMILY_NONE, FAMILY_V4, FAMILY_V6, Fragment};
use crate::wire;

const MORE: u16 = 0x2000;

#[test]
fn v4_fields() {
    let flow = accepts(&v4(6).frame(&tcp(443)));
    assert_eq!((flow.family, flow.protocol), (FAMILY_V4, 6));
    assert_eq!(flow.source, address_v4(V4_SOURCE));
    assert_eq!(flow.destination, address_v4(V4_DESTINATION));
    assert_eq!((flow.fragment, flow.fragment_id), (Fragment::Whole, 0));
}

#[test]
fn version_and_ether_type_disagree() {
    for version in [0, 5, 6, 15] {
        let flow = refuses(&V4 { version, ..v4(6) }.frame(&tcp(443)), Reason::IpVersion);
        assert_eq!(flow.family, FAMILY_NONE);
    }
    for version in [0, 4, 5, 15] {
        refuses(&V6 { version, ..v6(6) }.frame(&tcp(443)), Reason::IpVersion);
    }
    refuses(&to(GATEWAY, 0x86dd, &v4(6).packet(&[tcp(443), tcp(443)].concat())), Reason::IpVersion);
    refuses(&to(GATEWAY, 0x0800, &v6(6).packet(&tcp(443))), Reason::IpVersion);
}

#[test]
fn v4_header_below_twenty_bytes() {
    for words in 0..5 {
        refuses(&V4 { words, ..v4(6) }.frame(&tcp(443)), Reason::HeaderLength);
    }
}

#[test]
fn v4_options() {
    // A parser that takes the header for 20 bytes would read port 443 out of these.
    refuses(&v4(6).with_options(&[1, 1, 1, 0xbb, 4, 0, 0, 0]).frame(&tcp(25)), Reason::Options);
    refuses(&v4(6).with_options(&[1; 40]).frame(&tcp(25)), Reason::Options);
    refuses(&v4(6).with_options(&[0; 4]).frame(&tcp(443)), Reason::Options);
    let flow = refuses(&v4(6).with_options(&[7, 3, 4, 0]).frame(&tcp(443)), Reason::Options);
    assert_eq!((flow.source, flow.protocol), (address_v4(V4_SOURCE), 6), "an event names it");
    assert_eq!(flow.destination_port, 0);
}

/// RFC 2236 section 2 and RFC 3376 section 4 ask for router alert in every message.
#[test]
fn v4_router_alert() {
    const ALERT: [u8; 4] = [148, 4, 0, 0];
    let group = V4 { destination: [224, 0, 0, 22], ..v4(2) };
    let alert = group.clone().with_options(&ALERT);
    let flow = accepts(&alert.frame(&[0x22; 16]));
    assert_eq!((flow.protocol, flow.service()), (2, 2 << 16), "a rule for proto/2 decides");
    assert_eq!((flow.class, flow.fragment), (Class::Ip, Fragment::Whole));
    assert_eq!(flow.destination, address_v4([224, 0, 0, 22]));
    accepts(&V4 { fragment: 0x4000, ..alert.clone() }.frame(&[0x22; 16]));

    // Not to a group, not IGMP, not whole, not alone, not as RFC 2113 writes it.
    refuses(&v4(2).with_options(&ALERT).frame(&[0x22; 16]), Reason::Options);
    for destination in [[223, 255, 255, 255], [240, 0, 0, 1], [255; 4]] {
        refuses(&V4 { destination, ..alert.clone() }.frame(&[0x22; 16]), Reason::Options);
    }
    // RSVP, PGM, and what carries ports.
    for protocol in [0, 1, 6, 17, 46, 103, 113, 132] {
        let other = V4 { protocol, ..alert.clone() };
        refuses(&other.frame(&tcp(443)), Reason::Options);
    }
    for fragment in [MORE, 1, 0x1fff, MORE | 2] {
        refuses(&V4 { fragment, ..alert.clone() }.frame(&[0x22; 16]), Reason::Options);
    }
    for options in [
        &[148, 4, 0, 1][..],
        &[148, 4, 1, 0],
        &[148, 3, 0, 0],
        &[20, 4, 0, 0],
        &[1, 148, 4, 0],
        &[148, 4, 0, 0, 0, 0, 0, 0],
        &[148, 4, 0, 0, 148, 4, 0, 0],
        &[148, 4, 0, 0, 131, 7, 4, 10, 88, 0, 99, 0],
        &[148, 4, 0, 0, 7, 3, 4, 0],
    ] {
        refuses(&group.clone().with_options(options).frame(&[0x22; 16]), Reason::Options);
    }
    let route = [131, 7, 4, 10, 88, 0, 99, 0];
    refuses(&group.with_options(&route).frame(&[0x22; 16]), Reason::SourceRoute);
    // No host sends from these, whatever the option.
    for source in [[0; 4], [0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
        refuses(&V4 { source, ..alert.clone() }.frame(&[0x22; 16]), Reason::MartianSource);
    }
    let frame = alert.frame(&[0x22; 16]);
    refuses(&frame[..36], Reason::TruncatedNetwork);
    refuses(&frame[..50], Reason::Length);
}

#[test]
fn v4_source_route() {
    for kind in [131, 137] {
        for nops in 0..4 {
            let mut options = vec![1; nops];
            options.extend([kind, 7, 4, 10, 88, 0, 99]);
            options.resize(12, 0);
            refuses(&v4(6).with_options(&options).frame(&tcp(443)), Reason::SourceRoute);
        }
        // Deeper, or behind another option: refused all the same.
        let hidden = [1, 1, 1, 1, kind, 7, 4, 10, 88, 0, 99, 0];
        refuses(&v4(6).with_options(&hidden).frame(&tcp(443)), Reason::Options);
        let behind = [68, 4, 5, 0, kind, 7, 4, 10, 88, 0, 99, 0];
        refuses(&v4(6).with_options(&behind).frame(&tcp(443)), Reason::Options);
    }
}

#[test]
fn v4_header_beyond_the_frame() {
    refuses(&V4 { words: 15, ..v4(6) }.frame(&[0x9c, 0x40, 1, 0xbb]), Reason::TruncatedNetwork);
    let frame = v4(6).with_options(&[1, 1, 1, 1]).frame(&tcp(443));
    refuses_split(&frame, 34, Reason::TruncatedNetwork);
    refuses_split(&frame, 37, Reason::TruncatedNetwork);
    refuses_split(&frame, 38, Reason::Options);
}

#[test]
fn v4_length() {
    // Shorter than its own header, than the transport header; longer than the frame.
    for total in [0, 19] {
        refuses(&V4 { total: Some(total), ..v4(6) }.frame(&tcp(443)), Reason::Length);
    }
    for total in [20, 24, 39] {
        let frame = V4 { total: Some(total), ..v4(6) }.frame(&tcp(443));
        refuses(&frame, Reason::TruncatedTransport);
    }
    for total in [41, 1400, 0xffff] {
        refuses(&V4 { total: Some(total), ..v4(6) }.frame(&tcp(443)), Reason::Length);
    }
    // Options do not count towards the length.
    let options = V4 { total: Some(20), ..v4(6).with_options(&[1; 4]) };
    refuses(&options.frame(&tcp(443)), Reason::Length);
}

#[test]
fn behind_a_packet_is_nothing_but_padding() {
    // Ethernet pads to 46 bytes behind its header, and a switch that removes a tag leaves the padding.
    let of = |packet: Vec<u8>, length: usize| {
        let mut frame = packet;
        frame.resize(length, b'x');
        frame
    };
    let segment = |bytes: usize| [tcp(443), vec![0; bytes]].concat();
    for (frame, head) in [
        (v4(6).frame(&tcp(443)), 14),
        (v4(17).frame(&udp(40000, 53, 8, b"")), 14),
        (tagged(&[(0x8100, 10)], 0x0800, &v4(6).packet(&tcp(443))), 18),
    ] {
        let padded = head + wire::PADDED;
        for length in [frame.len(), frame.len() + 1, padded] {
            accepts(&of(frame.clone(), length));
        }
        for length in [padded + 1, 128, 1514] {
            refuses(&of(frame.clone(), length), Reason::TrailingBytes);
        }
    }
    // A packet that needs no padding has none.
    for frame in [v4(6).frame(&segment(6)), v4(6).frame(&segment(100)), v6(6).frame(&tcp(443))] {
        accepts(&frame);
        let longer = of(frame.clone(), frame.len() + 1);
        refuses(&longer, Reason::TrailingBytes);
    }
    let later = V4 { fragment: 100, ..v4(6) }.frame(&segment(100));
    refuses(&of(later.clone(), later.len() + 1), Reason::TrailingBytes);
    let short = v6(17).frame(&udp(40000, 53, 8, b""));
    refuses(&of(short.clone(), short.len() + 1), Reason::TrailingBytes);
}

#[test]
fn v4_martians() {
    let source = |source| V4 { source, ..v4(6) }.frame(&tcp(443));
    for address in
        [[0, 0, 0, 0], [0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]]
    {
        refuses(&source(address), Reason::MartianSource);
    }
    for address in [[1, 0, 0, 1], [126, 255, 255, 255], [128, 0, 0, 1], [223, 255, 255, 255]] {
        assert_eq!(accepts(&source(address)).source, address_v4(address));
    }
    let destination = |destination| V4 { destination, ..v4(6) }.frame(&tcp(443));
    for address in [[0, 0, 0, 0], [127, 0, 0, 1], [240, 0, 0, 1], [255, 255, 255, 254]] {
        refuses(&destination(address), Reason::MartianDestination);
    }
    for address in [[224, 0, 0, 251], [239, 255, 255, 255], [255; 4], [10, 88, 0, 255]] {
        assert_eq!(accepts(&destination(address)).destination, address_v4(address));
    }
}

#[test]
fn unicast_packet_in_a_multicast_frame() {
    for mac in [BROADCAST, ALL_NODES, [1, 0, 0x5e, 0, 0, 0xfb]] {
        refuses(&to(mac, 0x0800, &v4(6).packet(&tcp(443))), Reason::CastMismatch);
        refuses(&to(mac, 0x86dd, &v6(6).packet(&tcp(443))), Reason::CastMismatch);
    }
    for destination in [[224, 0, 0, 251], [255; 4]] {
        let packet = V4 { destination, ..v4(17) }.packet(&udp(5353, 5353, 8, b""));
        accepts(&to(BROADCAST, 0x0800, &packet));
    }
    let v6 = V6 { destination: "ff0e::1", ..v6(17) };
    accepts(&v6.multicast(&udp(5353, 5353, 8, b"")));
}

#[test]
fn v4_fragments() {
    let data = [tcp(443), vec![0; 4]].concat();
    let flow = accepts(&V4 { fragment: MORE, ..v4(6) }.frame(&data));
    assert_eq!((flow.fragment, flow.destination_port), (Fragment::First, 443));
    assert_eq!((flow.fragment_id, flow.fragment_offset, flow.fragment_length), (0x1234, 0, 24));

    // Bytes at the position of ports in a later fragment are not ports.
    for fragment in [5, MORE | 5] {
        let flow = accepts(&V4 { fragment, ..v4(6) }.frame(&data));
        let kind = if fragment & MORE == 0 { Fragment::Last } else { Fragment::Later };
        assert_eq!((flow.fragment, flow.destination_port), (kind, 0));
        assert_eq!((flow.fragment_offset, flow.fragment_length), (40, 24));
    }
    assert_eq!(accepts(&V4 { fragment: 9, ..v4(17) }.frame(b"x")).fragment, Fragment::Last);
    // The don't-fragment and reserved bits do not make a fragment.
    assert_eq!(accepts(&V4 { fragment: 0xc000, ..v4(6) }.frame(&data)).fragment, Fragment::Whole);
}

#[test]
fn v4_fragments_that_are_refused() {
    let tiny = |length: usize, protocol| {
        let data = [tcp(443), vec![0; 4]].concat();
        V4 { fragment: MORE, ..v4(protocol) }.frame(&data[..length])
    };
    refuses(&tiny(8, 6), Reason::FragmentTiny);
    refuses(&tiny(16, 6), Reason::FragmentTiny);
    refuses(&tiny(8, 132), Reason::FragmentTiny);
    // RFC 3128: offset 8 overwrites the flags.
    refuses(&V4 { fragment: 1, ..v4(6) }.frame(&[0; 24]), Reason::FragmentTiny);
    refuses(&V4 { fragment: MORE | 1, ..v4(17) }.frame(&[0; 24]), Reason::FragmentTiny);
    // Not a multiple of eight, nothing at all, beyond the largest datagram.
    refuses(&V4 { fragment: MORE, ..v4(6) }.frame(&[0; 21]), Reason::Length);
    refuses(&V4 { fragment: MORE, ..v4(6) }.frame(&[]), Reason::Length);
    refuses(&V4 { fragment: 5, ..v4(6) }.frame(&[]), Reason::Length);
    accepts(&V4 { fragment: 0x1fff, ..v4(6) }.frame(&[0; 7]));
    refuses(&V4 { fragment: 0x1fff, ..v4(6) }.frame(&[0; 8]), Reason::Length);
    // A TCP header that continues past the first fragment.
    let mut long = [tcp(443), vec![0; 4]].concat();
    long[12] = 15 << 4;
    refuses(&V4 { fragment: MORE, ..v4(6) }.frame(&long), Reason::FragmentTiny);
}

#[test]
fn v6_fields() {
    let flow = accepts(&v6(6).frame(&tcp(443)));
    assert_eq!((flow.family, flow.protocol), (FAMILY_V6, 6));
    assert_eq!(flow.source, address_v6("2001:db8:77::2"));
    assert_eq!(flow.destination, address_v6("2001:db8:88::2"));
    assert_eq!((flow.destination_port, flow.fragment), (443, Fragment::Whole));
}

#[test]
fn v6_length() {
    refuses(&V6 { length: Some(0), ..v6(6) }.frame(&tcp(25)), Reason::Length);
    refuses(&V6 { length: Some(21), ..v6(6) }.frame(&tcp(443)), Reason::Length);
    refuses(&V6 { length: Some(8), ..v6(6) }.frame(&tcp(443)), Reason::TrailingBytes);
    refuses(&v6(6).frame(&tcp(443)[..8]), Reason::TruncatedTransport);
    // Jumbo payload option, RFC 2675.
    let jumbo = [&[6, 0, 0xc2, 4, 0, 0, 0xea, 0x60][..], &tcp(25)].concat();
    refuses(&V6 { length: Some(0), ..v6(0) }.frame(&jumbo), Reason::Jumbogram);
    refuses_split(&v6(6).frame(&tcp(443)), 53, Reason::TruncatedNetwork);
    refuses_split(&v6(6).frame(&tcp(443)), 37, Reason::TruncatedNetwork);
}

#[test]
fn v6_martians() {
    let source = |source| V6 { source, ..v6(6) }.frame(&tcp(443));
    for address in ["::", "::1", "::10.77.0.2", "::ffff:10.77.0.2", "ff02::1", "fe80::2", "febf::2"]
    {
        refuses(&source(address), Reason::MartianSource);
    }
    for address in ["fd77::2", "fec0::2", "2002:a4d:2::1", "64:ff9b::a4d:2"] {
        assert_eq!(accepts(&source(address)).source, address_v6(address));
    }
    let destination = |destination| V6 { destination, ..v6(6) }.frame(&tcp(443));
    for address in ["::", "::1", "::10.88.0.2", "::ffff:10.88.0.2", "ff00::1", "ff01::1", "ff11::1"]
    {
        refuses(&destination(address), Reason::MartianDestination);
    }
    for address in ["fe80::1", "ff02::1", "ff05::2", "ff0e::1", "2002:a58:2::1", "64:ff9b::1"] {
        assert_eq!(accepts(&destination(address)).destination, address_v6(address));
    }
}

#[test]
fn link_local_stays_on_the_link() {
    let from = |destination| V6 { source: "fe80::2", destination, ..v6(6) }.frame(&tcp(443));
    for destination in ["fe80::1", "ff02::1", "ff12::1"] {
        accepts(&from(destination));
    }
    for destination in ["2001:db8:88::2", "fd88::2", "ff05::1", "ff0e::1"] {
        refuses(&from(destination), Reason::MartianSource);
    }
}
