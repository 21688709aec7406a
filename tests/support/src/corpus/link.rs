//! Tags, 802.3, EtherTypes and MAC addresses.

use super::{Due, Make, Row};
use crate::frames::{BROADCAST, GATEWAY, V4, ether_type};
use enforcer_common::reason::Reason as R;

/// Rows 5 to 29.
pub(super) fn rows(to: [u8; 6]) -> Vec<Row> {
    let m = |number| Make::new(number, to);
    let tagged = |number, name, open, tags: &[(u16, u16)], reason| {
        let m = m(number);
        m.drop(name, open, reason, m.tags(tags).frame(ether_type::IPV4, &m.mail()))
    };
    let llc = |number, name, head: &[u8]| {
        let m = m(number);
        m.drop(name, "-F", R::Llc, m.ethernet().llc(&[head, &m.mail()].concat()))
    };
    let typed = |number, name, kind, head: &[u8]| {
        let m = m(number);
        let payload = [head, &m.mail()].concat();
        m.drop(name, "-F", R::EtherType, m.ethernet().frame(kind, &payload))
    };
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    let ip = ether_type::IPV4;
    let mut rows = vec![
        tagged(5, "802.1Q, VLAN 10", "-F", &[(0x8100, 10)], R::VlanUndeclared),
        tagged(6, "priority tag, VLAN 0", "FF", &[(0x8100, 0xe000)], R::Default),
        tagged(7, "two priority tags", "FF", &[(0x8100, 0); 2], R::Default),
        tagged(8, "88a8 and 8100, VLAN 0", "FF", &[(0x88a8, 0), (0x8100, 0)], R::Default),
        tagged(9, "QinQ, VLAN 5 and 10", "-F", &[(0x88a8, 5), (0x8100, 10)], R::VlanUndeclared),
        tagged(10, "five priority tags", "FF", &[(0x8100, 0); 5], R::VlanDepth),
        tagged(11, "twenty priority tags", "FF", &[(0x8100, 0); 20], R::VlanDepth),
        tagged(12, "outer TPID 9100", "-F", &[(0x9100, 0)], R::EtherType),
        tagged(13, "outer TPID 9200", "-F", &[(0x9200, 0)], R::EtherType),
        tagged(14, "802.1ad, VLAN 0", "FF", &[(0x88a8, 0)], R::Default),
    ];
    let half = m(15);
    let bytes = half.ethernet().frame(0x8100, &[0, 0]);
    let half = half.drop("half a VLAN tag", "??", R::TruncatedEthernet, bytes);
    rows.push(Row { marker: None, ..half });
    rows.extend([
        llc(16, "802.3 LLC/SNAP with IP (RFC 1042)", &snap),
        llc(17, "802.3 LLC DSAP 06 with IP", &[6, 6, 3]),
    ]);
    let tag = m(18);
    let payload = [&snap[..], &tag.mail()].concat();
    let bytes = tag.tags(&[(0x8100, 0)]).frame(payload.len() as u16, &payload);
    rows.push(tag.drop("priority tag, then LLC/SNAP", "-F", R::Llc, bytes));

    let pppoe = [&[0x11, 0, 0, 1][..], &[0, 2 + 52, 0, 0x21]].concat();
    let discovery = m(19).ethernet().frame(0x8863, &m(19).with(&[0x11, 9, 0, 0, 0, 8]));
    let label = (16u32 << 12 | 1 << 8 | 64).to_be_bytes();
    let multicast = m(20).ethernet().frame(0x8848, &[&label[..], &m(20).mail()].concat());
    rows.extend([
        typed(19, "PPPoE session with IPv4", 0x8864, &pppoe).also(R::EtherType, discovery),
        typed(20, "MPLS, label 16", 0x8847, &label).also(R::EtherType, multicast),
        typed(21, "experimental EtherType 88b5", 0x88b5, b""),
        typed(22, "MACsec", 0x88e5, b""),
    ]);
    let (four, six) = (m(23), m(24));
    rows.extend([
        four.drop("IPv4 in EtherType 86dd", "--", R::IpVersion, {
            four.ethernet().frame(ether_type::IPV6, &four.mail())
        }),
        six.drop("IPv6 in EtherType 0800", "--", R::IpVersion, {
            six.ethernet().frame(ip, &six.mail6())
        }),
    ]);
    let cast = |number, name, to| {
        let m = m(number);
        m.drop(name, "-F", R::CastMismatch, m.ethernet().to(to).frame(ip, &m.mail()))
    };
    let from = |number, name, open, reason, source| {
        let m = m(number);
        m.drop(name, open, reason, m.from(source).frame(ip, &m.v4(6).packet(&m.tcp(443))))
    };
    let nobody = [2, 0xde, 0xad, 0xbe, 0xef, 1];
    let unknown = m(27);
    let own_address = V4 { source: super::A4 + 7, ..unknown.v4(6) }.packet(&unknown.tcp(443));
    rows.extend([
        cast(25, "unicast IP to the broadcast MAC", BROADCAST),
        cast(26, "unicast IP to a multicast MAC", [1, 0, 0x5e, 0, 0, 0xfb]),
        from(27, "unknown source MAC, allowed port", "FF", R::SourceBinding, nobody)
            .also(R::Unknown, unknown.from(nobody).frame(ip, &own_address)),
        from(28, "multicast source MAC", "F-", R::SourceMacMulticast, [3, 0, 0, 0, 0, 2]),
        from(29, "the gateway's own source MAC", "FF", R::SourceMacOwn, GATEWAY),
    ]);
    debug_assert!(rows.iter().all(|row| row.due == Due::Drop));
    rows
}
