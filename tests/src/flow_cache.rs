//! Cached flows are judged, counted and changed like every other.

use std::collections::BTreeMap;

use aya::maps::{Array, Map, MapData};
use aya::programs::ProgramInfo;
use enforcer::image::{HostImage, Time};
use enforcer::policy::compile;
use enforcer::policy::compile::live;
use enforcer_common::abi::map;
use enforcer_common::decide::Decision;
use enforcer_common::flow::Fragment;
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::{Reason, Verdict};

use crate::kernel::{Bench, INTERFACE};
use enforcer_testkit::frames::compose;
use enforcer_testkit::random;

const POLICIES: u64 = 12;
const FRAMES: usize = 400;
/// How often each frame is sent: from the third one on the verdict is cached.
const TIMES: u32 = 5;

/// Frames by reason, and those that would have been dropped; frames by rule of the generation in force.
type Counted = (BTreeMap<Reason, [u64; 2]>, BTreeMap<u32, u64>);
/// Frames by reason that have an event, that the budgets suppressed, and that the ring could not take.
type Accounts = BTreeMap<Reason, [u64; 3]>;

/// The kernel's counts; the image has this many rules.
fn counted(bench: &mut Bench, rules: u32) -> Counted {
    let reasons = bench.get().reasons();
    let reasons = reasons.iter();
    let reasons =
        reasons.map(|(reason, counter)| (*reason, [counter.frames, counter.would_drop])).collect();
    let generation = bench.get().current();
    (reasons, (0..rules).map(|rule| (rule, generation.counter(rule).frames)).collect())
}

/// Sends each frame repeatedly; returns the expected growth of the counters.
fn send(
    bench: &mut Bench,
    reference: &impl Fn(&[u8]) -> Decision,
    frames: &[Vec<u8>],
    (reasons, rules): &mut Counted,
) {
    for frame in frames {
        let decision = reference(frame);
        // The kernel may have seen the first fragment; the host starts without it.
        if matches!(decision.reason, Reason::FragmentOrphan | Reason::FragmentOverlap) {
            continue;
        }
        // One by one: the kernel waits for a grace period before a run of several.
        for _ in 0..TIMES {
            let passes = bench.run(frame, 1);
            assert_eq!(passes, decision.verdict != Verdict::Drop, "{decision:?} {frame:02x?}");
        }
        let [frames, would_drop] = reasons.entry(decision.reason).or_default();
        *frames += u64::from(TIMES);
        *would_drop += u64::from(TIMES) * u64::from(decision.verdict == Verdict::WouldDrop);
        if decision.rule != NO_RULE {
            *rules.entry(decision.rule).or_default() += u64::from(TIMES);
        }
    }
}

/// Adds the fates of refused frames since the last call, and compares them with the counters.
fn account(bench: &mut Bench, accounts: &mut Accounts) {
    for event in bench.get().drain_events().unwrap() {
        accounts.entry(event.decision.reason).or_default()[0] += 1;
    }
    for share in bench.get().suppressed() {
        let [_, suppressed, lost] = accounts.entry(share.reason).or_default();
        (*suppressed, *lost) = (*suppressed + share.suppressed, *lost + share.lost);
    }
    for (reason, counter) in bench.get().reasons().iter().filter(|(reason, _)| !reason.passes()) {
        let account = accounts.get(reason).copied().unwrap_or_default();
        assert_eq!(account.iter().sum::<u64>(), counter.frames, "{reason:?}: {account:?}");
        assert_eq!(account[1..], [counter.suppressed, counter.lost], "{reason:?}");
    }
}

/// Cached refusals of the active generation.
fn refusals(bench: &mut Bench) -> usize {
    let number = bench.get().current().number;
    let pin = bench.get().pins().generation(number).join("program");
    let ids = ProgramInfo::from_pin(pin).unwrap().map_ids().unwrap().unwrap();
    let mut maps = ids.into_iter().map(|id| MapData::from_id(id).unwrap());
    let memory = maps.find(|data| data.info().unwrap().name_as_str() == Some(map::FLOW_CACHE));
    let memory = Map::from_map_data(memory.expect("the program has it")).unwrap();
    let memory: Array<_, [u64; 8]> = memory.try_into().unwrap();
    // A line that was never written has no sender; a line of tags, which has no verdict, is one.
    let verdict = |line: &[u64; 8]| (line[7] >> 24) as u8;
    let lines = memory.iter().map(Result::unwrap);
    lines
        .filter(|line| line[0] != 0 && line[6] != 0 && verdict(line) == Verdict::Drop as u8)
        .count()
}

/// Sends frames of random policies again and again, patches each policy by a random command, and
/// sends them again: verdicts and counters equal those of the host, which has no cache.
#[test]
fn remembered_flows_are_judged_and_counted_alike() {
    let host = random::host();
    let first = compile(&random::policy(&mut random::Random::new(0)), &host).unwrap().image;
    let mut bench = Bench::open("remembered", &first);
    let (mut passed, mut refused, mut accounts) = (0, 0, Accounts::new());
    for number in 0..POLICIES {
        let mut random = random::Random::new(0x4ec0 + number);
        let mut policy = random::policy(&mut random);
        let mut compiled = compile(&policy, &host).unwrap();
        bench.get().replace(&compiled.image).unwrap();
        // Far from every random end, so that this test's duration makes no difference.
        let now = 1_000_000_000 + number as i64 * 1_000;
        let offset = now.wrapping_mul(1_000_000_000);
        bench.get().set_clock(offset, offset);
        bench.forget_fragments();
        // The same age as the kernel, as far as random ends are concerned.
        let time = Time { boot: random::BOOT + 1, ..Time::wall(now) };
        let frames = (0..FRAMES).map(|_| compose::frame(&mut random));
        // A test run requires an Ethernet header.
        let frames = frames.filter(|frame| frame.len() >= 14);
        // A datagram starts only once: its repeated first fragment is refused.
        let begins = |frame: &Vec<u8>| {
            let reference = HostImage::at(&compiled.image, time);
            reference.decide(frame, INTERFACE).flow.fragment == Fragment::First
        };
        let frames: Vec<_> = frames.filter(|frame| !begins(frame)).collect();
        for round in 0..3 {
            let reference = |frame: &[u8]| {
                HostImage::at(&compiled.image, time).decide(frame, INTERFACE).decision
            };
            let mut expected = counted(&mut bench, compiled.image.rules);
            let before = expected.0.get(&Reason::Allow).copied().unwrap_or_default()[0];
            send(&mut bench, &reference, &frames, &mut expected);
            let found = counted(&mut bench, compiled.image.rules);
            assert_eq!(found, expected, "policy {number}, round {round}");
            passed += expected.0.get(&Reason::Allow).copied().unwrap_or_default()[0] - before;
            account(&mut bench, &mut accounts);
            refused += refusals(&mut bench);
            let next = random::with_other_live(&mut random, &policy);
            let Some((changed, patch)) = live::patch(&compiled, &policy, &next, &host) else {
                break;
            };
            bench.get().patch(&patch).unwrap();
            (policy, compiled) = (next, changed);
        }
    }
    println!("{passed} frames passed by a rule; {refused} refusals were remembered; {accounts:?}");
    assert!(passed > 500 && refused > 100, "{passed} and {refused}");
}
