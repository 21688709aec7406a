//! Flows that the kernel remembers: judged, counted and changed like every other.

use enforcer::image::HostImage;
use enforcer::policy::compile;
use enforcer::policy::compile::live;
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::{Reason, Verdict};

use crate::frames::compose;
use crate::kernel::{Bench, INTERFACE};
use crate::random;

const POLICIES: u64 = 12;
const FRAMES: usize = 400;
/// How often each frame is sent: the third one is recalled.
const TIMES: u32 = 5;

/// Frames by reason and frames of a rule, as the kernel has counted them.
fn counted(bench: &mut Bench, reason: Reason, rule: u32) -> (u64, u64) {
    let reasons = bench.get().reasons();
    let frames = reasons.iter().find(|(other, _)| *other == reason).map_or(0, |c| c.1.frames);
    let rule = if rule == NO_RULE { 0 } else { bench.get().current().counter(rule).frames };
    (frames, rule)
}

/// Sends frames of random policies again and again, patches each policy by a random command, and
/// sends them again: verdicts and counters are those of the host, which remembers nothing.
#[test]
fn remembered_flows_are_judged_and_counted_alike() {
    let site = random::site();
    let mut passed = 0;
    let first = compile(&random::policy(&mut random::Random::new(0)), &site).unwrap().image;
    let mut bench = Bench::open("remembered", &first);
    for number in 0..POLICIES {
        let mut random = random::Random::new(0x4ec0 + number);
        let mut policy = random::policy(&mut random);
        let mut compiled = compile(&policy, &site).unwrap();
        bench.get().replace(&compiled.image).unwrap();
        // Far from every random end, so that the seconds of this test make no difference.
        let now = 1_000_000_000 + number as i64 * 1_000;
        bench.get().set_wall_offset(now.wrapping_mul(1_000_000_000));
        let known: Vec<_> = (0..FRAMES).map(|_| compose::frame(&mut random)).collect();
        for _ in 0..3 {
            for frame in known.iter().filter(|frame| frame.len() >= 14) {
                let host = HostImage::new(&compiled.image, now);
                let decision = host.decide(frame, INTERFACE).decision;
                if matches!(decision.reason, Reason::FragmentOrphan | Reason::FragmentOverlap) {
                    continue;
                }
                let before = counted(&mut bench, decision.reason, decision.rule);
                let passes = bench.run(frame, TIMES);
                let after = counted(&mut bench, decision.reason, decision.rule);
                let hint = format!("policy {number}: {decision:?} {frame:02x?}");
                assert_eq!(passes, decision.verdict != Verdict::Drop, "{hint}");
                let rule = if decision.rule == NO_RULE { 0 } else { u64::from(TIMES) };
                let rose = (after.0 - before.0, after.1 - before.1);
                assert_eq!(rose, (u64::from(TIMES), rule), "{hint}");
                passed += u32::from(decision.reason == Reason::Allow);
            }
            let next = random::with_other_live(&mut random, &policy);
            let Some((changed, patch)) = live::patch(&compiled, &policy, &next, &site) else { break };
            bench.get().patch(&patch).unwrap();
            (policy, compiled) = (next, changed);
        }
    }
    println!("{passed} frames passed by a rule, {TIMES} times each");
    assert!(passed > 100, "{passed}");
}
