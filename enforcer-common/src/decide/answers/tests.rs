//! Lines that two CPUs are writing: no flow is found that nobody ever wrote.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::table::{find, write};
use super::*;
use crate::decide::asked::Question;
use crate::decide::datagrams::Datagram;
use crate::decide::hops::Hop;
use crate::flow::Address;
use crate::image::clock::Clocks;
use crate::image::{Layout, Line, Lines};
use crate::keyed::Keys;

/// Looks at the line; `ENFORCER_TORN_LOOKS` overrides it.
const LOOKS: u64 = 5_000_000;

struct World(Vec<Answers>);

impl Lines for World {
    fn line(&self, _: u32) -> Option<&Line> {
        None
    }
}

impl Policy for World {
    fn layout(&self) -> &Layout {
        &Layout::EMPTY
    }

    fn clocks(&self) -> Result<Clocks, Corrupt> {
        Err(Corrupt)
    }

    fn boot(&self) -> u64 {
        1
    }

    fn keys(&self) -> &Keys {
        &Keys::OPEN
    }

    fn datagram(&self, _: u32) -> Option<&Datagram> {
        None
    }

    fn hop(&self, _: &Hop) -> Option<u64> {
        None
    }

    fn nonce(&self) -> u64 {
        1
    }

    fn question(&self, _: u32) -> Option<&Question> {
        None
    }

    fn answers(&self, number: u32) -> Option<&Answers> {
        self.0.get(number as usize)
    }
}

/// A flow of one device to port 22, from an address and a port of the other end.
fn context(peer: u32, port: u16) -> FrameContext {
    FrameContext::of(Flow {
        source: Address::v4(0x0a14_000b),
        destination: Address::v4(peer),
        source_port: 22,
        destination_port: port,
        protocol: protocol::TCP,
        family: FAMILY_V4,
        ..Flow::NEW
    })
}

#[test]
fn a_line_that_two_cpus_write_is_of_no_other_flow() {
    let world = World((0..Size::USUAL.lines()).map(|_| Answers::default()).collect());
    let flows = [context(1, 1000), context(2, 2000)];
    // Of the words of both: nobody writes this one.
    let mixed = context(1, 2000);
    let (key, place) = whereabouts(&world, &mixed);
    let line = place.line(0);
    // Its own tag, so that each look compares the whole line.
    let (tags, word) = place.tags();
    world.0[tags as usize][word].set(place.tag());
    let looks = std::env::var("ENFORCER_TORN_LOOKS").ok().and_then(|text| text.parse().ok());
    let stop = AtomicBool::new(false);
    let (found, by_words) = thread::scope(|scope| {
        for _ in 0..2 {
            let (world, stop, flows) = (&world, &stop, &flows);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for flow in flows {
                        let (key, place) = whereabouts(world, flow);
                        let _ = write(world, flow, (&key, place, Some(line)), (0, 0), 1);
                    }
                }
            });
        }
        let (mut found, mut by_words) = (0u64, 0u64);
        let least = looks.unwrap_or(LOOKS);
        // On a busy machine both writers may not run for a while.
        for look in 0..least.saturating_mul(100) {
            if look >= least && by_words > 0 {
                break;
            }
            found += u64::from(find(&world, place, &key).is_some());
            // The same without the digest, to see that this test can fail.
            let [_, words @ ..] = &world.0[line as usize];
            by_words += u64::from(words.iter().zip(key.0).all(|(word, own)| word.get() == own));
        }
        stop.store(true, Ordering::Relaxed);
        (found, by_words)
    });
    println!("{by_words} looks would have matched without the digest, {found} did");
    assert!(by_words > 0, "the line was never torn: nothing was tried");
    assert_eq!(found, 0, "{by_words} looks would have matched without the digest");
}
