//! What the allocator is told.

/// Options of `mallopt(3)`. glibc's own values make an arena for each thread and raise the thresholds
/// with each large allocation, so that what a policy of a million prefixes took stays with the process
/// when a small one follows.
#[cfg(target_env = "gnu")]
const OPTIONS: [(libc::c_int, libc::c_int); 3] = [
    (libc::M_ARENA_MAX, 1),
    (libc::M_MMAP_THRESHOLD, 128 << 10),
    (libc::M_TRIM_THRESHOLD, 128 << 10),
];

/// Has the allocator give memory back when a large policy goes. To be called before there are threads.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    for (option, value) in OPTIONS {
        // SAFETY: no memory is passed; an option that the C library does not know changes nothing.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Gives back what is free now between what is in use: some milliseconds for some hundred MiB.
pub fn trim() {
    // SAFETY: the allocator is asked for what it may do at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}
