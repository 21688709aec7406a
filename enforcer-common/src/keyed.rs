//! Digests and table slots that cannot be predicted without the secret of this boot.
//!
//! A device's frames determine the table entries of its budgets, refused flows and datagrams. If a
//! device could compute collisions, it could hide one flow behind another, or share the budget of
//! another device.

use crate::image::walk::GOLDEN;

/// Keys derived from one secret; a power of two.
pub const KEYS: usize = 8;

/// Keys of digests and slots, derived from the secret of this boot: constants of the kernel program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys(pub [u64; KEYS]);

impl Keys {
    /// Public keys, for the host, where predicting a slot gains nothing. No half of a key may be zero,
    /// because the word that it is added to may be zero.
    pub const OPEN: Self = Self([
        0x9216_d5d9_8979_fb1b,
        0xd131_0ba6_98df_b5ac,
        0x2ffd_72db_d01a_dfb7,
        0xb8e1_afed_6a26_7e96,
        0xba7c_9045_f12c_7f99,
        0x24a1_9947_b391_6cf7,
        0x0801_f2e2_858e_fc16,
        0x6369_20d8_7157_4e69,
    ]);

    /// A key. Read at run time, because the loader sets this constant after the build.
    #[inline(always)]
    fn key<const INDEX: usize>(&self) -> u64 {
        const { assert!(INDEX < KEYS) };
        let Self([a, b, c, d, e, f, g, h]) = self;
        let key = match INDEX {
            0 => a,
            1 => b,
            2 => c,
            3 => d,
            4 => e,
            5 => f,
            6 => g,
            _ => h,
        };
        // SAFETY: a reference is valid for reads.
        unsafe { core::ptr::read_volatile(key) }
    }

    /// A 63-bit digest of seven words.
    ///
    /// NH of UMAC (RFC 4418 section 5.2.1) over words of 32 bits: two inputs chosen without the keys
    /// collide with a probability of 2^-32. The products are independent of each other.
    #[inline(always)]
    pub fn digest(&self, words: [u64; 7]) -> u64 {
        let [a, b, c, d, e, f, g] = words;
        let digest = product(a, self.key::<0>())
            .wrapping_add(product(b, self.key::<1>()))
            .wrapping_add(product(c, self.key::<2>()))
            .wrapping_add(product(d, self.key::<3>()))
            .wrapping_add(product(e, self.key::<4>()))
            .wrapping_add(product(f, self.key::<5>()))
            .wrapping_add(product(g, self.key::<6>()));
        let mixed = (digest ^ digest >> 32).wrapping_mul(GOLDEN);
        mixed.rotate_left(32) & u64::MAX >> 1
    }

    /// One of 2^`BITS` slots for a word: multiply and shift (Dietzfelbinger et al., 1997), by which two words
    /// collide with a probability of about 2^-`BITS`. Done twice, with mixing in between: MACs of one maker
    /// are consecutive, and a product keeps them evenly spaced.
    #[inline(always)]
    pub fn slot<const BITS: u32>(&self, word: u64) -> u32 {
        const { assert!(BITS > 0 && BITS < 32) };
        let product = word.wrapping_mul(self.key::<7>() | 1);
        ((product ^ product >> 32).wrapping_mul(GOLDEN) >> (64 - BITS)) as u32
    }
}

/// The product of the halves of a word, each with its half of a key added, modulo 2^32.
#[inline(always)]
fn product(word: u64, key: u64) -> u64 {
    let low = (word as u32).wrapping_add(key as u32);
    let high = ((word >> 32) as u32).wrapping_add((key >> 32) as u32);
    u64::from(low).wrapping_mul(u64::from(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u64) -> Keys {
        let mut state = seed;
        Keys(core::array::from_fn(|_| {
            // SplitMix64 (Steele, Lea and Flood, 2014).
            state = state.wrapping_add(GOLDEN);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        }))
    }

    /// Pairs that collide under one secret do so under few others, whichever bits they differ in.
    #[test]
    fn no_difference_meets_under_many_secrets() {
        let bits: Vec<u64> = (0..64).map(|bit| 1 << bit).collect();
        for &one in &bits {
            for &other in &bits {
                let left = [0x001b_4411_3ab7, 0, 0xca72_0477, 7, 9, 1, 2];
                let mut right = left;
                right[1] ^= one;
                right[2] ^= other;
                let met = (0..16).filter(|&seed| {
                    let keys = keys(seed);
                    keys.digest(left) == keys.digest(right)
                });
                assert!(met.count() < 2, "{one:x} {other:x}");
            }
        }
    }

    #[test]
    fn slots_spread_and_depend_on_the_secret() {
        let slots =
            |seed: u64| (0..4096).map(move |mac| keys(seed).slot::<12>(0x1b_4411_0000 | mac));
        for seed in 0..64 {
            let mut seen: Vec<u32> = slots(seed).collect();
            seen.sort_unstable();
            seen.dedup();
            // As for random numbers: 4,096 times 1 - 1/e is 2,589.
            assert!(
                (2400..2800).contains(&seen.len()) && seen.iter().all(|slot| *slot < 4096),
                "{}",
                seen.len()
            );
        }
        let same = slots(1).zip(slots(2)).filter(|(a, b)| a == b).count();
        assert!(same < 40, "{same}");
    }
}
