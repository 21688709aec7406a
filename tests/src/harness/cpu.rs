//! Which CPUs a thread may run on.

use std::{mem, ops::Range};

/// Keeps this thread, and its future threads and children, on some CPUs.
///
/// # Panics
/// When the kernel refuses: there is none of them.
#[track_caller]
pub fn keep_on(cpus: Range<usize>) {
    // SAFETY: all zeros are an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for cpu in cpus.clone() {
        // SAFETY: the set is ours, and the macro checks the number's range.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set lives through the call and has the size that is given.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    assert_eq!(result, 0, "CPUs {cpus:?}: {}", std::io::Error::last_os_error());
}
