//! A generation: the classifier with its image, built beside the active one and put in force with
//! one store into the program array.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, ProgramArray};
use aya::programs::{ProgramInfo, SocketFilter};
use enforcer_common::abi::{self, Header, RuleCounter, map, program};
use enforcer_common::image::Line;
use log::warn;

use super::memory::Memory;
use super::parts::{Parts, Spare};
use super::pins::Pins;
use super::programs::{Kind, program as program_of};
use super::rule_counters::RuleCounters;
use super::{Error, object};
use crate::image::{Image, Patch, line_bytes};
use crate::privilege::to_load;

/// A generation that is pinned.
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// Size of its image in bytes.
    pub image_bytes: u64,
    pub(super) rules: Arc<RuleCounters>,
    /// `None` for one that an earlier process loaded.
    pub(super) parts: Option<Parts>,
}

impl Generation {
    /// Opens the pins of the generation in force; `None` when nothing is in force or its pins
    /// are not complete.
    pub fn adopt(pins: &Pins) -> Result<Option<Self>, Error> {
        let Some(current) = current_program(pins)? else { return Ok(None) };
        for number in pins.generations() {
            let dir = pins.generation(number);
            let pinned = ProgramInfo::from_pin(dir.join("program"));
            let tables = [map::IMAGE, map::HEADER, map::RULES];
            let is_whole = || tables.iter().all(|name| dir.join(name).exists());
            if pinned.is_ok_and(|info| info.id() == current) && is_whole() {
                let image = MapData::from_pin(dir.join(map::IMAGE)).map_err(Error::Map)?;
                let lines = image.info().map_err(Error::Map)?.max_entries();
                let image_bytes = u64::from(lines) * size_of::<Line>() as u64;
                let rules = MapData::from_pin(dir.join(map::RULES)).map_err(Error::Map)?;
                let rules = Map::from_map_data(rules).map_err(Error::Map)?;
                let rules = RuleCounters::new(rules)?.into();
                return Ok(Some(Self { number, rules, image_bytes, parts: None }));
            }
        }
        warn!("program {current} is in force, and no whole pinned generation is that program");
        Ok(None)
    }

    /// Whether its image is this one, byte for byte, with as much room for changes.
    pub fn holds(&self, pins: &Pins, image: &Image) -> Result<bool, Error> {
        let lines = image.lines();
        let bytes = line_bytes(&lines);
        let room = bytes.len() + image.spare as usize * size_of::<Line>();
        if room as u64 > self.image_bytes {
            return Ok(false);
        }
        let dir = pins.generation(self.number);
        let path = dir.join(map::HEADER);
        let header = object::open(&path).and_then(|fd| object::entry::<Header>(fd.as_fd(), 0));
        let header = header.map_err(|e| Error::io("read", &path, e))?;
        if header != Header::of(image.layout, self.number) {
            return Ok(false);
        }
        let path = dir.join(map::IMAGE);
        let data = MapData::from_pin(&path).map_err(Error::Map)?;
        let memory = Memory::map(data.fd().as_fd(), bytes.len())
            .map_err(|e| Error::io("map the memory of", &path, e))?;
        Ok(memory.starts_with(bytes))
    }

    /// Changes its image while it is in force: new lines first, then one store for each group.
    pub(super) fn patch(&self, pins: &Pins, patch: &Patch) -> Result<(), Error> {
        let path = pins.generation(self.number).join(map::IMAGE);
        let data = MapData::from_pin(&path).map_err(Error::Map)?;
        let fail = |e| Error::io("change", &path, e);
        let mut memory = Memory::map(data.fd().as_fd(), self.image_bytes as usize).map_err(fail)?;
        let offset = patch.first as usize * size_of::<Line>();
        memory.write_at(offset, line_bytes(&patch.lines)).map_err(fail)?;
        for &(at, entry) in &patch.entries {
            memory.publish(at, entry);
        }
        Ok(())
    }

    /// Whether it runs exactly the instructions of a loaded object.
    pub(super) fn is_of(&self, pins: &Pins, ebpf: &mut Ebpf, kind: Kind) -> Result<bool, Error> {
        let pinned = pins.generation(self.number).join("program");
        let pinned = ProgramInfo::from_pin(pinned).map_err(Error::Program)?.tag();
        let classify = program_of(ebpf, &kind.name(program::CLASSIFY))?;
        to_load(|| classify.load()).map_err(Error::Program)?;
        let own = classify.info().map_err(Error::Program)?.tag();
        // It is loaded again if a new generation is needed.
        classify.unload().map_err(Error::Program)?;
        Ok(own == pinned)
    }

    /// A rule's counters, summed over all CPUs.
    pub fn counter(&self, rule: u32) -> RuleCounter {
        self.rules.get(rule)
    }

    /// What another policy may take over, once it is out of force.
    pub(super) fn spare(&mut self) -> Option<Spare> {
        let parts = self.parts.take().filter(Parts::is_small)?;
        Some(Spare { parts, rules: Arc::clone(&self.rules) })
    }
}

/// Loads the classifier, with an image, and pins the generation.
pub(super) fn pin(
    pins: &Pins,
    ebpf: &mut Ebpf,
    kind: Kind,
    image: &Image,
    number: u32,
) -> Result<Generation, Error> {
    let classify = program_of(ebpf, &kind.name(program::CLASSIFY))?;
    to_load(|| classify.load()).map_err(Error::Program)?;
    let (parts, rules) = Parts::of(ebpf, kind)?;
    parts.fill(image, number)?;
    parts.pin(pins, number)?;
    let (rules, image_bytes) = (RuleCounters::new(rules)?.into(), parts.image_bytes()?);
    Ok(Generation { number, rules, image_bytes, parts: Some(parts) })
}

/// Empties the slot of the generation in force.
pub fn clear(pins: &Pins) -> Result<(), Error> {
    slots(pins)?.clear_index(&abi::SLOT_CURRENT).map_err(Error::Map)
}

/// Puts a pinned generation into the slot of the previous one.
pub(super) fn keep(pins: &Pins, number: u32) -> Result<(), Error> {
    store(pins, number, abi::SLOT_PREVIOUS)
}

/// Puts a pinned generation in force.
pub(super) fn put_back(pins: &Pins, number: u32) -> Result<(), Error> {
    store(pins, number, abi::SLOT_CURRENT)
}

/// Empties the slot of the previous generation.
pub(super) fn forget(pins: &Pins) -> Result<(), Error> {
    match slots(pins)?.clear_index(&abi::SLOT_PREVIOUS) {
        Err(MapError::SyscallError(e)) if e.io_error.kind() == std::io::ErrorKind::NotFound => {
            Ok(())
        }
        other => other.map_err(Error::Map),
    }
}

fn slots(pins: &Pins) -> Result<ProgramArray<MapData>, Error> {
    let array = MapData::from_pin(pins.path(map::GENERATIONS)).map_err(Error::Map)?;
    let array = Map::from_map_data(array).map_err(Error::Map)?;
    ProgramArray::try_from(array).map_err(Error::Map)
}

fn store(pins: &Pins, number: u32, slot: u32) -> Result<(), Error> {
    let path = pins.generation(number).join("program");
    // `Xdp::from_pin` takes an argument of a private type. Only the descriptor is needed, which is
    // the same for every type of program.
    let program = SocketFilter::from_pin(&path).map_err(Error::Program)?;
    let fd = program.fd().map_err(Error::Program)?;
    slots(pins)?.set(slot, fd, 0).map_err(Error::Map)
}

/// Id of the active program, according to the kernel.
fn current_program(pins: &Pins) -> Result<Option<u32>, Error> {
    let path = pins.path(map::GENERATIONS);
    if !path.exists() {
        return Ok(None);
    }
    let array = MapData::from_pin(&path).map_err(Error::Map)?;
    match object::entry(array.fd().as_fd(), abi::SLOT_CURRENT) {
        Ok(id) => Ok(Some(id)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(Error::io("read", &path, e)),
    }
}
