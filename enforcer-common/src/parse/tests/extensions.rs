//! IPv6 extension headers and fragments.

use super::*;
use crate::flow::{FAMILY_V6, Fragment};

/// Padding options, `length` times eight bytes behind the first eight.
fn options(next: u8, length: u8) -> Vec<u8> {
    let mut header = vec![0; (usize::from(length) + 1) * 8];
    header[..2].copy_from_slice(&[next, length]);
    header
}

/// A fragment header; `offset` in bytes.
fn fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let field = offset | u16::from(more);
    let [high, low] = field.to_be_bytes();
    vec![next, 0, high, low, 0xaa, 0xbb, 0xcc, 0xdd]
}

/// The frame of a chain whose first header is `first`.
fn chain(first: u8, headers: &[Vec<u8>]) -> Vec<u8> {
    v6(first).frame(&headers.concat())
}

#[test]
fn extension_headers_are_walked() {
    for headers in [
        (0, vec![options(6, 0)]),
        (60, vec![options(6, 0)]),
        (0, vec![options(60, 0), options(6, 0)]),
        (0, vec![options(60, 0), options(60, 0), options(60, 0), options(6, 0)]),
        (60, vec![vec![6, 0, 1, 4, 0, 0, 0, 0]]),
        (44, vec![fragment(6, 0, false)]),
        (0, vec![options(44, 0), fragment(60, 0, false), options(6, 0)]),
    ] {
        let (first, mut headers) = headers;
        headers.push(tcp(25));
        let flow = accepts(&chain(first, &headers));
        assert_eq!((flow.protocol, flow.destination_port), (6, 25), "{headers:?}");
        assert_eq!((flow.fragment, flow.family), (Fragment::Whole, FAMILY_V6));
    }
}

#[test]
fn hop_by_hop_comes_first() {
    refuses(&chain(60, &[options(0, 0), options(6, 0), tcp(25)]), Reason::ExtensionOrder);
    refuses(&chain(0, &[options(0, 0), options(6, 0), tcp(25)]), Reason::ExtensionOrder);
    let atomic = fragment(0, 0, false);
    refuses(&chain(44, &[atomic, options(6, 0), tcp(25)]), Reason::ExtensionOrder);
}

#[test]
fn extension_headers_that_are_refused() {
    for kind in [135, 139, 140, 253, 254] {
        refuses(&chain(kind, &[options(6, 0), tcp(25)]), Reason::ExtensionHeader);
        refuses(&chain(0, &[options(kind, 0), options(6, 0), tcp(25)]), Reason::ExtensionHeader);
    }
    for (kind, left) in [(0, 1), (4, 0), (253, 0)] {
        let mut routing = options(6, 2);
        routing[2..4].copy_from_slice(&[kind, left]);
        refuses(&chain(43, &[routing.clone(), tcp(443)]), Reason::RoutingHeader);
        refuses(&chain(60, &[options(43, 0), routing, tcp(443)]), Reason::RoutingHeader);
    }
    refuses(&chain(59, &[b"data".to_vec()]), Reason::NoNextHeader);
    refuses(&chain(60, &[options(59, 0), b"data".to_vec()]), Reason::NoNextHeader);
}

#[test]
fn tunnels_are_protocols_like_any_other() {
    // IPIP, 6in6, GRE, ESP, AH: only an explicit rule allows them.
    for kind in [4, 41, 47, 50, 51] {
        let flow = accepts(&chain(kind, &[options(6, 0), tcp(443)]));
        assert_eq!((flow.protocol, flow.destination_port), (kind, 0));
        let flow = accepts(&v4(kind).frame(&[options(6, 0), tcp(443)].concat()));
        assert_eq!((flow.protocol, flow.destination_port), (kind, 0));
    }
    // Numbers of IPv6 extension headers mean nothing in IPv4.
    for kind in [0, 43, 44, 58, 59, 60, 255] {
        let flow = accepts(&v4(kind).frame(&[options(6, 0), tcp(443)].concat()));
        assert_eq!((flow.protocol, flow.destination_port), (kind, 0));
    }
}

#[test]
fn four_extension_headers_and_no_more() {
    for count in [4, 5, 7, 30] {
        let mut headers = vec![options(60, 0); count - 1];
        headers.extend([options(6, 0), tcp(443)]);
        let frame = chain(60, &headers);
        if count == 4 {
            assert_eq!(accepts(&frame).destination_port, 443);
        } else {
            refuses(&frame, Reason::ExtensionDepth);
        }
    }
}

/// Only padding passes, and the router alert of MLD in front of ICMPv6.
#[test]
fn options_are_judged() {
    let header = |next: u8, options: [u8; 6]| [&[next, 0][..], &options].concat();
    for options in [
        [0xc9, 4, 0, 0, 0, 0],
        [4, 1, 4, 1, 1, 0],
        [5, 2, 0, 0, 1, 0],
        [1, 3, 0, 0, 0, 0],
        [1, 4, 0, 0, 0, 7],
        [0x1e, 4, 1, 2, 3, 4],
        [0xc2, 4, 0, 0, 0xea, 0x60],
    ] {
        for first in [0, 60] {
            refuses(&chain(first, &[header(6, options), tcp(25)]), Reason::Options);
        }
    }
    // A home address (RFC 6275 section 6.3) names a different source than the one that was judged.
    let home = [&[6, 2, 1, 2, 0, 0, 0xc9, 16][..], &address("2001:db8::99")].concat();
    refuses(&chain(60, &[home, tcp(443)]), Reason::Options);
    let alert = [5, 2, 0, 0, 1, 0];
    let echo = icmp(128, 0, b"");
    accepts(&chain(0, &[header(58, alert), echo.clone()]));
    accepts(&chain(0, &[header(58, [1, 0, 5, 2, 0, 0]), echo.clone()]));
    refuses(&chain(60, &[header(58, alert), echo]), Reason::Options);
    for length in [1, 3, 7, 31] {
        refuses(&chain(60, &[options(6, length), tcp(443)]), Reason::Options);
    }
    for length in [32, 100] {
        refuses(&chain(60, &[options(6, length), tcp(443)]), Reason::ExtensionLength);
    }
    // Longer than the frame as well.
    refuses(&chain(0, &[vec![6, 200], vec![0; 30]]), Reason::ExtensionLength);
}

#[test]
fn longest_headers() {
    let headers = [options(60, 0), options(60, 0), options(60, 0), options(6, 0)].concat();
    let mut segment = tcp(443);
    segment[12] = 15 << 4;
    segment.resize(60, 0);
    let packet = v6(0).packet(&[headers, segment].concat());
    let frame = tagged(&[(0x8100, 10), (0x8100, 0)], 0x86dd, &packet);
    assert_eq!(frame.len(), 22 + 40 + 32 + 60);
    let flow = accepts(&frame);
    assert_eq!((flow.vlan(), flow.destination_port), (10, 443));
    for length in 0..frame.len() {
        assert!(read(&frame[..length]).0.is_err(), "{length} bytes");
    }
}

#[test]
fn extension_header_beyond_the_packet() {
    refuses(&chain(0, &[vec![6, 0, 0, 0]]), Reason::TruncatedExtension);
    refuses(&chain(60, &[vec![6, 2, 0, 0, 0, 0, 0, 0]]), Reason::TruncatedExtension);
    refuses(&chain(44, &[vec![6, 0, 0, 0]]), Reason::TruncatedExtension);
    // In the frame, but behind the packet.
    let mut frame = V6 { length: Some(4), ..v6(60) }.frame(&[options(6, 0), tcp(443)].concat());
    refuses(&frame, Reason::TrailingBytes);
    frame = chain(60, &[options(6, 0), tcp(443)]);
    refuses_split(&frame, 54, Reason::TruncatedExtension);
    refuses_split(&frame, 61, Reason::TruncatedExtension);
    refuses_split(&frame, 62, Reason::TruncatedTransport);
    // A chain that ends with the packet has no transport header.
    refuses(&chain(60, &[options(6, 0)]), Reason::TruncatedTransport);
}

#[test]
fn v6_fragments() {
    let data = [tcp(443), vec![0; 4]].concat();
    let flow = accepts(&chain(44, &[fragment(6, 0, true), data.clone()]));
    assert_eq!((flow.fragment, flow.destination_port), (Fragment::First, 443));
    assert_eq!(flow.fragment_id, 0xaabb_ccdd);
    assert_eq!((flow.fragment_offset, flow.fragment_length), (0, 24));
    let first = chain(44, &[fragment(60, 0, true), options(6, 0), data.clone()]);
    let flow = accepts(&first);
    assert_eq!((flow.fragment, flow.destination_port), (Fragment::First, 443));
    assert_eq!((flow.protocol, flow.fragment_length), (6, 32));

    for more in [false, true] {
        let flow = accepts(&chain(44, &[fragment(6, 40, more), data.clone()]));
        let kind = if more { Fragment::Later } else { Fragment::Last };
        assert_eq!((flow.fragment, flow.protocol), (kind, 6));
        assert_eq!((flow.source_port, flow.destination_port), (0, 0));
        assert_eq!((flow.fragment_offset, flow.fragment_length), (40, 24));
    }
    // A later fragment has no header chain, whatever its next header says.
    let flow = accepts(&chain(44, &[fragment(43, 40, false), data]));
    assert_eq!((flow.fragment, flow.protocol), (Fragment::Last, 43));
}

#[test]
fn v6_fragments_that_are_refused() {
    let data = [tcp(443), vec![0; 4]].concat();
    let part = |length: usize| data[..length].to_vec();
    refuses(&chain(44, &[fragment(6, 0, true), part(8)]), Reason::FragmentTiny);
    refuses(&chain(44, &[fragment(6, 8, false), part(24)]), Reason::FragmentTiny);
    refuses(&chain(44, &[fragment(6, 0, true), part(21)]), Reason::Length);
    refuses(&chain(44, &[fragment(6, 0, true)]), Reason::Length);
    refuses(&chain(44, &[fragment(6, 40, false)]), Reason::Length);
    refuses(&chain(44, &[fragment(6, 0xfff8, false), part(8)]), Reason::Length);
    // RFC 7112: the chain must end in the first fragment.
    refuses(&chain(44, &[fragment(60, 0, true), options(6, 0)]), Reason::FragmentTiny);
    refuses(
        &chain(44, &[fragment(60, 0, true), options(6, 1)[..8].to_vec()]),
        Reason::FragmentTiny,
    );
    refuses(&chain(44, &[fragment(60, 0, true), options(60, 0)]), Reason::FragmentTiny);
    // A fragment of a fragment.
    let inner = fragment(6, 0, true);
    refuses(&chain(44, &[fragment(44, 0, true), inner, part(24)]), Reason::ExtensionOrder);
    let inner = fragment(6, 40, false);
    refuses(&chain(44, &[fragment(44, 0, true), inner, part(24)]), Reason::ExtensionOrder);
    refuses(&chain(44, &[fragment(43, 0, true), part(24)]), Reason::RoutingHeader);
}

#[test]
fn atomic_fragments_are_whole() {
    let flow = accepts(&chain(44, &[fragment(6, 0, false), tcp(25)]));
    assert_eq!((flow.fragment, flow.destination_port, flow.fragment_id), (Fragment::Whole, 25, 0));
    refuses(
        &chain(44, &[fragment(6, 0, false), tcp(25)[..8].to_vec()]),
        Reason::TruncatedTransport,
    );
}
