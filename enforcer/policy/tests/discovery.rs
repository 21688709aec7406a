//! The manual's examples for discovery, relays and bindings work as described.
#![allow(missing_docs, reason = "a test binary")]

use std::fs;
use std::path::Path;

use enforcer_common::reason::Reason;
use enforcer_policy::image::{HostImage, Image};
use enforcer_policy::{Host, HostInterface, Mac, compile, read};

use enforcer_testkit::frames::{BROADCAST, Ethernet, GATEWAY, V4, V6, ether_type, neighbour, udp};

const NOW: i64 = 1_800_000_000;
/// MAC of the workstation in the manual.
const WORKSTATION: [u8; 6] = [0, 0x1b, 0x44, 0x11, 0x3a, 0xc1];
/// A camera, identified by its manufacturer's block.
const OTHER: [u8; 6] = [0, 0x1b, 0x44, 0, 0, 0x12];
const SCHEMA: &str = "schema = 1\n";

/// The first example behind a heading of the manual.
fn example(heading: &str) -> String {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.md");
    let manual = fs::read_to_string(manual).expect("manual");
    let (_, rest) = manual.split_once(&format!("\n#### {heading}\n")).expect("heading");
    let (_, rest) = rest.split_once("\n```toml\n").expect("example");
    rest.split("\n```").next().expect("end").to_owned()
}

/// A policy on a gateway with 10.20.0.1/16 and `2001:db8:20::1`/64; unknown devices are dropped.
fn image(policy: &str) -> Image {
    let text = format!("{SCHEMA}{policy}\n[unknown]\ndefault = \"drop\"\n");
    let (policy, problems) = read("p.toml", &text, &mut |_| unreachable!("no files"));
    assert_eq!(problems, [], "{text}");
    let own = ["10.20.0.1", "2001:db8:20::1"].map(|own| own.parse().expect("an address"));
    let prefixes = own.into_iter().zip([16, 64]).collect();
    let lan = HostInterface {
        name: "lan0".into(),
        index: 1,
        mac: Mac(GATEWAY),
        prefixes,
        ..HostInterface::default()
    };
    let host = Host { interfaces: vec![lan], own: own.to_vec(), now: NOW, ..Host::default() };
    let compiled = compile(&policy, &host).expect("it compiles");
    assert_eq!(compiled.warnings, []);
    compiled.image
}

fn number(address: &str) -> u32 {
    address.parse::<std::net::Ipv4Addr>().expect("an address").to_bits()
}

fn number6(address: &str) -> u128 {
    address.parse::<std::net::Ipv6Addr>().expect("an address").to_bits()
}

/// The destination MAC of an address: its group (RFC 1112, RFC 2464), broadcast, or the gateway.
fn destination(address: u32) -> [u8; 6] {
    let [_, b, c, d] = address.to_be_bytes();
    match address {
        u32::MAX => BROADCAST,
        _ if address >> 28 == 0xe => [1, 0, 0x5e, b & 0x7f, c, d],
        _ => GATEWAY,
    }
}

/// A datagram from an unnamed device; ports are source and destination.
fn datagram(from: &str, to: &str, (source, port): (u16, u16)) -> Vec<u8> {
    let packet = V4::new(number(from), number(to), 17).packet(&udp(source, port, b"x"));
    Ethernet::new(OTHER).to(destination(number(to))).frame(ether_type::IPV4, &packet)
}

#[test]
fn discovery_and_relays() {
    let image = image(&example("Discovery, multicast and relays"));
    let reference = HostImage::new(&image, NOW);
    let (camera, relay) = ("10.20.1.9", "10.20.1.250");
    let report = |options: &[u8]| {
        let header = V4::new(number(camera), number("224.0.0.22"), 2);
        let packet = V4 { ttl: 1, options: options.into(), ..header }.packet(&[0x22; 16]);
        let group = destination(number("224.0.0.22"));
        Ethernet::new(OTHER).to(group).frame(ether_type::IPV4, &packet)
    };
    let mut directed = datagram(camera, "10.20.255.255", (138, 138));
    directed[..6].copy_from_slice(&BROADCAST);
    let cases = [
        ("mDNS", datagram(camera, "224.0.0.251", (5353, 5353)), Reason::Allow),
        ("SSDP", datagram(camera, "239.255.255.250", (50_000, 1900)), Reason::Allow),
        ("WS-Discovery", datagram(camera, "239.255.255.250", (50_000, 3702)), Reason::Allow),
        ("to everybody", datagram(camera, "255.255.255.255", (5050, 5050)), Reason::Allow),
        ("another port", datagram(camera, "255.255.255.255", (5050, 5051)), Reason::Default),
        ("another group", datagram(camera, "239.1.1.1", (5353, 5353)), Reason::Default),
        ("a report", report(&[148, 4, 0, 0]), Reason::Allow),
        ("with a source route", report(&[131, 7, 4, 10, 88, 0, 99]), Reason::SourceRoute),
        ("a subnet's broadcast", directed, Reason::CastMismatch),
        ("a relay", datagram(relay, "10.99.0.67", (67, 67)), Reason::Allow),
        ("a relay, elsewhere", datagram(relay, "10.99.0.68", (67, 67)), Reason::Default),
        ("no relay", datagram(camera, "10.99.0.67", (67, 67)), Reason::Default),
        ("a rogue server", datagram(relay, "255.255.255.255", (67, 68)), Reason::RogueDhcp),
    ];
    for (name, frame, reason) in cases {
        let case = reference.decide(&frame, 1);
        assert_eq!(case.decision.reason, reason, "{name}: {:?}", case.flow);
    }
}

/// A binding applies to both families.
#[test]
fn a_mac_and_its_addresses() {
    let bound = example("A MAC and its addresses");
    let only_v4 = bound.replace(", \"2001:db8:20::/64\", \"fe80::/64\"", "");
    assert_ne!(bound, only_v4);
    let group = "\n[groups.g]\nmembers = [\"workstation-4\"]\nallow = [{ to = \"any\" }]\n";
    let (own, privacy) = ("2001:db8:20:0:21b:44ff:fe11:3ac1", "2001:db8:20::dead:beef");
    let ethernet = Ethernet::new(WORKSTATION);
    let ask = |source: &str| {
        let header = V6 { hops: 255, ..V6::new(number6(source), number6("ff02::1"), 58) };
        let packet = header.packet(&neighbour(135, number6("2001:db8:20::1")));
        ethernet.clone().to([0x33, 0x33, 0, 0, 0, 1]).frame(ether_type::IPV6, &packet)
    };
    let send = |source: &str| {
        let header = V6::new(number6(source), number6("2001:db8:99::1"), 17);
        ethernet.clone().to(GATEWAY).frame(ether_type::IPV6, &header.packet(&udp(1, 2, b"x")))
    };
    for (policy, asked, sent) in [
        (&bound, Reason::Neighbour, Reason::Allow),
        (&only_v4, Reason::NeighbourSpoof, Reason::SourceBinding),
    ] {
        let image = image(&format!("{policy}{group}"));
        let reference = HostImage::new(&image, NOW);
        for source in [own, privacy] {
            assert_eq!(reference.decide(&ask(source), 1).decision.reason, asked, "{policy}");
            assert_eq!(reference.decide(&send(source), 1).decision.reason, sent, "{policy}");
        }
        let foreign = reference.decide(&send("2001:db8:21::1"), 1).decision.reason;
        assert_eq!(foreign, Reason::SourceBinding, "{policy}");
    }
}
