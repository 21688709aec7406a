//! Refuses files and directories of another owner.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Error;

/// Refuses a directory that another user could write: that user could remove the pins, which ends
/// enforcement, or replace them.
pub(super) fn check_directory(dir: &Path) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(dir).map_err(|e| Error::io("stat", dir, e))?;
    if !metadata.is_dir() {
        return Err(foreign(dir, "is not a directory"));
    }
    check_access(dir, &metadata, 0o022, 0o700)
}

/// Refuses a different owner, and mode bits that others must not have.
pub(super) fn check_access(
    path: &Path,
    found: &Metadata,
    never: u32,
    mode: u32,
) -> Result<(), Error> {
    // SAFETY: no arguments, cannot fail.
    let uid = unsafe { libc::geteuid() };
    let path = PathBuf::from(path);
    if found.uid() != uid {
        let what = format!("belongs to uid {}, not {uid}", found.uid());
        let remedy = format!("chown {uid} {}", path.display());
        return Err(Error::Exposed { path, what, remedy });
    }
    if found.mode() & never != 0 {
        let what = format!("has mode {:04o}, not {mode:04o}", found.mode() & 0o7777);
        let remedy = format!("chmod {mode:o} {}", path.display());
        return Err(Error::Exposed { path, what, remedy });
    }
    Ok(())
}

/// A pin or directory that is not ours.
pub(super) fn foreign(path: &Path, what: impl Into<String>) -> Error {
    Error::Foreign { path: path.into(), what: what.into() }
}
