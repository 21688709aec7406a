//! Flows that the kernel remembers: judged, counted and changed like every other.

use std::collections::BTreeMap;

use enforcer::image::HostImage;
use enforcer::policy::compile;
use enforcer::policy::compile::live;
use enforcer_common::decide::Decision;
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::{Reason, Verdict};

use crate::frames::compose;
use crate::kernel::{Bench, INTERFACE};
use crate::random;

const POLICIES: u64 = 12;
const FRAMES: usize = 400;
/// How often each frame is sent: the third one is recalled.
const TIMES: u32 = 5;

/// Frames by reason, and by rule of the generation in force.
type Counted = (BTreeMap<Reason, u64>, BTreeMap<u32, u64>);

/// What the kernel has counted; the image has this many rules.
fn counted(bench: &mut Bench, rules: u32) -> Counted {
    let reasons = bench.get().reasons();
    let reasons = reasons.iter().map(|(reason, counter)| (*reason, counter.frames)).collect();
    let generation = bench.get().current();
    (reasons, (0..rules).map(|rule| (rule, generation.counter(rule).frames)).collect())
}

/// Sends each frame often; what should have been counted more than before.
fn send(
    bench: &mut Bench,
    host: &impl Fn(&[u8]) -> Decision,
    frames: &[Vec<u8>],
    (reasons, rules): &mut Counted,
) {
    for frame in frames {
        let decision = host(frame);
        // The kernel may have seen the first fragment, the host begins anew.
        if matches!(decision.reason, Reason::FragmentOrphan | Reason::FragmentOverlap) {
            continue;
        }
        // One by one: the kernel waits for a grace period before a run of several.
        for _ in 0..TIMES {
            let passes = bench.run(frame, 1);
            assert_eq!(passes, decision.verdict != Verdict::Drop, "{decision:?} {frame:02x?}");
        }
        *reasons.entry(decision.reason).or_default() += u64::from(TIMES);
        if decision.rule != NO_RULE {
            *rules.entry(decision.rule).or_default() += u64::from(TIMES);
        }
    }
}

/// Sends frames of random policies again and again, patches each policy by a random command, and
/// sends them again: verdicts and counters are those of the host, which remembers nothing.
#[test]
fn remembered_flows_are_judged_and_counted_alike() {
    let site = random::site();
    let first = compile(&random::policy(&mut random::Random::new(0)), &site).unwrap().image;
    let mut bench = Bench::open("remembered", &first);
    let mut passed = 0;
    for number in 0..POLICIES {
        let mut random = random::Random::new(0x4ec0 + number);
        let mut policy = random::policy(&mut random);
        let mut compiled = compile(&policy, &site).unwrap();
        bench.get().replace(&compiled.image).unwrap();
        // Far from every random end, so that the seconds of this test make no difference.
        let now = 1_000_000_000 + number as i64 * 1_000;
        bench.get().set_wall_offset(now.wrapping_mul(1_000_000_000));
        let frames = (0..FRAMES).map(|_| compose::frame(&mut random));
        // A test run wants an Ethernet header.
        let frames: Vec<_> = frames.filter(|frame| frame.len() >= 14).collect();
        for round in 0..3 {
            let host = |frame: &[u8]| {
                HostImage::new(&compiled.image, now).decide(frame, INTERFACE).decision
            };
            let mut expected = counted(&mut bench, compiled.image.rules);
            let before = expected.0.get(&Reason::Allow).copied().unwrap_or_default();
            send(&mut bench, &host, &frames, &mut expected);
            let found = counted(&mut bench, compiled.image.rules);
            assert_eq!(found, expected, "policy {number}, round {round}");
            passed += expected.0.get(&Reason::Allow).copied().unwrap_or_default() - before;
            let next = random::with_other_live(&mut random, &policy);
            let Some((changed, patch)) = live::patch(&compiled, &policy, &next, &site) else {
                break;
            };
            bench.get().patch(&patch).unwrap();
            (policy, compiled) = (next, changed);
        }
    }
    println!("{passed} frames passed by a rule, each of them {TIMES} times");
    assert!(passed > 500, "{passed}");
}
