//! Frames towards devices: what is refused, accepted, asked for and related.
// tidy: long because the cases need the same policy and the same frames
#![allow(missing_docs, reason = "a test binary")]

use enforcer_common::decide::Policy as _;
use enforcer_common::decide::asked::{ENTRIES, WINDOW};
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::tcp::{ACK, RST, SYN};
use enforcer_policy::image::{HostImage, Image, Time};
use enforcer_policy::{compile, read, report};
use enforcer_testkit::frames::{
    Ethernet, Extension, MORE, Tcp, V4, V6, arp, eapol, ether_type, icmp, neighbour, udp,
};
use enforcer_testkit::random;

const DEVICE: [u8; 6] = [0, 0x1b, 0x44, 0x11, 0x3a, 0xb7];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0xff, 0];
const EVERYBODY: [u8; 6] = [0xff; 6];
const OWN: u32 = 0x0a14_000c;
/// A work station that may open things.
const PEER: u32 = 0x0a1e_000a;
/// A server to whom the device may send.
const SERVER: u32 = 0x0a1f_0032;
const ROUTER: u32 = 0xcb00_7101;
const STRANGER: u32 = 0xc633_6407;
const OWN_V6: u128 = 0x2001_0db8 << 96 | 5;
const SERVER_V6: u128 = 0x2001_0db8_0030 << 80 | 0x32;
const LAN: u32 = 1;

const POLICY: &str = r#"schema = 1
[devices.bed]
mac = "00:1b:44:11:3a:b7"
[groups.beds]
members = ["bed", "10.20.0.0/24", "2001:db8::/64"]
inbound = "drop"
allow = [{ to = "10.31.0.50", service = ["tcp/443", "udp/514", "icmp"] },
  { to = "2001:db8:30::32", service = ["tcp/443", "icmpv6"] }]
accept = [{ from = "10.30.0.0/24", service = ["tcp/22", "udp/2000-2200", "icmp"] }]
refuse = [{ from = "any", service = "udp/2000-2100", reason = "CVE-2024-12248" }]
[interfaces.lan0]
flooded = "essential"
"#;

fn image(text: &str) -> Image {
    let (policy, problems) = read("p.toml", text, &mut |_| unreachable!());
    assert!(!report::has_errors(&problems), "{problems:?}");
    compile(&policy, &random::host()).unwrap().image
}

fn host(image: &Image) -> HostImage<'_> {
    HostImage::at(image, Time { boot: 1_000_000, ..Time::wall(random::NOW) })
}

fn segment(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    Tcp { source, flags, ..Tcp::new(destination) }.segment(b"data")
}

fn packet(from: u32, protocol: u8, payload: &[u8]) -> Vec<u8> {
    V4::new(from, OWN, protocol).packet(payload)
}

/// A frame towards the device.
fn frame(from: u32, protocol: u8, payload: &[u8]) -> Vec<u8> {
    Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV4, &packet(from, protocol, payload))
}

/// A frame of the device.
fn sent(to: u32, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let packet = V4::new(OWN, to, protocol).packet(payload);
    Ethernet::new(DEVICE).to(GATEWAY).frame(ether_type::IPV4, &packet)
}

#[track_caller]
fn reason(host: &HostImage<'_>, frame: &[u8]) -> Option<Reason> {
    let case = host.send(frame, LAN)?;
    assert_eq!(case.decision.verdict == Verdict::Pass, case.decision.reason.passes());
    Some(case.decision.reason)
}

#[test]
fn each_part_of_the_order() {
    let image = image(POLICY);
    for (what, frame, expected) in [
        ("no rule", frame(STRANGER, 6, &segment(40_000, 22, SYN)), Reason::InboundDrop),
        ("accepted", frame(PEER, 6, &segment(40_000, 22, SYN)), Reason::Accept),
        ("accepted, no opening", frame(PEER, 6, &segment(40_000, 22, RST)), Reason::Accept),
        ("another port", frame(PEER, 6, &segment(40_000, 23, SYN)), Reason::InboundDrop),
        ("refuse wins over accept", frame(PEER, 17, &udp(9, 2050, b"x")), Reason::Refuse),
        ("accepted beside it", frame(PEER, 17, &udp(9, 2150, b"x")), Reason::Accept),
        ("anybody is refused", frame(SERVER, 17, &udp(514, 2000, b"x")), Reason::Refuse),
        // What the device may send may be answered, except by what opens.
        ("an answer", frame(SERVER, 6, &segment(443, 40_000, SYN | ACK)), Reason::Asked),
        ("a SYN from there", frame(SERVER, 6, &segment(443, 40_000, SYN)), Reason::InboundDrop),
        ("another port of it", frame(SERVER, 6, &segment(80, 40_000, ACK)), Reason::InboundDrop),
        // Datagrams must have been asked for.
        ("a forged datagram", frame(SERVER, 17, &udp(514, 3000, b"x")), Reason::InboundDrop),
        ("an echo nobody wants", frame(SERVER, 1, &icmp(0, 0, b"ping")), Reason::InboundDrop),
        ("an accepted echo", frame(PEER, 1, &icmp(8, 0, b"ping")), Reason::Accept),
        ("another type of ICMP", frame(PEER, 1, &icmp(13, 0, b"when")), Reason::Accept),
        ("GRE", frame(PEER, 47, b"payload"), Reason::InboundDrop),
    ] {
        assert_eq!(reason(&host(&image), &frame), Some(expected), "{what}");
    }
}

#[test]
fn what_is_essential_comes_in() {
    let image = image(POLICY);
    let ether = |to: [u8; 6]| Ethernet::new(GATEWAY).to(to);
    let answer = arp(2, GATEWAY, 0x0a14_0001, OWN);
    let offer = V4::new(0x0a14_0001, OWN, 17).packet(&udp(67, 68, &reply(2, DEVICE)));
    let router = 0xfe80 << 112 | 1;
    let advert =
        V6 { hops: 255, ..V6::new(router, router + 4, 58) }.packet(&neighbour(136, router));
    let mut content = vec![134, 0, 0, 0, 64, 0, 7, 8];
    content.extend([0; 8]);
    let everybody = 0xff02 << 112 | 1;
    let routers = V6 { hops: 255, ..V6::new(router, everybody, 58) }.packet(&content);
    let nodes = [0x33, 0x33, 0, 0, 0, 1];
    for (what, frame) in [
        ("ARP reply", ether(DEVICE).frame(ether_type::ARP, &answer)),
        (
            "ARP request",
            ether(EVERYBODY).frame(ether_type::ARP, &arp(1, GATEWAY, 0x0a14_0001, OWN)),
        ),
        ("DHCP offer", ether(DEVICE).frame(ether_type::IPV4, &offer)),
        ("DHCP offer to all", ether(EVERYBODY).frame(ether_type::IPV4, &offer_to_all())),
        ("neighbour advertisement", ether(DEVICE).frame(ether_type::IPV6, &advert)),
        ("router advertisement", ether(nodes).frame(ether_type::IPV6, &routers)),
    ] {
        assert_eq!(reason(&host(&image), &frame), Some(Reason::InboundPass), "{what}");
    }
    // The policy has switched it off.
    let without = self::image(&format!("{POLICY}\n[essential]\narp = false\n"));
    let answer = ether(DEVICE).frame(ether_type::ARP, &answer);
    assert_eq!(reason(&host(&without), &answer), Some(Reason::InboundDrop));
}

/// A BOOTP message (RFC 2131, section 2) with no option but the end.
fn reply(operation: u8, client: [u8; 6]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[operation, 1, 6]);
    message[28..34].copy_from_slice(&client);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.push(255);
    message
}

fn offer_to_all() -> Vec<u8> {
    V4::new(0x0a14_0001, u32::MAX, 17).packet(&udp(67, 68, &reply(2, DEVICE)))
}

#[test]
fn what_only_looks_essential_is_judged_by_the_rules() {
    let image = image(POLICY);
    let world = host(&image);
    let over6 = |hops, protocol, payload: &[u8]| {
        let packet = V6 { hops, ..V6::new(SERVER_V6, OWN_V6, protocol) }.packet(payload);
        Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV6, &packet)
    };
    for (what, frame) in [
        ("IGMP to one device", frame(STRANGER, 2, &[0x41; 400])),
        ("its first fragment", {
            let packet = V4 { id: 9, fragment: MORE, ..V4::new(STRANGER, OWN, 2) };
            Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV4, &packet.packet(&[0x41; 64]))
        }),
        ("no DHCP", frame(STRANGER, 17, &udp(67, 68, b"garbage"))),
        ("a client's message", frame(STRANGER, 17, &udp(67, 68, &reply(1, DEVICE)))),
        ("for another client", frame(STRANGER, 17, &udp(67, 68, &reply(2, GATEWAY)))),
        ("from port 68", frame(STRANGER, 17, &udp(68, 67, &reply(1, DEVICE)))),
        ("a router of afar", over6(40, 58, &icmp(134, 0, &[0x41; 1000]))),
        ("a query of afar", over6(40, 58, &icmp(130, 0, &[0x41; 1000]))),
        ("no DHCPv6", over6(64, 17, &udp(547, 546, b"garbage"))),
        ("DHCPv6 of afar", over6(64, 17, &udp(547, 546, &[2, 1, 2, 3]))),
    ] {
        let said = reason(&world, &frame);
        let refused = [Some(Reason::InboundDrop), Some(Reason::InboundMalformed)];
        assert!(refused.contains(&said), "{what}: {said:?}");
    }
}

#[test]
fn what_a_lan_needs_comes_in() {
    let image = image(POLICY);
    let world = host(&image);
    // A neighbour is asked from a link-local address, also about a global one (RFC 4861, section 7.2.2).
    let router = 0xfe80 << 112 | 1;
    let said = V6 { hops: 255, ..V6::new(router, OWN_V6, 58) }.packet(&neighbour(136, router));
    let said = Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV6, &said);
    // A bridge asks for members from no address (RFC 4541, section 2.1.1).
    let query = [0x11, 0x64, 0, 0, 0, 0, 0, 0];
    let query =
        V4 { options: vec![148, 4, 0, 0], ttl: 1, ..V4::new(0, 0xe000_0001, 2) }.packet(&query);
    let query = Ethernet::new(GATEWAY).to([1, 0, 0x5e, 0, 0, 1]).frame(ether_type::IPV4, &query);
    let port = Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::EAPOL, &eapol(b"body"));
    for (what, frame) in [("neighbour", said), ("query", query), ("EAPOL", port)] {
        assert_eq!(reason(&world, &frame), Some(Reason::InboundPass), "{what}");
    }
}

#[test]
fn each_first_fragment_is_judged_by_its_own_ports() {
    let image = image(&POLICY.replace("inbound = \"drop\"\n", ""));
    let world = host(&image);
    let first = |port| {
        let packet = V4 { id: 7, fragment: MORE, ..V4::new(STRANGER, OWN, 17) };
        let packet = packet.packet(&udp(9, port, &[b'x'; 24]));
        Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV4, &packet)
    };
    assert_eq!(reason(&world, &first(80)), Some(Reason::InboundPass));
    assert_eq!(reason(&world, &first(2050)), Some(Reason::Refuse), "one of the same number");
    let first = |port| {
        let packet = V6::new(SERVER_V6, OWN_V6, 17)
            .extension(Extension::Fragment { offset: 0, more: true, id: 7 })
            .packet(&udp(9, port, &[b'x'; 24]));
        Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV6, &packet)
    };
    assert_eq!(reason(&world, &first(80)), Some(Reason::InboundPass));
    assert_eq!(reason(&world, &first(2050)), Some(Reason::Refuse), "over IPv6");
}

#[test]
fn an_echo_is_answered_by_a_reply_only() {
    let image = image(POLICY);
    let world = host(&image);
    let echo = |kind: u8| {
        let mut message = icmp(kind, 0, &[]);
        message.truncate(4);
        message.extend([0x12, 0x34, 0, 1]);
        message
    };
    assert_eq!(world.decide(&sent(SERVER, 1, &echo(8)), LAN).decision.reason, Reason::Allow);
    assert_eq!(reason(&world, &frame(SERVER, 1, &echo(0))), Some(Reason::Asked));
    for kind in [8, 13, 17, 40] {
        let said = reason(&world, &frame(SERVER, 1, &echo(kind)));
        assert_eq!(said, Some(Reason::InboundDrop), "type {kind}");
    }
}

#[test]
fn an_error_about_what_passes_by_default_comes_in() {
    let open = POLICY.replace("[groups.beds]", "[groups.beds]\ndefault = \"pass\"");
    let image = image(&open);
    let quoted = V4::new(OWN, STRANGER, 6).packet(&segment(40_000, 443, ACK));
    let error = frame(ROUTER, 1, &icmp(3, 4, &quoted));
    assert_eq!(reason(&host(&image), &error), Some(Reason::Related));
}

#[test]
fn tags_that_hide_an_address_are_refused() {
    let text =
        POLICY.replace("\"bed\", ", "").replace("[devices.bed]\nmac = \"00:1b:44:11:3a:b7\"\n", "");
    let image = image(&text);
    let crash = packet(STRANGER, 17, &udp(9, 2050, b"crash"));
    let tagged = |tags: &[u16]| {
        let ether = Ethernet::new(GATEWAY).to(DEVICE);
        tags.iter().fold(ether, |ether, tag| ether.tag(*tag)).frame(ether_type::IPV4, &crash)
    };
    assert_eq!(reason(&host(&image), &tagged(&[0, 0])), Some(Reason::Refuse));
    assert_eq!(reason(&host(&image), &tagged(&[0, 0, 0])), Some(Reason::InboundMalformed));
}

#[test]
fn what_floods_a_port() {
    let image = image(POLICY);
    let datagram = V4::new(ROUTER, u32::MAX, 17).packet(&udp(9, 2000, b"crash"));
    let broadcast = Ethernet::new(GATEWAY).to(EVERYBODY).frame(ether_type::IPV4, &datagram);
    assert_eq!(reason(&host(&image), &broadcast), Some(Reason::Flooded));
    let group = V4::new(PEER, 0xeffe_fffa, 17).packet(&udp(9, 1900, b"M-SEARCH"));
    let multicast = Ethernet::new(GATEWAY).to([1, 0, 0x5e, 0x7e, 0xff, 0xfa]);
    let multicast = multicast.frame(ether_type::IPV4, &group);
    assert_eq!(reason(&host(&image), &multicast), Some(Reason::Flooded));
    let open = self::image(&POLICY.replace("\"essential\"", "\"pass\""));
    assert_eq!(reason(&host(&open), &broadcast), None);
}

#[test]
fn a_datagram_comes_in_if_the_device_has_asked_for_it() {
    let image = image(POLICY);
    let mut world = host(&image);
    let answer = frame(SERVER, 17, &udp(514, 3000, b"answer"));
    let reply = frame(SERVER, 1, &icmp(0, 0, b"ping"));
    let asked = world.decide(&sent(SERVER, 17, &udp(3000, 514, b"question")), LAN).decision;
    assert_eq!(asked.reason, Reason::Allow);
    assert_eq!(reason(&world, &answer), Some(Reason::Asked));
    for (what, other) in [
        ("to another port", frame(SERVER, 17, &udp(514, 3001, b"x"))),
        ("from another port", frame(SERVER, 17, &udp(515, 3000, b"x"))),
        ("from another host", frame(PEER, 17, &udp(514, 3000, b"x"))),
        ("an echo", reply.clone()),
    ] {
        assert_eq!(reason(&world, &other), Some(Reason::InboundDrop), "{what}");
    }
    assert_eq!(
        world.decide(&sent(SERVER, 1, &icmp(8, 0, b"ping")), LAN).decision.reason,
        Reason::Allow
    );
    assert_eq!(reason(&world, &reply), Some(Reason::Asked));
    // What is refused asks for nothing.
    let refused = world.decide(&sent(STRANGER, 17, &udp(3000, 514, b"question")), LAN).decision;
    assert_eq!(refused.reason, Reason::Default);
    let from_there = frame(STRANGER, 17, &udp(514, 3000, b"x"));
    assert_eq!(reason(&world, &from_there), Some(Reason::InboundDrop));
    // Answers come for three minutes, and to an echo for ten seconds.
    let at = |seconds: i64| Time { boot: 1_000_000 + seconds, ..Time::wall(random::NOW) };
    world.set_time(at(11));
    assert_eq!(reason(&world, &reply), Some(Reason::InboundDrop));
    world.set_time(at(180));
    assert_eq!(reason(&world, &answer), Some(Reason::Asked));
    world.set_time(at(181));
    assert_eq!(reason(&world, &answer), Some(Reason::InboundDrop));
    // A rule that is gone ends it with the next frame.
    world.set_time(at(0));
    let without = self::image(&POLICY.replace("\"udp/514\", ", ""));
    assert_eq!(reason(&world.replaced(&without, 2), &answer), Some(Reason::InboundDrop));
}

#[test]
fn an_error_comes_in_if_it_is_about_what_may_pass() {
    let image = image(POLICY);
    let world = host(&image);
    let quoted = |to, protocol, payload: &[u8]| V4::new(OWN, to, protocol).packet(payload);
    let https = quoted(SERVER, 6, &segment(40_000, 443, ACK));
    let too_big = |packet: &[u8]| frame(ROUTER, 1, &icmp(3, 4, packet));
    assert_eq!(reason(&world, &too_big(&https)), Some(Reason::Related));
    assert_eq!(reason(&world, &frame(ROUTER, 1, &icmp(11, 0, &https))), Some(Reason::Related));
    for (what, frame) in [
        ("another port", too_big(&quoted(SERVER, 6, &segment(40_000, 80, ACK)))),
        ("another host", too_big(&quoted(STRANGER, 6, &segment(40_000, 443, ACK)))),
        (
            "another device",
            too_big(&V4::new(OWN + 1, SERVER, 6).packet(&segment(40_000, 443, ACK))),
        ),
        ("an error that is none", frame(ROUTER, 1, &icmp(13, 0, &https))),
        ("nothing quoted", frame(ROUTER, 1, &icmp(3, 4, &https[..20]))),
    ] {
        assert_eq!(reason(&world, &frame), Some(Reason::InboundDrop), "{what}");
    }
    // About an answer that the device may give, as long as it may.
    let shell = too_big(&quoted(PEER, 6, &segment(22, 40_000, ACK)));
    assert_eq!(reason(&world, &shell), Some(Reason::InboundDrop));
    assert_eq!(reason(&world, &frame(PEER, 6, &segment(40_000, 22, SYN))), Some(Reason::Accept));
    assert_eq!(reason(&world, &shell), Some(Reason::Related));
    // Over IPv6.
    let https = V6::new(OWN_V6, SERVER_V6, 6).packet(&segment(40_000, 443, ACK));
    let too_big = V6::new(SERVER_V6 + 9, OWN_V6, 58).packet(&icmp(2, 0, &https));
    let too_big = Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV6, &too_big);
    assert_eq!(reason(&world, &too_big), Some(Reason::Related));
}

#[test]
fn an_error_of_the_device_about_a_question_goes_out() {
    let image = image(POLICY);
    let world = host(&image);
    let question = packet(PEER, 17, &udp(50_000, 2150, b"get"));
    let refused = |to, quoted: &[u8]| sent(to, 1, &icmp(3, 3, quoted));
    let said = |frame: &[u8]| world.decide(frame, LAN).decision.reason;
    assert_eq!(said(&refused(PEER, &question)), Reason::Default, "nobody has asked");
    assert_eq!(reason(&world, &frame(PEER, 17, &udp(50_000, 2150, b"get"))), Some(Reason::Accept));
    assert_eq!(said(&refused(PEER, &question)), Reason::Related);
    assert_eq!(said(&refused(STRANGER, &question)), Reason::Default, "not to who has asked");
    let other = packet(PEER, 17, &udp(50_000, 2151, b"get"));
    assert_eq!(said(&refused(PEER, &other)), Reason::Default, "another port");
    assert_eq!(said(&sent(PEER, 1, &icmp(5, 0, &question))), Reason::Redirect);
    // A quote of a host that it may reach is no reason to send ICMP there: nobody has asked.
    let text = POLICY.replace("\"udp/514\", \"icmp\"]", "\"udp/514\"]");
    let image = self::image(&text);
    let mut forged = V4::new(SERVER, OWN, 6).packet(&segment(443, 5, ACK));
    forged.extend([0x41; 1300]);
    let error = sent(SERVER, 1, &icmp(3, 3, &forged));
    assert_eq!(host(&image).decide(&error, LAN).decision.reason, Reason::Default);
}

#[test]
fn what_hides_its_port_is_refused_with_it() {
    let text = POLICY.replace("inbound = \"drop\"\n", "");
    let image = image(&text);
    let world = host(&image);
    let crash = udp(9, 2000, b"crash");
    assert_eq!(reason(&world, &frame(STRANGER, 17, &crash)), Some(Reason::Refuse));
    assert_eq!(
        reason(&world, &frame(STRANGER, 6, &segment(9, 80, SYN))),
        Some(Reason::InboundPass)
    );
    // Behind IPv4 options, and behind a header that splits from it.
    let options = V4 { options: vec![1, 1, 1, 1], ..V4::new(STRANGER, OWN, 17) }.packet(&crash);
    let options = Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV4, &options);
    assert_eq!(reason(&world, &options), Some(Reason::InboundMalformed));
    let split = V6::new(SERVER_V6, OWN_V6, 17)
        .extension(Extension::Fragment { offset: 0, more: true, id: 7 })
        .packet(&crash[..4]);
    let split = Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV6, &split);
    assert_eq!(reason(&world, &split), Some(Reason::InboundMalformed));
    // A fault that hides nothing ends no rule: a redirect is ICMP.
    let closed = self::image(&text.replace("\"udp/2000-2100\"", "\"icmp\""));
    let redirect = frame(ROUTER, 1, &icmp(5, 1, &packet(SERVER, 6, &segment(1, 443, ACK))));
    assert_eq!(reason(&host(&closed), &redirect), Some(Reason::Refuse));
    assert_eq!(reason(&world, &redirect), Some(Reason::InboundPass));
    // What has no ports comes in: PROFINET, for one.
    let profinet = Ethernet::new(GATEWAY).to(DEVICE).frame(0x8892, &[0x80; 46]);
    assert!(reason(&world, &profinet).is_none_or(Reason::passes));
    // A group without rules for it gets everything, as before.
    let without = self::image(
        &text
            .replace("[groups.beds]", "[groups.others]\n[groups.x]")
            .replace("\"bed\", \"10.20.0.0/24\", \"2001:db8::/64\"", ""),
    );
    assert_eq!(reason(&host(&without), &options), None);
}

#[test]
fn fragments_share_the_fate_of_the_first_one() {
    let image = image(POLICY);
    let world = host(&image);
    let data = [b'x'; 64];
    let piece = |from, port, number: u16, more: u16| {
        let whole = udp(9, port, &data);
        let at = usize::from(number) * 32;
        let end = (at + 32).min(whole.len());
        let packet = V4 { id: port, fragment: (number * 4) | more, ..V4::new(from, OWN, 17) };
        let packet = packet.packet(&whole[at..end]);
        Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV4, &packet)
    };
    assert_eq!(reason(&world, &piece(PEER, 2150, 0, MORE)), Some(Reason::Accept));
    assert_eq!(reason(&world, &piece(PEER, 2150, 1, MORE)), Some(Reason::Accept));
    assert_eq!(reason(&world, &piece(PEER, 2150, 2, 0)), Some(Reason::Accept));
    assert_eq!(reason(&world, &piece(PEER, 2050, 0, MORE)), Some(Reason::Refuse));
    assert_eq!(reason(&world, &piece(PEER, 2050, 1, MORE)), Some(Reason::InboundMalformed));
    // What the device itself has sent in fragments of the same number is another datagram.
    let own = V4 { id: 2050, fragment: MORE, ..V4::new(OWN, SERVER, 17) };
    let own = own.packet(&udp(3000, 514, &data[..24]));
    let own = Ethernet::new(DEVICE).to(GATEWAY).frame(ether_type::IPV4, &own);
    assert_eq!(world.decide(&own, LAN).decision.reason, Reason::Allow);
    assert_eq!(reason(&world, &piece(SERVER, 2050, 1, MORE)), Some(Reason::InboundMalformed));
}

#[test]
fn modes() {
    let crash = frame(STRANGER, 17, &udp(9, 2000, b"crash"));
    let opens = frame(PEER, 6, &segment(40_000, 22, SYN));
    let answers = frame(SERVER, 6, &segment(443, 40_000, ACK));
    for (mode, refused, accepted, answer) in [
        ("enforce", Verdict::Drop, Reason::Accept, Reason::Asked),
        ("observe", Verdict::WouldDrop, Reason::Accept, Reason::Asked),
        ("quarantine", Verdict::Drop, Reason::InboundDrop, Reason::InboundDrop),
    ] {
        let image =
            image(&POLICY.replace("[groups.beds]", &format!("[groups.beds]\nmode = \"{mode}\"")));
        let world = host(&image);
        let case = world.send(&crash, LAN).unwrap();
        assert_eq!(
            (case.decision.reason, case.decision.verdict),
            (Reason::Refuse, refused),
            "{mode}"
        );
        assert_eq!(world.send(&opens, LAN).unwrap().decision.reason, accepted, "{mode}");
        assert_eq!(world.send(&answers, LAN).unwrap().decision.reason, answer, "{mode}");
    }
}

#[test]
fn a_device_has_a_window_of_the_table() {
    let image = image(&POLICY.replace("\"udp/514\"", "\"udp\""));
    let world = host(&image);
    for number in 0..20_000u16 {
        let question = sent(SERVER, 17, &udp(1000 + number, 514, b"?"));
        assert_eq!(world.decide(&question, LAN).decision.reason, Reason::Allow);
    }
    let is_used = |number| world.question(number).is_some_and(|[_, time]| time.get() != 0);
    let used: Vec<u32> = (0..ENTRIES).filter(|number| is_used(*number)).collect();
    // Nearly all of the window, which may begin anywhere and goes on at the start.
    assert!((WINDOW * 9 / 10..=WINDOW).contains(&(used.len() as u32)), "{}", used.len());
    let gap = used.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(used[used.len() - 1] - used[0] < WINDOW || gap > ENTRIES - WINDOW, "{gap}");
}
