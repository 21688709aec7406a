//! Ethernet, tags, 802.3, ARP and protocols with their own EtherType.

use super::*;
use crate::flow::{Class, FAMILY_NONE, FAMILY_V4};

/// An ARP packet of the device.
pub(super) fn arp(operation: u8) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend(DEVICE);
    packet.extend(V4_SOURCE);
    packet.extend([0; 6]);
    packet.extend([10, 77, 0, 1]);
    packet
}

const RESERVED: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 3];
/// The reserved address that bridges without spanning tree forward.
const BRIDGES: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0];

#[test]
fn addresses_and_ether_type() {
    let flow = accepts(&v4(6).frame(&tcp(443)));
    assert_eq!(flow.destination_mac, 0x0200_0000_0001);
    assert_eq!(flow.source_mac, 0x0200_0000_0002);
    assert_eq!((flow.ether_type, flow.network, flow.tags()), (0x0800, 14, 0));
}

#[test]
fn multicast_source() {
    let mut frame = v4(6).frame(&tcp(443));
    frame[6] = 3;
    let flow = refuses(&frame, Reason::SourceMacMulticast);
    assert_eq!(flow.source_mac, 0x0300_0000_0002, "an event names it");
}

#[test]
fn short_ethernet() {
    refuses(&[], Reason::TruncatedEthernet);
    refuses(&[0; 13], Reason::TruncatedEthernet);
    refuses(&to(GATEWAY, 0x0800, &[]), Reason::TruncatedNetwork);
    refuses(&to(GATEWAY, 0x86dd, &[]), Reason::TruncatedNetwork);
}

#[test]
fn ether_types_that_no_policy_allows() {
    // Old QinQ, PPPoE, MPLS, local experiments, MACsec, RARP, TRILL, 802.1ah.
    for kind in [
        0x9100, 0x9200, 0x8863, 0x8864, 0x8847, 0x8848, 0x88b5, 0x88e5, 0x8035, 0x22f3, 0x88e7,
        0x0600, 0xffff,
    ] {
        let flow = refuses(&to(GATEWAY, kind, &v4(6).packet(&tcp(443))), Reason::EtherType);
        assert_eq!(flow.ether_type, kind);
        assert_eq!(flow.network, 14);
    }
}

#[test]
fn one_tag() {
    let packet = v4(6).packet(&tcp(443));
    let flow = accepts(&tagged(&[(0x8100, 10)], 0x0800, &packet));
    assert_eq!((flow.vlans, flow.vlan(), flow.network), ([10, 0], 10, 18));
    assert_eq!((flow.ether_type, flow.destination_port), (0x0800, 443));
    // Priority and the drop bit are not part of the id.
    let flow = accepts(&tagged(&[(0x8100, 0xf00a)], 0x0800, &packet));
    assert_eq!(flow.vlan(), 10);
}

#[test]
fn priority_tags() {
    let packet = v4(6).packet(&tcp(443));
    for (tags, network) in [
        (&[(0x8100, 0xe000)][..], 18),
        (&[(0x88a8, 0)], 18),
        (&[(0x8100, 0), (0x8100, 0)], 22),
        (&[(0x88a8, 0), (0x8100, 0)], 22),
        (&[(0x8100, 0), (0x88a8, 0)], 22),
    ] {
        let flow = accepts(&tagged(tags, 0x0800, &packet));
        assert_eq!((flow.vlan(), flow.network), (0, network), "{tags:x?}");
        assert_eq!(usize::from(flow.tags()), tags.len());
        assert_eq!((flow.protocol, flow.destination_port), (6, 443), "{tags:x?}");
    }
}

#[test]
fn an_id_in_front_of_a_priority_tag() {
    let packet = v6(6).packet(&tcp(443));
    let flow = accepts(&tagged(&[(0x8100, 10), (0x8100, 0)], 0x86dd, &packet));
    assert_eq!((flow.vlans, flow.vlan(), flow.network), ([10, 0], 10, 22));
}

#[test]
fn vlans_that_cannot_be_declared() {
    let packet = v4(6).packet(&tcp(443));
    for tags in [
        &[(0x8100, 5), (0x8100, 10)][..],
        &[(0x88a8, 5)],
        &[(0x88a8, 5), (0x8100, 10)],
        &[(0x88a8, 5), (0x8100, 0)],
        &[(0x8100, 0), (0x88a8, 5)],
        &[(0x8100, 0xfff)],
        &[(0x8100, 0), (0x8100, 10)],
        &[(0x88a8, 0), (0x8100, 10)],
        &[(0x8100, 0), (0x8100, 0xfff)],
    ] {
        refuses(&tagged(tags, 0x0800, &packet), Reason::VlanUndeclared);
    }
}

#[test]
fn more_than_two_tags() {
    let packet = v4(6).packet(&tcp(443));
    for count in [3, 4, 5, 20] {
        let tags = vec![(0x8100, 0); count];
        refuses(&tagged(&tags, 0x0800, &packet), Reason::VlanDepth);
    }
    let tags = [(0x88a8, 0), (0x8100, 0), (0x8100, 0)];
    refuses(&tagged(&tags, 0x0800, &packet), Reason::VlanDepth);
}

#[test]
fn short_tags() {
    refuses(&to(GATEWAY, 0x8100, &[0, 0]), Reason::TruncatedEthernet);
    refuses(&to(GATEWAY, 0x8100, &[0, 0, 0x81, 0, 0, 10]), Reason::TruncatedEthernet);
    refuses(&to(GATEWAY, 0x8100, &[0, 0, 8, 0]), Reason::TruncatedNetwork);
}

#[test]
fn a_tag_hides_no_ether_type() {
    let packet = v4(6).packet(&tcp(443));
    refuses(&tagged(&[(0x8100, 0)], 0x9100, &packet), Reason::EtherType);
    refuses(&tagged(&[(0x8100, 0)], 0x86dd, &packet), Reason::IpVersion);
}

#[test]
fn length_instead_of_ether_type() {
    let packet = v4(6).packet(&tcp(443));
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &packet].concat();
    let raw = [&[6, 6, 3][..], &packet].concat();
    for payload in [snap, raw] {
        let length = payload.len() as u16;
        let flow = refuses(&to(GATEWAY, length, &payload), Reason::Llc);
        assert_eq!(flow.ether_type, length);
        refuses(&tagged(&[(0x8100, 0)], length, &payload), Reason::Llc);
    }
    refuses(&to(GATEWAY, 0x05ff, &packet), Reason::Llc);
    refuses(&to(GATEWAY, 3, &[0x42, 0x42]), Reason::TruncatedNetwork);
}

#[test]
fn spanning_tree() {
    let bpdu = [0x42, 0x42, 3, 0, 0, 0, 0];
    let flow = accepts(&to([1, 0x80, 0xc2, 0, 0, 0], 7, &bpdu));
    assert_eq!((flow.class, flow.family), (Class::Stp, FAMILY_NONE));
    refuses(&to(GATEWAY, 7, &bpdu), Reason::Llc);
    // The first address behind the reserved block.
    refuses(&to([1, 0x80, 0xc2, 0, 0, 0x10], 7, &bpdu), Reason::Llc);
}

#[test]
fn eapol() {
    let start = [1, 1, 0, 0];
    let flow = accepts(&to(RESERVED, 0x888e, &start));
    assert_eq!(flow.class, Class::Eapol);
    assert_eq!(accepts(&tagged_to_reserved(0x888e, &start)).class, Class::Eapol);
    for destination in [GATEWAY, BROADCAST, ALL_NODES, BRIDGES, [1, 0x80, 0xc2, 0, 0, 0x10]] {
        let flow = refuses(&to(destination, 0x888e, &start), Reason::EapolDestination);
        assert_eq!(flow.class, Class::Eapol);
    }
}

/// The length that 802.1X states is exactly that of the frame.
#[test]
fn eapol_has_a_format() {
    let frame = |packet: &[u8]| to(RESERVED, 0x888e, packet);
    let body = [&[2, 0, 0, 100][..], &[7; 100]].concat();
    accepts(&frame(&body));
    accepts(&frame(&[&[3, 8, 0, 2, 1, 1][..], &[0; 40]].concat()));
    refuses(&frame(&body[..103]), Reason::EssentialShape);
    refuses(&frame(&[&body[..], &[0]].concat()), Reason::EssentialShape);
    // Ethernet's padding may follow, and no byte more: 46 bytes behind the header.
    refuses(&frame(&[&[1, 1, 0, 0][..], &[0; 43]].concat()), Reason::EssentialShape);
    for header in [[0, 1, 0, 0], [4, 1, 0, 0], [1, 9, 0, 0], [1, 1, 0, 1]] {
        refuses(&frame(&header), Reason::EssentialShape);
    }
    refuses(&frame(&[1, 1, 0]), Reason::TruncatedNetwork);
}

fn tagged_to_reserved(ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = tagged(&[(0x8100, 0)], ether_type, packet);
    frame[..6].copy_from_slice(&RESERVED);
    frame
}

#[test]
fn lldp() {
    let chassis = [2, 7, 4, 2, 0, 0, 0, 0, 2];
    assert_eq!(accepts(&to(RESERVED, 0x88cc, &chassis)).class, Class::Lldp);
    for first in [[0, 0], [4, 7], [2, 1], [3, 1], [3, 0xff]] {
        refuses(&to(RESERVED, 0x88cc, &first), Reason::EssentialShape);
    }
    refuses(&to(RESERVED, 0x88cc, &[2]), Reason::TruncatedNetwork);
    refuses(&to(GATEWAY, 0x88cc, &chassis), Reason::EtherType);
    refuses(&to(BROADCAST, 0x88cc, &chassis), Reason::EtherType);
    refuses(&to(BRIDGES, 0x88cc, &chassis), Reason::EtherType);
}

#[test]
fn arp_request_and_reply() {
    for operation in [1, 2] {
        let flow = accepts(&to(BROADCAST, 0x0806, &arp(operation)));
        assert_eq!((flow.class, flow.family), (Class::Arp, FAMILY_V4));
        assert_eq!(flow.source, address_v4(V4_SOURCE));
        assert_eq!(flow.claim, address_v4(V4_SOURCE));
        assert_eq!(flow.destination, address_v4([10, 77, 0, 1]));
    }
    let flow = accepts(&tagged(&[(0x8100, 10)], 0x0806, &arp(1)));
    assert_eq!((flow.class, flow.vlan()), (Class::Arp, 10));
}

#[test]
fn arp_probe_is_about_to_claim_its_target() {
    let mut packet = arp(1);
    packet[14..18].fill(0);
    let flow = accepts(&to(BROADCAST, 0x0806, &packet));
    assert_eq!((flow.class, flow.family), (Class::Arp, FAMILY_NONE));
    assert_eq!((flow.source, flow.claim), (Address::default(), address_v4([10, 77, 0, 1])));
    // A reply must name an address.
    let mut packet = arp(2);
    packet[14..18].fill(0);
    refuses(&to(BROADCAST, 0x0806, &packet), Reason::ArpMalformed);
}

#[test]
fn arp_that_is_not_plain() {
    // Hardware type, protocol type, both lengths, operations (RARP, InARP), sender's MAC.
    for (at, value) in [
        (0, 1),
        (1, 6),
        (2, 0x86),
        (3, 1),
        (4, 8),
        (5, 16),
        (7, 0),
        (7, 3),
        (7, 8),
        (6, 1),
        (13, 9),
    ] {
        let mut packet = arp(1);
        packet[at] = value;
        let flow = refuses(&to(BROADCAST, 0x0806, &packet), Reason::ArpMalformed);
        assert_eq!((flow.class, flow.family), (Class::Arp, FAMILY_NONE), "byte {at}");
    }
}

#[test]
fn arp_with_something_behind_it() {
    let padded = |length: usize| {
        let mut packet = arp(2);
        packet.resize(length, b'x');
        packet
    };
    accepts(&to(BROADCAST, 0x0806, &padded(46)));
    refuses(&to(BROADCAST, 0x0806, &padded(47)), Reason::ArpMalformed);
    refuses(&to(BROADCAST, 0x0806, &padded(628)), Reason::ArpMalformed);
    // A tag moves the end: switches pad before they tag.
    accepts(&tagged(&[(0x8100, 10)], 0x0806, &padded(46)));
    refuses(&tagged(&[(0x8100, 10)], 0x0806, &padded(47)), Reason::ArpMalformed);
}

#[test]
fn short_arp() {
    refuses(&to(BROADCAST, 0x0806, &arp(1)[..27]), Reason::TruncatedNetwork);
}
