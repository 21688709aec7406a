//! A generation: the classifier with its image, built beside the active one and put in force with
//! one store into the program array.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use aya::maps::{Map, MapData, MapError, PerCpuArray, ProgramArray};
use aya::programs::{ProgramError, ProgramInfo, SocketFilter, Xdp};
use aya::{Ebpf, EbpfLoader};
use enforcer_common::abi::{self, RuleCounter, map, program};
use enforcer_common::image::Line;
use log::{debug, warn};

use super::cpus::{cache_lines, of_all_cpus};
use super::memory::Memory;
use super::pins::Pins;
use super::secret::Secret;
use super::{Error, OBJECT, diagnostics, object};
use crate::image::{Image, Patch, line_bytes};
use crate::privilege::to_load;

/// Whether programs see frames that are spread over fragments. A program array holds only one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Linux 5.18 and later.
    Fragments,
    /// Before 5.18; attaching fails on interfaces with a large MTU.
    Linear,
}

impl Kind {
    /// Name of a program of this kind.
    pub fn name(self, name: &str) -> String {
        match self {
            Self::Fragments => name.into(),
            Self::Linear => format!("{name}_linear"),
        }
    }
}

/// A generation that is pinned.
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// Counters by rule.
    pub rules: PerCpuArray<MapData, RuleCounter>,
    /// Size of its image in bytes.
    pub image_bytes: u64,
}

impl Generation {
    /// Opens the pins of the generation in force; `None` when nothing is in force or its pins
    /// are not complete.
    pub fn adopt(pins: &Pins) -> Result<Option<Self>, Error> {
        let Some(current) = current_program(pins)? else { return Ok(None) };
        for number in pins.generations() {
            let dir = pins.generation(number);
            let pinned = ProgramInfo::from_pin(dir.join("program"));
            let is_whole = || [map::IMAGE, map::RULES].iter().all(|name| dir.join(name).exists());
            if pinned.is_ok_and(|info| info.id() == current) && is_whole() {
                let image = MapData::from_pin(dir.join(map::IMAGE)).map_err(Error::Map)?;
                let lines = image.info().map_err(Error::Map)?.max_entries();
                let image_bytes = u64::from(lines) * size_of::<Line>() as u64;
                let rules = MapData::from_pin(dir.join(map::RULES)).map_err(Error::Map)?;
                let rules = Map::from_map_data(rules).map_err(Error::Map)?;
                let rules = PerCpuArray::try_from(rules).map_err(Error::Map)?;
                return Ok(Some(Self { number, rules, image_bytes }));
            }
        }
        warn!("program {current} is in force, and no whole pinned generation is that program");
        Ok(None)
    }

    /// Whether its image is this one, byte for byte.
    pub fn holds(&self, pins: &Pins, image: &Image) -> Result<bool, Error> {
        let lines = image.lines();
        let bytes = line_bytes(&lines);
        let room = bytes.len() + image.spare as usize * size_of::<Line>();
        if room as u64 != self.image_bytes {
            return Ok(false);
        }
        let path = pins.generation(self.number).join(map::IMAGE);
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
        let classify = program(ebpf, &kind.name(program::CLASSIFY))?;
        to_load(|| classify.load()).map_err(Error::Program)?;
        let own = classify.info().map_err(Error::Program)?.tag();
        // It is loaded again if a new generation is needed.
        classify.unload().map_err(Error::Program)?;
        Ok(own == pinned)
    }

    /// A rule's counters, summed over all CPUs.
    pub fn counter(&self, rule: u32) -> RuleCounter {
        let mut sum = RuleCounter::default();
        if let Ok(values) = self.rules.get(&rule, 0) {
            for value in values.iter() {
                sum.frames = sum.frames.wrapping_add(value.frames);
                sum.bytes = sum.bytes.wrapping_add(value.bytes);
            }
        }
        sum
    }
}

/// How the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether they report rare faults in the log.
    pub kernel_log: bool,
    /// Whether they cache flows, see [`enforcer_common::decide::flow_cache`].
    pub flow_cache: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { kernel_log: false, flow_cache: true }
    }
}

/// Loads the object with an image, reusing pinned maps.
pub fn load(pins: &Pins, image: &Image, number: u32, options: Options) -> Result<Ebpf, Error> {
    if OBJECT.is_empty() {
        return Err(Error::NoObject);
    }
    let lines = u32::try_from(image.len()).map_err(|_| Error::TooLarge)?;
    let lines = lines.checked_add(image.spare).ok_or(Error::TooLarge)?;
    let layout = image.layout_bytes();
    let (remembers, level) =
        (u32::from(options.flow_cache), diagnostics::level(options.kernel_log));
    let [budgets, seen, runs] = of_all_cpus();
    let secret = Secret::find(pins)?;
    let keys = secret.constant();
    let mut loader = EbpfLoader::new();
    loader
        .default_map_pin_directory(pins.dir())
        .map_pin_path(map::LOGS, pins.path(map::LOGS))
        .map_max_entries(map::IMAGE, lines.max(1))
        .map_max_entries(map::RULES, image.rules.max(1))
        .map_max_entries(map::FLOW_CACHE, cache_lines(options.flow_cache))
        .map_max_entries(map::BUDGETS, budgets)
        .map_max_entries(map::SEEN, seen)
        .map_max_entries(map::RUNS, runs)
        .override_global(abi::LAYOUT, layout.as_slice(), true)
        .override_global(abi::GENERATION, &number, true)
        .override_global(abi::KEYS, keys.as_slice(), true)
        .override_global(abi::CACHES_FLOWS, &remembers, true)
        .override_global(aya_log::LEVEL, &level, true);
    // Aya probes the kernel's features with programs that need CAP_PERFMON: without it, aya would
    // conclude that the kernel does not support names.
    let mut ebpf = to_load(|| loader.load(OBJECT)).map_err(Error::load)?;
    secret.keep(&ebpf, pins)?;
    // Before a frame is judged by them.
    super::hops::add(&mut ebpf, &image.hops)?;
    let Some(Map::Array(data)) = ebpf.map_mut(map::IMAGE) else {
        return Err(Error::Object(map::IMAGE));
    };
    let lines = image.lines();
    let bytes = line_bytes(&lines);
    Memory::map(data.fd().as_fd(), bytes.len())
        .and_then(|mut memory| memory.write(bytes))
        .map_err(|e| Error::io("fill", &pins.path(map::IMAGE), e))?;
    Ok(ebpf)
}

/// Everything that loading a generation needs. It moves to a separate thread, because a large image
/// takes a second.
#[derive(Clone, Debug)]
pub struct Loader {
    pub(super) pins: Pins,
    pub(super) options: Options,
    pub(super) kind: Kind,
    pub(super) number: u32,
}

/// A generation that is loaded and pinned, but not active yet.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) generation: Generation,
}

impl Loader {
    /// Loads and pins a generation with an image.
    ///
    /// # Errors
    ///
    /// The kernel refuses; what is in force stays.
    pub fn load(&self, image: &Image) -> Result<Loaded, Error> {
        let mut ebpf = load(&self.pins, image, self.number, self.options)?;
        let generation = pin(&self.pins, &mut ebpf, self.kind, self.number)?;
        Ok(Loaded { ebpf, generation })
    }
}

impl Loaded {
    /// Puts it into a slot: that of the active generation, or that of the fallback.
    ///
    /// # Errors
    ///
    /// The old generation stays in the slot. It also stays if pins were removed meanwhile: then the new one
    /// would have its own tables, which nothing reads.
    pub(super) fn put(mut self, pins: &Pins, kind: Kind, slot: u32) -> Result<Generation, Error> {
        for name in map::LASTING {
            let used = self.ebpf.map(name).and_then(descriptor);
            let pinned = object::open(&pins.path(name));
            let is_same = match (used, pinned) {
                (Some(used), Ok(pinned)) => {
                    object::identity(used).ok() == object::identity(pinned.as_fd()).ok()
                }
                // Already taken out of the object, or not one of its maps.
                (None, _) => true,
                (Some(_), Err(_)) => false,
            };
            if !is_same {
                return Err(Error::Replaced(name));
            }
        }
        put(&mut self.ebpf, kind, self.generation.number, slot)?;
        Ok(self.generation)
    }
}

/// The descriptor of a map of a lasting kind.
fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    if let Map::Array(data)
    | Map::PerCpuArray(data)
    | Map::ProgramArray(data)
    | Map::RingBuf(data)
    | Map::HashMap(data) = map
    {
        Some(data.fd().as_fd())
    } else {
        None
    }
}

/// Loads the classifier and pins the generation.
pub(super) fn pin(
    pins: &Pins,
    ebpf: &mut Ebpf,
    kind: Kind,
    number: u32,
) -> Result<Generation, Error> {
    let name = kind.name(program::CLASSIFY);
    let classify = program(ebpf, &name)?;
    to_load(|| classify.load()).map_err(Error::Program)?;
    // A leftover of a daemon that was killed between here and the store.
    pins.remove_generation(number)?;
    let dir = pins.make_generation(number)?;
    let image_bytes = match ebpf.map(map::IMAGE) {
        Some(Map::Array(data)) => {
            data.pin(dir.join(map::IMAGE)).map_err(Error::Pin)?;
            let lines = data.info().map_err(Error::Map)?.max_entries();
            u64::from(lines) * size_of::<Line>() as u64
        }
        _ => return Err(Error::Object(map::IMAGE)),
    };
    let rules = ebpf.take_map(map::RULES).ok_or(Error::Object(map::RULES))?;
    if let Map::PerCpuArray(data) = &rules {
        data.pin(dir.join(map::RULES)).map_err(Error::Pin)?;
    }
    let rules = PerCpuArray::try_from(rules).map_err(Error::Map)?;
    program(ebpf, &name)?.pin(dir.join("program")).map_err(Error::Pin)?;
    Ok(Generation { number, rules, image_bytes })
}

/// Puts a generation that is loaded into a slot: one store.
pub(super) fn put(ebpf: &mut Ebpf, kind: Kind, number: u32, slot: u32) -> Result<(), Error> {
    let name = kind.name(program::CLASSIFY);
    let fd = program(ebpf, &name)?.fd().map_err(Error::Program)?.try_clone();
    let fd = fd.map_err(|e| Error::io("duplicate", Path::new(&name), e))?;
    let array = ebpf.map_mut(map::GENERATIONS).ok_or(Error::Object(map::GENERATIONS))?;
    let mut array = ProgramArray::try_from(array).map_err(Error::Map)?;
    array.set(slot, &fd, 0).map_err(Error::Map)?;
    debug!("generation {number} is in slot {slot}");
    // The pins and the program array keep the program; this process must not hold it.
    program(ebpf, &name)?.unload().map_err(Error::Program)?;
    drop(ebpf.take_map(map::IMAGE));
    Ok(())
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

/// Loads the dispatcher as the kind that this kernel supports.
///
/// # Errors
///
/// The error of the simpler kind, which every supported kernel accepts.
pub fn load_dispatcher(ebpf: &mut Ebpf) -> Result<Kind, Error> {
    for kind in [Kind::Fragments, Kind::Linear] {
        let dispatch = program(ebpf, &kind.name(program::DISPATCH))?;
        match to_load(|| dispatch.load()) {
            Ok(()) => return Ok(kind),
            Err(ProgramError::LoadError { io_error, .. })
                if kind == Kind::Fragments && io_error.raw_os_error() == Some(libc::EINVAL) =>
            {
                debug!("this kernel has no XDP fragments (Linux 5.18): {io_error}");
            }
            Err(e) => return Err(Error::Program(e)),
        }
    }
    Err(Error::Object(program::DISPATCH))
}

/// A program of the object.
pub fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(Error::Object(program::DISPATCH))
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
