//! Addresses and link-local traffic, some of which must pass for the network to work.

use super::{A4, A6, ALL_NODES, D4, DEVICE, Due, LINK, Make, NODES, OWN4, OWN6, Row, ipv6};
use crate::frames::{
    BROADCAST, Ethernet, Extension, Tcp, V4, V6, arp, bpdu, dhcp_discover, ether_type, icmp,
    lldp as chassis, neighbour, udp,
};
use enforcer_common::reason::Reason as R;

/// Rows 108 to 130, then 148 and 149.
pub(super) fn rows(to: [u8; 6]) -> Vec<Row> {
    let mut rows = addresses(to);
    rows.extend(link(to));
    rows.extend(dhcp_and_neighbours(to));
    let (runt, long) = (Make::new(129, to), Make::new(130, to));
    let bytes = runt.ethernet().frame(ether_type::IPV4, b"");
    let data = [&long.marker()[..], &[b'y'; 1452]].concat();
    rows.extend([
        Row { marker: None, ..runt.drop("14 bytes of frame", "??", R::TruncatedNetwork, bytes) },
        long.drop("1514 bytes, denied port", "FF", R::Default, {
            let segment = Tcp { source: long.port, ..Tcp::new(25) }.segment(&data);
            long.ip4(long.v4(6), &segment)
        }),
    ]);
    rows.extend(bridge_group(to));
    rows
}

fn addresses(to: [u8; 6]) -> Vec<Row> {
    let from = |number, name, open, reason, source| {
        let m = Make::new(number, to);
        m.drop(name, open, reason, m.ip4(V4 { source, ..m.v4(6) }, &m.tcp(443)))
    };
    let group4 = |number, name, ethernet: &dyn Fn(Ethernet) -> Ethernet, destination, port| {
        let m = Make::new(number, to);
        let packet = V4 { destination, ..m.v4(17) }.packet(&m.udp(port));
        m.drop(name, "-F", R::Default, ethernet(m.ethernet()).frame(ether_type::IPV4, &packet))
    };
    let group6 = |number, name, destination| {
        let m = Make::new(number, to);
        let packet = V6 { destination, ..m.v6(17) }.packet(&m.udp(9999));
        let bytes = m.ethernet().to(NODES).frame(ether_type::IPV6, &packet);
        m.drop(name, "-F", R::Default, bytes)
    };
    vec![
        from(108, "a neighbour's address, allowed port", "FF", R::SourceBinding, A4 + 1),
        from(109, "from 0.0.0.0, allowed port", "-F", R::MartianSource, 0),
        from(110, "from 127.0.0.1, allowed port", "-F", R::MartianSource, 0x7f00_0001),
        from(111, "an address off the subnet", "FF", R::SourceBinding, D4 + 48),
        group4(112, "mDNS", &|e| e.to([1, 0, 0x5e, 0, 0, 0xfb]), 0xe000_00fb, 5353),
        group4(113, "broadcast, udp/9999", &|e| e.to(BROADCAST), u32::MAX, 9999),
        group4(114, "directed broadcast, udp/9999", &|e| e, 0x0a58_00ff, 9999),
        group6(115, "all nodes, udp/9999", ALL_NODES),
        group6(116, "a global group, udp/9999", 0xff0e << 112 | 1),
    ]
}

/// ARP and other EtherTypes.
fn link(to: [u8; 6]) -> Vec<Row> {
    let request = Make::new(117, to);
    let ask = |m: &Make, to, operation, sender, length: usize| {
        let mut packet = m.with(&arp(operation, DEVICE, sender, OWN4));
        packet.resize(length, b'x');
        m.ethernet().to(to).frame(ether_type::ARP, &packet)
    };
    let reserved = |m: &Make, last| m.ethernet().to([1, 0x80, 0xc2, 0, 0, last]);
    let (tail, spoof, reverse) = (Make::new(118, to), Make::new(119, to), Make::new(120, to));
    let (lldp, eapol) = (Make::new(121, to), Make::new(122, to));
    let (tunnel, stp) = (Make::new(123, to), Make::new(124, to));
    let start = |m: &Make| m.with(&[1, 1, 0, 8]);
    vec![
        request.row("ARP request", "-F", Due::PassToStack, R::Arp, {
            ask(&request, BROADCAST, 1, A4, 46)
        }),
        tail.drop("ARP with 600 bytes behind it", "-F", R::ArpMalformed, {
            ask(&tail, tail.to, 2, A4, 628)
        }),
        spoof.drop("ARP claims the gateway's address", "-F", R::ArpSpoof, {
            ask(&spoof, BROADCAST, 2, OWN4, 46)
        }),
        reverse.drop("RARP", "-F", R::EtherType, {
            let packet = reverse.with(&arp(3, DEVICE, 0, 0));
            reverse.ethernet().frame(0x8035, &packet)
        }),
        lldp.row("LLDP to its group", "--", Due::PassToStack, R::Lldp, {
            reserved(&lldp, 0xe).frame(ether_type::LLDP, &chassis(&lldp.marker()))
        }),
        eapol.row("802.1X to its group", "--", Due::PassToStack, R::Eapol, {
            reserved(&eapol, 3).frame(ether_type::EAPOL, &start(&eapol))
        }),
        tunnel.drop("802.1X to a unicast MAC", "-F", R::EapolDestination, {
            tunnel.ethernet().frame(ether_type::EAPOL, &start(&tunnel))
        }),
        stp.drop("spanning tree BPDU", "-F", R::EssentialOff, {
            reserved(&stp, 0).llc(&stp.with(&bpdu()))
        }),
    ]
}

fn dhcp_and_neighbours(to: [u8; 6]) -> Vec<Row> {
    let (discover, tunnel) = (Make::new(125, to), Make::new(126, to));
    let message = |m: &Make| udp(68, 67, &m.with(&dhcp_discover(DEVICE)));
    let everybody = V4 { source: 0, destination: u32::MAX, ..discover.v4(17) };
    let (ask, rogue) = (Make::new(127, to), Make::new(128, to));
    // A nonce option, RFC 3971 section 5.3.2: six arbitrary bytes.
    let nonce = *b"\x0e\x01row127";
    let question = [&neighbour(135, OWN6)[..], &nonce].concat();
    let group = V6 { destination: 0xff02 << 112 | 0x1_ff00_0001, ..ipv6::to_nodes(A6) };
    let nodes = |m: &Make, header: V6, payload: &[u8]| {
        m.ethernet().to(NODES).frame(ether_type::IPV6, &header.packet(payload))
    };
    let advertisement = icmp(134, 0, &rogue.with(&[0; 8]));
    let part = Extension::Fragment { offset: 0, more: true, id: 128 };
    vec![
        discover.row("DHCP discover", "-F", Due::PassToStack, R::Dhcp, {
            let packet = everybody.packet(&message(&discover));
            discover.ethernet().to(BROADCAST).frame(ether_type::IPV4, &packet)
        }),
        tunnel.drop("DHCP to somebody behind the gateway", "FF", R::Default, {
            tunnel.ip4(tunnel.v4(17), &message(&tunnel))
        }),
        Row {
            marker: Some(nonce.to_vec()),
            ..ask.row("neighbour solicitation", "-F", Due::PassToStack, R::Neighbour, {
                let ethernet = ask.ethernet().to([0x33, 0x33, 0xff, 0, 0, 1]);
                ethernet.frame(ether_type::IPV6, &group.packet(&question))
            })
        },
        rogue
            .drop("rogue router advertisement", "-F", R::RogueRouter, {
                nodes(&rogue, ipv6::to_nodes(LINK), &advertisement)
            })
            .also(R::RogueRouter, {
                nodes(&rogue, ipv6::to_nodes(LINK).extension(part), &advertisement)
            }),
    ]
}

/// The only address of the reserved block that a bridge without spanning tree forwards.
fn bridge_group(to: [u8; 6]) -> Vec<Row> {
    let group = |m: &Make| m.ethernet().to([1, 0x80, 0xc2, 0, 0, 0]);
    let (eapol, lldp) = (Make::new(148, to), Make::new(149, to));
    vec![
        eapol.drop("802.1X to the spanning tree group", "-F", R::EapolDestination, {
            group(&eapol).frame(ether_type::EAPOL, &eapol.with(&[1, 1, 0, 8]))
        }),
        lldp.drop("LLDP to the spanning tree group", "-F", R::EtherType, {
            group(&lldp).frame(ether_type::LLDP, &lldp.marker())
        }),
    ]
}
