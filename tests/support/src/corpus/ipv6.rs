//! IPv6: extension headers and tunnels.

use super::{ALL_NODES, D4, D6, LINK, Make, Row, ipv4::authentication};
use crate::frames::{Extension, V6, icmp};
use enforcer_common::reason::Reason as R;

const HOP_BY_HOP: Extension = Extension::Options { kind: 0, length: 0 };
const DESTINATION: Extension = Extension::Options { kind: 60, length: 0 };

fn fragment(offset: u16, more: bool, id: u16) -> Extension {
    Extension::Fragment { offset, more, id: id.into() }
}

/// Rows 77 to 107.
pub(super) fn rows(to: [u8; 6]) -> Vec<Row> {
    let chain = |number, name, reason, extensions: &[Extension], port| {
        let m = Make::new(number, to);
        m.drop(name, "FF", reason, m.behind(extensions, port))
    };
    // A packet with this next header and payload.
    let raw = |number, name, open, reason, next, make: &dyn Fn(&Make) -> Vec<u8>| {
        let m = Make::new(number, to);
        m.drop(name, open, reason, m.ip6(m.v6(next), &make(&m)))
    };
    let header = |number, name, open, reason, port, change: &dyn Fn(V6) -> V6| {
        let m = Make::new(number, to);
        m.drop(name, open, reason, m.ip6(change(m.v6(6)), &m.tcp(port)))
    };
    let kind = |kind| Extension::Options { kind, length: 0 };
    let routing = |kind| Extension::Routing { kind, left: 0 };
    let hidden = |m: &Make| {
        let hop = D6 & !0xff | 0x99;
        [&[6, 2, 0, 1, 0, 0, 0, 0][..], &hop.to_be_bytes(), &m.tcp(443)].concat()
    };
    let late = Make::new(84, to);
    let later = V6 { extensions: vec![fragment(40, false, 84)], ..late.v6(6) };
    let bare = Make::new(85, to);
    let first = V6 { extensions: vec![fragment(0, true, 85)], ..bare.v6(60) };
    let padding = bare.with(&[6, 0, 1, 4, 0, 0, 0, 0]);
    let mapped = Make::new(101, to);
    let from_mapped = V6 { source: 0xffff << 32 | u128::from(super::A4), ..mapped.v6(6) };
    let from_mapped = mapped.ip6(from_mapped, &mapped.tcp(443));
    let jumbo = Make::new(99, to);
    let jumbogram = [&[6, 0, 0xc2, 4, 0, 0, 0xea, 0x60][..], &jumbo.tcp(25)].concat();
    vec![
        chain(77, "hop-by-hop options", R::Default, &[HOP_BY_HOP], 25),
        chain(78, "destination options", R::Default, &[DESTINATION], 25),
        raw(79, "routing header 0 hides the destination", "FF", R::RoutingHeader, 43, &hidden),
        chain(80, "routing header 4, none left", R::RoutingHeader, &[routing(4)], 25),
        chain(81, "routing header 253", R::RoutingHeader, &[routing(253)], 25),
        chain(82, "atomic fragment", R::Default, &[fragment(0, false, 82)], 25),
        chain(83, "first fragment, denied port, IPv6", R::Default, &[fragment(0, true, 83)], 25),
        late.drop("later fragment like port 443, IPv6", "FF", R::FragmentOrphan, {
            late.ip6(later, &late.with(&[0x9c, 0x40, 0x01, 0xbb]))
        }),
        bare.drop("first fragment without transport header", "FF", R::FragmentTiny, {
            bare.ip6(first, &padding)
        }),
        raw(86, "AH around TCP, IPv6", "FF", R::Default, 51, &|m| {
            [&authentication()[..], &m.tcp(25)].concat()
        }),
        raw(87, "ESP, IPv6", "FF", R::Default, 50, &|m| m.with(&[0, 0, 1, 0, 0, 0, 0, 1])),
        chain(88, "mobility header around TCP", R::ExtensionHeader, &[kind(135)], 25),
        chain(89, "HIP header around TCP", R::ExtensionHeader, &[kind(139)], 25),
        chain(90, "Shim6 header around TCP", R::ExtensionHeader, &[kind(140)], 25),
        chain(91, "experimental header 253", R::ExtensionHeader, &[kind(253)], 25),
        raw(92, "no next header, then data", "FF", R::NoNextHeader, 59, &Make::marker),
        chain(93, "5 destination options", R::ExtensionDepth, &vec![DESTINATION; 5], 25),
        chain(94, "7 destination options", R::ExtensionDepth, &vec![DESTINATION; 7], 25),
        chain(95, "30 destination options", R::ExtensionDepth, &vec![DESTINATION; 30], 25),
        chain(
            96,
            "7 destination options, allowed port",
            R::ExtensionDepth,
            &vec![DESTINATION; 7],
            443,
        ),
        chain(97, "hop-by-hop options second", R::ExtensionOrder, &[DESTINATION, HOP_BY_HOP], 25),
        chain(
            98,
            "808 bytes of destination options",
            R::ExtensionLength,
            &[Extension::Options { kind: 60, length: 100 }],
            25,
        ),
        jumbo.drop("jumbogram", "--", R::Jumbogram, {
            jumbo.ip6(V6 { length: Some(0), ..jumbo.v6(0) }, &jumbogram)
        }),
        header(100, "payload length 0", "--", R::Length, 25, &|header| V6 {
            length: Some(0),
            ..header
        }),
        header(101, "IPv4-mapped address", "FF", R::MartianDestination, 25, &|header| V6 {
            destination: 0xffff << 32 | u128::from(D4),
            ..header
        })
        .also(R::MartianSource, from_mapped),
        header(102, "6to4 destination", "FF", R::Default, 25, &|header| V6 {
            destination: 0x2002_0a58_0002 << 80 | 1,
            ..header
        }),
        raw(103, "4in6", "FF", R::Default, 4, &Make::mail),
        raw(104, "6in6", "FF", R::Default, 41, &Make::mail6),
        header(105, "link-local source, global destination", "-F", R::MartianSource, 443, &|h| {
            V6 { source: LINK, ..h }
        }),
        raw(106, "ping with data, IPv6", "FF", R::Default, 58, &|m| icmp(128, 0, &m.marker())),
        raw(107, "options longer than the packet", "??", R::TruncatedExtension, 0, &|m| {
            m.with(&[6, 20, 1, 4, 0, 0, 0, 0])
        }),
    ]
}

/// To all nodes, hop limit 255.
pub(super) fn to_nodes(source: u128) -> V6 {
    V6 { hops: 255, ..V6::new(source, ALL_NODES, 58) }
}
