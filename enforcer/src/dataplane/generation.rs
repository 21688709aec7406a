//! A generation: the classifier with its image, built beside the active one and put in force with
//! one store into the program array.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya::programs::ProgramInfo;
use enforcer_common::abi::{self, Header, RuleCounter, map};
use enforcer_common::image::Line;
use log::warn;

use super::hops::Table;
use super::memory::Memory;
use super::parts::{self, Parts, Spare};
use super::pins::Pins;
use super::programs::{Kind, Options};
use super::rule_counters::RuleCounters;
use super::{Error, object};
use crate::image::{Image, Patch, line_bytes};

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
    /// Opens the pins of the generation in force; `None` when nothing is in force, its pins are not complete, or the
    /// transmit side has a program that is not this generation's.
    pub fn adopt(pins: &Pins) -> Result<Option<Self>, Error> {
        let in_force = |name| occupant(pins, name, abi::SLOT_CURRENT);
        let Some(current) = in_force(map::GENERATIONS)? else { return Ok(None) };
        let sends = in_force(map::SENDS)?;
        for number in pins.generations() {
            let dir = pins.generation(number);
            let pinned = ProgramInfo::from_pin(dir.join(parts::CLASSIFY));
            let needed = [map::IMAGE, map::HEADER, map::RULES, map::STAGES, parts::JUDGE];
            let is_whole = || needed.iter().all(|name| dir.join(name).exists());
            if pinned.is_ok_and(|info| info.id() == current) && is_whole() {
                let own = ProgramInfo::from_pin(dir.join(parts::SEND)).ok().map(|info| info.id());
                if own != sends {
                    warn!("generation {number} is in force, and on the transmit side it is not");
                    return Ok(None);
                }
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

    /// Whether its image is this one, byte for byte, with as much room for changes, and its programs are this binary's,
    /// loaded with these options.
    pub fn holds(&self, pins: &Pins, image: &Image, options: Options) -> Result<bool, Error> {
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
        let tags = parts::tags(|pin| object::open(&dir.join(pin)).ok())?;
        let (layout, generation, nonce) = (image.layout, self.number, header.nonce);
        let object = parts::object_digest(options);
        let expected = Header { layout, generation, nonce, object, tags, ..Header::EMPTY };
        if header != expected || image.judges_inbound() && tags.contains(&0) {
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

/// Makes a generation of parts that no frame is judged by: fills them with an image, and pins them.
pub(super) fn make(
    pins: &Pins,
    parts: Parts,
    rules: Arc<RuleCounters>,
    image: &Image,
    number: u32,
) -> Result<Generation, Error> {
    // Before a frame is judged by them.
    Table::open(pins)?.add(&image.hops)?;
    parts.fill(image, number)?;
    parts.pin(pins, number)?;
    let image_bytes = parts.image_bytes()?;
    Ok(Generation { number, rules, image_bytes, parts: Some(parts) })
}

/// Loads the programs, and makes a generation of them.
pub(super) fn load(
    pins: &Pins,
    ebpf: &mut Ebpf,
    how: (Kind, Options),
    image: &Image,
    number: u32,
) -> Result<Generation, Error> {
    let (parts, rules) = Parts::load(ebpf, how, image)?;
    make(pins, parts, RuleCounters::new(rules)?.into(), image, number)
}

/// Empties the slot of the generation in force.
pub fn clear(pins: &Pins) -> Result<(), Error> {
    empty(pins, abi::SLOT_CURRENT)
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
    empty(pins, abi::SLOT_PREVIOUS)
}

fn empty(pins: &Pins, slot: u32) -> Result<(), Error> {
    set(pins, map::GENERATIONS, slot, None).and_then(|()| set(pins, map::SENDS, slot, None))
}

fn store(pins: &Pins, number: u32, slot: u32) -> Result<(), Error> {
    let dir = pins.generation(number);
    let open = |name| object::open(&dir.join(name));
    let program =
        open(parts::CLASSIFY).map_err(|e| Error::io("open", &dir.join(parts::CLASSIFY), e))?;
    let send = open(parts::SEND).ok();
    fill(pins, slot, program.as_fd(), send.as_ref().map(AsFd::as_fd))
}

/// Puts the programs of a generation into a slot: one store for each hook. That of the receiving side, which decides, is
/// the last one; if it fails, the transmit side gets its program back.
pub(super) fn fill(
    pins: &Pins,
    slot: u32,
    program: BorrowedFd<'_>,
    send: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    let before = occupant(pins, map::SENDS, slot)?;
    set(pins, map::SENDS, slot, send)?;
    set(pins, map::GENERATIONS, slot, Some(program)).inspect_err(|_| {
        // What is said is why the policy was not put in force. The comparison of what is in force finds the rest.
        let old = before.and_then(|id| pinned_send(pins, id));
        let _ = set(pins, map::SENDS, slot, old.as_ref().map(AsFd::as_fd));
    })
}

/// The pinned program of the transmit side with this id. By the id alone only CAP_SYS_ADMIN opens it.
fn pinned_send(pins: &Pins, id: u32) -> Option<OwnedFd> {
    let mut paths = pins.generations().into_iter().map(|it| pins.generation(it).join(parts::SEND));
    let is_it = |path: &PathBuf| ProgramInfo::from_pin(path).is_ok_and(|info| info.id() == id);
    object::open(&paths.find(is_it)?).ok()
}

fn set(pins: &Pins, name: &str, slot: u32, program: Option<BorrowedFd<'_>>) -> Result<(), Error> {
    let path = pins.path(name);
    let array = object::open(&path).map_err(|e| Error::io("open", &path, e))?;
    match program {
        Some(program) => object::put(array.as_fd(), slot, program),
        None => object::remove(array.as_fd(), slot),
    }
    .map_err(|e| Error::io("change", &path, e))
}

/// Id of the program in a slot, according to the kernel; `None` where there is none, or no array.
fn occupant(pins: &Pins, name: &str, slot: u32) -> Result<Option<u32>, Error> {
    let path = pins.path(name);
    object::occupant(&path, slot).map_err(|e| Error::io("read", &path, e))
}
