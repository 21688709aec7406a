//! Prefixes to measure with.
use std::{fmt::Write as _, net::Ipv4Addr};

use tests::random::Random;

/// Random IPv4 prefixes of /18 to /32, a line each. A list of the internet would not do: with all of it
/// nearly every address is in the set, so that little more than the gaps is left of it.
pub(crate) fn prefixes(count: usize, seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut text = String::new();
    for _ in 0..count {
        let length = 18 + random.below(15);
        let address = (random.next() as u32 | 0x0100_0000) >> (32 - length) << (32 - length);
        // A `String` takes everything.
        let _ = writeln!(text, "{}/{length}", Ipv4Addr::from(address));
    }
    text
}
