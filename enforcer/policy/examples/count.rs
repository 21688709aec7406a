//! Fixed workloads for `cargo xtask bench count`, which counts their instructions with valgrind.
//!
//! Only code called from [`measured`] is counted. The names of the parts go to stdout, in order.

use std::hint::black_box;

use enforcer_common::reason::Reason;
use enforcer_policy::compile;
use enforcer_policy::image::HostImage;

#[path = "../benches/fixture/mod.rs"]
mod fixture;

use enforcer_testkit::random::{NOW, host};
use fixture::{INTERFACE, Shape, World};

/// Number of prefixes in each policy.
const PREFIXES: usize = 1_000;
/// Number of frames of each shape.
const FRAMES: usize = 1_000;

/// Shapes with a name, and the reason that their frames must get.
const SHAPES: [(Shape, &str, Reason); 8] = [
    (Shape::Allowed, "allowed", Reason::Allow),
    (Shape::Tagged, "allowed and tagged", Reason::Allow),
    (Shape::Stray, "no rule", Reason::Default),
    (Shape::Denied, "denied", Reason::Deny),
    (Shape::Unknown, "unknown device", Reason::Unknown),
    (Shape::Fragment, "stray fragment", Reason::FragmentOrphan),
    (Shape::Broken, "cut off", Reason::TruncatedNetwork),
    (Shape::Arp, "ARP", Reason::Arp),
];

fn main() {
    let host = host();
    for (family, v6) in [("IPv4", false), ("IPv6", true)] {
        let world = World::new(v6, PREFIXES);
        part(&format!("compile {family}, {PREFIXES} prefixes"), &mut || {
            black_box(compile(black_box(&world.policy), &host).expect("it compiles"));
        });
        let image = world.image();
        for (shape, name, reason) in SHAPES {
            if v6 && matches!(shape, Shape::Fragment | Shape::Arp) {
                continue;
            }
            let frames = world.frames(shape, FRAMES);
            let reference = HostImage::new(&image, NOW);
            for frame in &frames {
                // A different verdict would be a different workload.
                assert_eq!(
                    reference.decide(frame, INTERFACE).decision.reason,
                    reason,
                    "{family} {name}"
                );
            }
            part(&format!("decide {family}, {name}, {FRAMES} frames"), &mut || {
                for frame in &frames {
                    black_box(reference.decide(black_box(frame), INTERFACE));
                }
            });
        }
    }
}

/// One part of the workload; valgrind dumps its counters when this function returns.
#[inline(never)]
fn part(name: &str, work: &mut dyn FnMut()) {
    println!("{name}");
    measured(work);
    black_box(());
}

/// The counted function: valgrind refers to it, and to [`part`], by name.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    black_box(());
}

/// Replaces the C library's function, so that std seeds its hash tables identically in every run and the
/// number of collisions is the same.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller guarantees that the buffer has this length.
    unsafe { buffer.write_bytes(7, length) };
    length as isize
}
