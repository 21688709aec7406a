//! The size of the table of answers.

/// Bits that select a set, in the largest table.
pub(super) const SET_BITS: u32 = 18;
/// Flows of a set: 16 bits of a word each.
pub const WAYS: u32 = 4;

/// The size of the table: a power of two of sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    sets: u32,
}

impl Size {
    /// The size unless told otherwise.
    pub const USUAL: Self = Self { sets: 1 << 12 };
    /// Fewest and most flows.
    pub const FLOWS: core::ops::RangeInclusive<u32> = 1 << 10..=1 << (SET_BITS + 2);

    /// Room for at least this many flows; `None` outside [`Size::FLOWS`].
    pub const fn for_flows(flows: u32) -> Option<Self> {
        if flows < *Self::FLOWS.start() || flows > *Self::FLOWS.end() {
            return None;
        }
        Some(Self { sets: flows.next_power_of_two() / WAYS })
    }

    /// By the number of sets, which the loader has set.
    #[inline(always)]
    pub const fn of_sets(sets: u32) -> Self {
        Self { sets }
    }

    /// Sets of the table.
    #[inline(always)]
    pub const fn sets(self) -> u32 {
        self.sets
    }

    /// Flows of the table.
    pub const fn flows(self) -> u32 {
        self.sets * WAYS
    }

    /// Sets that the flows of one device may be in: a flood of one device fills no others.
    #[inline(always)]
    pub const fn window(self) -> u32 {
        self.sets / 16
    }

    /// Lines with tags.
    #[inline(always)]
    pub(super) const fn tag_lines(self) -> u32 {
        self.sets / 8
    }

    /// The line of [`counter`](super::counter)s, the last one.
    #[inline(always)]
    pub(super) const fn counters(self) -> u32 {
        self.tag_lines() + 2 * WAYS * self.sets
    }

    /// Lines of the table.
    pub const fn lines(self) -> u32 {
        self.counters() + 1
    }

    /// Line of the key of a flow, by its number below [`flows`](Self::flows); its state is in the next line.
    pub const fn key_line(self, flow: u32) -> u32 {
        self.tag_lines() + 2 * flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(Size::for_flows(16_384), Some(Size::USUAL));
        assert_eq!(Size::for_flows(16_385).map(Size::flows), Some(32_768));
        assert_eq!((Size::for_flows(1_023), Size::for_flows(1_048_577)), (None, None));
        for flows in [1_024, 16_384, 1_048_576] {
            let size = Size::for_flows(flows).unwrap();
            assert_eq!(size.flows(), flows);
            // Tags, a key and a state for each flow, and the counters.
            assert_eq!(size.lines(), flows / 32 + 2 * flows + 1);
            assert_eq!(size.key_line(flows - 1) + 2, size.lines() - 1);
            assert!(size.sets() <= 1 << SET_BITS && size.window() > 0);
        }
    }
}
