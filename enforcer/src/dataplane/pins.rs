//! The pins: one directory for each ABI version on a BPF file system.
//!
//! ```text
//! /sys/fs/bpf/enforcer/v7/GENERATIONS …   maps that outlive a generation
//! /sys/fs/bpf/enforcer/v7/link-7          the link of the interface with index 7
//! /sys/fs/bpf/enforcer/v7/send-7          the link of its transmit side, from Linux 6.6 on
//! /sys/fs/bpf/enforcer/v7/gen-42/         image, header, counters and program of a generation
//! ```

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use enforcer_common::abi;

use super::{Error, owner};

/// `BPF_FS_MAGIC` in include/uapi/linux/magic.h.
const BPF_FS: i64 = 0xcafe_4a11;

/// The pin directory, locked by this process; clones share the lock.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
    dir: PathBuf,
    /// Keeps the lock on the directory.
    _lock: Arc<File>,
}

impl Pins {
    /// Creates the directory if necessary, and locks it.
    pub(super) fn locked(root: &Path) -> Result<Self, Error> {
        // Before anything is created: bpffs may be writable for all users, and a directory with the
        // wrong owner would block the next start.
        if !crate::privilege::may_load() {
            return Err(Error::NotPermitted("load programs"));
        }
        let dir = root.join(format!("v{}", abi::ABI_VERSION));
        let lock = prepare(root, &dir)?.into();
        Ok(Self { root: root.into(), dir, _lock: lock })
    }

    /// Creates the directory again after the file system under it was unmounted and mounted.
    pub(super) fn remake(&mut self) -> Result<(), Error> {
        if !self.dir.exists() {
            self._lock = prepare(&self.root, &self.dir)?.into();
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

    /// Directories of other ABI versions, left by another version of this program.
    pub(super) fn of_other_versions(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let is_version = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()?.strip_prefix('v'));
            *path != self.dir && name.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let mut found: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(is_version).collect();
        found.sort_unstable();
        found
    }

    /// Removes the directories of other versions. Their links are detached, unless they are pinned
    /// here as well.
    pub(super) fn forget_other_versions(&self) -> Result<(), Error> {
        self.of_other_versions().iter().try_for_each(|dir| remove(dir))
    }

    /// Interface indices that have a pinned link.
    pub fn links(&self) -> Vec<u32> {
        self.numbers("link-")
    }

    /// Numbers of the pinned generations.
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
        let removed: Vec<_> = removed.iter().map(|path| path.display().to_string()).collect();
        let removed = removed.into_iter();
        remove(&self.root)?;
        let filters = super::transmit::remove_filters();
        let filters = filters.into_iter().map(|name| format!("filter on {name}"));
        Ok(removed.chain(filters).collect())
    }
}

/// Whether a directory of pins could be made at `root`, or is there.
///
/// # Errors
///
/// The kernel does not provide the information.
pub fn may_hold(root: &Path) -> io::Result<bool> {
    is_bpf_fs(nearest(root))
}

/// The nearest existing directory above.
fn nearest(root: &Path) -> &Path {
    root.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"))
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
    let parent = nearest(root);
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

/// Locks an open directory, if no other process has.
fn is_locked(lock: &File) -> bool {
    // SAFETY: the descriptor is open; flock has no other requirement.
    unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// A directory that only its owner can enter: the mode of a pin is a privilege boundary.
fn make(dir: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            owner::check_directory(dir)?;
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
