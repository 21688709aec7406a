//! Bounds other than time: the verifier's work, and the size of the program.
use enforcer::{
    dataplane::{Dataplane, pins::Pins, programs::Options},
    policy::{compile, read},
};
use enforcer_common::abi::program;
use enforcer_testkit::random;
use tests::harness::{daemon::binary, mount_bpffs};

use crate::report::{Bound, Report};

/// A policy that needs every part of the kernel program.
const EVERYTHING: &str = include_str!("../../everything.toml");
/// The test that checks every frame of a stream while policies are replaced.
const CHURN: &str = "churn::replace::every_frame_is_judged_by_exactly_one_policy";

/// Reports them.
pub(crate) fn run(report: &mut Report) {
    let at_most = |bound| Bound::AtMost(bound);
    let walked = walked();
    let sum: u32 = walked.iter().map(|(_, walked)| walked).sum();
    for (name, walked) in walked {
        let what = format!("instructions that the verifier walks for `{name}`, on this kernel");
        let bound = if name == program::CLASSIFY { 8_000.0 } else { 60_000.0 };
        report.target(&what, f64::from(walked), at_most(bound), "");
    }
    report.target("of all programs together", f64::from(sum), at_most(150_000.0), "");
    let bytes = std::fs::metadata(binary()).expect("it was started before").len();
    let mib = bytes as f64 / f64::from(1 << 20);
    report.target("static binary", mib, at_most(10.0), " MiB");
    report.held("frames misjudged during 1,000 replacements under load", at_most(0.0), CHURN);
}

/// Instructions that the verifier walks for each program of a generation that uses every part.
fn walked() -> Vec<(&'static str, u32)> {
    mount_bpffs();
    let root = format!("/sys/fs/bpf/enforcer-limits-{}", std::process::id());
    let (policy, problems) = read("everything.toml", EVERYTHING, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    let image = compile(&policy, &random::host()).expect("it compiles").image;
    let pins = Pins::open(root.as_ref()).expect("a directory for pins");
    let dataplane = Dataplane::open(pins, &image, Options::default()).expect("it loads");
    let walked = dataplane.verified_instructions().expect("the program is there");
    dataplane.detach().expect("it goes");
    let _ = std::fs::remove_dir(&root);
    assert!(walked.iter().all(|(_, walked)| *walked > 0), "Linux counts them from 5.16 on");
    walked
}
