//! Prefixes to measure with.
use std::{fmt::Write as _, net::Ipv4Addr};

use enforcer_testkit::random::Random;

/// Random IPv4 prefixes of /18 to /32, address and length; their first byte is odd. A list from the
/// internet is unsuitable: with all of it nearly every address is in the set, and little more than
/// the gaps remains.
pub(crate) fn prefixes(count: usize, seed: u64) -> Vec<(u32, u32)> {
    let mut random = Random::new(seed);
    let mut prefix = || {
        let length = 18 + random.below(15) as u32;
        ((random.next() as u32 | 0x0100_0000) >> (32 - length) << (32 - length), length)
    };
    (0..count).map(|_| prefix()).collect()
}

/// Prefixes as a file of a set, a line each.
pub(crate) fn file(prefixes: &[(u32, u32)]) -> String {
    let mut text = String::new();
    for &(address, length) in prefixes {
        // A `String` takes everything.
        let _ = writeln!(text, "{}/{length}", Ipv4Addr::from(address));
    }
    text
}
