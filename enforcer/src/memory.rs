//! Settings of the allocator.

/// Options of `mallopt(3)`. By default glibc creates an arena for each thread and raises the
/// thresholds with each large allocation, so the memory of a policy of a million prefixes stays with
/// the process when a small one follows.
#[cfg(target_env = "gnu")]
const OPTIONS: [(libc::c_int, libc::c_int); 3] = [
    (libc::M_ARENA_MAX, 1),
    (libc::M_MMAP_THRESHOLD, 128 << 10),
    (libc::M_TRIM_THRESHOLD, 128 << 10),
];

/// Makes the allocator release memory after a large policy. Must be called before threads are started.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    for (option, value) in OPTIONS {
        // SAFETY: no memory is passed; an option that the C library does not know changes nothing.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Releases free memory between allocations that are in use: some milliseconds for some hundred
/// MiB.
pub fn trim() {
    // SAFETY: the allocator supports this call at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}
