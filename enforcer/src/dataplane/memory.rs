//! Map memory that user space writes directly: a system call for each element would take
//! seconds for a million lines.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::Map;

use super::Error;
use super::pins::Pins;

/// The values of an mmap-able array map.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is shared with the kernel anyway; access goes through `&mut` or atomics.
unsafe impl Send for Memory {}

impl Memory {
    /// Maps `length` bytes of the map behind `fd`.
    pub(super) fn map(fd: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; `fd` is open.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, length })
    }

    /// Maps `length` bytes of a lasting map of the object.
    ///
    /// # Errors
    ///
    /// There is no such array, or the kernel refuses.
    pub(super) fn of(
        ebpf: &Ebpf,
        name: &'static str,
        length: usize,
        pins: &Pins,
    ) -> Result<Self, Error> {
        let Some(Map::Array(data)) = ebpf.map(name) else { return Err(Error::Object(name)) };
        Self::map(data.fd().as_fd(), length)
            .map_err(|e| Error::io("map the memory of", &pins.path(name), e))
    }

    /// Copies `bytes` to the start; an error if they do not fit.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.length {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the mapping holds at least `bytes.len()` bytes, and they do not overlap.
        unsafe { self.start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies `bytes` to `offset`; an error if they do not fit.
    pub(super) fn write_at(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the mapping holds `bytes.len()` bytes from `offset` on, and they do not overlap.
        unsafe {
            let target = self.start.as_ptr().add(offset);
            target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Ok(())
    }

    /// Sets all of it to zero.
    pub(super) fn clear(&mut self) {
        // SAFETY: the mapping is writable for its length.
        unsafe { self.start.as_ptr().write_bytes(0, self.length) };
    }

    /// Whether the memory begins with `bytes`.
    pub(super) fn starts_with(&self, bytes: &[u8]) -> bool {
        // SAFETY: the mapping is readable for its length and page aligned; the kernel does not
        // write to an image.
        let memory = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) };
        memory.starts_with(bytes)
    }

    /// Stores 64 bits at once, after everything written before; `number` counts 64-bit words.
    ///
    /// # Panics
    ///
    /// When the word is not in the memory.
    pub(super) fn publish(&self, number: usize, value: u64) {
        self.word(number).store(value, Ordering::Release);
    }

    /// Reads 64 bits at once.
    ///
    /// # Panics
    ///
    /// When the word is not in the memory.
    pub(super) fn read(&self, number: usize) -> u64 {
        self.word(number).load(Ordering::Acquire)
    }

    fn word(&self, number: usize) -> &AtomicU64 {
        assert!(number < self.length / 8, "word {number} of {} bytes", self.length);
        // SAFETY: page aligned, in the mapping, and its published words are only ever accessed
        // atomically.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().cast::<u64>().add(number)) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
