//! Proof that the driver runs the program: a counter for each interface and CPU.

use enforcer_common::abi;

use crate::maps::RUNS;

/// Counts a frame of an interface on a CPU. Probes are not counted: they did not come from the driver.
#[inline(always)]
pub(crate) fn count(interface: u32, cpu: u32) {
    if let Some(runs) = RUNS.get_ptr_mut(abi::run_entry(interface, cpu)) {
        // SAFETY: this CPU's entry, and no other program runs on this CPU meanwhile.
        unsafe { *runs = (*runs).wrapping_add(1) };
    }
}
