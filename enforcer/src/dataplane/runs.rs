//! How often drivers have run the program, by interface.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::Map;
use enforcer_common::abi::{self, map};

use super::Error;
use super::generation::of_all_cpus;
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
        let Some(Map::Array(data)) = ebpf.map(map::RUNS) else {
            return Err(Error::Object(map::RUNS));
        };
        let [.., entries] = of_all_cpus();
        let memory = Memory::map(data.fd().as_fd(), entries as usize * size_of::<u64>())
            .map_err(|e| Error::io("map the memory of", &pins.path(map::RUNS), e))?;
        Ok(Self { memory, cpus: entries / abi::RUNS_A_CPU })
    }

    /// The sum over all CPUs.
    pub(super) fn of(&self, interface: u32) -> u64 {
        let entries = (0..self.cpus).map(|cpu| abi::run_entry(interface, cpu) as usize);
        entries.map(|entry| self.memory.read(entry)).fold(0, u64::wrapping_add)
    }
}
