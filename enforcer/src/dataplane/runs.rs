//! How often drivers have run the program, by interface.

use aya::Ebpf;
use enforcer_common::abi::{self, map};

use super::Error;
use super::cpus::of_all_cpus;
use super::memory::Memory;
use super::pins::Pins;

/// The counters, as the kernel has them in memory.
pub(super) struct Runs {
    memory: Memory,
    cpus: u32,
}

impl Runs {
    /// Maps the counters of all CPUs.
    pub(super) fn open(ebpf: &Ebpf, pins: &Pins) -> Result<Self, Error> {
        let [.., entries] = of_all_cpus();
        let memory = Memory::of(ebpf, map::RUNS, entries as usize * size_of::<u64>(), pins)?;
        Ok(Self { memory, cpus: entries / abi::RUNS_A_CPU })
    }

    /// The sum over all CPUs.
    pub(super) fn of(&self, interface: u32) -> u64 {
        let entries = (0..self.cpus).map(|cpu| abi::run_entry(interface, cpu) as usize);
        entries.map(|entry| self.memory.read(entry)).fold(0, u64::wrapping_add)
    }
}
