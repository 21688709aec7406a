//! Descriptors of everything that is pinned: an object lives as long as its pin *or* a descriptor, so
//! removing a pin has no effect while the daemon runs, and the daemon can restore it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Error;
use super::object::{identity, open, pin};
use super::pins::Pins;

/// What is pinned, by path.
#[derive(Debug, Default)]
pub(super) struct PinKeeper(BTreeMap<PathBuf, OwnedFd>);

impl PinKeeper {
    /// Records the current pins, after a change of our own. Held objects that are no longer pinned stay
    /// held, because this process did not remove their pins.
    pub(super) fn refresh(&mut self, pins: &Pins) {
        for path in super::pins::contents(pins.dir()) {
            match open(&path) {
                Ok(fd) => drop(self.0.insert(path, fd)),
                Err(e) => log::warn!("cannot hold {}: {e}", path.display()),
            }
        }
    }

    /// Releases generations that are in none of these directories.
    pub(super) fn forget_generations(&mut self, pins: &Pins, but: &[PathBuf]) {
        let is_kept = |path: &PathBuf| {
            path.parent() == Some(pins.dir()) || but.iter().any(|dir| path.starts_with(dir))
        };
        self.0.retain(|path, _| is_kept(path));
    }

    /// The descriptor behind a pin.
    pub(super) fn get(&self, path: &Path) -> Option<BorrowedFd<'_>> {
        self.0.get(path).map(AsFd::as_fd)
    }

    /// Releases an object whose pin is removed on purpose.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// Keeps an object under another name.
    pub(super) fn rename(&mut self, from: &Path, to: PathBuf) {
        if let Some(fd) = self.0.remove(from) {
            self.0.insert(to, fd);
        }
    }

    /// Pins that are gone, or that refer to a different object.
    pub(super) fn missing(&self) -> Vec<PathBuf> {
        let is_missing = |(path, fd): &(&PathBuf, &OwnedFd)| match open(path) {
            Ok(now) => identity(now.as_fd()).ok() != identity(fd.as_fd()).ok(),
            Err(_) => true,
        };
        self.0.iter().filter(is_missing).map(|(path, _)| path.clone()).collect()
    }

    /// Pins an object where it was.
    pub(super) fn restore(&self, path: &Path) -> Result<(), Error> {
        let Some(fd) = self.0.get(path) else { return Ok(()) };
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path, e));
            }
            _ => {}
        }
        pin(fd.as_fd(), path).map_err(|e| Error::io("pin", path, e))
    }
}
