//! Words that several CPUs, or the kernel and user space, read and write.

#[cfg(target_arch = "bpf")]
use core::cell::UnsafeCell;
use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU32, Ordering};

/// A word of 64 bits that is read and written in one piece, in no order with others.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Word(AtomicU64);

/// Half of a [`Word`], likewise.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Half(
    // Rust has no atomics of 32 bits for BPF.
    #[cfg(target_arch = "bpf")] UnsafeCell<u32>,
    #[cfg(not(target_arch = "bpf"))] AtomicU32,
);

#[cfg(target_arch = "bpf")]
// SAFETY: each access is one instruction on an aligned word, and nothing lends the number itself.
unsafe impl Sync for Half {}

impl Word {
    /// What it holds.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        #[cfg(target_arch = "bpf")]
        // SAFETY: a reference is valid for reads. LLVM's BPF target knows no atomic load; one of an aligned
        // word is one instruction.
        return unsafe { self.0.as_ptr().read_volatile() };
        #[cfg(not(target_arch = "bpf"))]
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    #[inline(always)]
    pub fn set(&self, number: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as in `get`, and nothing lends the number itself.
        unsafe {
            self.0.as_ptr().write_volatile(number);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.store(number, Ordering::Relaxed);
    }

    /// Adds to it in one atomic step.
    #[inline(always)]
    pub fn add(&self, number: u64) {
        // BPF has this since Linux 3.18, and what gives the sum back since 5.12 only; Rust offers neither
        // for it.
        #[cfg(target_arch = "bpf")]
        // SAFETY: the word is aligned, and nothing else is touched.
        unsafe {
            core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) self.0.as_ptr(), in(reg) number);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.fetch_add(number, Ordering::Relaxed);
    }
}

impl Half {
    /// What it holds.
    #[inline(always)]
    pub fn get(&self) -> u32 {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as in `Word::get`.
        return unsafe { self.0.get().read_volatile() };
        #[cfg(not(target_arch = "bpf"))]
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    #[inline(always)]
    pub fn set(&self, number: u32) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as in `Word::set`.
        unsafe {
            self.0.get().write_volatile(number);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.store(number, Ordering::Relaxed);
    }

    /// Adds 1 to it; it wraps. Not in one step: for a number that one CPU alone changes.
    #[inline(always)]
    pub fn count(&self) {
        self.set(self.get().wrapping_add(1));
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl PartialEq for Half {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}
