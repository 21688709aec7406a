//! Cached verdicts equal fresh decisions, for random policies, frames of a few flows with random changes,
//! and live changes in between.

use enforcer_common::decide::flow_cache::{
    Key, LINES, Memory, Number, V4, V6, find, insert, is_cacheable,
};
use enforcer_common::event::Refused;
use enforcer_common::image::Line;
use enforcer_common::packet::Packet;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_policy::compile;
use enforcer_policy::compile::live;
use enforcer_policy::image::HostImage;
use enforcer_testkit::{frames, random};

/// An interface of the random policies.
const INTERFACE: u32 = 1;

struct Lines(Vec<Line>);

impl Memory for Lines {
    fn line(&mut self, number: Number) -> Option<&mut Line> {
        self.0.get_mut(number.get() as usize)
    }
}

/// Judges a frame on a host with a flow cache; returns the cached verdict, if there was one.
fn judge<K: Key>(
    memory: &mut Lines,
    reference: &HostImage<'_>,
    frame: &[u8],
    hint: &str,
) -> Option<Verdict> {
    let expected = reference.decide(frame, INTERFACE);
    let key = K::read(&Packet::from_slice(frame), INTERFACE)?;
    if let Some(recalled) = find(memory, reference, &key) {
        let decision = expected.decision;
        let found = (recalled.verdict, Reason::from_number(recalled.reason), recalled.rule);
        let wanted = (decision.verdict, Some(decision.reason), decision.rule);
        assert_eq!(found, wanted, "{hint}: {decision:?} {frame:02x?}");
        let refused = Refused::new(&expected.flow, &decision);
        assert_eq!(key.refused(&recalled), refused, "{hint}: {frame:02x?}");
        return Some(recalled.verdict);
    }
    if is_cacheable(&expected) {
        insert(memory, &key, &expected);
    }
    None
}

/// Changes one or two bytes of a frame, or its length.
fn changed(frame: &[u8], random: &mut random::Random) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match random.below(8) {
        0 => frame.truncate(random.below(frame.len() as u64 + 1) as usize),
        1 => frame.resize(frame.len() + random.below(8) as usize, 0),
        2..5 => {
            for _ in 0..=random.below(2) {
                if let Some(byte) = frame.get_mut(random.below(80) as usize) {
                    *byte = random.next() as u8;
                }
            }
        }
        _ => {}
    }
    frame
}

#[test]
fn what_is_recalled_is_what_would_be_decided() {
    let host = random::host();
    let (mut recalled, mut frames) = ([0_u32; 3], 0_u32);
    for seed in 0..400 {
        let mut random = random::Random::new(seed);
        let mut policy = random::policy(&mut random);
        let mut compiled = compile(&policy, &host).unwrap();
        let mut memory = Lines(vec![Line::default(); LINES as usize]);
        let known: Vec<_> = (0..400).map(|_| frames::compose::frame(&mut random)).collect();
        for round in 0..3 {
            let reference = HostImage::new(&compiled.image, random::NOW);
            for frame in &known {
                for _ in 0..4 {
                    let frame = changed(frame, &mut random);
                    let hint = format!("seed {seed}, round {round}");
                    let verdict = judge::<V4>(&mut memory, &reference, &frame, &hint)
                        .or_else(|| judge::<V6>(&mut memory, &reference, &frame, &hint));
                    if let Some(verdict) = verdict {
                        recalled[verdict as usize] += 1;
                    }
                    frames += 1;
                }
            }
            let next = random::with_other_live(&mut random, &policy);
            let Some((after, _)) = live::patch(&compiled, &policy, &next, &host) else { break };
            (policy, compiled) = (next, after);
        }
    }
    println!("{frames} frames, {recalled:?} of them recalled");
    assert!(recalled.iter().all(|recalled| *recalled > frames / 1000), "{recalled:?} of {frames}");
}
