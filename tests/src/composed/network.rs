//! IPv4 and IPv6 with possible faults, in one or several frames.

use super::stack::Make;
use super::{A4, A6, D6};
use enforcer_testkit::corpus::{D4, LINK, OWN4, OWN6};
use enforcer_testkit::frames::{Ethernet, Extension, MORE, Tcp, V4, V6, ether_type};
use enforcer_testkit::random::Random;

/// A fragment: offset in bytes, whether more follow, and payload.
type Part = (u16, bool, Vec<u8>);

/// Frames with an IPv4 packet each.
pub(super) fn v4(make: &mut Make) -> Vec<Vec<u8>> {
    let ethernet = make.ethernet();
    let (protocol, payload) = make.transport(false);
    let random = &mut make.random;
    let mut header = V4::new(A4, D4, protocol);
    let wild = random.next() as u32;
    if random.once_in(10) {
        header.source = random.pick(&[A4 + 1, D4, 0, 0x7f00_0001, 0xe000_0001, wild]);
    }
    if random.once_in(7) {
        let group = 0xe000_00fb;
        header.destination =
            random.pick(&[D4 + 1, D4 ^ 0x8000_0000, OWN4, 0, 0x7f00_0001, group, u32::MAX, wild]);
    }
    header.ttl = random.pick(&[64, 64, 64, 255, 1]);
    header.id = random.below(64) as u16;
    match random.below(40) {
        0 => header.options = vec![1; random.below(41) as usize],
        1 => {
            header.options = vec![1; random.below(5) as usize];
            header.options.extend([random.pick(&[131, 137, 7, 148]), 7, 4, 10, 88, 0, 99]);
        }
        // Options that an IHL of five would read as ports.
        2 => header.options = Tcp::new(443).segment(b""),
        3 => header.words = Some(random.below(16) as u8),
        4 | 5 => {
            let right = 20 + payload.len() as u16;
            let wild = random.next() as u16;
            header.total =
                Some(random.pick(&[0, 19, 20, 24, 39, 40, right - 1, right + 1, 1500, wild]));
        }
        6 => header.version = random.below(16) as u8,
        _ => {}
    }
    let kind = kind(random, ether_type::IPV4);
    if !make.random.once_in(4) {
        return vec![ethernet.frame(kind, &header.packet(&payload))];
    }
    let mut frames = Vec::new();
    for (at, (offset, more, payload)) in parts(make, payload).into_iter().enumerate() {
        let mut header = header.clone();
        header.fragment = (offset / 8) | if more { MORE } else { 0 };
        let mut ethernet = ethernet.clone();
        if at > 0 && make.random.once_in(8) {
            match make.random.below(5) {
                0 => header.destination ^= 1,
                1 => header.source = A4 + 1,
                2 => header.id ^= 1,
                3 => header.protocol = make.random.pick(&[6, 17, 1]),
                _ => ethernet = other_sender(&mut make.random, ethernet),
            }
        }
        frames.push(ethernet.frame(kind, &header.packet(&payload)));
    }
    frames
}

/// Frames with an IPv6 packet each.
pub(super) fn v6(make: &mut Make) -> Vec<Vec<u8>> {
    let ethernet = make.ethernet();
    let (protocol, payload) = make.transport(true);
    let random = &mut make.random;
    let mut header = V6::new(A6, D6, protocol);
    let wild = u128::from(random.next()) << 64 | u128::from(random.next());
    let mapped = 0xffff << 32 | u128::from(D4);
    if random.once_in(10) {
        header.source = random.pick(&[A6 + 1, D6, LINK, 0, 1, mapped, 0xff02 << 112 | 1, wild]);
    }
    if random.once_in(7) {
        let others = [D6 + 1, D6 ^ 1 << 127, OWN6, LINK, 0, 1, mapped, 0xff01 << 112 | 1, wild];
        header.destination = random.pick(&others);
    }
    header.hops = random.pick(&[64, 64, 64, 255, 1]);
    if random.once_in(3) {
        header.extensions = chain(random);
    }
    match random.below(40) {
        0 => header.protocol = 59,
        1 | 2 => {
            let wild = random.next() as u16;
            header.length = Some(random.pick(&[0, 1, 8, 19, 20, 40, 1400, wild]));
        }
        3 => header.version = random.below(16) as u8,
        // A jumbogram has no payload length: RFC 2675.
        4 if random.once_in(2) => {
            header.length = Some(0);
            header.extensions.insert(0, Extension::Options { kind: 0, length: 0 });
        }
        _ => {}
    }
    make.fragile = !header.extensions.is_empty();
    let random = &mut make.random;
    let kind = kind(random, ether_type::IPV6);
    if !random.once_in(4) {
        return vec![ethernet.frame(kind, &header.packet(&payload))];
    }
    let id = random.below(64) as u32;
    // Mostly in front: what is behind a fragment header is part of the datagram.
    let place = random.below(header.extensions.len() as u64 + 1) as usize;
    let mut frames = Vec::new();
    for (at, (offset, more, payload)) in parts(make, payload).into_iter().enumerate() {
        let mut header = header.clone();
        let fragment = Extension::Fragment { offset, more, id };
        header.extensions.insert(place, fragment);
        if offset > 0 {
            header.extensions.truncate(place + 1);
        }
        let mut ethernet = ethernet.clone();
        if at > 0 && make.random.once_in(8) {
            match make.random.below(4) {
                0 => header.destination ^= 1,
                1 => header.source = A6 + 1,
                2 => header.protocol = make.random.pick(&[6, 17, 58]),
                _ => ethernet = other_sender(&mut make.random, ethernet),
            }
        }
        frames.push(ethernet.frame(kind, &header.packet(&payload)));
    }
    frames
}

/// The EtherType that belongs to the packet, or another one.
fn kind(random: &mut Random, right: u16) -> u16 {
    if random.once_in(50) {
        return random.pick(&[ether_type::IPV4, ether_type::IPV6, 0x9100, 0x8847, 60]);
    }
    right
}

/// A different sender, or the same in another VLAN.
fn other_sender(random: &mut Random, mut ethernet: Ethernet) -> Ethernet {
    if random.once_in(2) {
        ethernet.source[5] ^= 1;
        return ethernet;
    }
    ethernet.tag(super::VLAN)
}

/// Extension headers in any order, number and length.
fn chain(random: &mut Random) -> Vec<Extension> {
    let length = random.pick(&[1, 1, 1, 2, 3, 7]);
    let one = |random: &mut Random| match random.below(16) {
        0..=2 => Extension::Options { kind: 0, length: random.pick(&[0, 0, 1, 7]) },
        3..=9 => Extension::Options { kind: 60, length: random.pick(&[0, 0, 1, 3, 30, 40]) },
        10 => {
            Extension::Routing { kind: random.pick(&[0, 2, 4, 253]), left: random.below(3) as u8 }
        }
        11 | 12 => Extension::Fragment { offset: 0, more: false, id: random.below(64) as u32 },
        13 => {
            let (offset, more) = random.pick(&[(0, true), (8, false), (64, true)]);
            Extension::Fragment { offset, more, id: random.below(64) as u32 }
        }
        _ => {
            Extension::Options { kind: random.pick(&[135, 139, 140, 253, 254, 51, 59]), length: 0 }
        }
    };
    (0..=random.below(length)).map(|_| one(random)).collect()
}

/// Fragments a datagram, correctly or not.
fn parts(make: &mut Make, mut whole: Vec<u8>) -> Vec<Part> {
    whole.resize(whole.len().next_multiple_of(8), 0x42);
    let end = whole.len() as u16;
    let later = later(make);
    let next = later.len() as u16;
    match make.random.below(11) {
        0 => vec![(0, true, whole)],
        1 => {
            let offset = make.random.pick(&[8, 16, 24, end, 1480, 65_528]);
            vec![(offset, make.random.once_in(2), later)]
        }
        // Atomic in IPv6, whole in IPv4.
        2 => vec![(0, false, whole)],
        3 => {
            whole.truncate(make.random.pick(&[0, 8, 16]));
            let offset = whole.len() as u16;
            vec![(0, true, whole), (offset, false, later)]
        }
        4 | 5 => vec![(0, true, whole), (end, false, later)],
        6 => {
            let offset = make.random.pick(&[8, 16, end - 8]);
            vec![(0, true, whole), (offset, false, later)]
        }
        7 => vec![(end, false, later), (0, true, whole)],
        8 => {
            let third = self::later(make);
            vec![(0, true, whole), (end, true, later), (end + next, false, third)]
        }
        9 => {
            let third = self::later(make);
            let offset = make.random.pick(&[end, end + next - 8, end + next + 8]);
            vec![(0, true, whole), (end, true, later), (offset, false, third)]
        }
        _ => {
            let third = self::later(make);
            vec![(0, true, whole), (end + next, false, third), (end, true, later)]
        }
    }
}

/// The payload of a later fragment; it may look like an allowed segment.
fn later(make: &mut Make) -> Vec<u8> {
    let marker = make.marker();
    let mut payload = match make.random.below(3) {
        0 => Tcp::new(443).segment(&marker),
        1 => Tcp::new(25).segment(&marker),
        _ => marker,
    };
    payload.resize(payload.len().next_multiple_of(8), 0);
    payload
}
