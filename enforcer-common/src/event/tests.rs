use proptest::prelude::*;

use super::budget::TOKEN;
use super::*;
use crate::abi::{BURST, Budget, ENTRY_TTL, NEW_FLOW_RESERVE, REPEAT_INTERVAL, SeenSet};

const SECOND: u64 = 1_000_000_000;
const KEYS: Keys = Keys::OPEN;

#[test]
fn records_from_the_ring_are_checked() {
    let record = Record {
        time: 7,
        flow: Flow::NEW,
        decision: crate::decide::FrameContext::NEW.decision,
        generation: 3,
        suppressed: 4,
        repeats: 5,
        since: 6,
        captured: 2,
        reserved: 0,
        head: [9; HEAD],
    };
    // SAFETY: a record has no padding.
    let mut bytes: [u8; 152 + HEAD] = unsafe { core::mem::transmute(record) };
    assert_eq!(Record::from_bytes(&bytes), Some(record));
    assert_eq!(Record::from_bytes(&bytes[..bytes.len() - 1]), None);
    for offset in 0..bytes.len() {
        for bad in [0x0a, 0x7f, 0xff] {
            let good = core::mem::replace(&mut bytes[offset], bad);
            if let Some(read) = Record::from_bytes(&bytes) {
                // Every field that was read is a valid value.
                assert!(!format!("{read:?}").is_empty() && read.frame().len() <= HEAD);
            }
            bytes[offset] = good;
        }
    }
    assert_eq!(record.frame(), [9, 9]);
}

/// One device's entry and table of flows on one CPU, as the program uses them.
struct Cpu {
    budget: Budget,
    seen: Vec<SeenSet>,
    suppressed: u64,
}

impl Cpu {
    fn new() -> Self {
        Self {
            budget: Budget::default(),
            seen: (0..16).map(|_| SeenSet::default()).collect(),
            suppressed: 0,
        }
    }

    /// Refuses a frame of a flow; returns what its event says, if it has one.
    fn refuse(&mut self, digest: u64, now: u64) -> Option<SuppressedSince> {
        let seen = &self.seen[digest as usize % 16];
        let place = find(seen, digest);
        if due(&self.budget, seen, place, now) == Due::Yes {
            return Some(tell(&self.budget, seen, place, digest, now));
        }
        self.suppressed += 1;
        None
    }
}

#[test]
fn a_flow_that_repeats_itself_is_told_every_five_seconds() {
    let mut cpu = Cpu::new();
    let told: Vec<_> = (0..20_000).filter_map(|n| cpu.refuse(7, n * SECOND / 1000)).collect();
    assert_eq!(told[0], SuppressedSince { suppressed: 0, repeats: 0, since: 0 });
    let again = SuppressedSince { suppressed: 4999, repeats: 4999, since: 5000 };
    assert_eq!(told[1..], [again; 3]);
    assert_eq!(cpu.suppressed, 4 * 4999);
}

#[test]
fn what_repeats_itself_leaves_the_reserve_to_what_is_new() {
    let mut cpu = Cpu::new();
    for flow in 1..=16 {
        assert!(cpu.refuse(flow, SECOND).is_some());
    }
    // All are due again; first use up the tokens that have come back.
    cpu.budget.refilled.set(100 * SECOND);
    let now = 100 * SECOND + 1;
    cpu.budget.tokens.set(NEW_FLOW_RESERVE + 3);
    assert_eq!((1..=16).filter(|flow| cpu.refuse(*flow, now).is_some()).count(), 3);
    let fresh = (100..200).filter(|flow| cpu.refuse(*flow, now).is_some()).count();
    assert_eq!(fresh, NEW_FLOW_RESERVE as usize);
    // A flow that found no token is still new when there is one again.
    let later = now + TOKEN;
    assert_eq!(cpu.refuse(999, now), None);
    assert!(cpu.refuse(999, later).is_some());
}

#[test]
fn flows_of_one_entry_are_told_apart_and_the_oldest_makes_room() {
    let mut cpu = Cpu::new();
    let flow = |n: u64| 1 + 16 * n;
    for n in 0..4 {
        assert!(cpu.refuse(flow(n), SECOND + n * 1_000_000).is_some());
    }
    assert!((0..4).all(|n| cpu.refuse(flow(n), SECOND + 10_000_000).is_none()));
    assert_eq!(cpu.seen[1].each_ref().map(|seen| seen.repeats.get()), [1; 4]);
    // After it is reported again, the first one is the youngest.
    let later = SECOND + u64::from(REPEAT_INTERVAL) * 1_000_000;
    assert_eq!(cpu.refuse(flow(0), later).unwrap().repeats, 1);
    assert!(cpu.refuse(flow(4), later + 1_000_000).is_some());
    let there = |n| cpu.seen[1].iter().any(|seen| seen.digest.get() == flow(n));
    assert_eq!([0, 1, 2, 3, 4].map(there), [true, false, true, true, true]);
}

#[test]
fn a_long_silence_fills_the_budget_and_no_more() {
    let mut cpu = Cpu::new();
    while cpu.refuse(cpu.suppressed + u64::from(cpu.budget.tokens.get()), 5).is_some() {}
    let later = 5 + 1000 * TOKEN;
    let events = (1000..2000).filter(|flow| cpu.refuse(*flow, later).is_some()).count();
    assert_eq!(events, BURST as usize);
}

#[test]
fn what_makes_a_flow_new() {
    let decision = crate::decide::FrameContext::NEW.decision;
    let digest = |flow: &Flow, decision: &Decision| Refused::new(flow, decision).digest(&KEYS);
    let one = Flow { source_mac: 1, destination_port: 9, protocol: 17, ..Flow::NEW };
    let same = Flow { source_port: 7, length: 60, ..one };
    assert_eq!(digest(&one, &decision), digest(&same, &decision));
    let other = Address::v4(8);
    for flow in [
        Flow { source_mac: 2, ..one },
        Flow { destination: other, ..one },
        Flow { destination_port: 10, ..one },
        Flow { protocol: 6, ..one },
        Flow { vlans: [0, 20], ..one },
        Flow { vlans: [20, 0], ..one },
        Flow { interface: 3, ..one },
    ] {
        assert_ne!(digest(&one, &decision), digest(&flow, &decision), "{flow:?}");
    }
    for decision in [
        Decision { reason: Reason::Deny, verdict: Verdict::Drop, ..decision },
        Decision { reason: Reason::Default, verdict: Verdict::Drop, ..decision },
        Decision { reason: Reason::Default, verdict: Verdict::WouldDrop, ..decision },
    ] {
        let digests = [decision, Decision { rule: 7, ..decision }].map(|d| digest(&one, &d));
        assert_eq!(digests[0], digests[1]);
        assert_ne!(digests[0], digest(&one, &crate::decide::FrameContext::NEW.decision));
    }
}

#[test]
fn what_is_withheld_is_counted_alike_by_the_short_way() {
    let cpus = [Cpu::new(), Cpu::new()];
    let mut short = 0;
    for n in 0..40_000_u64 {
        let now = SECOND + n * SECOND / 1000;
        // Few flows, then more than the budget allows, then few of another holder.
        let (flow, holder) = (n % if n / 10_000 == 1 { 900 } else { 3 } + 1, 1 + n / 30_000);
        let fates = [false, true].map(|tries| {
            let Cpu { budget, seen, .. } = &cpus[usize::from(tries)];
            let seen = &seen[flow as usize % 16];
            let place = find(seen, flow);
            if tries && suppress(budget, seen, holder, place, now) {
                short += 1;
                return None;
            }
            if !hold(budget, holder, now) {
                return None;
            }
            (due(budget, seen, place, now) == Due::Yes)
                .then(|| tell(budget, seen, place, flow, now))
        });
        let [one, other] = &cpus;
        assert_eq!(fates[0], fates[1], "{n}");
        assert_eq!((&one.budget, &one.seen), (&other.budget, &other.seen), "{n}");
    }
    assert!(short > 20_000, "{short}");
}

#[test]
fn who_is_active_keeps_its_entry() {
    let budget = Budget::default();
    assert!(hold(&budget, 1, SECOND) && hold(&budget, 1, 2 * SECOND));
    assert!(!hold(&budget, 2, 2 * SECOND + ENTRY_TTL - 1));
    assert_eq!((budget.holder.get(), budget.used.get()), (1, 2 * SECOND));
    budget.by_reason[0].suppressed.set(7);
    budget.tokens.set(3);
    assert!(hold(&budget, 2, 2 * SECOND + ENTRY_TTL));
    // The device gains nothing by it, and no count is lost.
    let counted = budget.by_reason[0].suppressed.get();
    assert_eq!((budget.holder.get(), budget.tokens.get(), counted), (2, 3, 7));
    assert!(!hold(&budget, 1, 2 * SECOND + ENTRY_TTL + 1));
}

#[test]
fn holders() {
    let mac = 0x001b_4411_3ab7;
    let of = |interface, verdict| holder(mac, interface, verdict, 0);
    for verdict in [Verdict::Drop, Verdict::WouldDrop] {
        for (direction, interface) in [(0, 7), (1, 7), (0, 0x1fff), (1, 0x1fff)] {
            let expected =
                Held { device: Some((mac, interface)), verdict, inwards: direction != 0 };
            assert_eq!(held_by(holder(mac, interface, verdict, direction)), expected);
        }
    }
    let nobody = Held { device: None, verdict: Verdict::Drop, inwards: false };
    assert_eq!(held_by(NO_HOLDER), nobody);
    // What is sent to a device spends another budget than what it sends.
    assert_ne!(of(7, Verdict::Drop), holder(mac, 7, Verdict::Drop, 1));
    // A sender that uses another's MAC on a different port has a budget of its own.
    let slots = [of(7, Verdict::Drop), of(8, Verdict::Drop), of(7, Verdict::WouldDrop)];
    let [own, port, observed] = slots.map(|holder| slot(&KEYS, holder, true));
    assert!(own != port && own != observed && own < crate::abi::BUDGETS / 2);
    assert!(slot(&KEYS, slots[0], false) >= crate::abi::BUDGETS / 2);
    let named = sighting(&KEYS, slots[0], 17);
    let unnamed = sighting(&KEYS, slots[0], NO_DEVICE);
    assert!(named == 17 && (crate::abi::SIGHTINGS / 2..crate::abi::SIGHTINGS).contains(&unnamed));
}

#[test]
fn a_clock_that_stands_still_or_goes_back_is_harmless() {
    let mut cpu = Cpu::new();
    assert!(cpu.refuse(1, 100 * SECOND).is_some());
    assert!(cpu.refuse(2, 50 * SECOND).is_some());
    assert!(hold(&cpu.budget, 1, 100) && !hold(&cpu.budget, 2, 50));
}

proptest! {
    /// For any sequence: reported and suppressed frames are all of them, the reported counts never
    /// exceed the suppressed frames, and no device exceeds its rate.
    #[test]
    fn every_frame_is_told_or_suppressed(
        frames in prop::collection::vec((0_u64..40, 0_u64..300_000_000), 1..2000)
    ) {
        let mut cpu = Cpu::new();
        let (mut now, mut told, mut said, mut repeats) = (SECOND, 0_u64, 0, 0);
        for &(flow, pause) in &frames {
            now += pause;
            if let Some(untold) = cpu.refuse(flow + 1, now) {
                told += 1;
                said += u64::from(untold.suppressed);
                repeats += u64::from(untold.repeats);
            }
        }
        prop_assert_eq!(told + cpu.suppressed, frames.len() as u64);
        prop_assert_eq!(said + u64::from(cpu.budget.suppressed.get()), cpu.suppressed);
        prop_assert!(repeats <= cpu.suppressed);
        prop_assert!(told <= u64::from(BURST) + (now - SECOND) / TOKEN + 1);
    }
}
