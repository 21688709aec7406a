//! Timings on the host: the compiler, and the decision code that the kernel program shares.
//!
//! `cargo bench` compares with the previous run. Noise hides small changes in time: `cargo xtask bench
//! count` counts instructions instead.
#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use enforcer_policy::compile;
use enforcer_policy::image::HostImage;

#[expect(dead_code, reason = "more shapes are counted than are timed")]
mod fixture;

use enforcer_testkit::random::{NOW, host};
use fixture::{INTERFACE, Shape, World};

/// Numbers of prefixes in a policy.
const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Number of prefixes in the policy that judges frames.
const LARGE: usize = 100_000;
/// Numbers of flows: one, as many as the caches hold, and strays.
const FLOWS: [(&str, Shape, usize); 3] = [
    ("one flow", Shape::Allowed, 1),
    ("4,096 flows", Shape::Allowed, 4_096),
    ("stray", Shape::Stray, 4_096),
];

fn family(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

/// Measures only [`compile`], not reading the document or loading the image.
fn compilation(criterion: &mut Criterion) {
    let host = host();
    for v6 in [false, true] {
        let mut group = criterion.benchmark_group(format!("compile {}", family(v6)));
        group.sample_size(10);
        for size in SIZES {
            let world = World::new(v6, size);
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| compile(black_box(&world.policy), &host).expect("it compiles"));
            });
        }
        group.finish();
    }
}

/// Measures parser and image together, as in `explain` and the tests: the kernel program's source, compiled
/// for the host.
fn decision(criterion: &mut Criterion) {
    for v6 in [false, true] {
        let world = World::new(v6, LARGE);
        let image = world.image();
        let reference = HostImage::new(&image, NOW);
        let mut group = criterion.benchmark_group(format!("decide {}", family(v6)));
        group.throughput(Throughput::Elements(1));
        for (name, shape, count) in FLOWS {
            let frames = world.frames(shape, count);
            let mut frames = frames.iter().cycle();
            group.bench_function(name, |bencher| {
                bencher.iter(|| reference.decide(frames.next().expect("a cycle"), INTERFACE));
            });
        }
        group.finish();
    }
}

criterion_group!(reference, compilation, decision);
criterion_main!(reference);
