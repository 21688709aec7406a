//! A program that is out of force serves the next policy, without a trace of the one before.

use aya::programs::ProgramInfo;
use enforcer::dataplane::generation::Generation;
use enforcer::image::Image;
use enforcer::policy::{compile, read};
use enforcer_testkit::frames::{Ethernet, V4, ether_type, udp};
use enforcer_testkit::random;

use crate::kernel::Bench;

const DEVICE: [u8; 6] = [0, 0x1b, 0x44, 0x11, 0x3a, 0xb7];
const PASSES: u32 = 0x0a14_0007;
const DROPS: u32 = 0x0a14_0008;

/// An image whose one group may reach an address, with this many prefixes beside it.
fn image(to: u32, prefixes: u32) -> Image {
    let others =
        (0..prefixes).map(|number| format!("\"172.{}.{}.0/25\"", number >> 8, number & 0xff));
    let others: Vec<String> = others.collect();
    let text = format!(
        "schema = 1\n[sets]\nothers = [{}]\n[groups.beds]\nmembers = [\"00:1b:44:11:3a:b7\"]\ndefault = \"drop\"\n\
         allow = [{{ to = \"{}\" }}, {{ to = \"@others\", service = \"tcp/443\" }}]\n",
        others.join(", "),
        std::net::Ipv4Addr::from(to),
    );
    let (policy, problems) = read("p.toml", &text, &mut |_| unreachable!());
    assert!(!enforcer::policy::report::has_errors(&problems), "{problems:?}");
    compile(&policy, &random::host()).unwrap().image
}

fn frame(to: u32) -> Vec<u8> {
    let packet = V4::new(0x0a14_000c, to, 17).packet(&udp(40_000, 514, b"hello"));
    Ethernet::new(DEVICE).frame(ether_type::IPV4, &packet)
}

/// The id of the program in force.
fn program(bench: &mut Bench) -> u32 {
    let number = bench.get().current().number;
    let pin = bench.get().pins().generation(number).join("program");
    ProgramInfo::from_pin(pin).unwrap().id()
}

#[test]
fn the_next_small_policy_loads_no_program() {
    let mut bench = Bench::open("reuse", &image(PASSES, 1));
    let first = program(&mut bench);
    // Often enough to be cached.
    assert!((0..8).all(|_| bench.run(&frame(PASSES), 1)));
    let old = bench.get().replace(&image(DROPS, 1)).unwrap();
    let second = program(&mut bench);
    assert_ne!(first, second, "a policy is not written over the one in force");
    assert!((0..8).all(|_| !bench.run(&frame(PASSES), 1)));
    let between = bench.get().replace(&image(PASSES + 1, 1)).unwrap();
    assert_eq!(program(&mut bench), first);
    // Neither the cached verdicts nor the counters of the first policy are left, and its counters can still be read.
    assert!((0..8).all(|_| !bench.run(&frame(PASSES), 1)));
    assert!((0..3).all(|_| bench.run(&frame(PASSES + 1), 1)));
    let frames = |of: &Generation| (0..2).map(|rule| of.counter(rule).frames).sum::<u64>();
    assert_eq!((frames(&old), frames(&between), frames(bench.get().current())), (8, 0, 3));
    // A daemon that is started again recognises what is in force.
    assert!(bench.get().judges_by(&image(PASSES + 1, 1)).unwrap());
    assert!(!bench.get().judges_by(&image(PASSES, 1)).unwrap());
}

#[test]
fn a_large_policy_gets_a_program_of_its_own() {
    let mut bench = Bench::open("reuse-large", &image(PASSES, 1));
    let small = program(&mut bench);
    bench.get().replace(&image(PASSES, 60_000)).unwrap();
    let large = program(&mut bench);
    assert_ne!(small, large);
    assert!(bench.run(&frame(PASSES), 1));
    bench.get().replace(&image(DROPS, 1)).unwrap();
    assert_eq!(program(&mut bench), small, "it has waited");
    bench.get().replace(&image(DROPS, 60_000)).unwrap();
    assert_ne!(program(&mut bench), large, "the memory of a large policy is not kept");
    assert!(!bench.run(&frame(PASSES), 1));
}
