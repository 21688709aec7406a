//! The compiled image against the naive model of the same policy language.

use enforcer::image::HostImage;
use enforcer::policy::compile;
use enforcer_common::image::NO_RULE;

#[expect(unreachable_pub, reason = "shared with the kernel tests")]
#[path = "../../tests/src/naive.rs"]
mod naive;
#[expect(unreachable_pub, reason = "shared with the kernel tests")]
#[path = "../../tests/src/random.rs"]
mod random;

/// 10,000 policies, 40 flows each. A failure prints the seed of its policy.
#[test]
fn image_agrees_with_naive_model() {
    let site = random::site();
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..10_000 {
        let mut random = random::Random::new(seed);
        let policy = random::policy(&mut random);
        let compiled = compile(&policy, &site).unwrap();
        let host = HostImage::new(&compiled.image, random::NOW);
        for _ in 0..40 {
            let flow = random::flow(&mut random);
            let expected = naive::decide(&policy, &site, &flow, random::NOW);
            let case = host.judge(flow);
            let rule = (case.decision.rule != NO_RULE).then(|| {
                let number = compiled.rules[case.decision.rule as usize];
                number.rule(&policy).unwrap().1.id.clone()
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
    // A generator that never gets somewhere proves nothing about it.
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
    let site = random::site();
    for seed in 0..200 {
        let policy = random::policy(&mut random::Random::new(seed));
        assert_eq!(compile(&policy, &site), compile(&policy, &site), "seed {seed}");
    }
}
