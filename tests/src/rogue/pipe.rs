//! How much a device in quarantine can send, and which tables it can fill.

use std::time::{Duration, Instant};

use super::{ATTACKER, FAR, Lab, POLICY, text};
use crate::harness::{Netns, frames::Sender, wait::pause};
use enforcer_testkit::frames::{
    BROADCAST, Ethernet, V4, V6, arp, dhcp_discover, eapol, ether_type, neighbour, udp,
};

fn arp_of(mac: [u8; 6], sender: u32) -> Vec<u8> {
    // An unused address: a request without a sender address means that the sender is about to use
    // it.
    let mut packet = arp(1, mac, sender, 0x0a28_00c8);
    packet.resize(46, 0);
    Ethernet::new(mac).to(BROADCAST).frame(ether_type::ARP, &packet)
}

/// Every kind, as large as it may be.
fn essentials() -> Vec<Vec<u8>> {
    let ethernet = || Ethernet::new(ATTACKER);
    let mut message = dhcp_discover(ATTACKER);
    message.resize(1016, 7);
    let header = V4 { source: 0, destination: u32::MAX, ..V4::new(0, 0, 17) };
    let dhcp =
        ethernet().to(BROADCAST).frame(ether_type::IPV4, &header.packet(&udp(68, 67, &message)));
    let nonces = [14, 1, 1, 2, 3, 4, 5, 6].repeat(4);
    let header = V6 { hops: 255, ..V6::new(0xfe80 << 112 | 0x66, 0xfd40 << 112 | 0x10, 58) };
    let solicitation = header.packet(&[neighbour(135, 0xfd40 << 112 | 0x10), nonces].concat());
    let solicitation = ethernet().to(FAR).frame(ether_type::IPV6, &solicitation);
    let reserved = ethernet().to([1, 0x80, 0xc2, 0, 0, 3]);
    vec![
        dhcp,
        solicitation,
        arp_of(ATTACKER, 0x0a28_0042),
        reserved.frame(ether_type::EAPOL, &eapol(&[7; 1400])),
    ]
}

fn received(netns: &Netns, interface: &str) -> u64 {
    let text =
        netns.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("it is there");
    let line = text.lines().find(|line| line.trim_start().starts_with(interface)).expect("a line");
    let fields = line.split_once(':').expect("a name").1;
    fields.split_whitespace().next().expect("bytes").parse().expect("a number")
}

/// Sends frames as fast as they are taken, for this long.
fn flood(lab: &Lab, frames: &[Vec<u8>], time: Duration) -> u64 {
    let sender = Sender::open(&lab.attacker, "a0");
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < time {
        sender.send(frames);
        sent += frames.len() as u64;
    }
    sent
}

/// On a bridge, essentials reach other hosts: they must not become a covert channel.
#[test]
fn essentials_are_no_pipe() {
    let lab = Lab::build("pipe");
    // 802.1X and LLDP too: some bridges are told to forward them.
    lab.gateway.ip("link set br0 type bridge group_fwd_mask 0x4008");
    let daemon = lab.daemon(POLICY);
    let frames: Vec<Vec<u8>> = essentials().into_iter().cycle().take(256).collect();
    let time = Duration::from_secs(15);
    let before = received(&lab.far, "x0");
    let begun = Instant::now();
    let sent = flood(&lab, &frames, time);
    let (bytes, took) = (received(&lab.far, "x0") - before, begun.elapsed().as_secs_f64());
    let rate = bytes as f64 * 8.0 / took / 1000.0;
    println!("{sent} frames sent in {took:.1} s, {bytes} bytes came out: {rate:.1} kbit/s");
    let most = 32_000.0 + 8_000.0 * took + 1_500.0;
    assert!(bytes > 32_000, "a burst passes");
    assert!((bytes as f64) < most, "{bytes} of {most}");
    assert!(rate < 100.0, "{rate} kbit/s");
    assert!(daemon.reason("essential-rate", "frames") > sent / 2);
    // After a pause the device is accepted again: it must not be locked out permanently.
    pause(Duration::from_secs(5));
    let before = daemon.reason("arp", "frames");
    Sender::open(&lab.attacker, "a0").send(&[arp_of(ATTACKER, 0x0a28_0042)]);
    assert_eq!(daemon.reason("arp", "frames"), before + 1);
}

/// Invented MACs are entries in the bridge, invented addresses in the table of neighbours.
#[test]
fn tables_of_the_gateway_do_not_fill() {
    let lab = Lab::build("tables");
    lab.gateway.sysctl("ipv6/conf/br0/disable_ipv6", "0");
    lab.gateway.address("br0", "10.40.0.1/24");
    lab.gateway.address("br0", "fd40::1/64");
    let daemon = lab.daemon(POLICY);
    let begun = Instant::now();
    let invented = |n: u16| {
        let [high, low] = n.to_be_bytes();
        arp_of([2, 0xba, 0xd0, 0, high, low], 0)
    };
    let frames: Vec<_> = (0..5_000).map(invented).collect();
    let sender = Sender::open(&lab.attacker, "a0");
    for frames in frames.chunks(100) {
        sender.send(frames);
    }
    let learned = lab.gateway.run_ok("bridge", &["fdb", "show", "br", "br0", "dev", "g1"]);
    let learned = learned.lines().filter(|line| line.starts_with("02:ba:d0")).count();
    let most = 512 + 8 * begun.elapsed().as_secs() as usize + 9;
    println!("{learned} of 5,000 MACs in the bridge, at most {most}");
    assert!((400..=most).contains(&learned), "{learned}, at most {most}");
    assert!(daemon.reason("identity-rate", "frames") > 4_000);

    let begun = Instant::now();
    let solicitation = |n: u128| {
        let header = V6 {
            hops: 255,
            ..V6::new((0xfd40 << 112) | (0x1000 + n), (0xff02 << 112) | 0x1_ff00_0001, 58)
        };
        let option = [&[1, 1][..], &ATTACKER].concat();
        let packet = header.packet(&[neighbour(135, 0xfd40 << 112 | 1), option].concat());
        Ethernet::new(ATTACKER).to([0x33, 0x33, 0xff, 0, 0, 1]).frame(ether_type::IPV6, &packet)
    };
    sender.send(&(0..300).map(solicitation).collect::<Vec<_>>());
    let known = lab.gateway.ip("-6 neigh show dev br0");
    let known = known.lines().filter(|line| line.contains(&text(ATTACKER))).count();
    let most = 64 + begun.elapsed().as_secs() as usize + 2;
    println!("{known} of 300 addresses in the table of neighbours, at most {most}");
    assert!((50..=most).contains(&known), "{known}, at most {most}");
}
