//! Frames whose headers are not completely in the linear part; and the cost of a frame.

use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions};
use enforcer::policy::{compile, read};
use enforcer_common::abi::{PROBE_BYTES, PROBE_MAGIC};
use enforcer_common::decide::Decision;
use enforcer_common::flow::{Flow, Fragment};
use enforcer_common::packet::{HEADERS, Packet};
use enforcer_common::parse::parse;
use enforcer_common::reason::{Reason, Verdict};

use crate::harness::skip;
use crate::kernel::Bench;
use enforcer_testkit::frames::{self, Ethernet, Extension, Tcp, V4, V6};
use enforcer_testkit::random::{self, Random};

const POLICY: &str = r#"
schema = 1
[groups.monitors]
members = ["10.20.0.0/24", "2001:db8:20::/64"]
allow = [
  { to = "10.30.0.10", service = "tcp/443" },
  { to = "2001:db8:30::10", service = "tcp/443" },
]
"#;
const PASS: u32 = 2;
const DROP: u32 = 1;

#[track_caller]
fn bench(test: &str) -> Bench {
    let (policy, problems) = read("p.toml", POLICY, &mut |_| unreachable!());
    assert_eq!(problems, []);
    Bench::open(test, &compile(&policy, &random::host()).unwrap().image)
}

fn ethernet() -> Ethernet {
    Ethernet::new([2, 0, 0, 0, 0, 1])
}

/// A TCP segment over IPv4 in a frame of `size` bytes.
fn tcp(port: u16, size: usize) -> Vec<u8> {
    let segment = Tcp::new(port).segment(&vec![0; size - 14 - 20 - 20]);
    ethernet().frame(0x0800, &V4::new(0x0a14_0005, 0x0a1e_000a, 6).packet(&segment))
}

/// A TCP segment behind four IPv6 extension headers: the deepest that is read.
fn deep(port: u16, size: usize) -> Vec<u8> {
    let segment = Tcp::new(port).segment(&vec![0; size - 14 - 40 - 32 - 20]);
    let mut packet = V6::new(0x2001_0db8_0020 << 80 | 5, 0x2001_0db8_0030 << 80 | 0x10, 6);
    for _ in 0..4 {
        packet = packet.extension(Extension::Options { kind: 60, length: 0 });
    }
    ethernet().frame(0x86dd, &packet.packet(&segment))
}

/// Runs the program on a frame of which only the first `linear` bytes are linear.
fn run(bench: &mut Bench, frame: &[u8], linear: usize, repeat: u32) -> Option<(u32, Duration)> {
    let context = context(0, linear);
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        repeat,
        ..TestRunOptions::new()
    };
    let result = bench.get().dispatcher().unwrap().test_run(options).ok()?;
    Some((result.return_value, result.duration))
}

/// `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(metadata: usize, linear: usize) -> Vec<u8> {
    let numbers = [metadata, metadata + linear, 0, 1, 0, 0];
    numbers.iter().flat_map(|number| (*number as u32).to_ne_bytes()).collect()
}

/// The program's decision on such a frame; `None` if the kernel cannot make one.
fn probe(bench: &mut Bench, frame: &[u8], linear: usize) -> Option<Decision> {
    let mut input = vec![0; PROBE_BYTES];
    input[..8].copy_from_slice(&PROBE_MAGIC.to_ne_bytes());
    input.extend_from_slice(frame);
    let mut output = vec![0; input.len()];
    let context = context(PROBE_BYTES, linear);
    let options = TestRunOptions {
        data_in: Some(&input),
        data_out: Some(&mut output),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    bench.get().dispatcher().unwrap().test_run(options).ok()?;
    Decision::from_bytes(output[8..24].try_into().unwrap())
}

/// Whether this kernel runs programs on frames with a linear part of any length: Linux 6.18.
fn trims(bench: &mut Bench, test: &str) -> bool {
    let trims = run(bench, &tcp(443, 1500), 200, 1).is_some();
    if !trims {
        skip(test, "before Linux 6.18 a test run has no frame with a short linear part");
    }
    trims
}

#[test]
fn headers_are_read_wherever_the_linear_part_ends() {
    let mut bench = bench("trimmed");
    if !trims(&mut bench, "headers_are_read_wherever_the_linear_part_ends") {
        return;
    }
    let linear = [0, 1, 13, 14, 20, 33, 34, 50, 54, 128, 330, HEADERS - 1, HEADERS, HEADERS + 1];
    for linear in linear {
        for (frame, reason) in [
            (tcp(443, 1500), Reason::Allow),
            (tcp(80, 1500), Reason::Default),
            (tcp(443, 100), Reason::Allow),
            (deep(443, 1500), Reason::Allow),
            (deep(80, 1500), Reason::Default),
        ] {
            let linear = linear.min(frame.len());
            let decision = probe(&mut bench, &frame, linear).unwrap();
            assert_eq!(decision.reason, reason, "{} bytes, {linear} linear", frame.len());
            let verdict = if decision.verdict == Verdict::Pass { PASS } else { DROP };
            assert_eq!(run(&mut bench, &frame, linear, 1).unwrap().0, verdict);
        }
    }
}

/// The end of the linear part makes no difference, not even for malformed frames.
#[test]
fn random_frames_are_judged_alike_linear_or_not() {
    const FRAMES: u32 = 4_000;
    let mut random = Random::new(0x5ca7);
    let policy = random::policy(&mut random);
    let mut bench = Bench::open("alike", &compile(&policy, &random::host()).unwrap().image);
    if !trims(&mut bench, "random_frames_are_judged_alike_linear_or_not") {
        return;
    }
    let mut reasons = std::collections::BTreeSet::new();
    for number in 0..FRAMES {
        let frame = frames::compose::frame(&mut random);
        // A datagram begins once.
        let mut flow = Flow { length: frame.len() as u32, ..Flow::NEW };
        let _ = parse(&Packet::from_slice(&frame), &mut flow);
        if flow.fragment == Fragment::First {
            continue;
        }
        let expected = bench.get().probe(&frame, 1).unwrap();
        for linear in [0, random.below(frame.len() as u64) as usize] {
            let found = probe(&mut bench, &frame, linear);
            assert_eq!(found, Some(expected), "frame {number}, {linear} linear: {frame:02x?}");
        }
        reasons.insert(expected.reason);
    }
    assert!(reasons.len() > 30, "the generator reaches too little: {reasons:?}");
}

#[test]
fn jumbo_frames_are_judged_by_their_headers() {
    let mut bench = bench("jumbo");
    // More than a page: the kernel itself spreads it over fragments.
    for (frame, verdict) in [
        (tcp(443, 9000), PASS),
        (tcp(80, 9000), DROP),
        (deep(443, 9000), PASS),
        (deep(80, 9000), DROP),
    ] {
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        match bench.get().dispatcher().unwrap().test_run(options) {
            Ok(result) => assert_eq!(result.return_value, verdict),
            Err(e) => {
                skip("jumbo_frames_are_judged_by_their_headers", &format!("Linux 5.18 can: {e}"));
                return;
            }
        }
    }
}

/// Printed, not bounded, because it depends on the machine. For a frame with linear headers, the
/// other path costs one comparison.
#[test]
fn cost_of_a_frame() {
    let mut bench = bench("cost");
    let frame = tcp(443, 1500);
    for linear in [frame.len(), 128, 14, 0] {
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let Some((verdict, time)) = run(&mut bench, &frame, linear, 100_000) else { break };
            assert_eq!(verdict, PASS);
            best = best.min(time);
        }
        if best < Duration::MAX {
            println!("1500 bytes, {linear} of them linear: {best:?} a frame");
        }
    }
}
