//! The one door to packet memory.

use core::marker::PhantomData;

use crate::flow::Flow;

/// Headers are read within this many bytes from the start of a frame.
///
/// Two VLAN tags, an IPv6 header, 256 bytes of extension headers and a TCP header fit. The
/// verifier needs an upper bound on every variable offset.
pub const MAX_OFFSET: usize = 511;

/// Bytes from the start of a frame that the parser can look at: two VLAN tags, an IPv6 header,
/// 256 bytes of extension headers and a TCP header are 338.
pub const HEADERS: usize = 384;

/// A frame that can be read in small pieces at small offsets.
pub trait Frame {
    /// Copies `N` bytes at `offset` from the start of the Ethernet header; `None` when they are
    /// not all inside the frame or start past [`MAX_OFFSET`].
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Length of the whole frame in bytes, without FCS, fragments included.
    fn length(&self) -> u32;

    /// Whether it goes towards a device: `flow` is what was read of it, whose direction is set.
    #[inline(always)]
    fn is_inbound(&self, flow: &Flow) -> bool {
        flow.direction != 0
    }
}

/// A frame of a hook that sees one direction only: the compiler leaves out what the other needs.
#[derive(Clone, Copy, Debug)]
pub struct Directed<F, const INBOUND: bool>(pub F);

impl<F: Frame, const INBOUND: bool> Frame for Directed<F, INBOUND> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.read(offset)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.length()
    }

    #[inline(always)]
    fn is_inbound(&self, _: &Flow) -> bool {
        INBOUND
    }
}

/// A frame as a pair of pointers, the only form whose bounds the verifier tracks.
///
/// The verifier refuses a `&[u8]`, whose length is just a number to it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    start: *const u8,
    end: *const u8,
    length: u32,
    memory: PhantomData<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// A view of the memory from `start` to `end`, of a frame of `length` bytes in all.
    ///
    /// # Safety
    ///
    /// `start..end` is readable for the lifetime `'a`.
    #[inline(always)]
    pub unsafe fn new(start: *const u8, end: *const u8, length: u32) -> Self {
        Self { start, end, length, memory: PhantomData }
    }

    /// A view of a frame in ordinary memory.
    pub fn from_slice(frame: &'a [u8]) -> Self {
        let range = frame.as_ptr_range();
        Self {
            start: range.start,
            end: range.end,
            length: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            memory: PhantomData,
        }
    }

    /// Length of the contiguous part at its start.
    #[inline(always)]
    pub fn linear(&self) -> usize {
        (self.end as usize).wrapping_sub(self.start as usize)
    }

    /// Its first `N` bytes, if they exist: one check for many reads.
    #[inline(always)]
    pub fn first<const N: usize>(&self) -> Option<First<'a, N>> {
        if self.start.wrapping_add(N) > self.end {
            return None;
        }
        Some(First { start: self.start, memory: PhantomData })
    }
}

/// The first `N` bytes of a frame.
#[derive(Clone, Copy, Debug)]
pub struct First<'a, const N: usize> {
    start: *const u8,
    memory: PhantomData<&'a [u8]>,
}

impl<const N: usize> First<'_, N> {
    /// The bytes from `8 * INDEX` on as a number, the first one lowest.
    ///
    /// Reads aligned words: a load that spans two words which were just stored would stall until
    /// both stores have reached the cache.
    #[inline(always)]
    pub fn word<const INDEX: usize>(&self) -> u64 {
        const { assert!(INDEX * 8 + 8 <= N) };
        let word = self.start.wrapping_add(INDEX * 8).cast::<[u8; 8]>();
        // SAFETY: the word lies in the first `N` bytes of the frame, which exist; `[u8; 8]` needs no
        // alignment.
        u64::from_le_bytes(unsafe { word.read_unaligned() })
    }
}

impl Frame for Packet<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let field = self.start.wrapping_add(offset);
        if field.wrapping_add(N) > self.end {
            return None;
        }
        // SAFETY: `field..field + N` lies in the frame; `[u8; N]` needs no alignment.
        Some(unsafe { field.cast::<[u8; N]>().read_unaligned() })
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_inside_and_not_beyond() {
        let bytes = [1u8, 2, 3, 4];
        let packet = Packet::from_slice(&bytes);
        assert_eq!(packet.read::<4>(0), Some([1, 2, 3, 4]));
        assert_eq!(packet.read::<1>(3), Some([4]));
        assert_eq!(packet.read::<2>(3), None);
        assert_eq!(packet.read::<0>(4), Some([]));
        assert_eq!(packet.read::<1>(4), None);
        assert_eq!(packet.length(), 4);
    }

    #[test]
    fn refuses_offsets_past_the_bound() {
        let bytes = vec![0u8; 2048];
        let packet = Packet::from_slice(&bytes);
        assert!(packet.read::<1>(MAX_OFFSET).is_some());
        assert!(packet.read::<1>(MAX_OFFSET + 1).is_none());
    }
}
