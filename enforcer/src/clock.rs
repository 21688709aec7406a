//! The machine's clocks, in nanoseconds.

/// Nanoseconds since boot, including suspend.
pub(crate) fn boot_clock() -> u64 {
    clock(libc::CLOCK_BOOTTIME) as u64
}

/// Wall clock minus boot clock, in nanoseconds.
pub(crate) fn wall_offset() -> i64 {
    clock(libc::CLOCK_REALTIME).wrapping_sub(clock(libc::CLOCK_BOOTTIME))
}

pub(crate) fn clock(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; both clocks exist on every supported kernel.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
