//! How a generation comes to be: its program is loaded, or one that is out of force gets another policy.

use std::sync::Arc;

use aya::{Ebpf, EbpfLoader};
use enforcer_common::abi::{self, map};
use log::{debug, info};

use super::cpus::{cache_lines, of_all_cpus};
use super::generation::{self, Generation};
use super::parts::{CLASSIFY, SEND, Spare, wait_for_frames};
use super::pins::Pins;
use super::programs::{Kind, Options};
use super::secret::Secret;
use super::{Error, OBJECT, diagnostics};
use crate::image::Image;
use crate::privilege::to_load;

/// Loads the object, reusing pinned maps, with tables that have room for an image.
pub fn load(pins: &Pins, image: &Image, options: Options) -> Result<Ebpf, Error> {
    if OBJECT.is_empty() {
        return Err(Error::NoObject);
    }
    let lines = u32::try_from(image.len()).map_err(|_| Error::TooLarge)?;
    let lines = lines.checked_add(image.spare).ok_or(Error::TooLarge)?;
    let (remembers, level) =
        (u32::from(options.flow_cache), diagnostics::level(options.kernel_log));
    let [budgets, seen, runs] = of_all_cpus();
    let secret = Secret::find(pins)?;
    let keys = secret.constant();
    let sets = options.answers.sets();
    let mut loader = EbpfLoader::new();
    loader
        .default_map_pin_directory(pins.dir())
        .map_pin_path(map::LOGS, pins.path(map::LOGS))
        .map_max_entries(map::IMAGE, lines.max(1))
        .map_max_entries(map::RULES, image.rules.max(1))
        .map_max_entries(map::FLOW_CACHE, cache_lines(options.flow_cache))
        .map_max_entries(map::ANSWERS, options.answers.lines())
        .map_max_entries(map::BUDGETS, budgets)
        .map_max_entries(map::SEEN, seen)
        .map_max_entries(map::RUNS, runs)
        .override_global(abi::KEYS, keys.as_slice(), true)
        .override_global(abi::CACHES_FLOWS, &remembers, true)
        .override_global(abi::ANSWER_SETS, &sets, true)
        .override_global(aya_log::LEVEL, &level, true);
    // Aya probes the kernel's features with programs that need CAP_PERFMON: without it, aya would
    // conclude that the kernel does not support names.
    let ebpf = to_load(|| loader.load(OBJECT)).map_err(Error::load)?;
    secret.keep(&ebpf, pins)?;
    Ok(ebpf)
}

/// Everything that making a generation needs. It moves to a separate thread, because a large image
/// takes a second.
pub struct Loader {
    pub(super) pins: Pins,
    pub(super) options: Options,
    pub(super) kind: Kind,
    pub(super) number: u32,
    pub(super) spare: Option<Spare>,
}

/// A generation that is pinned, but not active yet.
pub struct Loaded(pub(super) Generation);

impl Loader {
    /// Makes and pins a generation with an image.
    ///
    /// # Errors
    ///
    /// The kernel refuses; what is in force stays.
    pub fn load(self, image: &Image) -> Result<Loaded, Error> {
        let Self { pins, options, kind, number, spare } = self;
        let spare = spare.filter(|spare| {
            spare.parts.has_room_for(image) && spare.parts.replaced(&pins).is_none()
        });
        if let Some(spare) = spare {
            match spare.serve(&pins, image, number) {
                Ok(loaded) => return Ok(loaded),
                Err(e) => info!("the program is loaded anew for generation {number}: {e}"),
            }
        }
        let mut ebpf = load(&pins, image, options)?;
        generation::load(&pins, &mut ebpf, (kind, options), image, number).map(Loaded)
    }
}

impl Spare {
    /// Gives it the next policy.
    fn serve(self, pins: &Pins, image: &Image, number: u32) -> Result<Loaded, Error> {
        let Self { parts, rules } = self;
        wait_for_frames().map_err(|e| Error::io("wait for frames in", pins.dir(), e))?;
        let rules = Arc::new(rules.hand_on()?);
        parts.forget_flows()?;
        let generation = generation::make(pins, parts, rules, image, number)?;
        debug!("generation {number} has the program of an earlier one");
        Ok(Loaded(generation))
    }
}

impl Loaded {
    /// Puts it into a slot: that of the active generation, or that of the fallback.
    ///
    /// # Errors
    ///
    /// The old generation stays in the slot. It also stays if pins were removed meanwhile: then the new one
    /// would have its own tables, which nothing reads.
    pub(super) fn put(self, pins: &Pins, slot: u32) -> Result<Generation, Error> {
        let Self(generation) = self;
        let parts = generation.parts.as_ref().ok_or(Error::Object(map::GENERATIONS))?;
        if let Some(name) = parts.replaced(pins) {
            return Err(Error::Replaced(name));
        }
        let program = parts.program(CLASSIFY).ok_or(Error::Object(map::GENERATIONS))?;
        generation::fill(pins, slot, program, parts.program(SEND))?;
        debug!("generation {} is in slot {slot}", generation.number);
        Ok(generation)
    }
}
