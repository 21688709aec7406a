//! Host and kernel make the same decision: verdict, reason, rule, group and device.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use enforcer::image::{HostImage, Image, Time};
use enforcer::policy::{compile, read};
use enforcer_common::reason::Reason;

use crate::kernel::{Bench, INTERFACE, probes};
use enforcer_testkit::{bodies, corpus, random};

use crate::harness;

/// Random policies, each with a generation of its own.
const POLICIES: u64 = 100;
/// Generated frames, over all policies; `ENFORCER_AGREE_FRAMES` overrides it, for a slow machine.
const FRAMES: u64 = 1_000_000;
/// Seed of the random policies and frames; `ENFORCER_AGREE_SEED` overrides it.
const SEED: u64 = 0xa9e_e000;

/// A failure prints policy and frame.
#[test]
fn host_and_kernel_agree() {
    let frames = harness::number("ENFORCER_AGREE_FRAMES", FRAMES);
    let seed = harness::number("ENFORCER_AGREE_SEED", SEED);
    println!("seed {seed}");
    let known = known();
    let mut sum = Sum::default();
    let (policy, problems) = read("policy.toml", bodies::POLICY, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    let fuzzed = compile(&policy, &random::host()).unwrap().image;
    let mut bench = Bench::open("agree", &fuzzed);
    sum.compare(&mut bench, &fuzzed, [random::NOW; 2], known.iter().cloned());
    let evasions = corpus::image();
    bench.get().replace(&evasions).unwrap();
    sum.compare(&mut bench, &evasions, [corpus::NOW + 1_000; 2], known.iter().cloned());
    for number in 0..POLICIES {
        let mut random = random::Random::new(number ^ seed);
        let policy = random::policy(&mut random);
        let compiled = compile(&policy, &random::host()).unwrap();
        bench.get().replace(&compiled.image).unwrap();
        // The kernel's clock runs, but these times are so far before or after every random end that
        // the seconds of this test make no difference. By the earliest and the latest possible
        // time, all ends are in the future, or all are past, or only those of rules that let frames
        // pass.
        let (before, behind) = (1_000_000_000, 2_000_000_000);
        let now = [[before, before], [behind, behind], [before, behind]][number as usize % 3];
        let generated = (0..frames.div_ceil(POLICIES)).map(|frame| {
            let name = format!("policy {number}, frame {frame}");
            (name, enforcer_testkit::frames::compose::frame(&mut random))
        });
        let known = known.iter().filter(|_| number % 10 == 0).cloned();
        let frames = known.chain(generated);
        sum.compare(&mut bench, &compiled.image, now, frames);
    }
    let compared = if probes() { "whole decisions" } else { "verdicts and reasons" };
    println!(
        "{frames} generated frames asked for, and {} known ones; {} decisions, \
         {} frames that this kernel cannot run, {compared} compared",
        known.len(),
        sum.decisions,
        sum.not_run
    );
    println!("{} reasons: {:?}", sum.met.len(), sum.met);
    assert!(sum.met.len() > 40, "the generator reaches too little: {:?}", sum.met);
}

/// What has been compared.
#[derive(Default)]
struct Sum {
    decisions: u64,
    not_run: u64,
    met: BTreeMap<Reason, u32>,
}

impl Sum {
    /// Asks both about each frame, at one time.
    #[track_caller]
    fn compare(
        &mut self,
        bench: &mut Bench,
        image: &Image,
        [earliest, latest]: [i64; 2],
        frames: impl Iterator<Item = (String, Vec<u8>)>,
    ) {
        let offset = |seconds: i64| seconds.wrapping_mul(1_000_000_000);
        bench.get().set_clock(offset(latest), offset(earliest));
        // The new host has no fragments.
        bench.forget_fragments();
        // Between those random ends that are on the boot clock: see `random::BOOT`.
        let time = Time { earliest, latest, boot: random::BOOT + 1 };
        // With the same keys, the same datagrams evict each other.
        let reference = HostImage::at(image, time).with_keys(bench.get().keys().unwrap());
        for (name, frame) in frames {
            let expected = reference.decide(&frame, INTERFACE);
            let Some(found) = bench.ask(&frame) else {
                self.not_run += 1;
                continue;
            };
            assert!(found.is(&expected.decision), "{name}: {found:?}\n{expected:?}\n{frame:02x?}");
            self.decisions += 1;
            *self.met.entry(found.reason).or_insert(0) += 1;
        }
    }
}

/// Named frames: every row of the corpus, and the seeds and findings of fuzzing.
fn known() -> Vec<(String, Vec<u8>)> {
    let mut known = Vec::new();
    for to in [enforcer_testkit::frames::GATEWAY, corpus::BEHIND] {
        for row in corpus::rows(to) {
            let frames = row.frames.into_iter();
            known.extend(frames.map(|frame| (format!("row {}", row.number), frame.bytes)));
        }
    }
    let rows = known.len();
    // A different directory in a virtual machine.
    let data = std::env::var_os("ENFORCER_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("data"), PathBuf::from);
    // What stands before the frame in an input: see `enforcer_testkit::bodies`.
    for target in ["parse", "decide", "image"] {
        for path in inputs(&data, target) {
            let input = fs::read(&path).unwrap();
            let head = match target {
                "parse" => 0,
                "decide" => 2,
                _ => overwritten(&input),
            };
            let frame = input.get(head..).unwrap_or_default();
            known.push((path.display().to_string(), frame.to_vec()));
        }
    }
    assert!(known.len() >= rows + 80, "{} inputs of fuzzing", known.len() - rows);
    known
}

/// Interface and count, then count times eleven bytes, if there are that many.
fn overwritten(input: &[u8]) -> usize {
    let count = input.get(1).map_or(0, |count| usize::from(count % 16) * 11);
    if input.len() >= 2 + count { 2 + count } else { 2 }
}

/// The files of a target, seeds first; a target without a crash has no directory of them.
fn inputs(data: &Path, target: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for kind in ["seeds", "crashes"] {
        let entries = fs::read_dir(data.join(kind).join(target)).into_iter().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        paths.extend(found);
    }
    paths
}
