//! Random frames: stacks of headers, then damage.

use super::transport::ports;
use super::*;
use crate::random::{self, Random};

/// A frame of the world of [`random`], about half of them well formed.
pub fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame = stack(random);
    if random.once_in(3) {
        damage(random, &mut frame);
    }
    frame.truncate(LONGEST);
    if frame.len() < SHORTEST {
        frame.resize(SHORTEST, 0);
    }
    frame
}

/// Changes a few bytes, most of them in the headers, or the length.
pub fn damage(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(2) {
        let length = frame.len() as u64;
        match random.below(4) {
            0 => frame.truncate(random.below(length + 1) as usize),
            1 if random.once_in(2) => {
                frame.resize(frame.len() + 1 + random.below(60) as usize, random.next() as u8);
            }
            _ if length == 0 => {}
            _ => {
                let reach = if random.once_in(4) { length } else { length.min(80) };
                let at = random.below(reach) as usize;
                frame[at] = match random.below(3) {
                    0 => frame[at] ^ 1 << random.below(8),
                    1 => random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                    _ => random.next() as u8,
                };
            }
        }
    }
}

/// A frame with matching headers, although not always one that may pass.
fn stack(random: &mut Random) -> Vec<u8> {
    let mut ethernet = Ethernet::new(random::mac(random).0);
    match random.below(60) {
        0 => ethernet.source = GATEWAY,
        1 => ethernet.source[0] |= 1,
        2 => ethernet.source = [0; 6],
        _ => {}
    }
    tags(random, &mut ethernet);
    match random.below(24) {
        0 | 1 => {
            let sender = random::v4(random);
            let mac = if random.once_in(12) { GATEWAY } else { ethernet.source };
            let operation = random.pick(&[1, 1, 2, 2, 2, 3]);
            let mut packet = arp(operation, mac, sender, random::v4(random));
            packet.resize(random.pick(&[28, 46, 46, 47]), 0);
            ethernet.to(BROADCAST).frame(ether_type::ARP, &packet)
        }
        2 => {
            let block = [1, 0x80, 0xc2, 0, 0, random.pick(&[0, 3, 14, 15, 16])];
            let ethernet = if random.once_in(5) { ethernet } else { ethernet.to(block) };
            match random.below(3) {
                0 => ethernet.llc(&bpdu()),
                1 if random.once_in(4) => ethernet.frame(ether_type::LLDP, &[0; 46]),
                1 => ethernet.frame(ether_type::LLDP, &lldp(b"chassis")),
                _ => ethernet.frame(ether_type::EAPOL, &eapol(&[7; 9])),
            }
        }
        3 if random.once_in(3) => {
            let kind = random.pick(&[0x9100, 0x8864, 0x8847, 0x88b5, 0x88e5, 0x8035]);
            ethernet.frame(kind, &[0; 46])
        }
        3 if random.once_in(2) => ethernet.llc(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
        4..=13 => v4(random, ethernet),
        _ => v6(random, ethernet),
    }
}

fn tags(random: &mut Random, ethernet: &mut Ethernet) {
    let vlan = 10 + random.below(5) as u16;
    let priority = (random.below(8) as u16) << 13;
    match random.below(60) {
        0..=7 => ethernet.tags.push((ether_type::VLAN, priority | vlan)),
        8 => ethernet.tags.push((ether_type::VLAN, priority)),
        9 => ethernet.tags.extend([(ether_type::VLAN, 0), (ether_type::VLAN, vlan)]),
        10 => ethernet.tags.extend([(ether_type::SERVICE_VLAN, 0), (ether_type::VLAN, priority)]),
        11 => ethernet.tags.extend([(ether_type::VLAN, vlan), (ether_type::VLAN, vlan)]),
        12 => ethernet.tags.push((ether_type::SERVICE_VLAN, vlan)),
        13 => ethernet.tags = vec![(ether_type::VLAN, 0); 3 + random.below(18) as usize],
        _ => {}
    }
}

const PORTS: [u16; 10] = [0, 53, 67, 68, 80, 443, 515, 547, 8000, u16::MAX];

/// A transport header and its protocol; `icmp_kinds` are types of the family's own ICMP.
fn transport(random: &mut Random, icmp_protocol: u8, icmp_kinds: &[u8]) -> (u8, Vec<u8>) {
    let port = if random.once_in(5) { random.next() as u16 } else { random.pick(&PORTS) };
    let data = vec![0x42; random.pick(&[0, 0, 4, 12, 44, 100, 1000])];
    match random.below(12) {
        0..=4 => {
            let mut tcp = Tcp::new(port);
            tcp.flags = random.pick(&[2, 2, 0x10, 0x18, 0]);
            tcp.options = vec![1; random.pick(&[0, 0, 12, 40])];
            if random.once_in(20) {
                tcp.words = Some(random.below(16) as u8);
            }
            (6, tcp.segment(&data))
        }
        5..=7 => {
            let source = random.pick(&[40_000, 40_000, 40_000, 67, 68, 546, 547]);
            let length = match random.below(20) {
                0 => random.below(12) as u16,
                1 => random.next() as u16,
                _ => 8 + data.len() as u16,
            };
            (17, udp_of_length(source, port, length, &data))
        }
        8 | 9 => (icmp_protocol, icmp(random.pick(icmp_kinds), 0, &data)),
        10 => (132, sctp(40_000, port)),
        _ => {
            let protocol = random.pick(&[47, 4, 41, 50, 51, 33, 136, 97, 115]);
            (protocol, [ports(port, port), data].concat())
        }
    }
}

/// Mostly an address that a host may send from.
fn source_v4(random: &mut Random) -> u32 {
    let address = random::v4(random);
    let sane = address != 0 && address != u32::MAX;
    if sane || random.once_in(4) { address } else { 0x0a14_0000 | random.below(40) as u32 }
}

fn source_v6(random: &mut Random) -> u128 {
    let address = random::v6(random);
    let sane = matches!(address >> 112, 0xfe80 | 0x2001);
    if sane || random.once_in(4) {
        address
    } else {
        0x2001_0db8 << 96 | u128::from(random.below(24))
    }
}

fn v4(random: &mut Random, mut ethernet: Ethernet) -> Vec<u8> {
    if random.once_in(12) {
        let source = if random.once_in(3) { source_v4(random) } else { 0 };
        let destination = if random.once_in(3) { random::v4(random) } else { u32::MAX };
        let (from, to) = if random.once_in(6) { (67, 68) } else { (68, 67) };
        let packet = V4::new(source, destination, 17);
        let client = if random.once_in(8) { GATEWAY } else { ethernet.source };
        let packet = packet.packet(&udp(from, to, &dhcp_discover(client)));
        if destination == u32::MAX && !random.once_in(12) {
            ethernet = ethernet.to(BROADCAST);
        }
        return ethernet.frame(ether_type::IPV4, &packet);
    }
    let (protocol, mut payload) = transport(random, 1, &[8, 8, 8, 0, 3, 5, 9, 10, 13]);
    let mut header = V4::new(source_v4(random), random::v4(random), protocol);
    header.ttl = random.pick(&[1, 64, 64, 255]);
    let multicast = header.destination >> 28 == 0xe || header.destination == u32::MAX;
    if multicast || random.once_in(40) {
        ethernet.destination = BROADCAST;
    }
    match random.below(30) {
        0 => header.options = vec![1; random.below(41) as usize],
        1 => {
            header.options = vec![1; random.below(5) as usize];
            header.options.extend([random.pick(&[131, 137]), 7, 4, 10, 20, 2, 9]);
        }
        2 => header.words = Some(random.below(16) as u8),
        3 => header.total = Some(random.below(80) as u16),
        4 => header.version = random.below(16) as u8,
        5 | 6 => {
            payload.resize((payload.len().next_multiple_of(8)).min(1400), 0);
            header.fragment = MORE;
        }
        7 => {
            payload.truncate(random.pick(&[0, 8, 16]));
            header.fragment = MORE;
        }
        8 | 9 => header.fragment = random.pick(&[0, MORE]) | random.below(0x1000) as u16,
        10 => header.fragment = random.next() as u16,
        // Group membership reports, and near misses of them.
        11 => {
            header.protocol = random.pick(&[2, 2, 2, 46]);
            header.options = random.pick(&[[148, 4, 0, 0], [148, 4, 0, 0], [148, 4, 0, 1]]).into();
            if random.once_in(2) {
                header.destination = random.pick(&[0xe000_0016, 0xefff_fffa]);
                ethernet.destination = [1, 0, 0x5e, 0, 0, 0x16];
            }
        }
        _ => {}
    }
    ethernet.frame(ether_type::IPV4, &header.packet(&payload))
}

fn v6(random: &mut Random, mut ethernet: Ethernet) -> Vec<u8> {
    if random.once_in(4) {
        return link_v6(random, ethernet);
    }
    let (protocol, mut payload) = transport(random, 58, &[128, 128, 128, 129, 1, 3, 134, 137]);
    let mut header = V6::new(source_v6(random), random::v6(random), protocol);
    if header.destination == 0 && !random.once_in(4) {
        header.destination = 0x2001_0db8 << 96 | 1 << 80;
    }
    // A link-local source stays on the link.
    if header.source >> 112 == 0xfe80 && !random.once_in(4) {
        header.destination = random.pick(&[0xfe80, 0xff02]) << 112 | 1;
    }
    if header.destination >> 120 == 0xff || random.once_in(40) {
        ethernet.destination = [0x33, 0x33, 0, 0, 0, 1];
    }
    let options = |random: &mut Random| Extension::Options {
        kind: 60,
        length: random.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 31, 32]),
    };
    let id = random.below(4) as u32;
    match random.below(30) {
        0 => header.extensions.push(Extension::Options { kind: 0, length: 0 }),
        1 => header.extensions.push(options(random)),
        2 => {
            let mut chain: Vec<_> = (0..random.below(7)).map(|_| options(random)).collect();
            let at = random.below(chain.len() as u64 + 1) as usize;
            chain.insert(at, Extension::Options { kind: 0, length: 0 });
            header.extensions = chain;
        }
        3 => {
            let kind = random.pick(&[135, 139, 140, 253, 254]);
            header.extensions.push(Extension::Options { kind, length: 0 });
        }
        4 => {
            let (kind, left) = (random.pick(&[0, 4, 253]), random.below(2) as u8);
            header.extensions.push(Extension::Routing { kind, left });
        }
        5 => header.extensions.push(Extension::Fragment { offset: 0, more: false, id }),
        6 | 7 => {
            payload.resize(payload.len().next_multiple_of(8).min(1400), 0);
            header.extensions.push(Extension::Fragment { offset: 0, more: true, id });
        }
        8 => {
            payload.truncate(random.pick(&[0, 8, 16]));
            header.extensions.push(Extension::Fragment { offset: 0, more: true, id });
            header.extensions.push(options(random));
        }
        9 | 10 => {
            let offset = random.below(0x1000) as u16 * 8;
            header.extensions.push(Extension::Fragment { offset, more: random.once_in(2), id });
        }
        11 => header.protocol = 59,
        12 => {
            header.length = Some(0);
            if random.once_in(2) {
                header.extensions.push(Extension::Options { kind: 0, length: 0 });
            }
        }
        13 => {
            header.length = Some(random.below(80) as u16);
            if random.once_in(2) {
                header.extensions.push(options(random));
            }
        }
        14 => header.version = random.below(16) as u8,
        15 => {
            header.protocol = random.pick(&[60, 44]);
            payload = vec![6, random.below(4) as u8];
            payload.resize(random.pick(&[4, 8, 12]), 0);
        }
        _ => {}
    }
    ethernet.frame(ether_type::IPV6, &header.packet(&payload))
}

/// Neighbour discovery, multicast reports and DHCPv6.
fn link_v6(random: &mut Random, ethernet: Ethernet) -> Vec<u8> {
    let made = |mac: [u8; 6]| {
        let [a, b, c, d, e, f] = mac;
        let bytes = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
        0xfe80 << 112 | u128::from(u64::from_be_bytes(bytes))
    };
    let link_local = match random.below(6) {
        0 => made(ethernet.source),
        1 => made(random::mac(random).0),
        _ => 0xfe80 << 112 | u128::from(random.below(24)),
    };
    let source = if random.once_in(2) { link_local } else { source_v6(random) };
    let all_nodes = 0xff02 << 112 | 1;
    let (mut header, payload) = match random.below(6) {
        0..=3 => {
            let kind = random.pick(&[133, 135, 135, 136, 136, 136, 134]);
            let source = if random.once_in(8) { 0 } else { source };
            let destination = if random.once_in(3) { random::v6(random) } else { all_nodes };
            let mut header = V6::new(source, destination, 58);
            header.hops = if random.once_in(10) { 64 } else { 255 };
            let claim = if random.once_in(4) { link_local } else { random::v6(random) };
            let mut payload = neighbour(kind, claim);
            if random.once_in(3) {
                let mac = if random.once_in(4) { GATEWAY } else { ethernet.source };
                payload.extend([[1 + u8::from(kind == 136), 1], [mac[0], mac[1]]].concat());
                payload.extend(&mac[2..]);
            }
            if random.once_in(12) {
                payload.resize(random.pick(&[8, 20, 32, 300]), 0);
            }
            (header, payload)
        }
        4 => {
            let mut header = V6::new(source, 0xff02 << 112 | 0x16, 58);
            header.hops = if random.once_in(6) { 64 } else { 1 };
            header.extensions.push(Extension::Options { kind: 0, length: 0 });
            (header, icmp(random.pick(&[131, 132, 143, 130]), 0, &[0; 20]))
        }
        _ => {
            let (from, to) = if random.once_in(5) { (547, 546) } else { (546, 547) };
            let servers = 0xff02 << 112 | 0x1_0002;
            let destination = if random.once_in(3) { random::v6(random) } else { servers };
            let mut message = dhcp_solicit();
            message[0] = random.pick(&[1, 1, 1, 3, 7]);
            (V6::new(source, destination, 17), udp(from, to, &message))
        }
    };
    if random.once_in(20) {
        header.extensions.insert(0, Extension::Fragment { offset: 0, more: false, id: 7 });
    }
    let to = match header.destination >> 120 {
        0xff if random.once_in(12) => GATEWAY,
        0xff => group_mac(header.destination),
        // Another host's MAC: a bridge would forward the frame.
        _ if random.once_in(4) => [2, 0, 0, 0, 0, 5],
        _ => [2, 0, 0, 0, random.pick(&[0xff, 0xff, 0xfe]), 0],
    };
    ethernet.to(to).frame(ether_type::IPV6, &header.packet(&payload))
}
