//! What a hostile device sends: in the kernel alone, and through real gateways.

use std::collections::BTreeSet;

use enforcer::image::HostImage;

use crate::composed::{self, Settings};
use crate::corpus;
use crate::frames::GATEWAY;
use crate::kernel::Bench;
use crate::replay::{Kind, Replay};

/// The loopback: it exists in every namespace, so that a test run can name it.
const INTERFACE: u32 = 1;

#[test]
fn host_and_kernel_agree_on_evasions() {
    let image = corpus::image();
    let mut bench = Bench::open("evasions", &image);
    bench.get().set_wall_offset(corpus::NOW * 1_000_000_000);
    for to in [GATEWAY, corpus::BEHIND] {
        let host = HostImage::new(&image, corpus::NOW);
        for row in corpus::rows(to) {
            for frame in &row.frames {
                let expected = host.decide(&frame.bytes, INTERFACE).decision;
                let found = bench.get().probe(&frame.bytes, INTERFACE).unwrap();
                assert_eq!(found, expected, "row {}: {}", row.number, row.name);
                assert_eq!(found.reason, frame.reason, "row {}: {}", row.number, row.name);
            }
        }
    }
}

/// Nothing gets out of a routing or a bridging gateway, native or generic; what must pass does.
#[test]
fn evasions() {
    let replay = Replay::run();
    println!("{replay}");
    // A lab that lets nothing through proves nothing.
    assert!(replay.leaks(Kind::Routed, "open") >= 60, "{}", replay.sums());
    assert!(replay.leaks(Kind::Bridged, "open") >= 90, "{}", replay.sums());
    let problems: BTreeSet<String> = replay.problems().into_iter().collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// A million random stacks of headers, or `ENFORCER_COMPOSED_FRAMES`, from `ENFORCER_COMPOSED_SEED`:
/// nothing comes out that tshark would not call allowed.
#[test]
fn composed_frames() {
    for run in composed::enforced(Settings::from_env()) {
        println!("{run}");
        assert!(run.problems().is_empty(), "{:#?}", run.problems());
    }
}

/// The same frames where nothing is dropped: the oracle calls most of what comes out a leak.
#[test]
fn composed_frames_of_an_observed_group_leak() {
    let settings = Settings { seed: 1, frames: 20_000 };
    for kind in [Kind::Routed, Kind::Bridged] {
        let run = composed::observed(kind, settings);
        println!("{run}");
        assert!(run.leaked() * 10 > run.sent, "{run}");
        for kind in ["service", "destination address", "source address", "VLAN", "source MAC"] {
            let expected = run.bridged() || !["VLAN", "source MAC"].contains(&kind);
            assert_eq!(run.leaks.contains_key(kind), expected, "{kind}: {run}");
        }
        for kind in ["fragment without its first one", "fragment overlaps what has arrived"] {
            assert_eq!(run.leaks.contains_key(kind), run.bridged(), "{kind}: {run}");
        }
    }
}
