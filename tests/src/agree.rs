//! The host and the kernel decide alike: verdict, reason, rule, group and device.

use std::collections::BTreeMap;

use enforcer::image::HostImage;
use enforcer::policy::compile;
use enforcer_common::reason::Reason;

use crate::kernel::{Bench, INTERFACE, probes};
use crate::random;

/// Policies, each with a generation of its own.
const POLICIES: u64 = 100;
/// Frames, over all policies; `ENFORCER_AGREE_FRAMES` is another number, for a slow machine.
const FRAMES: u64 = 200_000;

/// A failure prints policy seed and frame.
#[test]
fn host_and_kernel_agree() {
    let asked = std::env::var("ENFORCER_AGREE_FRAMES").ok();
    let frames: u64 = asked.map_or(FRAMES, |number| number.parse().unwrap());
    let site = random::site();
    let mut bench: Option<Bench> = None;
    let mut met: BTreeMap<Reason, u32> = BTreeMap::new();
    let mut not_run = 0;
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
        // The kernel's clock runs; so far before or behind every random end, the seconds of this
        // test make no difference. And it jumps from policy to policy, so that the kernel, like
        // the new host, has forgotten the fragments of the last one for their age.
        let era = if seed % 2 == 0 { 1_000_000_000 } else { 2_000_000_000 };
        let now = era + seed as i64 * 1_000;
        bench.get().set_wall_offset(now.wrapping_mul(1_000_000_000));
        let host = HostImage::new(&compiled.image, now);
        for number in 0..frames.div_ceil(POLICIES) {
            let frame = crate::frames::compose::frame(&mut random);
            let expected = host.decide(&frame, INTERFACE);
            let Some(found) = bench.ask(&frame) else {
                not_run += 1;
                continue;
            };
            assert!(
                found.is(&expected.decision),
                "policy {seed}, frame {number}: {found:?}\n{expected:?}\n{frame:02x?}\n{policy:#?}"
            );
            *met.entry(found.reason).or_insert(0) += 1;
        }
    }
    let compared = if probes() { "whole decisions" } else { "verdicts and reasons" };
    println!(
        "{frames} frames asked for, {not_run} that this kernel cannot run, {compared} compared"
    );
    println!("{} reasons: {met:?}", met.len());
    assert!(met.len() > 40, "the generator reaches too little: {met:?}");
}
