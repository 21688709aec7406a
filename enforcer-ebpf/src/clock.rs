//! The boot clock, and a cheaper look at it.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;

/// When this CPU last read the clock: jiffies, and nanoseconds since boot.
#[map]
static CLOCK: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// [`boot_time`], read once a timer tick and CPU: a flood of refused frames would spend a tenth of
/// its time with the clock.
#[inline(always)]
pub(crate) fn tick_time() -> u64 {
    // SAFETY: the helper has no arguments and cannot fail; Linux 5.6 (5576b991e9c1).
    let tick = unsafe { bpf_jiffies64() };
    let Some(clock) = CLOCK.get_ptr_mut(0) else { return boot_time() };
    // SAFETY: this CPU's element, and no other program runs on this CPU meanwhile.
    let [known, time] = unsafe { &mut *clock };
    if *known != tick {
        (*known, *time) = (tick, boot_time());
    }
    *time
}

/// Nanoseconds since boot, time asleep included.
#[inline(always)]
pub(crate) fn boot_time() -> u64 {
    // SAFETY: the helper has no arguments and cannot fail.
    unsafe { bpf_ktime_get_boot_ns() }
}
