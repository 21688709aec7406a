//! State that is needed before the daemon runs: names found on top of protected interfaces, whether
//! the tables were installed, and whether the operator removed them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::stack::Stack;
use crate::host::boot_id;

/// Files in the state directory.
#[derive(Debug)]
pub(super) struct Memory {
    dir: PathBuf,
}

impl Memory {
    pub(super) fn open(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    /// The last known stack; empty, with a warning, if the file is missing or damaged.
    pub(super) fn stack(&self) -> Stack {
        let path = self.dir.join("backstop.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Stack::new(),
            Err(e) => {
                log::error!("cannot read {}: {e}", path.display());
                return Stack::new();
            }
        };
        let read = serde_json::from_slice(&text);
        read.inspect_err(|e| log::error!("{} is damaged: {e}", path.display())).unwrap_or_default()
    }

    pub(super) fn save(&self, stack: &Stack) -> Result<(), Error> {
        let text = serde_json::to_vec(stack).unwrap_or_default();
        let new = self.dir.join("backstop.json.new");
        let target = self.dir.join("backstop.json");
        let write = || {
            self.make_dir()?;
            fs::write(&new, &text)?;
            fs::File::open(&new)?.sync_all()?;
            fs::rename(&new, &target)
        };
        write().map_err(|source| Error::Memory { path: target.clone(), source })
    }

    /// Whether the operator removed the tables for good.
    pub(super) fn is_removed(&self) -> bool {
        self.mark().exists()
    }

    pub(super) fn set_removed(&self, removed: bool) -> Result<(), Error> {
        let mark = self.mark();
        let result = if removed {
            self.forget_installed();
            self.make_dir().and_then(|()| fs::write(&mark, ""))
        } else {
            match fs::remove_file(&mark) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            }
        };
        result.map_err(|source| Error::Memory { path: mark, source })
    }

    /// The boot in which a daemon or `enforcer backstop install` last saw the tables, unless enforcer itself
    /// has removed them since.
    pub(super) fn installed_in(&self) -> Option<String> {
        fs::read_to_string(self.installed()).ok()
    }

    /// Records that the tables exist. If that fails, their loss while no daemon runs would go unnoticed; this
    /// is only a warning.
    pub(super) fn set_installed(&self) {
        let boot = boot_id().unwrap_or_default();
        if self.installed_in().as_ref() != Some(&boot)
            && let Err(e) = self.make_dir().and_then(|()| fs::write(self.installed(), boot))
        {
            log::warn!("cannot write {}: {e}", self.installed().display());
        }
    }

    /// Records that the tables need not exist any more.
    pub(super) fn forget_installed(&self) {
        match fs::remove_file(self.installed()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove {}: {e}", self.installed().display());
            }
            _ => {}
        }
    }

    fn installed(&self) -> PathBuf {
        self.dir.join("backstop-installed")
    }

    fn mark(&self) -> PathBuf {
        self.dir.join("backstop-removed")
    }

    fn make_dir(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }
}
