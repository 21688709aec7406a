//! The host and the kernel decide alike: verdict, reason, rule, group and device.

use std::collections::BTreeMap;

use enforcer::image::HostImage;
use enforcer::policy::compile;
use enforcer_common::reason::Reason;

use crate::kernel::Bench;
use crate::{frames, random};

/// The loopback: it exists in every namespace, so that a test run can name it.
const INTERFACE: u32 = 1;
/// Policies, each with a generation of its own.
const POLICIES: u64 = 100;
/// Frames for each.
const FRAMES: u64 = 2_000;

/// 200,000 generated frames. A failure prints policy seed and frame.
#[test]
fn host_and_kernel_agree() {
    let site = random::site();
    let mut bench: Option<Bench> = None;
    let mut met: BTreeMap<Reason, u32> = BTreeMap::new();
    for seed in 0..POLICIES {
        let mut random = random::Random::new(seed ^ 0xa9e_e000);
        let policy = random::policy(&mut random);
        let compiled = compile(&policy, &site).unwrap();
        let bench = match &mut bench {
            Some(bench) => {
                bench.get().replace(&compiled.image).unwrap();
                bench
            }
            none => none.insert(Bench::open("agree", &compiled.image)),
        };
        let dataplane = bench.get();
        // The kernel's clock runs; so far before or behind every random end, the seconds of this
        // test make no difference. And it jumps from policy to policy, so that the kernel, like
        // the new host, has forgotten the fragments of the last one for their age.
        let era = if seed % 2 == 0 { 1_000_000_000 } else { 2_000_000_000 };
        let now = era + seed as i64 * 1_000;
        dataplane.set_wall_offset(now.wrapping_mul(1_000_000_000));
        let host = HostImage::new(&compiled.image, now);
        for number in 0..FRAMES {
            let frame = frames::compose::frame(&mut random);
            let expected = host.decide(&frame, INTERFACE);
            let found = dataplane.probe(&frame, INTERFACE).unwrap();
            assert_eq!(
                found, expected.decision,
                "policy {seed}, frame {number}: {:?}\n{frame:02x?}\n{policy:#?}",
                expected.flow
            );
            *met.entry(found.reason).or_insert(0) += 1;
        }
    }
    println!("{} frames, {} reasons: {met:?}", POLICIES * FRAMES, met.len());
    assert!(met.len() > 40, "the generator reaches too little: {met:?}");
}
