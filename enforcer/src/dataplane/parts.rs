//! What a generation consists of in the kernel, and how another policy takes its place there.
//!
//! Loading a program takes the kernel's verifier some 80 ms of one CPU. A program that is out of force and that no
//! frame is judged by any more is therefore given the next policy, with new contents in its tables.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, LazyLock};

use aya::Ebpf;
use aya::maps::Map;
use enforcer_common::abi::{self, Header, map, program};
use enforcer_common::image::Line;

use super::memory::Memory;
use super::pins::Pins;
use super::programs::{Kind, Options, classifier, xdp};
use super::rule_counters::RuleCounters;
use super::secret::random;
use super::{Error, OBJECT, object};
use crate::image::{Image, line_bytes};
use crate::privilege::to_load;

/// Most lines of an image that is kept for the next policy: 1 MiB. A larger one is freed, because the memory that a
/// policy takes matters more then than the time in which it is replaced.
const MOST_LINES: u32 = 1 << 14;
/// Most rules of one that is kept.
const MOST_RULES: u32 = 1 << 12;

/// The program of a generation and its tables.
#[derive(Debug)]
pub(super) struct Parts {
    /// Name of the pin, and the program: see [`PROGRAMS`]. The first is what a slot of a generation holds.
    programs: Vec<(&'static str, OwnedFd)>,
    stages: OwnedFd,
    image: OwnedFd,
    header: OwnedFd,
    flow_cache: OwnedFd,
    rules: OwnedFd,
    /// What the programs were loaded from: see [`object_digest`].
    object: u64,
    /// The lasting tables that it uses, by name, as the kernel identifies them.
    lasting: Vec<(&'static str, (u32, u32))>,
}

impl Parts {
    /// Loads the programs of an object for an image; their tables for one generation are taken out of it.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        (kind, options): (Kind, Options),
        image: &Image,
    ) -> Result<(Self, Map), Error> {
        let mut programs = Vec::new();
        for (pin, name) in PROGRAMS {
            let loaded = if pin != SEND {
                load_xdp(ebpf, &kind.name(name))?
            } else if image.judges_inbound() {
                load_classifier(ebpf, name)?
            } else {
                continue;
            };
            programs.push((pin, loaded));
        }
        let mut lasting = Vec::new();
        for name in map::LASTING {
            if let Some(fd) = ebpf.map(name).and_then(descriptor) {
                let identity = object::identity(fd);
                lasting.push((name, identity.map_err(|e| Error::io("look at", name.as_ref(), e))?));
            }
        }
        let mut array = |name: &'static str| match ebpf.take_map(name) {
            Some(Map::Array(data) | Map::ProgramArray(data)) => owned(data.fd().as_fd(), name),
            _ => Err(Error::Object(name)),
        };
        let (image, header) = (array(map::IMAGE)?, array(DATA)?);
        let (flow_cache, stages) = (array(map::FLOW_CACHE)?, array(map::STAGES)?);
        let rules = ebpf.take_map(map::RULES).ok_or(Error::Object(map::RULES))?;
        let Map::PerCpuArray(data) = &rules else { return Err(Error::Object(map::RULES)) };
        let counters = owned(data.fd().as_fd(), map::RULES)?;
        let (own, object) = (counters, object_digest(options));
        let parts =
            Self { programs, stages, image, header, flow_cache, rules: own, object, lasting };
        let judge = parts.program(JUDGE).ok_or(Error::Object(program::JUDGE))?;
        object::put(parts.stages.as_fd(), abi::STAGE_JUDGE, judge)
            .map_err(|e| failed(map::STAGES, e))?;
        Ok((parts, rules))
    }

    /// One of its programs, by the name of its pin.
    pub(super) fn program(&self, pin: &str) -> Option<BorrowedFd<'_>> {
        self.programs.iter().find(|(name, _)| *name == pin).map(|(_, fd)| fd.as_fd())
    }

    /// Bytes of its image.
    pub(super) fn image_bytes(&self) -> Result<u64, Error> {
        let lines = object::map(self.image.as_fd()).map_err(|e| failed(map::IMAGE, e))?.entries;
        Ok(u64::from(lines) * size_of::<Line>() as u64)
    }

    /// Whether it is small enough to be kept for the next policy.
    pub(super) fn is_small(&self) -> bool {
        let entries = |fd: &OwnedFd| object::map(fd.as_fd()).map_or(u32::MAX, |map| map.entries);
        entries(&self.image) <= MOST_LINES && entries(&self.rules) <= MOST_RULES
    }

    /// Whether an image has room in it.
    pub(super) fn has_room_for(&self, image: &Image) -> bool {
        let entries = |fd: &OwnedFd| object::map(fd.as_fd()).map_or(0, |map| map.entries);
        let lines = u32::try_from(image.len()).ok().and_then(|it| it.checked_add(image.spare));
        lines.is_some_and(|lines| lines <= entries(&self.image))
            && image.rules <= entries(&self.rules)
            && (!image.judges_inbound() || self.program(SEND).is_some())
    }

    /// The name of a lasting table that was replaced since: what its program writes there, nobody reads.
    pub(super) fn replaced(&self, pins: &Pins) -> Option<&'static str> {
        let is_same = |(name, used): &&(&str, (u32, u32))| {
            let pinned = object::open(&pins.path(name));
            pinned.and_then(|fd| object::identity(fd.as_fd())).is_ok_and(|pinned| pinned == *used)
        };
        self.lasting.iter().find(|it| !is_same(it)).map(|(name, _)| *name)
    }

    /// Writes what the program knows of its image, and the image.
    pub(super) fn fill(&self, image: &Image, number: u32) -> Result<(), Error> {
        let lines = image.lines();
        let bytes = line_bytes(&lines);
        let length = self.image_bytes()? as usize;
        Memory::map(self.image.as_fd(), length)
            .and_then(|mut memory| memory.write(bytes))
            .map_err(|e| failed(map::IMAGE, e))?;
        let nonce = random()
            .map_err(|e| Error::io("ask for random numbers for", "a policy".as_ref(), e))?;
        let tags = tags(|pin| self.program(pin))?;
        let (layout, generation, object) = (image.layout, number, self.object);
        let header = Header { layout, generation, nonce, object, tags, ..Header::EMPTY };
        object::set(self.header.as_fd(), 0, &header).map_err(|e| failed(map::HEADER, e))
    }

    /// Forgets the flows whose verdicts were cached.
    pub(super) fn forget_flows(&self) -> Result<(), Error> {
        let fail = |e| failed(map::FLOW_CACHE, e);
        let lines = object::map(self.flow_cache.as_fd()).map_err(fail)?.entries;
        let bytes = lines as usize * size_of::<Line>();
        Memory::map(self.flow_cache.as_fd(), bytes).map_err(fail)?.clear();
        Ok(())
    }

    /// Pins what is needed to find and compare the generation, its program last.
    pub(super) fn pin(&self, pins: &Pins, number: u32) -> Result<(), Error> {
        // A leftover of a daemon that was killed between here and the store.
        pins.remove_generation(number)?;
        let dir = pins.make_generation(number)?;
        let tables = [
            (map::IMAGE, &self.image),
            (map::HEADER, &self.header),
            (map::RULES, &self.rules),
            (map::STAGES, &self.stages),
        ];
        let programs = self.programs.iter().rev().map(|(name, fd)| (*name, fd));
        for (name, fd) in tables.into_iter().chain(programs) {
            let path = dir.join(name);
            object::pin(fd.as_fd(), &path).map_err(|e| Error::io("pin", &path, e))?;
        }
        Ok(())
    }
}

/// Name of the pin of the program that a slot of a generation holds.
pub(super) const CLASSIFY: &str = "program";
/// Name of the pin of the program that judges.
pub(super) const JUDGE: &str = "judge";
/// Name of the pin of the program of the transmit side, if there is one.
pub(super) const SEND: &str = "send";
/// Programs of a generation: the name of the pin, and the name in the object.
pub(super) const PROGRAMS: [(&str, &str); 3] =
    [(CLASSIFY, program::CLASSIFY), (JUDGE, program::JUDGE), (SEND, program::SEND)];

/// The kernel's tags of a generation's programs; 0 for one that there is not.
pub(super) fn tags<F: AsFd>(
    program: impl Fn(&'static str) -> Option<F>,
) -> Result<[u64; 3], Error> {
    let mut tags = [0; 3];
    for (tag, (pin, _)) in tags.iter_mut().zip(PROGRAMS) {
        if let Some(program) = program(pin) {
            let info = object::program(program.as_fd());
            *tag = info.map_err(|e| Error::io("look at", pin.as_ref(), e))?.tag;
        }
    }
    Ok(tags)
}

/// Digest of the object that the programs of this binary are loaded from, and of how they are loaded. Another release of
/// Rust may have another one: then the programs are loaded again.
pub(super) fn object_digest(options: Options) -> u64 {
    static DIGEST: LazyLock<DefaultHasher> = LazyLock::new(|| {
        let mut digest = DefaultHasher::new();
        digest.write(OBJECT);
        digest
    });
    let mut digest = DIGEST.clone();
    options.hash(&mut digest);
    digest.finish()
}

/// Loads a program and hands it over: the object does not hold it any more.
fn load_xdp(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, Error> {
    let program = xdp(ebpf, name)?;
    to_load(|| program.load()).map_err(Error::Program)?;
    let loaded = owned(program.fd().map_err(Error::Program)?.as_fd(), name)?;
    program.unload().map_err(Error::Program)?;
    Ok(loaded)
}

fn load_classifier(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, Error> {
    let program = classifier(ebpf, name)?;
    to_load(|| program.load()).map_err(Error::Program)?;
    let loaded = owned(program.fd().map_err(Error::Program)?.as_fd(), name)?;
    program.unload().map_err(Error::Program)?;
    Ok(loaded)
}

/// A generation that was taken out of force: its program may serve another policy.
pub(super) struct Spare {
    pub(super) parts: Parts,
    pub(super) rules: Arc<RuleCounters>,
}

/// Waits until no frame is judged any more by a program that was taken out of its slot.
///
/// membarrier(2) waits for a grace period of RCU, under which the kernel runs programs.
///
/// # Errors
///
/// This kernel has CPUs without a tick (`nohz_full`), for which it does not offer that.
pub(super) fn wait_for_frames() -> io::Result<()> {
    /// `MEMBARRIER_CMD_GLOBAL` of include/uapi/linux/membarrier.h, Linux 4.3.
    const GLOBAL: libc::c_int = 1;
    // SAFETY: the call has no pointers.
    let waited = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if waited < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The object's section with the variable [`map::HEADER`]: aya makes a table of one value of it.
const DATA: &str = ".data";

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

fn owned(fd: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Error> {
    fd.try_clone_to_owned().map_err(|e| Error::io("duplicate", name.as_ref(), e))
}

fn failed(name: &str, e: io::Error) -> Error {
    Error::io("write to", name.as_ref(), e)
}
