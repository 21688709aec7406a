//! Named frames through the program in the kernel: verdict and reason; a probe has no side effects,
//! while a real frame is counted.

use enforcer::policy::{compile, read};
use enforcer_common::image::NO_DEVICE;
use enforcer_common::reason::{Reason, Verdict};

use crate::kernel::{Bench, INTERFACE, probes};
use enforcer_testkit::frames::{Ethernet, MORE, Tcp, V4, udp};
use enforcer_testkit::random;

const POLICY: &str = r#"
schema = 1
[devices.bed-12]
mac = "02:00:00:00:00:01"
ip = "10.20.0.5"
[groups.monitors]
members = ["bed-12"]
allow = [{ to = "10.30.0.10", service = "tcp/443" }]
deny = [{ to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }]
[groups.watched]
members = ["02:00:00:00:00:02"]
mode = "observe"
[groups.cameras]
members = ["02:00:00:00:00:04"]
allow = [{ to = "224.0.0.0/4", service = "proto/2" }]
[groups.shut]
members = ["02:00:00:00:00:03"]
mode = "quarantine"
[unknown]
default = "drop"
"#;

fn tcp(last: u8, source: u32, destination: u32, port: u16) -> Vec<u8> {
    let packet = V4::new(source, destination, 6).packet(&Tcp::new(port).segment(b"x"));
    Ethernet::new([2, 0, 0, 0, 0, last]).to([2, 0, 0, 0, 0xff, 0]).frame(0x0800, &packet)
}

#[track_caller]
fn bench(test: &str) -> Bench {
    let (policy, problems) = read("p.toml", POLICY, &mut |_| unreachable!());
    assert_eq!(problems, []);
    // `lan0` in the host has the MAC 02:00:00:00:ff:00, and 1 is its index.
    let compiled = compile(&policy, &random::host()).unwrap();
    Bench::open(test, &compiled.image)
}

#[test]
fn named_frames() {
    let mut bench = bench("verdict");
    let (bed, central, vendor) = (0x0a14_0005, 0x0a1e_000a, 0xca72_0477);
    let udp_packet = V4::new(bed, central, 17).packet(&udp(5000, 443, b"x"));
    let ethernet = Ethernet::new([2, 0, 0, 0, 0, 1]).to([2, 0, 0, 0, 0xff, 0]);
    let cases: [(&str, Vec<u8>, Verdict, Reason); 10] = [
        ("allowed", tcp(1, bed, central, 443), Verdict::Pass, Reason::Allow),
        ("other port", tcp(1, bed, central, 80), Verdict::Drop, Reason::Default),
        ("denied", tcp(1, bed, vendor, 443), Verdict::Drop, Reason::Deny),
        ("other source", tcp(1, bed + 1, central, 443), Verdict::Drop, Reason::SourceBinding),
        ("stolen source", tcp(9, bed, central, 443), Verdict::Drop, Reason::SourceBinding),
        ("observed", tcp(2, bed + 9, central, 443), Verdict::WouldDrop, Reason::Default),
        ("quarantined", tcp(3, bed + 9, central, 443), Verdict::Drop, Reason::Quarantine),
        ("unknown", tcp(9, bed + 9, central, 443), Verdict::Drop, Reason::Unknown),
        ("udp", ethernet.frame(0x0800, &udp_packet), Verdict::Drop, Reason::Default),
        ("not ip", ethernet.frame(0x88b5, b"anything"), Verdict::Drop, Reason::EtherType),
    ];
    for (name, frame, verdict, reason) in cases {
        let answer = bench.ask(&frame).unwrap();
        assert_eq!((answer.verdict, answer.reason), (verdict, reason), "{name}");
        let known = !matches!(name, "observed" | "quarantined" | "stolen source" | "unknown");
        if let (true, Some(decision)) = (known, answer.decision) {
            assert_ne!(decision.device, NO_DEVICE, "{name}");
        }
    }
}

/// IGMP has the router alert option (RFC 3376 section 4); no other packet may, and no other option.
#[test]
fn router_alert_is_for_reports() {
    let mut bench = bench("router-alert");
    let alert = [148, 4, 0, 0];
    let packet = |last: u8, protocol, destination, options: &[u8]| {
        let packet = V4 { options: options.into(), ..V4::new(0x0a14_0009, destination, protocol) };
        let ethernet = Ethernet::new([2, 0, 0, 0, 0, last]).to([1, 0, 0x5e, 0, 0, 0x16]);
        ethernet.frame(0x0800, &packet.packet(&Tcp::new(443).segment(b"x")))
    };
    let (reports, group) = (0xe000_0016, 0xefff_fffa);
    let route = [&alert[..], &[131, 7, 4, 10, 30, 0, 10, 0]].concat();
    let cases = [
        ("report, version 3", packet(4, 2, reports, &alert), Reason::Allow),
        ("report, version 2", packet(4, 2, group, &alert), Reason::Allow),
        ("without the option", packet(4, 2, group, &[]), Reason::Allow),
        ("of another address", packet(1, 2, reports, &alert), Reason::SourceBinding),
        ("unknown", packet(9, 2, reports, &alert), Reason::Unknown),
        ("quarantined", packet(3, 2, reports, &alert), Reason::Quarantine),
        ("RSVP", packet(4, 46, reports, &alert), Reason::Options),
        ("UDP", packet(4, 17, group, &alert), Reason::Options),
        ("another value", packet(4, 2, reports, &[148, 4, 0, 1]), Reason::Options),
        ("NOP before it", packet(4, 2, reports, &[1, 1, 1, 1, 148, 4, 0, 0]), Reason::Options),
        ("route behind it", packet(4, 2, reports, &route), Reason::Options),
        ("route", packet(4, 2, reports, &[131, 7, 4, 10, 30, 0, 10, 0]), Reason::SourceRoute),
    ];
    for (name, frame, reason) in cases {
        let answer = bench.ask(&frame).unwrap();
        assert_eq!(answer.reason, reason, "{name}");
        let passes = reason == Reason::Allow;
        assert_eq!(answer.verdict == Verdict::Pass, passes, "{name}");
    }
    let frame = packet(4, 2, reports, &alert);
    // Before Linux 5.14 the question was counted too.
    let before = counted(&mut bench, Reason::Allow);
    assert!(bench.run(&frame, 3));
    let now = counted(&mut bench, Reason::Allow);
    assert_eq!((now.0 - before.0, now.1 - before.1), (3, 3 * frame.len() as u64));
}

#[test]
fn an_interface_that_the_image_does_not_know_is_shut() {
    let (policy, _) = read("p.toml", POLICY, &mut |_| unreachable!());
    let mut host = random::host();
    host.interfaces.remove(0);
    let compiled = compile(&policy, &host).unwrap();
    let mut bench = Bench::open("shut", &compiled.image);
    let frame = tcp(1, 0x0a14_0005, 0x0a1e_000a, 443);
    let answer = bench.ask(&frame).unwrap();
    assert_eq!((answer.verdict, answer.reason), (Verdict::Drop, Reason::InterfaceUnknown));
}

/// One fragment of a TCP segment to port 443 of the central station; `offset` in bytes.
fn fragment(id: u16, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = V4::new(0x0a14_0005, 0x0a1e_000a, 6);
    packet.id = id;
    packet.fragment = (offset / 8) | if more { MORE } else { 0 };
    let ethernet = Ethernet::new([2, 0, 0, 0, 0, 1]).to([2, 0, 0, 0, 0xff, 0]);
    ethernet.frame(0x0800, &packet.packet(payload))
}

#[test]
fn fragments_follow_the_first_one() {
    let mut bench = bench("fragments");
    let first = Tcp::new(443).segment(&[7; 28]);
    assert_eq!(first.len(), 48);
    let refused = Tcp::new(80).segment(&[7; 28]);
    let rest = [8u8; 16];
    let cases = [
        ("orphan", fragment(1, 48, false, &rest), Reason::FragmentOrphan),
        ("first", fragment(1, 0, true, &first), Reason::Allow),
        ("rest", fragment(1, 48, true, &rest), Reason::FragmentOfPassed),
        ("rest again", fragment(1, 64, true, &rest), Reason::FragmentOfPassed),
        ("a second first one", fragment(1, 0, true, &first), Reason::FragmentOverlap),
        ("into the first", fragment(1, 40, false, &rest), Reason::FragmentOverlap),
        ("into a later one", fragment(1, 72, false, &rest), Reason::FragmentOverlap),
        ("the same again", fragment(1, 64, false, &rest), Reason::FragmentOverlap),
        ("behind a gap", fragment(1, 160, true, &rest), Reason::FragmentOfPassed),
        ("into the gap", fragment(1, 80, true, &rest), Reason::FragmentOverlap),
        ("the last one", fragment(1, 176, false, &rest), Reason::FragmentOfPassed),
        ("behind the last one", fragment(1, 192, false, &rest), Reason::FragmentOverlap),
        ("the next with this identification", fragment(1, 0, true, &first), Reason::Allow),
        ("its rest", fragment(1, 48, false, &rest), Reason::FragmentOfPassed),
        ("flags overwritten", fragment(1, 8, false, &rest), Reason::FragmentTiny),
        ("another datagram", fragment(2, 48, false, &rest), Reason::FragmentOrphan),
        ("refused first", fragment(3, 0, true, &refused), Reason::Default),
        ("its rest", fragment(3, 48, false, &rest), Reason::FragmentOrphan),
        ("tiny first", fragment(4, 0, true, &first[..16]), Reason::FragmentTiny),
    ];
    for (name, frame, reason) in cases {
        let answer = bench.ask(&frame).unwrap();
        assert_eq!(answer.reason, reason, "{name}");
    }
}

/// Frames of one reason, as the kernel counted them.
fn counted(bench: &mut Bench, reason: Reason) -> (u64, u64) {
    let counters = bench.get().reasons();
    let counter = counters.iter().find(|(other, _)| *other == reason).unwrap().1;
    (counter.frames, counter.bytes)
}

#[test]
fn a_frame_is_counted_and_a_probe_is_not() {
    let mut bench = bench("counted");
    let refused = tcp(1, 0x0a14_0005, 0x0a1e_000a, 80);
    let allowed = tcp(1, 0x0a14_0005, 0x0a1e_000a, 443);
    // Before 5.14 it is refused, which has no side effects either.
    assert_eq!(bench.get().probe(&refused, INTERFACE).is_ok(), probes());
    assert_eq!(counted(&mut bench, Reason::Default), (0, 0));

    assert!(!bench.run(&refused, 7));
    assert!(bench.run(&allowed, 3));
    assert_eq!(counted(&mut bench, Reason::Default), (7, 7 * refused.len() as u64));
    assert_eq!(counted(&mut bench, Reason::Allow), (3, 3 * allowed.len() as u64));
    // Deny rules are numbered before allow rules.
    let counter = bench.get().current().counter(1);
    assert_eq!((counter.frames, counter.bytes), (3, 3 * allowed.len() as u64));
}

/// delivered + suppressed + lost = dropped, while nobody reads the ring.
#[test]
fn every_dropped_frame_is_accounted_for() {
    let mut bench = bench("accounted");
    let mut dropped = 0u64;
    for port in 0..200u16 {
        let frame = tcp(1, 0x0a14_0005, 0x0a1e_000a, 1000 + port);
        bench.run(&frame, 50);
        dropped += 50;
    }
    let events = bench.get().drain_events().unwrap();
    let counters = bench.get().reasons();
    let counter = counters.iter().find(|(reason, _)| *reason == Reason::Default).unwrap().1;
    assert_eq!(counter.frames, dropped);
    let delivered = events.len() as u64;
    assert_eq!(delivered + counter.suppressed + counter.lost, dropped);
    assert!(delivered > 0 && counter.suppressed > 0, "{delivered} {counter:?}");
    // The first frame to a destination goes out while the budget lasts.
    let ports: Vec<u16> = events.iter().map(|event| event.flow.destination_port).collect();
    assert!(ports.starts_with(&[1000]), "{ports:?}");
}

#[test]
fn an_empty_slot_drops_and_says_so() {
    let mut bench = bench("empty");
    bench.get().clear_slot().unwrap();
    let frame = tcp(1, 0x0a14_0005, 0x0a1e_000a, 443);
    assert!(!bench.run(&frame, 1));
    assert_eq!(counted(&mut bench, Reason::NoPolicy).0, 1);
}
