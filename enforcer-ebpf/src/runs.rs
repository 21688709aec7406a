//! Proof that the driver runs the program: a counter for each interface and CPU.

use enforcer_common::abi;

use crate::maps::RUNS;

/// Counts a frame of an interface on a CPU. Probes are not counted: they did not come from the driver.
#[inline(always)]
pub(crate) fn count(interface: u32, cpu: u32) {
    // This CPU alone writes to its entries, so that it needs no atomic addition.
    if let Some(runs) = RUNS.get(abi::run_entry(interface, cpu)) {
        runs.set(runs.get().wrapping_add(1));
    }
}
