//! What is pinned, and where: one directory for each ABI version on a BPF file system.
//!
//! ```text
//! /sys/fs/bpf/enforcer/v1/GENERATIONS …   maps that outlive a generation
//! /sys/fs/bpf/enforcer/v1/link-7          the link of the interface with index 7
//! /sys/fs/bpf/enforcer/v1/gen-42/         image, counters and program of a generation
//! ```

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use enforcer_common::abi::{self, map};

use super::Error;

/// `BPF_FS_MAGIC` in include/uapi/linux/magic.h.
const BPF_FS: i64 = 0xcafe_4a11;
/// Kernel numbers of map types, include/uapi/linux/bpf.h.
const ARRAY: u32 = 2;
const PROG_ARRAY: u32 = 3;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const RINGBUF: u32 = 27;

/// The pin directory, held by this process alone.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    dir: PathBuf,
    /// Keeps the lock on the directory.
    _lock: File,
}

impl Pins {
    /// Opens the directory, makes it if need be, and takes its lock.
    pub fn open(root: &Path) -> Result<Self, Error> {
        // Before anything is made: bpffs may be open to everybody, and a directory of another
        // user would be in the way of the next start.
        if !crate::privilege::may_load() {
            return Err(Error::NotPermitted("load programs"));
        }
        let dir = root.join(format!("v{}", abi::ABI_VERSION));
        let lock = prepare(root, &dir)?;
        let pins = Self { root: root.into(), dir, _lock: lock };
        pins.check()?;
        Ok(pins)
    }

    /// Makes the directory once more where the file system under it went away and came back.
    pub(super) fn remake(&mut self) -> Result<(), Error> {
        if !self.dir.exists() {
            self._lock = prepare(&self.root, &self.dir)?;
        }
        Ok(())
    }

    /// Whether another process holds the directory: a daemon runs.
    pub fn is_held(root: &Path) -> bool {
        File::open(root).is_ok_and(|lock| !is_locked(&lock))
    }

    /// Makes the directory above a pin.
    pub(super) fn make_parent(&self, pin: &Path) -> Result<(), Error> {
        pin.parent().filter(|parent| *parent != self.dir).map_or(Ok(()), make)
    }

    /// The directory of this ABI version.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A pin in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The pin of an interface's link.
    pub fn link(&self, index: u32) -> PathBuf {
        self.path(&format!("link-{index}"))
    }

    /// The directory of a generation.
    pub fn generation(&self, number: u32) -> PathBuf {
        self.path(&format!("gen-{number}"))
    }

    /// The tag of a generation's program, hexadecimal: the same for the same instructions.
    pub fn tag(&self, number: u32) -> Option<String> {
        let pin = self.generation(number).join("program");
        let info = aya::programs::ProgramInfo::from_pin(pin).ok()?;
        Some(format!("{:016x}", info.tag()))
    }

    /// Interface indices that have a pinned link.
    pub fn links(&self) -> Vec<u32> {
        self.numbers("link-")
    }

    /// Numbers of the generations that are pinned.
    pub fn generations(&self) -> Vec<u32> {
        self.numbers("gen-")
    }

    fn numbers(&self, prefix: &str) -> Vec<u32> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut numbers: Vec<u32> = entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// Makes the directory of a generation.
    pub fn make_generation(&self, number: u32) -> Result<PathBuf, Error> {
        let dir = self.generation(number);
        make(&dir)?;
        Ok(dir)
    }

    /// Removes the pins of a generation; the kernel keeps what is in use.
    pub fn remove_generation(&self, number: u32) -> Result<(), Error> {
        remove(&self.generation(number))
    }

    /// Removes everything, links included, and returns what was removed.
    pub fn remove_all(self) -> Result<Vec<String>, Error> {
        let removed = contents(&self.root);
        let removed = removed.iter().map(|path| path.display().to_string()).collect();
        remove(&self.root)?;
        Ok(removed)
    }

    /// Refuses pins that are not ours: aya would use them without a look.
    fn check(&self) -> Result<(), Error> {
        for (name, kind, key, value, entries) in lasting() {
            let path = self.path(name);
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("stat", &path, e)),
            };
            let refuse = |what: String| Err(Error::Foreign { path: path.clone(), what });
            // SAFETY: no arguments, cannot fail.
            let uid = unsafe { libc::geteuid() };
            if metadata.uid() != uid {
                return refuse(format!("belongs to uid {}, not {uid}", metadata.uid()));
            }
            if metadata.mode() & 0o077 != 0 {
                return refuse(format!("has mode {:04o}, not 0600", metadata.mode() & 0o7777));
            }
            let info = MapInfo::from_pin(&path).map_err(Error::Map)?;
            let found = info.map_type().map_or(u32::MAX, |found| found as u32);
            if found != kind {
                return refuse(format!("is a map of type {found}, not {kind}"));
            }
            let sizes = (info.key_size(), info.value_size(), info.max_entries());
            if sizes != (key, value, entries) {
                return refuse(format!(
                    "has key, value and entries {sizes:?}, not {:?}",
                    (key, value, entries)
                ));
            }
        }
        Ok(())
    }
}

/// Name, type, key size, value size and entries of the maps that outlive a generation.
fn lasting() -> [(&'static str, u32, u32, u32, u32); 7] {
    let size = |bytes: usize| bytes as u32;
    let reasons = enforcer_common::reason::Reason::COUNT as u32;
    [
        (map::GENERATIONS, PROG_ARRAY, 4, 4, abi::SLOTS),
        (map::CONTROL, ARRAY, 4, size(size_of::<abi::Control>()), 1),
        (map::REASONS, PERCPU_ARRAY, 4, size(size_of::<abi::ReasonCounter>()), reasons),
        (map::EVENTS, RINGBUF, 0, 0, abi::RING_BYTES),
        (map::BUDGETS, PERCPU_ARRAY, 4, size(size_of::<abi::Budget>()), abi::OTHERS + 1),
        (map::SEEN, PERCPU_ARRAY, 4, size(size_of::<abi::Seen>()), abi::SEEN),
        (
            map::FRAGMENTS,
            LRU_HASH,
            size(size_of::<enforcer_common::decide::FragmentKey>()),
            size(size_of::<enforcer_common::decide::FragmentState>()),
            abi::FRAGMENTS,
        ),
    ]
}

fn is_bpf_fs(path: &Path) -> io::Result<bool> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zero is a value of `statfs`, which has numbers only.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends in NUL and `stat` is writable.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.f_type == BPF_FS)
}

/// Makes both directories and takes their lock.
fn prepare(root: &Path, dir: &Path) -> Result<File, Error> {
    let parent = root.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if !is_bpf_fs(parent).map_err(|e| Error::io("stat", parent, e))? {
        return Err(Error::NoBpfFs(root.into()));
    }
    for dir in [root, dir] {
        make(dir)?;
    }
    let lock = File::open(root).map_err(|e| Error::io("open", root, e))?;
    if !is_locked(&lock) {
        return Err(Error::Held { dir: root.into(), pid: holder(root) });
    }
    Ok(lock)
}

/// Takes the lock of an open directory, if nobody has it.
fn is_locked(lock: &File) -> bool {
    // SAFETY: the descriptor is open; flock has no other requirement.
    unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// A directory that only its owner can enter: the mode of a pin is a privilege boundary.
fn make(dir: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // Its owner could remove the pins, and with them the enforcement.
            let metadata = fs::symlink_metadata(dir).map_err(|e| Error::io("stat", dir, e))?;
            // SAFETY: no arguments, cannot fail.
            let uid = unsafe { libc::geteuid() };
            let refuse = |what| Err(Error::Foreign { path: dir.into(), what });
            if !metadata.is_dir() {
                return refuse("is not a directory".into());
            }
            if metadata.uid() != uid {
                return refuse(format!("belongs to uid {}, not {uid}", metadata.uid()));
            }
            fs::set_permissions(dir, Permissions::from_mode(0o700))
                .map_err(|e| Error::io("set the mode of", dir, e))
        }
        Err(e) => Err(Error::io("make", dir, e)),
    }
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", dir, e)),
        _ => Ok(()),
    }
}

/// Every pin below a directory.
pub(super) fn contents(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The process that holds a directory's lock: /proc/locks names it by device and inode.
fn holder(dir: &Path) -> Option<u32> {
    let inode = format!(":{}", fs::metadata(dir).ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = fields.as_slice() else { return None };
        file.ends_with(&inode).then(|| pid.parse().ok()).flatten()
    })
}
