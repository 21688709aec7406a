//! Frames of a hostile device: only in the kernel, and through real gateways.

use std::collections::BTreeSet;

use enforcer::image::HostImage;

use crate::kernel::{Bench, INTERFACE};
use crate::replay::{Kind, Replay};
use enforcer_testkit::corpus;
use enforcer_testkit::frames::GATEWAY;

#[test]
fn host_and_kernel_agree_on_evasions() {
    let image = corpus::image();
    let mut bench = Bench::open("evasions", &image);
    bench.get().set_clock(corpus::NOW * 1_000_000_000, corpus::NOW * 1_000_000_000);
    for to in [GATEWAY, corpus::BEHIND] {
        bench.forget_fragments();
        let host = HostImage::new(&image, corpus::NOW);
        for row in corpus::rows(to) {
            for frame in &row.frames {
                let expected = host.decide(&frame.bytes, INTERFACE).decision;
                let found = bench.ask(&frame.bytes).expect("no row is shorter than a header");
                let row = format!("row {}: {}", row.number, row.name);
                assert!(found.is(&expected), "{row}: {found:?}, on the host {expected:?}");
                assert_eq!(found.reason, frame.reason, "{row}");
            }
        }
    }
}

/// Nothing gets out of a routing or a bridging gateway, native or generic; what must pass does.
#[test]
fn evasions() {
    let replay = Replay::run();
    println!("{replay}");
    // Without leaks in the open lab the test would prove nothing.
    assert!(replay.leaks(Kind::Routed, "open") >= 60, "{}", replay.sums());
    assert!(replay.leaks(Kind::Bridged, "open") >= 90, "{}", replay.sums());
    let problems: BTreeSet<String> = replay.problems().into_iter().collect();
    assert!(problems.is_empty(), "{problems:#?}");
}
