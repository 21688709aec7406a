//! The data plane: what is in the kernel.
//!
//! - [`pins`]: what is pinned, and where
//! - [`generation`]: a classifier with its image, put in force with one store
//! - [`events`]: the ring buffer
//! - `memory`: map memory that user space writes directly
//! - `probe`: runs of the program in force that leave no trace
//!
//! It sees images, interface indices and numbers; what they mean is the policy's business.

pub mod events;
pub mod generation;
mod memory;
pub mod pins;
mod probe;

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, ProgramInfo, Xdp, XdpMode};
use aya::{Ebpf, EbpfError};
use enforcer_common::abi::{self, ReasonCounter, map, program};
use enforcer_common::decide::Decision;
use enforcer_common::event::Record;
use enforcer_common::reason::Reason;
use log::{info, warn};

use crate::config::Xdp as Preference;
use crate::image::Image;
use generation::{Generation, Kind};
use memory::Memory;
use pins::Pins;

/// The kernel programs. Empty when the binary was built without them.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ENFORCER_BPF_OBJECT_PATH"));

/// Why the kernel does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary holds no kernel program.
    #[error("this binary was built without the kernel program")]
    NoObject,
    /// There is no BPF file system.
    #[error("{} is not on a BPF file system", .0.display())]
    NoBpfFs(PathBuf),
    /// Another process has the pin directory.
    #[error("{} is held by {}", dir.display(), pid.map_or("another enforcer".into(), |pid| format!("pid {pid}")))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process, if the kernel tells.
        pid: Option<u32>,
    },
    /// A pin that is not ours.
    #[error("{} {what}", path.display())]
    Foreign {
        /// The pin.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Not permitted.
    #[error("the kernel does not permit it ({0})")]
    NotPermitted(&'static str),
    /// Another program is attached.
    #[error("another XDP program{} is attached to {interface}", id.map_or(String::new(), named))]
    Busy {
        /// The interface.
        interface: String,
        /// The program's id.
        id: Option<u32>,
        /// Whether it runs in the driver.
        native: bool,
    },
    /// No such interface.
    #[error("no interface `{0}`")]
    NoInterface(String),
    /// The driver cannot do what was asked.
    #[error("cannot attach to {interface} in {mode} mode")]
    Attach {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The program in force cannot be asked.
    #[error("cannot run the program on a frame")]
    Probe(#[source] ProgramError),
    /// The program in force ran and did not answer.
    #[error("the program in force did not answer")]
    ProbeAnswer,
    /// More lines than a map can have.
    #[error("the policy image is too large")]
    TooLarge,
    /// The object lacks something.
    #[error("the kernel program lacks `{0}`")]
    Object(&'static str),
    /// The object could not be loaded.
    #[error("cannot load the kernel program")]
    Load(#[source] Box<EbpfError>),
    /// A program was refused; the verifier's log is in it.
    #[error("the kernel refused the program")]
    Program(#[source] ProgramError),
    /// A map operation failed.
    #[error("cannot use a map")]
    Map(#[source] MapError),
    /// A pin could not be made.
    #[error("cannot pin")]
    Pin(#[source] PinError),
    /// A link could not be used.
    #[error("cannot use the link of an interface")]
    Link(#[source] LinkError),
    /// A file operation failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { verb, path: path.into(), source }
    }

    fn load(error: EbpfError) -> Self {
        let denied = |e: &io::Error| e.raw_os_error() == Some(libc::EPERM);
        if let EbpfError::MapError(MapError::CreateError { io_error, .. }) = &error
            && denied(io_error)
        {
            return Self::NotPermitted("create a map");
        }
        Self::Load(Box::new(error))
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoObject => "build it with `cargo xtask build`".into(),
            Self::NoBpfFs(_) => "mount one: mount -t bpf bpf /sys/fs/bpf".into(),
            Self::Held { pid: Some(pid), .. } => {
                format!("one daemon guards all interfaces; stop the other one: kill {pid}")
            }
            Self::Held { pid: None, .. } => "one daemon guards all interfaces".into(),
            Self::Foreign { path, .. } => {
                format!("if nothing else uses it, remove it: rm -r {}", path.display())
            }
            Self::NotPermitted(_) => {
                "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON".into()
            }
            // `xdp off` alone does not take a generic program from a driver that has native XDP.
            Self::Busy { interface, native, .. } => format!(
                "enforcer shares an interface with no other XDP program; remove that one, if it \
                 may go: ip link set dev {interface} {} off",
                if *native { "xdp" } else { "xdpgeneric" }
            ),
            Self::NoInterface(_) => "`ip -brief link` lists the interfaces of this machine".into(),
            Self::Attach { mode: "native", .. } => {
                "allow the slower generic mode: xdp = \"auto\" in enforcer.toml".into()
            }
            Self::TooLarge
            | Self::Probe(_)
            | Self::ProbeAnswer
            | Self::Attach { .. }
            | Self::Object(_)
            | Self::Load(_)
            | Self::Program(_)
            | Self::Map(_)
            | Self::Pin(_)
            | Self::Link(_)
            | Self::Io { .. } => return None,
        })
    }
}

/// What the kernel says about an interface (IFLA_XDP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Id of the attached program.
    pub program: Option<u32>,
    /// Whether it runs in the driver.
    pub native: bool,
}

/// Everything of ours in the kernel.
pub struct Dataplane {
    pins: Pins,
    kind: Kind,
    /// Keeps the dispatcher's descriptor.
    ebpf: Ebpf,
    dispatcher: u32,
    current: Generation,
    reasons: PerCpuArray<MapData, ReasonCounter>,
    control: Memory,
}

impl Dataplane {
    /// Puts an image in force, or adopts the generation that holds it already.
    ///
    /// Nothing is attached yet where nothing was; what is attached judges by the old generation
    /// until the new one is in force, and by the new one from then on.
    pub fn open(pins: Pins, image: &Image) -> Result<Self, Error> {
        let adopted = Generation::adopt(&pins)?;
        let number = pins.generations().last().copied().unwrap_or(0) + 1;
        let mut ebpf = generation::load(&pins, image, number)?;
        let kind = generation::load_dispatcher(&mut ebpf)?;
        let current = match adopted {
            Some(generation)
                if generation.holds(&pins, image)?
                    && same_program(&pins, &generation, &mut ebpf, kind)? =>
            {
                info!("adopted generation {}: it holds this policy", generation.number);
                drop(ebpf.take_map(map::IMAGE));
                generation
            }
            _ => generation::put_in_force(&pins, &mut ebpf, kind, number)?,
        };
        let dispatcher = generation::program(&mut ebpf, &kind.name(program::DISPATCH))?;
        let dispatcher = dispatcher.info().map_err(Error::Program)?.id();
        let reasons = ebpf.take_map(map::REASONS).ok_or(Error::Object(map::REASONS))?;
        let reasons = PerCpuArray::try_from(reasons).map_err(Error::Map)?;
        let control = match ebpf.map(map::CONTROL) {
            Some(Map::Array(data)) => Memory::map(data.fd().as_fd(), size_of::<abi::Control>())
                .map_err(|e| Error::io("map the memory of", &pins.path(map::CONTROL), e))?,
            _ => return Err(Error::Object(map::CONTROL)),
        };
        let mut dataplane = Self { pins, kind, ebpf, dispatcher, current, reasons, control };
        dataplane.forget_others();
        Ok(dataplane)
    }

    /// Puts another image in force for all interfaces at once. Returns the old generation, whose
    /// counters can still be read.
    pub fn replace(&mut self, image: &Image) -> Result<Generation, Error> {
        let number = self.current.number + 1;
        let mut ebpf = generation::load(&self.pins, image, number)?;
        let next = generation::put_in_force(&self.pins, &mut ebpf, self.kind, number)?;
        let old = std::mem::replace(&mut self.current, next);
        self.forget_others();
        Ok(old)
    }

    /// Removes the pins of generations that are not in force.
    fn forget_others(&mut self) {
        for number in self.pins.generations() {
            if number != self.current.number
                && let Err(e) = self.pins.remove_generation(number)
            {
                warn!("generation {number} stays pinned: {e}");
            }
        }
    }

    /// The generation in force.
    pub fn current(&self) -> &Generation {
        &self.current
    }

    /// The pin directory.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Whether the kernel says that our dispatcher runs on an interface.
    pub fn guards(&self, attached: Attached) -> bool {
        attached.program == Some(self.dispatcher)
    }

    /// Sets what turns the boot clock into the wall clock, in nanoseconds.
    pub fn set_wall_offset(&self, offset: i64) {
        self.control.publish_first(offset as u64);
    }

    /// Counters of every reason, summed over all CPUs.
    pub fn reasons(&self) -> Vec<(Reason, ReasonCounter)> {
        let sum = |reason: Reason| {
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
            (reason, sum)
        };
        Reason::ALL.iter().copied().map(sum).collect()
    }

    /// Protects an interface: adopts its pinned link, or attaches and pins before it returns.
    ///
    /// `attached` is what the kernel says of the interface now. Returns whether the program
    /// runs in the driver, and why not if it does not.
    pub fn protect(
        &mut self,
        name: &str,
        index: u32,
        attached: Attached,
        preference: Preference,
    ) -> Result<Option<String>, Error> {
        let pin = self.pins.link(index);
        if pin.exists() {
            match self.adopt_link(&pin, attached) {
                Ok(true) => {
                    info!("adopted {name}: it was protected all the time");
                    return Ok(None);
                }
                Ok(false) => info!("the pinned link of {name} is dead, making a new one"),
                Err(e) => return Err(e),
            }
            std::fs::remove_file(&pin).map_err(|e| Error::io("remove", &pin, e))?;
        } else if let Some(id) = attached.program {
            let native = attached.native;
            return Err(Error::Busy { interface: name.into(), id: Some(id), native });
        }
        self.attach(name, index, preference)
    }

    /// Makes a pinned link run our dispatcher; `false` when the link is dead.
    fn adopt_link(&mut self, pin: &Path, attached: Attached) -> Result<bool, Error> {
        let link = PinnedLink::from_pin(pin).map_err(Error::Link)?;
        let link = FdLink::from(link);
        let program = link.info().map_err(Error::Link)?.program_id();
        // A link whose interface is gone, or that was detached, keeps its program.
        if attached.program != Some(program) {
            return Ok(false);
        }
        let link = XdpLink::try_from(link).map_err(Error::Link)?;
        let name = self.kind.name(program::DISPATCH);
        let dispatcher = generation::program(&mut self.ebpf, &name)?;
        // One store in the kernel: every frame meets the old dispatcher or the new one.
        let link = dispatcher.attach_to_link(link).map_err(Error::Program)?;
        // The pin keeps the link; this descriptor may go.
        drop(dispatcher.take_link(link).map_err(Error::Program)?);
        Ok(true)
    }

    fn attach(
        &mut self,
        name: &str,
        index: u32,
        preference: Preference,
    ) -> Result<Option<String>, Error> {
        let pin = self.pins.link(index);
        let modes: &[(XdpMode, &'static str)] = match preference {
            Preference::Auto => &[(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")],
            Preference::Native => &[(XdpMode::Driver, "native")],
            Preference::Generic => &[(XdpMode::Skb, "generic")],
        };
        let mut why_not = None;
        for (at, &(mode, mode_name)) in modes.iter().enumerate() {
            let program = self.kind.name(program::DISPATCH);
            let dispatcher = generation::program(&mut self.ebpf, &program)?;
            match dispatcher.attach_to_if_index(index, mode) {
                Ok(id) => {
                    let link = dispatcher.take_link(id).map_err(Error::Program)?;
                    // Aya falls back to netlink on EINVAL; such an attachment cannot be pinned
                    // and anybody's `ip link set … xdp off` removes it.
                    let link = FdLink::try_from(link).map_err(Error::Link)?;
                    link.pin(&pin).map_err(Error::Pin)?;
                    return Ok(why_not);
                }
                Err(ProgramError::SyscallError(e)) => {
                    let error = e.io_error;
                    if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) {
                        let native = mode == XdpMode::Driver;
                        return Err(Error::Busy { interface: name.into(), id: None, native });
                    }
                    if error.raw_os_error() == Some(libc::EPERM) {
                        return Err(Error::NotPermitted("attach a program"));
                    }
                    if error.raw_os_error() == Some(libc::ENODEV) {
                        return Err(Error::NoInterface(name.into()));
                    }
                    if at + 1 == modes.len() {
                        let interface = name.into();
                        return Err(Error::Attach { interface, mode: mode_name, source: error });
                    }
                    warn!("{name}: no {mode_name} XDP ({error}), trying generic");
                    why_not = Some(format!("the driver has no native XDP for it: {error}"));
                }
                Err(e) => return Err(Error::Program(e)),
            }
        }
        Ok(why_not)
    }

    /// Runs the program in force on a frame, as if interface `index` had received it. Nothing is
    /// counted and no event is sent.
    ///
    /// # Errors
    ///
    /// When the kernel cannot run programs with metadata (before Linux 5.14).
    pub fn probe(&mut self, frame: &[u8], index: u32) -> Result<Decision, Error> {
        probe::run(self.dispatcher()?, frame, index)
    }

    /// The dispatcher, as it is attached to interfaces: for test runs.
    pub fn dispatcher(&mut self) -> Result<&mut Xdp, Error> {
        let name = self.kind.name(program::DISPATCH);
        generation::program(&mut self.ebpf, &name)
    }

    /// Instructions that the verifier walked for the generation in force; Linux 5.16 counts.
    pub fn verified_instructions(&self) -> Result<u32, Error> {
        let pinned = self.pins.generation(self.current.number).join("program");
        let info = ProgramInfo::from_pin(pinned).map_err(Error::Program)?;
        Ok(info.verified_instruction_count().unwrap_or(0))
    }

    /// Takes what waits in the ring buffer, where no [`events::Reader`] does.
    pub fn drain_events(&self) -> Result<Vec<Record>, Error> {
        events::drain(&self.pins)
    }

    /// Takes the generation out of force: every frame is dropped from then on.
    pub fn clear_slot(&mut self) -> Result<(), Error> {
        generation::clear(&self.pins)
    }

    /// Removes the link of an interface that is gone.
    pub fn release(&self, index: u32) -> Result<(), Error> {
        let pin = self.pins.link(index);
        match std::fs::remove_file(&pin) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &pin, e)),
            _ => Ok(()),
        }
    }

    /// Removes the links of interfaces that are no longer protected; returns their indices.
    pub fn release_others(&self, protected: &[u32]) -> Result<Vec<u32>, Error> {
        let mut released = Vec::new();
        for index in self.pins.links() {
            if !protected.contains(&index) {
                let pin = self.pins.link(index);
                std::fs::remove_file(&pin).map_err(|e| Error::io("remove", &pin, e))?;
                released.push(index);
            }
        }
        Ok(released)
    }

    /// Removes every trace from the kernel and returns what was removed.
    pub fn detach(self) -> Result<Vec<String>, Error> {
        self.pins.remove_all()
    }
}

/// A program by name and id: ` "xdp_pass" (id 12)`.
fn named(id: u32) -> String {
    let mut loaded = aya::programs::loaded_programs().flatten();
    let program = loaded.find(|program| program.id() == id);
    let name = program.as_ref().and_then(|program| program.name_as_str()).unwrap_or_default();
    if name.is_empty() { format!(" (id {id})") } else { format!(" \"{name}\" (id {id})") }
}

/// Whether a pinned generation runs the very instructions of this binary's object.
fn same_program(
    pins: &Pins,
    generation: &Generation,
    ebpf: &mut Ebpf,
    kind: Kind,
) -> Result<bool, Error> {
    let pinned = pins.generation(generation.number).join("program");
    let pinned = ProgramInfo::from_pin(pinned).map_err(Error::Program)?.tag();
    let classify = generation::program(ebpf, &kind.name(program::CLASSIFY))?;
    classify.load().map_err(Error::Program)?;
    let own = classify.info().map_err(Error::Program)?.tag();
    // It is loaded again if a new generation is needed.
    classify.unload().map_err(Error::Program)?;
    Ok(own == pinned)
}
