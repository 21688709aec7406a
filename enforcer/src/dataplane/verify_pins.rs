//! Refuses pins that do not match their names, because they would be used unchecked to judge
//! frames.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use enforcer_common::abi::{self, map, program};
use enforcer_common::decide::answers::Answers;
use enforcer_common::decide::datagrams::{self, Datagram};
use enforcer_common::decide::hops::Hop;
use enforcer_common::decide::limits::{self, Shared};
use enforcer_common::image::{Line, Word};
use enforcer_common::reason::Reason;

use super::Error;
use super::cpus;
use super::object::{self, Kind, MapInfo, ProgramInfo};
use super::owner::{check_access, check_directory, foreign};
use super::pins::Pins;
use super::programs::Kind as Programs;

/// Numbers of include/uapi/linux/bpf.h: types of maps,
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PROG_ARRAY: u32 = 3;
const PERCPU_ARRAY: u32 = 6;
const RINGBUF: u32 = 27;
/// a flag of maps, BPF_F_MMAPABLE,
const MMAPABLE: u32 = 1 << 10;
/// and BPF_F_NO_PREALLOC.
const NO_PREALLOC: u32 = 1;
/// BPF_PROG_TYPE_XDP, and BPF_LINK_TYPE_XDP.
const XDP_PROGRAM: u32 = 6;
const XDP_LINK: u32 = 6;

impl Pins {
    /// Opens the directory, creates it if necessary, and locks it.
    ///
    /// # Errors
    ///
    /// The directory is locked by another process, or one of its pins is not what its name says.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let pins = Self::locked(root)?;
        check(&pins)?;
        Ok(pins)
    }
}

/// Refuses foreign pins, and names them. Changes nothing.
fn check(pins: &Pins) -> Result<(), Error> {
    let mut tables = BTreeSet::new();
    for (name, shape) in lasting() {
        tables.extend(check_map(&pins.path(name), &shape)?);
    }
    for number in pins.generations() {
        check_generation(&pins.generation(number))?;
    }
    for index in pins.links() {
        check_link(&pins.link(index), index, &tables)?;
    }
    Ok(())
}

/// The required shape of a map. `entries` of `None`: any number that an image can address.
struct Shape {
    kind: u32,
    key: usize,
    value: usize,
    entries: Option<u32>,
    flags: u32,
}

impl Shape {
    const fn new(kind: u32, key: usize, value: usize, entries: u32) -> Self {
        Self { kind, key, value, entries: Some(entries), flags: 0 }
    }

    const fn mmapable(self) -> Self {
        Self { flags: MMAPABLE, ..self }
    }

    /// Memory is allocated on use.
    const fn sized_by_use(self) -> Self {
        Self { flags: NO_PREALLOC, ..self }
    }

    const fn of_any_size(self) -> Self {
        Self { entries: None, ..self }
    }

    /// How a map differs from this shape.
    fn differs(&self, found: &MapInfo) -> Option<String> {
        let entries = self.entries.unwrap_or(found.entries);
        let fields = [
            ("type", found.kind, self.kind),
            ("key size", found.key, self.key as u32),
            ("value size", found.value, self.value as u32),
            ("entries", found.entries, entries),
            ("flags", found.flags, self.flags),
        ];
        let wrong = fields.into_iter().find(|(_, found, expected)| found != expected);
        if let Some((field, found, expected)) = wrong {
            return Some(format!("is a map with {field} {found}, not {expected}"));
        }
        let most = Word::MAX_PAYLOAD;
        (entries > most).then(|| format!("is a map with entries {entries}, more than {most}"))
    }
}

/// The maps that outlive a generation.
fn lasting() -> [(&'static str, Shape); 15] {
    let reasons = Reason::COUNT as u32;
    let [budgets, seen, runs] = cpus::of_all_cpus();
    let (datagram, shared) = (size_of::<Datagram>(), size_of::<Shared>());
    let (sighting, answers) = (size_of::<abi::Sighting>(), size_of::<Answers>());
    [
        (map::GENERATIONS, Shape::new(PROG_ARRAY, 4, 4, abi::SLOTS)),
        (map::SENDS, Shape::new(PROG_ARRAY, 4, 4, abi::SLOTS)),
        (map::ANSWERS, Shape::new(ARRAY, 4, answers, 0).mmapable().of_any_size()),
        (map::CONTROL, Shape::new(ARRAY, 4, size_of::<abi::Control>(), 1).mmapable()),
        (map::REASONS, Shape::new(PERCPU_ARRAY, 4, size_of::<abi::ReasonCounter>(), reasons)),
        (map::EVENTS, Shape::new(RINGBUF, 0, 0, abi::RING_BYTES)),
        (map::BUDGETS, Shape::new(ARRAY, 4, size_of::<abi::Budget>(), budgets).mmapable()),
        (map::SEEN, Shape::new(ARRAY, 4, size_of::<abi::SeenSet>(), seen).mmapable()),
        (map::RUNS, Shape::new(ARRAY, 4, size_of::<u64>(), runs).mmapable()),
        (map::FRAGMENTS, Shape::new(ARRAY, 4, datagram, datagrams::ENTRIES).mmapable()),
        (map::METERS, Shape::new(ARRAY, 4, shared, limits::METERS).mmapable()),
        (map::ADDRESSES, Shape::new(ARRAY, 4, shared, limits::SETS).mmapable()),
        (map::SIGHTINGS, Shape::new(ARRAY, 4, sighting, abi::SIGHTINGS).mmapable()),
        (map::HOPS, Shape::new(HASH, size_of::<Hop>(), 8, abi::HOPS).sized_by_use()),
        (map::LOGS, Shape::new(RINGBUF, 0, 0, abi::LOG_BYTES)),
    ]
}

/// The maps of a generation.
fn lives_with_policy() -> [(&'static str, Shape); 4] {
    let (image, rules) = (size_of::<Line>(), size_of::<abi::RuleCounter>());
    [
        (map::IMAGE, Shape::new(ARRAY, 4, image, 0).mmapable().of_any_size()),
        (map::STAGES, Shape::new(PROG_ARRAY, 4, 4, 1)),
        (map::HEADER, Shape::new(ARRAY, 4, size_of::<abi::Header>(), 1)),
        (map::RULES, Shape::new(PERCPU_ARRAY, 4, rules, 0).of_any_size()),
    ]
}

/// Its id; `None` when there is no such pin.
fn check_map(path: &Path, shape: &Shape) -> Result<Option<u32>, Error> {
    let Some(fd) = open(path, Kind::Map, "map")? else { return Ok(None) };
    let found = object::map(fd.as_fd()).map_err(|e| Error::io("look at", path, e))?;
    match shape.differs(&found) {
        Some(what) => Err(foreign(path, what)),
        None => Ok(Some(found.id)),
    }
}

/// A daemon that was killed while pinning leaves an incomplete one.
fn check_generation(dir: &Path) -> Result<(), Error> {
    check_directory(dir)?;
    let mut own = Vec::new();
    for (name, shape) in lives_with_policy() {
        own.extend(check_map(&dir.join(name), &shape)?.map(|id| (name, id)));
    }
    let path = dir.join("program");
    let Some(fd) = open(&path, Kind::Program, "program")? else { return Ok(()) };
    let found = object::program(fd.as_fd()).map_err(|e| Error::io("look at", &path, e))?;
    check_program(&path, "is", &found, program::CLASSIFY)?;
    match own.iter().find(|(_, id)| !found.maps.contains(id)) {
        Some((name, _)) => Err(foreign(&path, format!("does not use the {name} beside it"))),
        None => Ok(()),
    }
}

/// Refuses anything but the link of interface `index` with one of our dispatchers, which uses one
/// of `tables` if there are any.
pub(super) fn check_link(path: &Path, index: u32, tables: &BTreeSet<u32>) -> Result<(), Error> {
    let Some(fd) = open(path, Kind::Link, "link")? else { return Ok(()) };
    let link = object::link(fd.as_fd()).map_err(|e| Error::io("look at", path, e))?;
    if link.kind != XDP_LINK {
        return Err(foreign(path, format!("is a link of type {}, not {XDP_LINK}", link.kind)));
    }
    // 0: it was detached, or its interface is gone.
    if ![0, index].contains(&link.interface) {
        let what = format!("is the link of interface {}, not {index}", link.interface);
        return Err(foreign(path, what));
    }
    let program = match object::program_by_id(link.program) {
        Ok(program) => program,
        // Asking needs CAP_SYS_ADMIN. An adopted link gets our program.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => return Ok(()),
        Err(e) => return Err(Error::io("look at the program of", path, e)),
    };
    check_program(path, "runs", &program, program::DISPATCH)?;
    if !tables.is_empty() && !program.maps.iter().any(|id| tables.contains(id)) {
        return Err(foreign(path, "runs a program that uses none of the tables beside it"));
    }
    Ok(())
}

/// Whether a program is one of ours, by its type and its name.
fn check_program(path: &Path, verb: &str, found: &ProgramInfo, name: &str) -> Result<(), Error> {
    let ours = [Programs::Fragments, Programs::Linear].map(|kind| kind.name(name));
    let ProgramInfo { kind, name, .. } = found;
    if *kind != XDP_PROGRAM {
        let what = format!("{verb} a program of type {kind}, not {XDP_PROGRAM}");
        return Err(foreign(path, what));
    }
    if !ours.contains(name) {
        let what = format!("{verb} the program `{name}`, not `{}`", ours[0]);
        return Err(foreign(path, what));
    }
    Ok(())
}

/// Opens a pin, if there is one, and refuses it if others may use it or it is of a different kind.
fn open(path: &Path, kind: Kind, name: &str) -> Result<Option<OwnedFd>, Error> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("stat", path, e)),
    };
    if !metadata.is_file() {
        return Err(foreign(path, format!("is not a {name}")));
    }
    check_access(path, &metadata, 0o077, 0o600)?;
    let fd = object::open(path).map_err(|e| Error::io("open", path, e))?;
    if object::kind(fd.as_fd()).map_err(|e| Error::io("look at", path, e))? != kind {
        return Err(foreign(path, format!("is not a {name}")));
    }
    Ok(Some(fd))
}
