//! Random frames through parser and image, against the naive model of the policy language.
#![allow(missing_docs, reason = "a test binary")]

use std::collections::BTreeMap;

use enforcer_common::image::NO_RULE;
use enforcer_common::reason::Reason;
use enforcer_policy::compile;
use enforcer_policy::image::HostImage;
use enforcer_testkit::{frames, naive, random};

/// Reasons that no frame here can get: the test keeps no flows, fragments or counters between frames, a policy is
/// loaded, and a frame in memory can always be read.
const NEVER: [Reason; 16] = [
    Reason::Answer,
    Reason::Accept,
    Reason::InboundPass,
    Reason::Asked,
    Reason::Related,
    Reason::Refuse,
    Reason::InboundDrop,
    Reason::InboundMalformed,
    Reason::Flooded,
    Reason::EssentialRate,
    Reason::IdentityRate,
    Reason::FragmentOfPassed,
    Reason::FragmentOverlap,
    Reason::NoPolicy,
    Reason::Corrupt,
    Reason::ReadFailed,
];

/// 1,000 policies, 100 frames each. A failure prints the seed of its policy.
#[test]
fn frames_agree_with_naive_model() {
    let host = random::host();
    let mut seen = BTreeMap::new();
    let mut well_formed = 0;
    for seed in 0..1_000 {
        let mut random = random::Random::new(seed);
        let policy = random::policy(&mut random);
        let compiled = compile(&policy, &host).unwrap();
        for _ in 0..100 {
            let frame = frames::compose::frame(&mut random);
            assert!((frames::SHORTEST..=frames::LONGEST).contains(&frame.len()));
            let interface = if random.once_in(50) { 9 } else { random.pick(&[1, 1, 7]) };
            // A fresh image for each frame, because the naive model keeps no fragments.
            let reference = HostImage::new(&compiled.image, random::NOW);
            let case = reference.decide(&frame, interface);
            let expected = naive::decide(&policy, &host, &case.flow, random::NOW);
            let rule = (case.decision.rule != NO_RULE).then(|| {
                let number = compiled.rules[case.decision.rule as usize].unwrap();
                number.rule(&policy).unwrap().1.id.clone()
            });
            let answer = naive::Answer {
                verdict: case.decision.verdict,
                reason: case.decision.reason,
                rule,
                group: case.decision.group,
            };
            assert_eq!(answer, expected, "seed {seed}: {frame:02x?}\n{:?}\n{policy:#?}", case.flow);
            *seen.entry(answer.reason).or_insert(0u32) += 1;
            well_formed += u32::from(case.flow.fault == 0);
        }
    }
    eprintln!("{well_formed} of 100,000 frames without fault");
    // A case that the generator never reaches would go untested.
    for &reason in Reason::ALL {
        let count = seen.get(&reason).copied().unwrap_or(0);
        if NEVER.contains(&reason) {
            assert_eq!(count, 0, "{reason:?}");
        } else {
            assert!(count >= 10, "{reason:?} was hardly met: {seen:?}");
        }
    }
    assert!((40_000..70_000).contains(&well_formed), "{well_formed} frames without fault");
}

/// The builders make frames with correct checksums, which the kernel would accept too.
#[test]
fn checksums() {
    // The example of RFC 1071, section 3.
    assert_eq!(frames::checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), [0x22, 0x0d]);
    let header = &frames::V4::new(0x0a14_0002, 0x0a14_0001, 6).packet(&[])[..20];
    assert_eq!(frames::checksum(header), [0, 0]);
    let packet = frames::V6::new(1, 2, 58).packet(&frames::icmp(128, 0, b"odd"));
    let mut data = packet[8..40].to_vec();
    data.extend([0, 0, 0, 11, 0, 0, 0, 58]);
    data.extend(&packet[40..]);
    assert_eq!(frames::checksum(&data), [0, 0]);
}
