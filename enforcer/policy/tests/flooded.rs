//! Broadcast and multicast towards devices: what an interface with `flooded = "essential"` accepts.
// tidy: long because the cases need the same policy and the same frames
#![allow(missing_docs, reason = "a test binary")]

use enforcer_common::decide::Policy as _;
use enforcer_common::decide::answers::{Size, state};
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::tcp::SYN;
use enforcer_policy::explain::heard::Heard;
use enforcer_policy::explain::{Error, Explanation, Request, inbound};
use enforcer_policy::image::{HostImage, Time};
use enforcer_policy::{
    Compiled, Holder, Policy, Symbols, check, compile, diff, read, report, write,
};
use enforcer_testkit::frames::{
    Ethernet, Extension, MORE, Tcp, V4, V6, arp, ether_type, icmp, udp,
};
use enforcer_testkit::random;

const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0xff, 0];
const EVERYBODY: [u8; 6] = [0xff; 6];
/// A printer in another segment.
const PRINTER: u32 = 0x0a1e_000a;
const PRINTER_V6: u128 = 0x2001_0db8_0030 << 80 | 0xa;
const STRANGER: u32 = 0xc633_6407;
const OWN: u32 = 0x0a14_0001;
/// Of mDNS.
const GROUP: u32 = 0xe000_00fb;
const GROUP_V6: u128 = 0xff02 << 112 | 0xfb;
const LAN0: u32 = 1;
const LAN1: u32 = 7;

const POLICY: &str = r#"schema = 1
[sets]
vendors = ["192.0.2.0/28", "198.51.100.1"]
[groups.beds]
members = ["10.20.0.0/24", "00:1b:44/24"]
accept = [{ from = "10.30.0.0/24", service = "udp/5353" }]
[interfaces.lan0]
flooded = "essential"
accept = [
  { from = "10.30.0.10", service = "udp/5353", reason = "mDNS of the print server" },
  { from = "2001:db8:30::/48", service = ["udp/5353", "icmpv6"] },
  { from = "@vendors", service = "udp/2000-2100" },
  { from = "gateway", service = ["icmp", "proto/112"] },
  { from = "10.31.0.1-10.31.0.9", until = 2026-01-01T00:00:00Z },
]
[interfaces.lan1]
flooded = "essential"
"#;

fn parsed(text: &str) -> Policy {
    let (policy, problems) = read("p.toml", text, &mut |_| unreachable!());
    assert!(!report::has_errors(&problems), "{problems:?}");
    policy
}

fn compiled(text: &str) -> Compiled {
    compile(&parsed(text), &random::host()).unwrap()
}

fn host(compiled: &Compiled) -> HostImage<'_> {
    HostImage::at(&compiled.image, Time { boot: 1_000_000, ..Time::wall(random::NOW) })
}

fn mac_of(to: u32) -> [u8; 6] {
    let [_, b, c, d] = to.to_be_bytes();
    if to == u32::MAX { EVERYBODY } else { [1, 0, 0x5e, b & 0x7f, c, d] }
}

fn v4(packet: &V4, payload: &[u8], to: u32) -> Vec<u8> {
    Ethernet::new(GATEWAY).to(mac_of(to)).frame(ether_type::IPV4, &packet.packet(payload))
}

fn datagram(from: u32, to: u32, port: u16) -> Vec<u8> {
    v4(&V4::new(from, to, 17), &udp(5353, port, b"who is it"), to)
}

fn v6(from: u128, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let packet = V6::new(from, GROUP_V6, protocol).packet(payload);
    Ethernet::new(GATEWAY).to([0x33, 0x33, 0, 0, 0, 0xfb]).frame(ether_type::IPV6, &packet)
}

#[track_caller]
fn judged(world: &HostImage<'_>, frame: &[u8], interface: u32) -> (Reason, u32) {
    let case = world.send(frame, interface).expect("it is judged");
    assert_eq!(case.decision.verdict == Verdict::Pass, case.decision.reason.passes());
    assert_eq!(case.decision.group, 0);
    (case.decision.reason, case.decision.rule)
}

#[track_caller]
fn reason(world: &HostImage<'_>, frame: &[u8]) -> Reason {
    judged(world, frame, LAN0).0
}

#[test]
fn what_a_rule_covers_leaves() {
    let compiled = compiled(POLICY);
    let world = host(&compiled);
    let (yes, no) = (Reason::Accept, Reason::Flooded);
    let ping = icmp(8, 0, b"ping");
    for (what, frame, expected) in [
        ("multicast", datagram(PRINTER, GROUP, 5353), yes),
        ("broadcast", datagram(PRINTER, u32::MAX, 5353), yes),
        ("another sender", datagram(PRINTER + 1, GROUP, 5353), no),
        ("another port", datagram(PRINTER, GROUP, 5354), no),
        ("another protocol", v4(&V4::new(PRINTER, GROUP, 6), &segment(5353), GROUP), no),
        ("no sender", datagram(STRANGER, GROUP, 5353), no),
        ("first of a set", datagram(0xc000_0200, u32::MAX, 2000), yes),
        ("last of a set", datagram(0xc633_6401, u32::MAX, 2100), yes),
        ("beside a set", datagram(0xc633_6402, u32::MAX, 2100), no),
        ("beside its ports", datagram(0xc633_6401, u32::MAX, 2101), no),
        ("the gateway's echo", v4(&V4::new(OWN, GROUP, 1), &ping, GROUP), yes),
        ("the printer's echo", v4(&V4::new(PRINTER, GROUP, 1), &ping, GROUP), no),
        ("VRRP", v4(&V4::new(OWN, 0xe000_0012, 112), b"router", 0xe000_0012), yes),
        ("a rule that has ended", datagram(0x0a1f_0001, GROUP, 5353), no),
        ("IPv6", v6(PRINTER_V6, 17, &udp(5353, 5353, b"x")), yes),
        ("IPv6, another port", v6(PRINTER_V6, 17, &udp(5353, 5354, b"x")), no),
        ("IPv6, another sender", v6(1 << 80 | PRINTER_V6, 17, &udp(5353, 5353, b"x")), no),
        ("an echo over IPv6", v6(PRINTER_V6, 58, &icmp(128, 0, b"ping")), yes),
    ] {
        assert_eq!(reason(&world, &frame), expected, "{what}");
    }
}

fn segment(port: u16) -> Vec<u8> {
    Tcp { source: 9, flags: SYN, ..Tcp::new(port) }.segment(b"data")
}

#[test]
fn the_rule_is_named() {
    let policy = parsed(POLICY);
    let compiled = compiled(POLICY);
    let (reason, number) = judged(&host(&compiled), &datagram(PRINTER, GROUP, 5353), LAN0);
    assert_eq!(reason, Reason::Accept);
    let found = compiled.rules[number as usize].unwrap();
    assert_eq!(found.holder, Holder::Interface(0));
    let (section, rule) = found.rule(&policy).unwrap();
    assert_eq!(section.name(), "interface lan0");
    assert_eq!(rule, &policy.interfaces[0].accept[0]);
    assert!(rule.id.starts_with("r-"), "{rule:?}");
    let symbols = Symbols::new(&policy, &compiled, &random::host());
    let name = symbols.rule(number).unwrap();
    assert_eq!(*name.id, *rule.id);
    assert_eq!(name.reason.as_deref(), Some("mDNS of the print server"));
    // The rule of a group with the same content is another one.
    let same = POLICY.replace("from = \"10.30.0.0/24\"", "from = \"10.30.0.10\"");
    let same = parsed(&same);
    assert_eq!(same.interfaces[0].accept[0].id, rule.id);
    assert_ne!(same.groups[0].accept[0].id, rule.id);
    let ids: std::collections::HashSet<_> = same.every_rule().map(|rule| &rule.id).collect();
    assert_eq!(ids.len(), same.every_rule().count());
}

#[test]
fn the_rest_is_as_without_rules() {
    let compiled = compiled(POLICY);
    let world = host(&compiled);
    let question = Ethernet::new(GATEWAY).to(EVERYBODY);
    let question = question.frame(ether_type::ARP, &arp(1, GATEWAY, OWN, OWN + 11));
    assert_eq!(judged(&world, &question, LAN0), (Reason::InboundPass, NO_RULE), "essential");
    let profinet = Ethernet::new(GATEWAY).to([1, 0x0e, 0xcf, 0, 0, 0]).frame(0x8892, &[0x80; 46]);
    assert_eq!(reason(&world, &profinet), Reason::Flooded, "no IP");
    let mdns = datagram(PRINTER, GROUP, 5353);
    assert_eq!(judged(&world, &mdns, LAN1), (Reason::Flooded, NO_RULE), "another interface");
    // What an accept rule of a group covers is sent to one device.
    assert_eq!(reason(&world, &datagram(PRINTER + 9, GROUP, 5353)), Reason::Flooded);
    // A protocol that is no IP is no matter of rules, though it is essential no more.
    let text =
        format!("{}[essential]\narp = false\n", POLICY.replace("service = \"udp/5353\", ", ""));
    let without = self::compiled(&text);
    assert_eq!(reason(&host(&without), &question), Reason::Flooded);
}

#[test]
fn what_is_malformed_stays_out() {
    let compiled = compiled(POLICY);
    let world = host(&compiled);
    // To a subnet's broadcast address, which looks like that of a device.
    let directed = V4::new(PRINTER, 0x0a14_00ff, 17).packet(&udp(5353, 5353, b"x"));
    let directed = Ethernet::new(GATEWAY).to(EVERYBODY).frame(ether_type::IPV4, &directed);
    let options = V4 { options: vec![1, 1, 1, 1], ..V4::new(PRINTER, GROUP, 17) };
    let options = v4(&options, &udp(5353, 5353, b"x"), GROUP);
    let cut = v4(&V4::new(PRINTER, GROUP, 17), &udp(5353, 5353, b"x")[..4], GROUP);
    let tagged = Ethernet::new(GATEWAY).to(mac_of(GROUP)).tag(10).tag(20);
    let tagged =
        tagged.frame(ether_type::IPV4, &V4::new(PRINTER, GROUP, 17).packet(&udp(5353, 5353, b"x")));
    for (what, frame) in
        [("directed", directed), ("options", options), ("cut", cut), ("tags", tagged)]
    {
        let case = world.send(&frame, LAN0).unwrap();
        assert_ne!(case.flow.fault, 0, "{what}");
        assert_eq!(case.decision.reason, Reason::Flooded, "{what}");
    }
}

#[test]
fn fragments_follow_the_first_one() {
    let compiled = compiled(POLICY);
    let world = host(&compiled);
    let whole = udp(5353, 5353, &[b'x'; 64]);
    let piece = |from, id, at: u16, more: u16| {
        let start = usize::from(at) * 8;
        let end = (start + 32).min(whole.len());
        let packet = V4 { id, fragment: at | more, ..V4::new(from, GROUP, 17) };
        v4(&packet, &whole[start..end], GROUP)
    };
    let (yes, no) = (Reason::Accept, Reason::Flooded);
    assert_eq!(reason(&world, &piece(PRINTER, 1, 4, MORE)), no, "without a first one");
    let first = judged(&world, &piece(PRINTER, 1, 0, MORE), LAN0);
    assert_eq!(first.0, yes);
    assert_eq!(reason(&world, &piece(PRINTER, 1, 0, MORE)), no, "a second first one");
    assert_eq!(judged(&world, &piece(PRINTER, 1, 4, MORE), LAN1).0, no, "another interface");
    assert_eq!(reason(&world, &piece(PRINTER, 2, 4, MORE)), no, "another datagram");
    assert_eq!(reason(&world, &piece(STRANGER, 1, 4, MORE)), no, "another sender");
    assert_eq!(judged(&world, &piece(PRINTER, 1, 4, MORE), LAN0), first, "in order");
    assert_eq!(reason(&world, &piece(PRINTER, 1, 2, MORE)), no, "it overlaps");
    assert_eq!(judged(&world, &piece(PRINTER, 1, 8, 0), LAN0), first, "the last one");
    // Of one that no rule covers nothing passes.
    assert_eq!(reason(&world, &piece(STRANGER, 3, 0, MORE)), no);
    assert_eq!(reason(&world, &piece(STRANGER, 3, 4, MORE)), no);
    // Over IPv6.
    let piece = |from, offset: u16, more| {
        let start = usize::from(offset);
        let end = (start + 32).min(whole.len());
        let packet = V6::new(from, GROUP_V6, 17)
            .extension(Extension::Fragment { offset, more, id: 7 })
            .packet(&whole[start..end]);
        Ethernet::new(GATEWAY).to([0x33, 0x33, 0, 0, 0, 0xfb]).frame(ether_type::IPV6, &packet)
    };
    assert_eq!(reason(&world, &piece(PRINTER_V6, 0, true)), yes);
    assert_eq!(reason(&world, &piece(PRINTER_V6, 32, true)), yes);
    assert_eq!(reason(&world, &piece(PRINTER_V6 ^ 1, 64, false)), no);
}

#[test]
fn nothing_is_noted() {
    let compiled = compiled(POLICY);
    let world = host(&compiled);
    for frame in [datagram(PRINTER, GROUP, 5353), datagram(PRINTER, u32::MAX, 5353)] {
        assert_eq!(reason(&world, &frame), Reason::Accept);
    }
    let held =
        |flow| world.answers(Size::USUAL.key_line(flow) + 1).unwrap()[0].get() & state::HELD != 0;
    assert!(!(0..Size::USUAL.flows()).any(held));
    let answer = Ethernet::new([0, 0x1b, 0x44, 1, 2, 3]).to(GATEWAY);
    let answer = answer.frame(
        ether_type::IPV4,
        &V4::new(OWN + 11, PRINTER, 17).packet(&udp(5353, 5353, b"it is me")),
    );
    assert_eq!(world.decide(&answer, LAN0).decision.reason, Reason::Default);
}

#[test]
fn a_rule_ends_by_itself() {
    let text = POLICY.replace("2026-01-01", "2027-01-31");
    let compiled = compiled(&text);
    let mut world = host(&compiled);
    let frame = datagram(0x0a1f_0001, GROUP, 9);
    assert_eq!(reason(&world, &frame), Reason::Accept);
    world.set_time(Time { boot: 1_000_000, ..Time::wall(random::NOW + 90 * 86_400) });
    assert_eq!(reason(&world, &frame), Reason::Flooded);
}

/// Messages with their hints.
fn told(text: &str) -> Vec<String> {
    let (policy, mut problems) = read("p.toml", text, &mut |_| unreachable!());
    if !report::has_errors(&problems) {
        problems.extend(check(&policy, random::NOW));
    }
    problems
        .iter()
        .map(|problem| {
            let hint = problem.hint.as_deref().unwrap_or_default();
            format!("{}: {}: {hint}", problem.place, problem.message)
        })
        .collect()
}

#[test]
fn what_is_said_about_them() {
    const BASE: &str =
        "schema = 1\n[groups.beds]\nmembers = [\"10.20.0.0/24\"]\n[interfaces.lan2]\n";
    let strict = format!("{BASE}flooded = \"essential\"\n");
    for (text, wanted) in [
        (format!("{strict}accept = [{{ from = \"10.30.0.10\" }}]\n"), vec![]),
        (
            format!("{BASE}accept = [{{ from = \"10.30.0.10\" }}]\n"),
            vec![
                "p.toml:5:11: this accept rule changes no verdict: all broadcast and multicast leaves by lan2: \
                 leave it out, or set `flooded = \"essential\"`",
            ],
        ),
        (
            format!("{strict}accept = [{{ from = \"any\", service = \"udp/5353\" }}]\n"),
            vec![
                "p.toml:6:11: this accept rule takes `any`: whatever host sends it, it reaches every device \
                 behind lan2: name who sends it: `from = \"10.30.0.10\"`",
            ],
        ),
        (
            format!(
                "{strict}accept = [{{ from = \"10.30.0.0/24\" }}, {{ from = \"10.30.0.10\" }}]\n"
            ),
            vec![
                "p.toml:6:38: this accept rule never decides anything: the accept rules before it cover all \
                 of it: take it out",
            ],
        ),
        (
            format!("{strict}accept = [{{ to = \"10.30.0.10\" }}]\n"),
            vec![
                "p.toml:6:11: the rule has no `from`: write `from = \"10.20.0.10\"`, or `from = \"any\"`",
                "p.toml:6:13: unknown key `to` in an accept rule: known keys: from, service, reason, owner, until",
            ],
        ),
        (
            format!("{strict}refuse = [{{ from = \"10.30.0.10\" }}]\n"),
            vec![
                "p.toml:6:1: unknown key `refuse` in an interface: known keys: vlans, next-hop, flooded, accept",
            ],
        ),
        (
            format!("{strict}accept = [{{ from = \"10.3.0.1\" }}, {{ from = \"10.3.0.1\" }}]\n"),
            vec!["p.toml:6:34: the same accept rule is written twice: the first is at p.toml:6:11"],
        ),
    ] {
        assert_eq!(told(&text), wanted, "{text}");
    }
    let ended = told(POLICY);
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(ended[0].contains("has ended and is left out"), "{ended:?}");
}

#[test]
fn written_and_compared() {
    let policy = parsed(POLICY);
    let text = write(&policy);
    assert!(text.contains("[interfaces.lan0]\nvlans = []\nflooded = \"essential\"\naccept = [\n"));
    let again = parsed(&text);
    assert_eq!(write(&again), text);
    assert_eq!(diff(&policy, &again), []);
    assert_eq!(compiled(&text), compiled(&write(&again)));

    let said = |new: &str| -> Vec<String> {
        diff(&policy, &parsed(new))
            .iter()
            .map(|change| {
                let subject = change.subject.as_deref().unwrap_or_default();
                format!("{} {} {subject}: {}", change.sign, change.kind, change.text)
            })
            .collect()
    };
    let other = POLICY.replace("\"10.30.0.10\", service", "\"10.30.0.11\", service");
    assert_eq!(
        said(&other),
        [
            "- accept interface lan0: udp/5353 from 10.30.0.10 (mDNS of the print server)",
            "+ accept interface lan0: udp/5353 from 10.30.0.11 (mDNS of the print server)",
        ]
    );
    let renamed = POLICY.replace("mDNS of", "names of");
    assert_eq!(
        said(&renamed),
        ["~ accept interface lan0: udp/5353 from 10.30.0.10: reason mDNS of the print server → \
          names of the print server"]
    );
    let elsewhere = POLICY.replace("interfaces.lan0", "interfaces.lan9");
    let said = said(&elsewhere);
    assert_eq!(said.iter().filter(|line| line.starts_with("- accept interface lan0")).count(), 5);
    assert_eq!(said.iter().filter(|line| line.starts_with("+ accept interface lan9")).count(), 5);
    let sets = POLICY.replace("198.51.100.1", "198.51.100.2");
    assert!(diff(&policy, &parsed(&sets)).iter().any(|change| change.kind == "set"));
}

fn explained(from: &str, to: &str, proto: &str, on: Option<&str>) -> Result<Explanation, Error> {
    let (policy, host) = (parsed(POLICY), random::host());
    let compiled = compile(&policy, &host).unwrap();
    let request = Request {
        from: from.into(),
        mac: None,
        to: to.into(),
        proto: proto.into(),
        interface: on.map(str::to_owned),
        vlan: None,
    };
    let now = Time::wall(random::NOW);
    inbound(&policy, &host, &Heard::default(), &compiled, &request, now)
}

#[test]
fn explanations() {
    let accepted = explained("10.30.0.10", "224.0.0.251:5353", "udp", None).unwrap();
    assert_eq!((accepted.verdict, accepted.reason), ("pass", "accept"));
    assert_eq!(accepted.frame, "10.30.0.10 to 224.0.0.251 udp/5353, leaving by lan0");
    assert_eq!(accepted.assumed, ["interface lan0, which has `flooded = \"essential\"`"]);
    let rule = accepted.rule.unwrap();
    assert_eq!((rule.group.as_str(), rule.action), ("interface lan0", "accept"));
    assert_eq!(rule.reason.as_deref(), Some("mDNS of the print server"));

    let refused = explained("10.30.0.10", "255.255.255.255:5354", "udp", Some("lan0")).unwrap();
    assert_eq!((refused.verdict, refused.reason), ("drop", "flooded"));
    assert_eq!(refused.assumed, [""; 0]);
    let suggestion = refused.suggestion.as_deref();
    assert_eq!(suggestion, Some("{ from = \"10.30.0.10\", service = \"udp/5354\" },"));
    let misses: Vec<&str> = refused.near_misses.iter().map(|miss| miss.why.as_str()).collect();
    let near = [
        "right sender, but it accepts udp/5353, not udp/5354",
        "right service, but it accepts it from 10.31.0.1-10.31.0.9",
    ];
    assert_eq!(misses, near);

    let elsewhere = explained("10.30.0.10", "224.0.0.251:5353", "udp", Some("lan1")).unwrap();
    let suggestion = elsewhere.suggestion.as_deref();
    assert_eq!(
        (elsewhere.reason, suggestion),
        ("flooded", Some("accept = [{ from = \"10.30.0.10\", service = \"udp/5353\" }]"))
    );
    for (from, to, proto, reason) in [
        ("2001:db8:30::a", "[ff02::fb]:5353", "udp", "accept"),
        ("2001:db8:30::a", "ff02::fb", "icmpv6", "accept"),
        ("2001:db8:31::a", "ff02::fb", "icmpv6", "flooded"),
        ("10.20.0.1", "224.0.0.1", "icmp", "accept"),
        ("10.20.0.1", "224.0.0.18", "112", "accept"),
    ] {
        let found = explained(from, to, proto, None).unwrap();
        assert_eq!(found.reason, reason, "{from} {to} {found:?}");
    }
    for (from, to, proto) in [
        ("10.30.0.10", "224.0.0.251", "udp"),
        ("10.30.0.10", "224.0.0.251:1", "icmp"),
        ("10.30.0.10", "[ff02::fb]:5353", "udp"),
        ("10.30.0.10", "224.0.0.1", "icmpv6"),
        ("bed", "224.0.0.251:5353", "udp"),
    ] {
        assert!(explained(from, to, proto, None).is_err(), "{from} {to}");
    }
    let unknown = explained("10.30.0.10", "224.0.0.251:5353", "udp", Some("lan9"));
    assert!(matches!(unknown, Err(Error::Interface { .. })));
    let none = POLICY.replace("flooded = \"essential\"\n", "");
    let (policy, host) = (parsed(&none), random::host());
    let compiled = compile(&policy, &host).unwrap();
    let request = Request {
        from: "10.30.0.10".into(),
        mac: None,
        to: "224.0.0.251:5353".into(),
        proto: "udp".into(),
        interface: None,
        vlan: None,
    };
    let now = Time::wall(random::NOW);
    let open = inbound(&policy, &host, &Heard::default(), &compiled, &request, now).unwrap();
    assert_eq!((open.verdict, open.reason), ("pass", "inbound-pass"));
    assert_eq!(open.text, "all broadcast and multicast leaves by lan0");
}
