//! The control socket: one daemon at a time, and never with a wrong mode.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::accounts::gid;
use crate::config::SOCKET_GROUP;

/// A listening control socket. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    pub(super) place: Place,
}

/// The file of a [`Socket`].
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Held for as long as the daemon runs: if two start at once, one wins.
    _lock: File,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A process answers on it.
    #[error("another daemon is listening on {}", .0.display())]
    InUse(PathBuf),
    /// The path exists and is not a socket.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The configured group does not exist.
    #[error("group `{0}`, which the settings name, does not exist")]
    NoGroup(String),
    /// A step failed.
    #[error("cannot {step} {}", path.display())]
    Step {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Socket {
    /// Listens on `path` with mode 0660, group `group`, or `enforcer` if there is such a group.
    ///
    /// The directory is created if it is missing. A dead daemon's socket is replaced; a socket that
    /// answers is an error. Needs a tokio runtime.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, Error> {
        let fail = |step, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Step { step, path, source }
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.exists()) {
            DirBuilder::new()
                .recursive(true)
                .create(parent)
                .and_then(|()| fs::set_permissions(parent, Permissions::from_mode(0o755)))
                .map_err(fail("make the directory", parent))?;
        }
        let lock = lock(path)?;
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(Error::NotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(Error::InUse(path.to_owned()));
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(fail("look at", path)(e)),
        }

        // Under a temporary name until mode and group are right; the rename replaces a stale
        // socket, so there is always a file, and never one with a wrong mode.
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        match fs::remove_file(&draft) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(fail("remove", &draft)(e));
            }
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&draft).map_err(fail("listen on", path))?;
        fs::set_permissions(&draft, Permissions::from_mode(0o660))
            .map_err(fail("set the mode of", &draft))?;
        let wanted = group.unwrap_or(SOCKET_GROUP);
        match (gid(wanted), group) {
            (Some(gid), _) => match chown(&draft, None, Some(gid)) {
                // A daemon that opens it late has already dropped CAP_CHOWN.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => log::warn!(
                    "only root can connect to {}: its group cannot be set ({e}); start the daemon again",
                    path.display()
                ),
                result => result.map_err(fail("set the group of", &draft))?,
            },
            (None, Some(name)) => return Err(Error::NoGroup(name.to_owned())),
            (None, None) => {}
        }
        fs::rename(&draft, path).map_err(fail("put in place", path))?;
        Ok(Self { listener, place: Place { path: path.to_owned(), _lock: lock } })
    }
}

/// Removes the socket of a daemon that died; one that answers stays.
pub fn remove_stale(path: &Path) -> Result<(), Error> {
    let is_socket =
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    let _lock = lock(path)?;
    if UnixStream::connect(path).is_ok() {
        return Err(Error::InUse(path.to_owned()));
    }
    fs::remove_file(path).map_err(|source| Error::Step {
        step: "remove",
        path: path.to_owned(),
        source,
    })
}

impl Drop for Place {
    fn drop(&mut self) {
        // The lock is still held: the file is ours.
        let _ = fs::remove_file(&self.path);
    }
}

/// Locks the file beside the socket. It stays when the daemon ends: removing a lock file lets two
/// daemons hold locks on two files of the same name.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(|source| Error::Step { step: "open", path: name.clone(), source })?;
    // SAFETY: the descriptor is open for the whole call, and flock touches no memory of ours.
    // JUSTIFICATION: `File::try_lock` is younger than our oldest compiler (1.89).
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(file);
    }
    let source = io::Error::last_os_error();
    if source.kind() == io::ErrorKind::WouldBlock {
        return Err(Error::InUse(path.to_owned()));
    }
    Err(Error::Step { step: "lock", path: name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_daemon_is_refused_and_a_stale_socket_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/enforcer.sock");
        let first = Socket::bind(&path, None).unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(Error::InUse(_))));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777,
            0o755
        );
        drop(first);
        assert!(!path.exists());

        // As left by a crash: a file without a listener.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _again = Socket::bind(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn a_live_socket_without_our_lock_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("enforcer.sock");
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(Error::InUse(_))));
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_in_its_place_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("enforcer.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(Error::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_group_that_was_asked_for_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("enforcer.sock");
        let refused = Socket::bind(&path, Some("no-such-group"));
        assert!(matches!(refused, Err(Error::NoGroup(_))));
    }
}
