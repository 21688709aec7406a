//! Random stacks of headers around a marked payload, most of them one or two steps away from
//! what the policy allows.

use super::network;
use super::{A4, A6, DEVICE, VLAN};
use enforcer_testkit::corpus::{ALL_NODES, BEHIND, D4, LINK, OWN4, OWN6};
use enforcer_testkit::frames::{
    BROADCAST, Ethernet, Extension, GATEWAY, LONGEST, SHORTEST, Tcp, V4, V6, arp, bpdu, compose,
    dhcp_discover, eapol, ether_type, icmp, lldp, neighbour, sctp, udp, udp_of_length,
};
use enforcer_testkit::random::Random;

/// Every frame carries it, before its number in eight bytes, most significant first.
pub(super) const MAGIC: &[u8] = b"leak";

/// One case: a frame, or the fragments of one or two datagrams.
pub(super) struct Make {
    pub(super) random: Random,
    /// Destination MAC of frames that should leave the gateway.
    pub(super) to: [u8; 6],
    /// Whether bytes must stay as they are. Damage makes IPv6 options that are longer than their
    /// header, and there tshark reads no further.
    pub(super) fragile: bool,
    case: u64,
    marked: u64,
}

/// The frames of a case, the same for the same seed and number.
pub(super) fn case(seed: u64, case: u64, to: [u8; 6]) -> Vec<Vec<u8>> {
    let mut mixed = Random::new(seed ^ case.wrapping_mul(0xd134_2543_de82_ef95));
    let random = Random::new(mixed.next());
    let mut make = Make { random, to, fragile: false, case, marked: 0 };
    let mut frames = match make.random.below(24) {
        0 | 1 => vec![make.link()],
        2..=12 => network::v4(&mut make),
        _ => network::v6(&mut make),
    };
    for frame in &mut frames {
        make.spoil(frame);
    }
    frames
}

impl Make {
    /// The marker of the next frame.
    pub(super) fn marker(&mut self) -> Vec<u8> {
        let number = self.case << 8 | self.marked;
        self.marked += 1;
        [MAGIC, &number.to_be_bytes()].concat()
    }

    /// Bytes behind the packet, or damage anywhere.
    fn spoil(&mut self, frame: &mut Vec<u8>) {
        if self.random.once_in(10) {
            let tail = self.random.below(60) as usize;
            frame.resize(frame.len() + tail, 0x42);
        }
        if self.random.once_in(10) && !self.fragile {
            compose::damage(&mut self.random, frame);
        }
        // Damage must not redirect a frame to the bridge itself.
        if frame.starts_with(&GATEWAY) && self.to != GATEWAY {
            frame[..6].copy_from_slice(&self.to);
        }
        frame.truncate(LONGEST);
        if frame.len() < SHORTEST {
            frame.resize(SHORTEST, 0);
        }
    }

    /// Addresses and tags.
    pub(super) fn ethernet(&mut self) -> Ethernet {
        let mut ethernet = Ethernet::new(DEVICE).to(self.to);
        let random = &mut self.random;
        match random.below(60) {
            0 => ethernet.source = GATEWAY,
            1 => ethernet.source = BEHIND,
            2 => ethernet.source[0] |= 1,
            3 => ethernet.source[5] ^= 1 << random.below(8),
            4 => ethernet.destination = BROADCAST,
            5 => ethernet.destination = [1, 0, 0x5e, 0, 0, 0xfb],
            6 => ethernet.destination = [0x33, 0x33, 0, 0, 0, 1],
            7 => ethernet.destination = [1, 0x80, 0xc2, 0, 0, random.below(16) as u8],
            _ => {}
        }
        if random.once_in(4) {
            self.tags(&mut ethernet);
        }
        ethernet
    }

    /// Up to six tags.
    fn tags(&mut self, ethernet: &mut Ethernet) {
        let random = &mut self.random;
        let most = random.pick(&[1, 1, 1, 2, 2, 6]);
        for _ in 0..=random.below(most) {
            let customer = ether_type::VLAN;
            let kind = [customer, customer, customer, customer, customer, customer];
            let kind = [&kind[..], &[ether_type::SERVICE_VLAN, 0x9100, 0x9200]].concat();
            let kind = random.pick(&kind);
            let random_id = random.below(4096) as u16;
            let id = random.pick(&[0, 0, 0, VLAN, VLAN, VLAN, 10, 4095, random_id]);
            ethernet.tags.push((kind, (random.below(16) as u16) << 12 | id));
        }
    }

    /// A transport header around a marker, and its protocol.
    pub(super) fn transport(&mut self, v6: bool) -> (u8, Vec<u8>) {
        let mut data = self.marker();
        data.resize(data.len() + self.random.pick(&[0, 0, 0, 4, 40, 300]), 0x42);
        let random = &mut self.random;
        let service = 5000 + random.below(11) as u16;
        match random.below(24) {
            0..=9 => (6, self.tcp(443, &data)),
            10..=13 => (17, self.udp(40_000, service, &data)),
            14 => (if v6 { 58 } else { 1 }, icmp(if v6 { 128 } else { 8 }, 0, &data)),
            15 => {
                let kinds = if v6 { [1, 3, 129, 130, 134, 137] } else { [0, 3, 5, 9, 10, 13] };
                (if v6 { 58 } else { 1 }, icmp(random.pick(&kinds), 0, &data))
            }
            16 => {
                let port = random.pick(&[0, 25, 80, 442, 444, 5000, u16::MAX]);
                (6, self.tcp(port, &data))
            }
            17 => {
                let port = random.pick(&[53, 443, 4999, 5011, 4789, 3544]);
                let port = if random.once_in(4) { random.next() as u16 } else { port };
                (17, self.udp(40_000, port, &data))
            }
            18 => {
                let (a, b) = random.pick(&[(67, 68), (68, 67), (546, 547), (547, 546)]);
                (17, self.udp(a, b, &data))
            }
            19 => (132, [sctp(40_000, 443), data].concat()),
            20..=22 => self.tunnel(&data),
            _ => {
                let protocol = random.next() as u8;
                (protocol, [&Tcp::new(443).segment(b""), &data[..]].concat())
            }
        }
    }

    fn tcp(&mut self, port: u16, data: &[u8]) -> Vec<u8> {
        let mut tcp = Tcp::new(port);
        tcp.flags = self.random.pick(&[2, 2, 0x10, 0x18, 0, 0x3f]);
        tcp.options = vec![1; self.random.pick(&[0, 0, 0, 12, 40])];
        if self.random.once_in(25) {
            tcp.words = Some(self.random.below(16) as u8);
        }
        tcp.segment(data)
    }

    fn udp(&mut self, source: u16, port: u16, data: &[u8]) -> Vec<u8> {
        if self.random.once_in(20) {
            let length = self.random.next() as u16 >> self.random.below(16);
            return udp_of_length(source, port, length, data);
        }
        udp(source, port, data)
    }

    /// A packet in a packet: the inner one is allowed, or imitates an outer one.
    fn tunnel(&mut self, data: &[u8]) -> (u8, Vec<u8>) {
        let segment = Tcp::new(443).segment(data);
        let four = V4::new(A4, D4, 6).packet(&segment);
        let six = V6::new(A6, super::D6, 6).packet(&segment);
        // GRE (RFC 2784), EtherIP (RFC 3378), AH (RFC 4302), ESP (RFC 4303).
        match self.random.below(8) {
            0 | 1 => (4, four),
            2 | 3 => (41, six),
            4 => (47, [&[0, 0, 8, 0][..], &four].concat()),
            5 => (97, [&[0x30, 0][..], &Ethernet::new(DEVICE).frame(0x0800, &four)].concat()),
            6 => (51, [&[6, 4, 0, 0][..], &[0; 20], &segment].concat()),
            _ => (50, [&[0, 0, 1, 0, 0, 0, 0, 1][..], &segment].concat()),
        }
    }

    /// Frames that stay on a link, and frames without IP.
    fn link(&mut self) -> Vec<u8> {
        let marker = self.marker();
        let ethernet = self.ethernet();
        let random = &mut self.random;
        match random.below(14) {
            0..=2 => {
                let sender = random.pick(&[A4, A4, A4, 0, D4, A4 + 1]);
                let mac = random.pick(&[DEVICE, DEVICE, ethernet.source, GATEWAY]);
                let packet = arp(random.pick(&[1, 2, 2, 3]), mac, sender, OWN4);
                let mut packet = [packet, marker].concat();
                packet.resize(random.pick(&[40, 46, 46, 47, 600]), 0);
                let to = random.pick(&[BROADCAST, self.to]);
                ethernet.to(to).frame(ether_type::ARP, &packet)
            }
            3..=5 => self.neighbour(ethernet, &marker),
            6 | 7 => {
                let source = random.pick(&[0, 0, A4]);
                let to = random.pick(&[u32::MAX, u32::MAX, D4, OWN4]);
                let (from, port) = random.pick(&[(68, 67), (68, 67), (67, 68)]);
                let message = [dhcp_discover(DEVICE), marker].concat();
                let packet = V4::new(source, to, 17).packet(&udp(from, port, &message));
                let mac = if to == u32::MAX { BROADCAST } else { self.to };
                ethernet.to(mac).frame(ether_type::IPV4, &packet)
            }
            8 | 9 => {
                let inner = V4::new(A4, D4, 6).packet(&Tcp::new(443).segment(&marker));
                let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
                let head =
                    random.pick(&[&snap[..], &[6, 6, 3], &[0x42, 0x42, 3], &[0xe0, 0xe0, 3]]);
                ethernet.llc(&[head, &inner].concat())
            }
            10 => {
                let block = [1, 0x80, 0xc2, 0, 0, random.pick(&[0, 3, 14, 16])];
                let ethernet = if random.once_in(4) { ethernet } else { ethernet.to(block) };
                match random.below(3) {
                    0 => ethernet.llc(&[bpdu(), marker].concat()),
                    1 => ethernet.frame(ether_type::LLDP, &lldp(&marker)),
                    _ if random.once_in(3) => {
                        ethernet.frame(ether_type::EAPOL, &[&[1, 1, 0, 0][..], &marker].concat())
                    }
                    _ => ethernet.frame(ether_type::EAPOL, &eapol(&marker)),
                }
            }
            _ => {
                let inner = V4::new(A4, D4, 6).packet(&Tcp::new(443).segment(&marker));
                let label = (16u32 << 12 | 1 << 8 | 64).to_be_bytes();
                let session = [0x11, 0, 0, 1, 0, 54, 0, 0x21];
                let (kind, head) = random.pick(&[
                    (0x8847, &label[..]),
                    (0x8848, &label),
                    (0x8864, &session),
                    (0x88b5, b""),
                    (0x88e5, b""),
                    (0x8035, b""),
                    (0x6558, b""),
                ]);
                ethernet.frame(kind, &[head, &inner].concat())
            }
        }
    }

    /// Neighbour discovery and multicast reports, with the marker behind.
    fn neighbour(&mut self, ethernet: Ethernet, marker: &[u8]) -> Vec<u8> {
        let random = &mut self.random;
        let source = random.pick(&[A6, LINK, LINK, A6 + 7]);
        let to = random.pick(&[ALL_NODES, ALL_NODES, super::D6, OWN6]);
        let mut header = V6::new(source, to, 58);
        header.hops = random.pick(&[255, 255, 255, 64, 1]);
        let kind = random.pick(&[133, 134, 135, 135, 136, 136, 137, 131, 143]);
        if kind < 133 || kind == 143 {
            header.hops = 1;
            header.destination = 0xff02 << 112 | 0x16;
            header.extensions.push(Extension::Options { kind: 0, length: 0 });
            self.fragile = true;
        }
        let random = &mut self.random;
        let target = random.pick(&[A6, A6, LINK, super::D6]);
        let mut message = neighbour(kind, target);
        // A message that may pass has no room for a marker.
        if random.once_in(2) {
            message.extend(marker);
            message.resize(message.len() + random.pick(&[0, 0, 20, 300]), 0);
        }
        let group = header.destination >> 120 == 0xff;
        let mac = if group { [0x33, 0x33, 0, 0, 0, 1] } else { self.to };
        ethernet.to(mac).frame(ether_type::IPV6, &header.packet(&message))
    }
}
