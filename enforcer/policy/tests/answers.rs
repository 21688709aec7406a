//! Answers: which frames of a device pass because another host has opened a session, and which do not.
#![allow(missing_docs, reason = "a test binary")]

use enforcer_common::decide::Policy as _;
use enforcer_common::decide::answers::{CLOSED, RESET, Size, TCP, UDP, UNANSWERED, counter, state};
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::tcp::{ACK, FIN, RST, SYN};
use enforcer_policy::image::{HostImage, Image, Time};
use enforcer_policy::{compile, read, report};
use enforcer_testkit::frames::{Ethernet, MORE, Tcp, V4, V6, ether_type, icmp, udp};
use enforcer_testkit::random::{self, Random};

const DEVICE: [u8; 6] = [0, 0x1b, 0x44, 0x11, 0x3a, 0xb7];
const OTHER: [u8; 6] = [0, 0x1b, 0x44, 0x11, 0x3a, 0xb8];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0xff, 0];
const OWN: u32 = 0x0a14_000c;
const PEER: u32 = 0x0a1e_000a;
const LAN: u32 = 1;
const START: i64 = 1_000_000;
const SIZE: Size = Size::USUAL;

const POLICY: &str = r#"schema = 1
[devices.bed]
mac = "00:1b:44:11:3a:b7"
[groups.beds]
members = ["bed", "00:1b:44:11:3a:b8", "10.20.0.0/24", "2001:db8::/64"]
accept = [{ from = "10.30.0.0/24", service = ["tcp/22", "udp/161", "icmp", "proto/47"] },
  { from = "2001:db8:30::/64", service = ["tcp/22", "icmpv6"] }]
[interfaces.lan0]
vlans = [20]
"#;

fn image(text: &str) -> Image {
    let (policy, problems) = read("p.toml", text, &mut |_| unreachable!());
    assert!(!report::has_errors(&problems), "{problems:?}");
    compile(&policy, &random::host()).unwrap().image
}

fn at(seconds: i64) -> Time {
    Time { boot: START + seconds, ..Time::wall(random::NOW + seconds) }
}

fn segment(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    Tcp { source, flags, ..Tcp::new(destination) }.segment(b"data")
}

/// A frame towards the device.
fn to(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let packet = V4::new(PEER, OWN, protocol).packet(payload);
    Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV4, &packet)
}

/// A frame of the device.
fn from(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let packet = V4::new(OWN, PEER, protocol).packet(payload);
    Ethernet::new(DEVICE).to(GATEWAY).frame(ether_type::IPV4, &packet)
}

fn reason(image: &HostImage<'_>, frame: &[u8]) -> Reason {
    let again = image.answers_again(frame, LAN);
    let decision = image.decide(frame, LAN).decision;
    if let Some(rule) = again {
        assert_eq!((decision.reason, decision.rule), (Reason::Answer, rule));
    }
    decision.reason
}

fn counted(image: &HostImage<'_>, which: usize) -> u64 {
    image.answers(SIZE.lines() - 1).unwrap()[which].get()
}

#[test]
fn what_opens_and_what_answers() {
    let image = image(POLICY);
    let echo = |kind| icmp(kind, 0, b"ping");
    let tcp = |flags| (to(6, &segment(40_000, 22, flags)), from(6, &segment(22, 40_000, ACK)));
    for (what, (question, answer), passes) in [
        ("SYN", tcp(SYN), true),
        // The table was empty, as after a restart: a host that can send this can send a SYN.
        ("ACK", tcp(ACK), true),
        ("FIN", tcp(FIN | ACK), true),
        ("SYN and ACK: the device has opened it", tcp(SYN | ACK), false),
        ("RST", tcp(RST), false),
        ("RST and ACK", tcp(RST | ACK), false),
        ("UDP", (to(17, &udp(50_000, 161, b"get")), from(17, &udp(161, 50_000, b"is"))), true),
        ("echo", (to(1, &echo(8)), from(1, &echo(0))), true),
        ("a reply is no question", (to(1, &echo(0)), from(1, &echo(0))), false),
        ("nor is it answered by one", (to(1, &echo(8)), from(1, &echo(8))), false),
        ("GRE", (to(47, b"payload"), from(47, b"payload")), true),
        ("ESP", (to(50, b"payload"), from(50, b"payload")), false),
        (
            "a port of no accept rule",
            (to(6, &segment(40_000, 23, SYN)), from(6, &segment(23, 40_000, ACK))),
            false,
        ),
    ] {
        let host = HostImage::at(&image, at(0));
        assert_eq!(reason(&host, &answer), Reason::Default, "{what}, before");
        host.send(&question, LAN);
        let expected = if passes { Reason::Answer } else { Reason::Default };
        let decision = host.decide(&answer, LAN).decision;
        assert_eq!(decision.reason, expected, "{what}");
        assert_eq!(decision.verdict == Verdict::Pass, passes, "{what}");
    }
}

#[test]
fn ipv6_too() {
    let image = image(POLICY);
    let (own, peer) = (0x2001_0db8_u128 << 96 | 5, 0x2001_0db8_0030_u128 << 80 | 9);
    let host = HostImage::at(&image, at(0));
    let question = V6::new(peer, own, 6).packet(&segment(40_000, 22, SYN));
    let answer = V6::new(own, peer, 6).packet(&segment(22, 40_000, SYN | ACK));
    let answer = Ethernet::new(DEVICE).to(GATEWAY).frame(ether_type::IPV6, &answer);
    assert_eq!(reason(&host, &answer), Reason::Default);
    host.send(&Ethernet::new(GATEWAY).to(DEVICE).frame(ether_type::IPV6, &question), LAN);
    assert_eq!(reason(&host, &answer), Reason::Answer);
}

#[test]
fn nothing_beside_an_open_session_passes() {
    let image = image(POLICY);
    let host = HostImage::at(&image, at(0));
    host.send(&to(6, &segment(40_000, 22, SYN)), LAN);
    let packet =
        |source, destination, payload: &[u8]| V4::new(source, destination, 6).packet(payload);
    let ether = || Ethernet::new(DEVICE).to(GATEWAY);
    let answer = segment(22, 40_000, ACK);
    let v4 = ether_type::IPV4;
    for flags in [SYN | ACK, ACK, RST, RST | ACK, FIN | ACK] {
        assert_eq!(reason(&host, &from(6, &segment(22, 40_000, flags))), Reason::Answer, "{flags}");
    }
    let device_opens = from(6, &segment(22, 40_000, SYN));
    let frames = [
        ("it opens", device_opens),
        ("another port of the peer", from(6, &segment(22, 40_001, ACK))),
        ("another port of its own", from(6, &segment(23, 40_000, ACK))),
        ("another protocol", from(17, &udp(22, 40_000, b"data"))),
        ("another peer", ether().frame(v4, &packet(OWN, PEER + 1, &answer))),
        ("another source", ether().frame(v4, &packet(OWN + 1, PEER, &answer))),
        ("another MAC", Ethernet::new(OTHER).to(GATEWAY).frame(v4, &packet(OWN, PEER, &answer))),
        ("another VLAN", ether().tag(20).frame(v4, &packet(OWN, PEER, &answer))),
    ];
    for (what, frame) in frames {
        assert_eq!(reason(&host, &frame), Reason::Default, "{what}");
    }
    assert_eq!(host.decide(&from(6, &answer), 7).decision.reason, Reason::Default);
    assert_eq!(counted(&host, counter::NOTED), 1);
}

#[test]
fn the_rule_decides_and_not_the_table() {
    let answer = from(6, &segment(22, 40_000, ACK));
    let first = image(POLICY);
    let host = HostImage::at(&first, at(0));
    host.send(&to(6, &segment(40_000, 22, SYN)), LAN);
    assert_eq!(reason(&host, &answer), Reason::Answer);
    // Another image with the same rule, with the same numbers by chance.
    let host = host.replaced(&first, 2);
    assert_eq!(reason(&host, &answer), Reason::Answer);
    let without = image(&POLICY.replace("tcp/22", "tcp/23"));
    let host = host.replaced(&without, 3);
    assert_eq!(reason(&host, &answer), Reason::Default);
    let deny = "deny = [{ to = \"10.30.0.10\" }]\naccept";
    let denied = image(&POLICY.replace("accept", deny));
    let host = host.replaced(&denied, 4);
    assert_eq!(reason(&host, &answer), Reason::Deny);
    let quarantined = image(&POLICY.replace("accept", "mode = \"quarantine\"\naccept"));
    let host = host.replaced(&quarantined, 5);
    assert_eq!(reason(&host, &answer), Reason::Quarantine);
    let observed = image(&POLICY.replace("accept", "mode = \"observe\"\naccept"));
    let host = host.replaced(&observed, 6);
    assert_eq!(host.decide(&answer, LAN).decision.verdict, Verdict::Pass);
    let opens = host.decide(&from(6, &segment(22, 40_000, SYN)), LAN).decision;
    assert_eq!((opens.reason, opens.verdict), (Reason::Default, Verdict::WouldDrop));
    // And back.
    let host = host.replaced(&first, 7);
    assert_eq!(reason(&host, &answer), Reason::Answer);
}

#[test]
fn an_answer_is_known_again_until_something_changes() {
    let answer = from(6, &segment(22, 40_000, ACK));
    let again = |host: &HostImage<'_>| host.answers_again(&answer, LAN);
    let first = image(POLICY);
    let host = HostImage::at(&first, at(0));
    host.send(&to(6, &segment(40_000, 22, SYN)), LAN);
    assert_eq!(again(&host), None, "the transmit side has judged it, and nobody the device");
    let judged = host.decide(&answer, LAN).decision;
    assert_eq!((again(&host), judged.reason), (Some(judged.rule), Reason::Answer));
    // Frames of the other side leave it as it is, and it counts.
    host.send(&to(6, &segment(40_000, 22, ACK)), LAN);
    let mut states = (0..SIZE.flows()).map(|flow| host.answers(SIZE.key_line(flow) + 1).unwrap());
    let [.., frames, bytes, _] = states.find(|state| state[0].get() != 0).unwrap();
    let before = (frames.get(), bytes.get());
    assert_eq!(again(&host), Some(judged.rule));
    assert_eq!((frames.get(), bytes.get()), (before.0 + 1, before.1 + answer.len() as u64));
    // Not another frame, and not one that opens.
    for (what, frame) in [
        ("a SYN", from(6, &segment(22, 40_000, SYN))),
        ("another port", from(6, &segment(22, 40_001, ACK))),
        ("its own other port", from(6, &segment(23, 40_000, ACK))),
        ("UDP", from(17, &udp(22, 40_000, b"data"))),
    ] {
        assert_eq!(host.answers_again(&frame, LAN), None, "{what}");
    }
    assert_eq!(host.answers_again(&answer, LAN + 1), None, "another interface");
    // Another image, whatever it says; and the same with a stamp of its own.
    let host = host.replaced(&first, 2);
    assert_eq!(again(&host), None);
    assert_eq!(reason(&host, &answer), Reason::Answer);
    assert_eq!(again(&host), Some(judged.rule));
    // A connection that begins with the same ports is another one.
    host.send(&to(6, &segment(40_000, 22, SYN)), LAN);
    assert_eq!(again(&host), None);
    assert_eq!(reason(&host, &answer), Reason::Answer);
    assert_eq!(again(&host), Some(judged.rule));
    // It is over.
    let mut host = host;
    host.set_time(at(TCP as i64 + 1));
    assert_eq!(again(&host), None);
    // What the transmit side finds fresh again says nothing about the device.
    let quarantined = image(&POLICY.replace("accept", "mode = \"quarantine\"\naccept"));
    let host = host.replaced(&quarantined, 3);
    host.send(&to(6, &segment(40_000, 22, ACK)), LAN);
    assert_eq!((reason(&host, &answer), again(&host)), (Reason::Quarantine, None));
}

#[test]
fn what_has_an_end_is_judged_each_time() {
    let answer = from(6, &segment(22, 40_000, ACK));
    let end = |seconds| jiff::Timestamp::from_second(random::NOW + seconds).unwrap();
    let accepts = format!("until = {}, service = [\"tcp/22\"", end(100));
    let denies = format!("deny = [{{ to = \"10.30.0.10\", until = {} }}]\naccept", end(50));
    for (key, with) in [("service = [\"tcp/22\"", &accepts), ("accept", &denies)] {
        let image = image(&POLICY.replace(key, with));
        // A rule that has ended still makes the next frame be judged: the clock may be wrong.
        let host = HostImage::at(&image, at(70));
        host.send(&to(6, &segment(40_000, 22, SYN)), LAN);
        for _ in 0..3 {
            assert_eq!(host.answers_again(&answer, LAN), None, "{with}");
            assert_eq!(reason(&host, &answer), Reason::Answer, "{with}");
            host.send(&to(6, &segment(40_000, 22, ACK)), LAN);
        }
    }
}

#[test]
fn a_rule_with_an_end_ends_its_sessions() {
    let end = random::NOW + 100;
    let until = jiff::Timestamp::from_second(end).unwrap();
    let text = POLICY.replace("\"proto/47\"] }", &format!("\"proto/47\"], until = {until} }}"));
    let image = image(&text);
    let mut host = HostImage::at(&image, at(0));
    let answer = from(6, &segment(22, 40_000, ACK));
    for (seconds, expected) in [(0, Reason::Answer), (99, Reason::Answer), (100, Reason::Default)] {
        host.set_time(at(seconds));
        host.send(&to(6, &segment(40_000, 22, ACK)), LAN);
        assert_eq!(reason(&host, &answer), expected, "{seconds}");
    }
}

#[test]
fn sessions_are_forgotten_in_time() {
    let image = image(POLICY);
    let (question, answer) = (to(6, &segment(40_000, 22, ACK)), from(6, &segment(22, 40_000, ACK)));
    let finished = |flags| from(6, &segment(22, 40_000, flags));
    let ends = |flags| to(6, &segment(40_000, 22, flags));
    let open = || {
        let host = HostImage::at(&image, at(0));
        host.send(&to(6, &segment(40_000, 22, SYN)), LAN);
        host
    };
    let lasts = |mut host: HostImage<'_>, seconds: u64, answer: &[u8]| {
        host.set_time(at(seconds as i64));
        assert_eq!(reason(&host, answer), Reason::Answer, "after {seconds} s");
        host.set_time(at(seconds as i64 + 1));
        assert_eq!(reason(&host, answer), Reason::Default, "after {seconds} s and one more");
    };
    let mut host = open();
    host.set_time(at(UNANSWERED as i64 + 1));
    assert_eq!(reason(&host, &answer), Reason::Default);
    let host = open();
    assert_eq!(reason(&host, &answer), Reason::Answer);
    lasts(host, TCP, &answer);
    // The device alone does not keep it.
    let mut host = open();
    for seconds in (0..TCP as i64).step_by(600) {
        host.set_time(at(seconds));
        assert_eq!(reason(&host, &answer), Reason::Answer);
    }
    host.set_time(at(TCP as i64 + 1));
    assert_eq!(reason(&host, &answer), Reason::Default);
    // Closed by both.
    let host = open();
    assert_eq!(reason(&host, &finished(FIN | ACK)), Reason::Answer);
    host.send(&ends(FIN | ACK), LAN);
    lasts(host, CLOSED, &answer);
    // Reset: by a frame that somebody made up, if more of them come.
    let host = open();
    assert_eq!(reason(&host, &answer), Reason::Answer);
    host.send(&ends(RST), LAN);
    lasts(host, RESET, &answer);
    let host = open();
    assert_eq!(reason(&host, &answer), Reason::Answer);
    host.send(&ends(RST), LAN);
    host.send(&question, LAN);
    lasts(host, TCP, &answer);
    // The same ports once more.
    let host = open();
    assert_eq!(reason(&host, &finished(FIN | ACK)), Reason::Answer);
    host.send(&ends(FIN | ACK), LAN);
    host.send(&ends(SYN), LAN);
    assert_eq!(reason(&host, &answer), Reason::Answer);
    lasts(host, TCP, &answer);
    let host = HostImage::at(&image, at(0));
    host.send(&to(17, &udp(50_000, 161, b"get")), LAN);
    let is = from(17, &udp(161, 50_000, b"is"));
    assert_eq!(reason(&host, &is), Reason::Answer);
    lasts(host, UDP, &is);
}

#[test]
fn a_flood_ends_no_session_in_use() {
    let image = image(POLICY);
    let host = HostImage::at(&image, at(0));
    // A sixteenth of the table is this device's: a quarter of that is in use.
    let used = SIZE.flows() as u16 / 64;
    let answer = |port| from(6, &segment(22, port, ACK));
    let open = |port| host.send(&to(6, &segment(port, 22, SYN)), LAN);
    let mut established = Vec::new();
    for port in 1_000..1_000 + used {
        open(port);
        if reason(&host, &answer(port)) == Reason::Answer {
            established.push(port);
        }
    }
    assert!(established.len() >= usize::from(used) * 99 / 100, "{}", established.len());
    for port in 2_000..62_000 {
        open(port);
    }
    for &port in &established {
        assert_eq!(reason(&host, &answer(port)), Reason::Answer, "{port}");
    }
    // Once all of them are in use, new ones wait.
    for port in 2_000..62_000 {
        open(port);
        let _ = reason(&host, &answer(port));
    }
    assert!(counted(&host, counter::FULL) > 0);
    for &port in &established {
        assert_eq!(reason(&host, &answer(port)), Reason::Answer, "{port}");
    }
    // A device is confined to its part, so others have theirs.
    let held = (0..SIZE.flows())
        .filter(|flow| host.answers(SIZE.key_line(*flow) + 1).unwrap()[0].get() & state::HELD != 0);
    assert!(held.count() <= SIZE.flows() as usize / 16 + 4);
}

#[test]
fn a_device_makes_no_entry() {
    let image = image(POLICY);
    let host = HostImage::at(&image, at(0));
    let mut random = Random::new(7);
    for _ in 0..50_000 {
        let frame = enforcer_testkit::frames::compose::frame(&mut random);
        host.decide(&frame, LAN);
    }
    for port in 0..1_000 {
        for flags in [SYN, SYN | ACK, ACK, RST] {
            host.decide(&from(6, &segment(22, port, flags)), LAN);
        }
    }
    let empty = (0..SIZE.lines())
        .all(|line| host.answers(line).unwrap().iter().all(|word| word.get() == 0));
    assert!(empty);
}

#[test]
fn fragments_of_an_answer_pass_in_order() {
    let image = image(POLICY);
    let host = HostImage::at(&image, at(0));
    let fragment = |place: u16, payload: &[u8]| {
        let mut packet = V4::new(OWN, PEER, 17);
        (packet.id, packet.fragment) = (7, place);
        Ethernet::new(DEVICE).to(GATEWAY).frame(ether_type::IPV4, &packet.packet(payload))
    };
    let first =
        fragment(MORE, &enforcer_testkit::frames::udp_of_length(161, 50_000, 108, &[0; 40]));
    let last = fragment(6, &[0; 60]);
    assert_eq!(reason(&host, &last), Reason::FragmentOrphan);
    assert_eq!(reason(&host, &first), Reason::Default);
    host.send(&to(17, &udp(50_000, 161, b"get")), LAN);
    assert_eq!(reason(&host, &first), Reason::Answer);
    assert_eq!(reason(&host, &last), Reason::FragmentOfPassed);
}
