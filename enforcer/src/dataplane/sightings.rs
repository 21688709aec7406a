//! Devices that had a frame refused, whether or not an event was sent.

use aya::Ebpf;
use enforcer_common::abi::{self, map};
use enforcer_common::event::held_by;

use super::Error;
use super::memory::Memory;
use super::pins::Pins;

/// A device, and when it was refused last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// Its source MAC.
    pub mac: u64,
    /// Index of the interface that received it, modulo 2^13.
    pub interface: u32,
    /// When, boot clock, in nanoseconds.
    pub time: u64,
}

pub(super) fn open(ebpf: &Ebpf, pins: &Pins) -> Result<Memory, Error> {
    let bytes = abi::SIGHTINGS as usize * size_of::<abi::Sighting>();
    Memory::of(ebpf, map::SIGHTINGS, bytes, pins)
}

pub(super) fn read(memory: &Memory) -> Vec<Sighted> {
    let entry = |number: usize| {
        let (holder, time) = (memory.read(number * 2), memory.read(number * 2 + 1));
        let (mac, interface) = held_by(holder).device.filter(|_| time != 0)?;
        Some(Sighted { mac, interface, time })
    };
    (0..abi::SIGHTINGS as usize).filter_map(entry).collect()
}
