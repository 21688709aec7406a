//! The data plane: enforcer's state in the kernel.
//!
//! - [`pins`]: the pin directory
//! - [`generation`]: a classifier with its image, put in force with one store
//! - [`loader`]: how a generation comes to be
//! - [`programs`]: the programs of the object
//! - `restore`: pins that are not needed any more, and pins that somebody removed
//! - `parts`: what a generation consists of in the kernel
//! - `rule_counters`: the counters of a generation's rules
//! - `cpus`: sizes of tables that depend on the number of CPUs
//! - [`events`]: the ring buffer
//! - `flows`: flows that others have opened towards devices
//! - `owner`: refuses files and directories of another owner
//! - `verify_pins`: refuses pins that do not match their names
//! - [`inspect`]: what is pinned, read-only
//! - `hops`: the table of next hops
//! - `pin_keeper`: descriptors of what is pinned
//! - `links`: the links that attach the dispatcher to interfaces
//! - `memory`: map memory that user space writes directly
//! - `object`: queries of pinned objects through bpf(2)
//! - [`offload`]: hardware features that change frames before XDP sees them
//! - `unconfirmed`: a generation that must be confirmed, and the previous one
//! - `transmit`: the transmit side of interfaces
//! - `suppressed`: refused frames without an event
//! - `probe`: runs of the active program without side effects
//!
//! It sees images, interface indices and numbers; only the policy knows their meaning.

mod cpus;
mod diagnostics;
mod error;
pub mod events;
mod flows;
pub mod generation;
mod hops;
pub mod inspect;
mod links;
pub mod loader;
mod memory;
mod native;
mod object;
pub mod offload;
mod owner;
mod parts;
mod pin_keeper;
pub mod pins;
mod probe;
pub mod programs;
mod restore;
mod rule_counters;
mod runs;
mod secret;
mod sightings;
mod suppressed;
mod transmit;
mod unconfirmed;
mod verify_pins;
mod virtio;

use std::collections::BTreeSet;
use std::mem::offset_of;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use aya::programs::{ProgramInfo, Xdp};
use enforcer_common::abi::{self, ReasonCounter, map, program};
use enforcer_common::decide::Decision;
use enforcer_common::decide::answers::counter;
use enforcer_common::event::Record;
use enforcer_common::keyed::Keys;
use enforcer_common::reason::Reason;
use log::{info, warn};

use crate::image::{Hops, Image, Patch};
use diagnostics::Diagnostics;
pub use error::Error;
pub use flows::{Flows, Noted};
use generation::Generation;
pub use links::{Attached, How, Interface, Preference, Protected};
pub use loader::{Loaded, Loader};
use memory::Memory;
pub use native::hindrance as native_hindrance;
use parts::Spare;
use pin_keeper::PinKeeper;
use pins::Pins;
use programs::{Kind, Options};
pub use sightings::Sighted;
pub use suppressed::SuppressedCounts;
pub use transmit::{Filter, Hook};

/// 64-bit words of [`abi::Control`].
const WALL_OFFSET: usize = offset_of!(abi::Control, wall_offset) / 8;
const HELD_OFFSET: usize = offset_of!(abi::Control, held_offset) / 8;
const DEADLINE: usize = offset_of!(abi::Control, deadline) / 8;

/// The kernel programs. Empty when the binary was built without them.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ENFORCER_BPF_OBJECT_PATH"));

/// All of enforcer's state in the kernel.
pub struct Dataplane {
    pins: Pins,
    options: Options,
    kind: Kind,
    /// Keeps the dispatcher's descriptor.
    ebpf: Ebpf,
    /// Ids of the dispatchers that this process has loaded, all of the same program.
    dispatchers: Vec<u32>,
    current: Generation,
    /// Takes over again unless the current one is confirmed in time.
    previous: Option<Generation>,
    /// Out of force, for the next policy.
    spare: Option<Spare>,
    reasons: PerCpuArray<MapData, ReasonCounter>,
    suppressed: suppressed::Counters,
    /// Suppressed and lost together, at the last reading.
    unseen: u64,
    diagnostics: Diagnostics,
    control: Memory,
    runs: runs::Runs,
    sightings: Memory,
    answers: flows::Table,
    hops: hops::Table,
    /// Interfaces with our filter on their transmit side.
    filters: BTreeSet<u32>,
    kept: PinKeeper,
}

impl Dataplane {
    /// Puts an image in force, or adopts the generation that already holds it.
    ///
    /// Does not attach to any further interface. Attached interfaces use the old generation until
    /// the new one is in force.
    ///
    /// One that was loaded with other options is replaced. If the table of answers gets another size, it is made anew: what
    /// was noted is noted again with the next frame of the other side.
    pub fn open(pins: Pins, image: &Image, options: Options) -> Result<Self, Error> {
        let adopted = Generation::adopt(&pins)?;
        let number = pins.generations().last().copied().unwrap_or(0) + 1;
        flows::unpin_other_size(&pins, options.answers)?;
        let mut ebpf = loader::load(&pins, image, options)?;
        let kind = programs::load_dispatcher(&mut ebpf)?;
        let current = match adopted {
            Some(generation) if generation.holds(&pins, image, options)? => {
                info!("adopted generation {}: it holds this policy", generation.number);
                for name in [map::IMAGE, map::RULES, map::FLOW_CACHE] {
                    drop(ebpf.take_map(name));
                }
                generation
            }
            _ => {
                let next = generation::load(&pins, &mut ebpf, (kind, options), image, number)?;
                Loaded(next).put(&pins, abi::SLOT_CURRENT)?
            }
        };
        let dispatcher = programs::xdp(&mut ebpf, &kind.name(program::DISPATCH))?;
        let dispatcher = dispatcher.info().map_err(Error::Program)?.id();
        let reasons = ebpf.take_map(map::REASONS).ok_or(Error::Object(map::REASONS))?;
        let reasons = PerCpuArray::try_from(reasons).map_err(Error::Map)?;
        let budgets = ebpf.take_map(map::BUDGETS).ok_or(Error::Object(map::BUDGETS))?;
        let suppressed = suppressed::Counters::new(budgets)?;
        let diagnostics = Diagnostics::open(&mut ebpf, options.kernel_log)?;
        let control = Memory::of(&ebpf, map::CONTROL, size_of::<abi::Control>(), &pins)?;
        let runs = runs::Runs::open(&ebpf, &pins)?;
        let sightings = sightings::open(&ebpf, &pins)?;
        let answers = flows::Table::open(&ebpf, &pins, options.answers)?;
        let mut hops = hops::Table::open(&pins)?;
        hops.set(&image.hops)?;
        let (previous, kept) = (None, PinKeeper::default());
        let mut dataplane = Self {
            pins,
            options,
            kind,
            ebpf,
            dispatchers: vec![dispatcher],
            current,
            previous,
            spare: None,
            reasons,
            suppressed,
            unseen: 0,
            diagnostics,
            control,
            runs,
            sightings,
            answers,
            hops,
            filters: BTreeSet::new(),
            kept,
        };
        dataplane.unseen = dataplane.count_unseen();
        // A policy that waited to be confirmed when the last daemon ended was not confirmed: its
        // slot now holds the previous policy.
        dataplane.disarm();
        dataplane.forget_others();
        Ok(dataplane)
    }

    /// Everything that loading the next generation needs.
    ///
    /// # Errors
    ///
    /// Pins were removed and cannot be restored: without them, a new program would get its own tables, which
    /// no other program uses.
    pub fn loader(&mut self) -> Result<Loader, Error> {
        self.restore_pins().map_err(|(_, e)| e)?;
        let (number, spare) = (self.next_number(), self.spare.take());
        let (pins, options, kind) = (self.pins.clone(), self.options, self.kind);
        Ok(Loader { pins, options, kind, number, spare })
    }

    /// Loads another image and puts it in force, see [`Dataplane::activate`].
    pub fn replace(&mut self, image: &Image) -> Result<Generation, Error> {
        let loaded = self.loader()?.load(image)?;
        let old = self.activate(loaded)?;
        self.set_hops(&image.hops)?;
        Ok(old)
    }

    /// Puts a generation in force for all interfaces at once. Returns the old one, whose counters can
    /// still be read.
    pub fn activate(&mut self, loaded: Loaded) -> Result<Generation, Error> {
        let next = loaded.put(&self.pins, abi::SLOT_CURRENT)?;
        let mut old = std::mem::replace(&mut self.current, next);
        self.spare = old.spare();
        self.forget_others();
        Ok(old)
    }

    /// Sets the next hops of bound links, from the next frame on.
    ///
    /// # Errors
    ///
    /// The kernel has no room: packets to unknown hops are refused.
    pub fn set_hops(&mut self, hops: &Hops) -> Result<(), Error> {
        self.hops.set(hops)
    }

    /// The number of the next generation.
    pub fn next_number(&self) -> u32 {
        let previous = self.previous.as_ref().map_or(0, |generation| generation.number);
        self.current.number.max(previous) + 1
    }

    /// Changes the active image: new lines first, then one store for each group.
    pub fn patch(&mut self, patch: &Patch) -> Result<(), Error> {
        self.current.patch(&self.pins, patch)
    }

    /// Whether the kernel uses this image: the current generation is in its slot, with exactly these
    /// bytes, and no deadline is set. For use when nothing waits to be confirmed.
    pub fn judges_by(&self, image: &Image) -> Result<bool, Error> {
        let in_slot = Generation::adopt(&self.pins)?;
        let is_current = in_slot.is_some_and(|it| it.number == self.current.number);
        Ok(is_current
            && self.deadline().is_none()
            && self.current.holds(&self.pins, image, self.options)?)
    }

    /// The generation in force.
    pub fn current(&self) -> &Generation {
        &self.current
    }

    /// The pin directory.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Frames of an interface that its driver has passed to the program since the pins were made.
    /// Wraps.
    ///
    /// Interfaces whose indices are equal modulo [`abi::RUNS_A_CPU`] share the counter.
    pub fn runs(&self, index: u32) -> u64 {
        self.runs.of(index)
    }

    /// The keys of digests and slots; for measurements.
    pub fn keys(&self) -> Result<Keys, Error> {
        secret::Secret::find(&self.pins).map(secret::Secret::keys)
    }

    /// Devices that had a frame refused since the pins were made, as far as the table has room, whether
    /// or not an event was sent.
    pub fn sightings(&self) -> Vec<Sighted> {
        sightings::read(&self.sightings)
    }

    /// Flows that others have opened towards devices.
    pub fn flows(&self) -> Flows {
        self.answers.read(crate::clock::boot_clock() / 1_000_000_000)
    }

    /// Flows that others opened towards devices since the table was made: those that were noted, and those that found no
    /// room.
    pub fn flows_counted(&self) -> [u64; 2] {
        [counter::NOTED, counter::FULL].map(|which| self.answers.counted(which))
    }

    /// Sets the offsets from the boot clock to the wall clock, in nanoseconds: to the latest and to
    /// the earliest possible time.
    pub fn set_clock(&self, latest: i64, earliest: i64) {
        self.control.publish(WALL_OFFSET, latest as u64);
        self.control.publish(HELD_OFFSET, earliest as u64);
    }

    /// Counters of every reason, summed over all CPUs.
    pub fn reasons(&self) -> Vec<(Reason, ReasonCounter)> {
        Reason::ALL.iter().map(|&reason| (reason, self.reason(reason))).collect()
    }

    /// Counters of one reason, summed over all CPUs.
    pub fn reason(&self, reason: Reason) -> ReasonCounter {
        let mut sum = ReasonCounter::default();
        if let Ok(values) = self.reasons.get(&u32::from(reason.number()), 0) {
            for value in values.iter() {
                sum.frames = sum.frames.wrapping_add(value.frames);
                sum.bytes = sum.bytes.wrapping_add(value.bytes);
                sum.would_drop = sum.would_drop.wrapping_add(value.would_drop);
                sum.suppressed = sum.suppressed.wrapping_add(value.suppressed);
                sum.lost = sum.lost.wrapping_add(value.lost);
            }
        }
        sum
    }

    /// Refused frames without an event, by device and reason, since the last call or since this
    /// value was made. All calls together add up exactly to the counters.
    pub fn suppressed(&mut self) -> Vec<SuppressedCounts> {
        let unseen = self.count_unseen();
        if unseen == self.unseen {
            // There are many entries, and in most seconds none has changed.
            return Vec::new();
        }
        match self.suppressed.gained() {
            Ok(shares) => {
                self.unseen = unseen;
                shares
            }
            // The counters only grow: the next call includes everything.
            Err(error) => {
                warn!("the counts of suppressed events cannot be read: {error}");
                Vec::new()
            }
        }
    }

    /// Writes the programs' log messages since the last call into the log, if logging is enabled.
    pub fn tell_diagnostics(&mut self) {
        self.diagnostics.tell();
    }

    fn count_unseen(&self) -> u64 {
        let sum = |(_, counter): &(_, ReasonCounter)| counter.suppressed.wrapping_add(counter.lost);
        self.reasons().iter().map(sum).fold(0, u64::wrapping_add)
    }

    /// Runs the active program on a frame, as if interface `index` had received it, without
    /// counting or reporting it.
    ///
    /// # Errors
    ///
    /// When the kernel cannot run programs with metadata (before Linux 5.14).
    pub fn probe(&mut self, frame: &[u8], index: u32) -> Result<Decision, Error> {
        probe::run(self.dispatcher()?, frame, index)
    }

    /// The dispatcher that is attached to interfaces: for test runs.
    pub fn dispatcher(&mut self) -> Result<&mut Xdp, Error> {
        let name = self.kind.name(program::DISPATCH);
        programs::xdp(&mut self.ebpf, &name)
    }

    /// Instructions that the verifier walked for each program of the generation in force; Linux 5.16 counts.
    pub fn verified_instructions(&self) -> Result<Vec<(&'static str, u32)>, Error> {
        let dir = self.pins.generation(self.current.number);
        let mut counts = Vec::new();
        for (pin, name) in parts::PROGRAMS.iter().filter(|(pin, _)| dir.join(pin).exists()) {
            let info = ProgramInfo::from_pin(dir.join(pin)).map_err(Error::Program)?;
            counts.push((*name, info.verified_instruction_count().unwrap_or(0)));
        }
        Ok(counts)
    }

    /// Takes the waiting records from the ring buffer, if no [`events::Reader`] does.
    pub fn drain_events(&self) -> Result<Vec<Record>, Error> {
        events::drain(&self.pins)
    }

    /// Takes the generation out of force: every frame is dropped from then on.
    pub fn clear_slot(&mut self) -> Result<(), Error> {
        generation::clear(&self.pins)
    }

    /// Removes everything from the kernel and returns what was removed.
    pub fn detach(self) -> Result<Vec<String>, Error> {
        self.pins.remove_all()
    }
}
