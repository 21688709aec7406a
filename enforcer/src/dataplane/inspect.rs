//! Read-only view of the kernel's state: nothing is locked, taken over or changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use aya::programs::ProgramInfo;
use enforcer_common::abi::{self, map, program};

use super::programs::Kind;
use super::{Dataplane, Error, object};

/// What is pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// Whether a generation is in its slot; without one, every frame is dropped.
    pub active: bool,
    /// The dispatcher behind each of our links, by interface index.
    pub dispatchers: BTreeMap<u32, u32>,
}

/// What is pinned below `root`; `None` when nothing is.
///
/// # Errors
///
/// The user lacks the permission.
pub fn pinned(root: &Path) -> Result<Option<Pinned>, Error> {
    let dir = root.join(format!("v{}", abi::ABI_VERSION));
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", &dir, e)),
    };
    let mut pinned = Pinned { active: is_active(&dir)?, ..Pinned::default() };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with("link-") {
            continue;
        }
        let fail = |e| Error::io("look at", &path, e);
        let link = object::open(&path).and_then(|fd| object::link(fd.as_fd())).map_err(fail)?;
        let runs = object::program_by_id(link.program).map_err(fail)?;
        let ours = [Kind::Fragments, Kind::Linear].map(|kind| kind.name(program::DISPATCH));
        if link.interface != 0 && ours.contains(&runs.name) {
            pinned.dispatchers.insert(link.interface, link.program);
        }
    }
    Ok(Some(pinned))
}

fn is_active(dir: &Path) -> Result<bool, Error> {
    let path = dir.join(map::GENERATIONS);
    let slot = object::occupant(&path, abi::SLOT_CURRENT);
    Ok(slot.map_err(|e| Error::io("read", &path, e))?.is_some())
}

impl Dataplane {
    /// Whether programs see frames that are spread over several buffers.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the kernel runs the program in force as machine code, rather than interpreting it.
    pub fn is_compiled(&self) -> Result<bool, Error> {
        let pinned = self.pins.generation(self.current.number).join("program");
        let info = ProgramInfo::from_pin(pinned).map_err(Error::Program)?;
        Ok(info.size_jitted() > 0)
    }
}
