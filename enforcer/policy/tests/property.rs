//! The compiled image against the naive model of the same policy language.

use std::collections::BTreeMap;

use enforcer_common::image::NO_RULE;
use enforcer_common::reason::Reason;
use enforcer_policy::compile::live;
use enforcer_policy::image::{HostImage, Time};
use enforcer_policy::{Compiled, Policy, compile};
use enforcer_testkit::{naive, random};

/// Judges 40 flows with an image and with the naive model.
fn agrees(
    random: &mut random::Random,
    policy: &Policy,
    compiled: &Compiled,
    seed: u64,
    seen: &mut BTreeMap<Reason, u32>,
) {
    let host = random::host();
    // A wall clock that may be a second ahead.
    let now = Time { earliest: random::NOW, latest: random::NOW + 1, boot: random::BOOT };
    let reference = HostImage::at(&compiled.image, now);
    for _ in 0..40 {
        let flow = random::flow(random);
        let expected = naive::decide(policy, &host, &flow, naive::Now(now));
        let case = reference.judge(flow);
        let rule = (case.decision.rule != NO_RULE).then(|| {
            let number = compiled.rules[case.decision.rule as usize].unwrap();
            number.rule(policy).unwrap().1.id.clone()
        });
        let answer = naive::Answer {
            verdict: case.decision.verdict,
            reason: case.decision.reason,
            rule,
            group: case.decision.group,
        };
        assert_eq!(answer, expected, "seed {seed}: {flow:?}\n{policy:#?}");
        *seen.entry(answer.reason).or_insert(0u32) += 1;
    }
}

/// 2,000 policies, each with three rounds of live changes: the patched image agrees with the naive model,
/// and its existing lines are unchanged.
#[test]
fn patched_images_agree_with_naive_model() {
    let host = random::host();
    let (mut seen, mut patched, mut refused) = (BTreeMap::new(), 0, 0);
    for seed in 0..2_000 {
        let mut random = random::Random::new(seed);
        let mut policy = random::policy(&mut random);
        let mut compiled = compile(&policy, &host).unwrap();
        for _ in 0..3 {
            let next = random::with_other_live(&mut random, &policy);
            let Some((after, patch)) = live::patch(&compiled, &policy, &next, &host) else {
                refused += 1;
                break;
            };
            let had = compiled.image.len();
            let mut expected = compiled.image.lines().into_owned();
            assert_eq!(patch.first as usize, had);
            expected.extend(&patch.lines);
            for (at, entry) in patch.entries {
                expected[at / 8].0[at % 8] = entry;
            }
            assert_eq!(*after.image.lines(), expected, "seed {seed}");
            patched += 1;
            (policy, compiled) = (next, after);
            agrees(&mut random, &policy, &compiled, seed, &mut seen);
        }
    }
    println!("{patched} patches, {refused} refused: {seen:?}");
    assert!(refused < patched / 20, "{refused} of {patched}");
    for reason in [Reason::Allow, Reason::Deny, Reason::Default, Reason::Quarantine] {
        assert!(seen.get(&reason).is_some_and(|count| *count > 50), "{reason:?}: {seen:?}");
    }
}

/// 10,000 policies, 40 flows each. A failure prints the seed of its policy.
#[test]
fn image_agrees_with_naive_model() {
    let host = random::host();
    let mut seen = BTreeMap::new();
    for seed in 0..10_000 {
        let mut random = random::Random::new(seed);
        let policy = random::policy(&mut random);
        let compiled = compile(&policy, &host).unwrap();
        agrees(&mut random, &policy, &compiled, seed, &mut seen);
    }
    // A case that the generator never reaches would go untested.
    for reason in [
        "Allow",
        "Deny",
        "Default",
        "DefaultPass",
        "Unknown",
        "UnknownPass",
        "Quarantine",
        "SourceBinding",
        "VlanBinding",
        "InterfaceBinding",
        "EssentialOff",
        "Arp",
        "ArpSpoof",
        "Neighbour",
        "NeighbourSpoof",
        "Dhcp",
        "Eapol",
        "VlanUndeclared",
        "SourceMacOwn",
        "InterfaceUnknown",
        "FragmentOrphan",
    ] {
        let found = seen.iter().any(|(seen, count)| format!("{seen:?}") == reason && *count > 50);
        assert!(found, "{reason} was hardly met: {seen:?}");
    }
}

#[test]
fn compilation_is_deterministic() {
    let host = random::host();
    for seed in 0..200 {
        let policy = random::policy(&mut random::Random::new(seed));
        assert_eq!(compile(&policy, &host), compile(&policy, &host), "seed {seed}");
    }
}
