//! Descriptors of everything that is pinned: an object lives as long as its pin *or* a descriptor, so
//! removing a pin removes nothing while the daemon runs, and the daemon can put it back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::pins::Pins;

/// Commands of bpf(2), include/uapi/linux/bpf.h.
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// What is pinned, by path.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<PathBuf, OwnedFd>);

impl Kept {
    /// Keeps what is pinned now, and no longer what is not: for after a change of our own.
    pub(super) fn refresh(&mut self, pins: &Pins) {
        let mut found = BTreeMap::new();
        for path in super::pins::contents(pins.dir()) {
            match open(&path) {
                Ok(fd) => drop(found.insert(path, fd)),
                Err(e) => log::warn!("cannot hold {}: {e}", path.display()),
            }
        }
        self.0 = found;
    }

    /// The descriptor behind a pin.
    pub(super) fn get(&self, path: &Path) -> Option<BorrowedFd<'_>> {
        self.0.get(path).map(AsFd::as_fd)
    }

    /// Lets an object go whose pin is removed on purpose.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// Keeps an object under another name.
    pub(super) fn rename(&mut self, from: &Path, to: PathBuf) {
        if let Some(fd) = self.0.remove(from) {
            self.0.insert(to, fd);
        }
    }

    /// Pins that are gone, or that lead to another object.
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

/// Index of the interface of a link; 0 when it is detached or the interface is gone.
pub(super) fn link_interface(link: BorrowedFd<'_>) -> io::Result<u32> {
    // `struct bpf_link_info`: type, id, prog_id, padding, then of an XDP link the index.
    info(link).map(|info| info[4])
}

/// Kind and id of an object; in all three kinds of `struct bpf_…_info` they come first.
fn identity(fd: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    info(fd).map(|info| (info[0], info[1]))
}

fn info(fd: BorrowedFd<'_>) -> io::Result<[u32; 8]> {
    /// The part of `union bpf_attr` that BPF_OBJ_GET_INFO_BY_FD reads.
    #[repr(C, align(8))]
    struct Attribute {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = [0u32; 8];
    let attribute = Attribute {
        fd: fd.as_raw_fd() as u32,
        length: size_of_val(&info) as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the attribute has the shape that the command asks for, and the kernel writes no more
    // than `length` bytes to `info`, which lives through the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, (&raw const attribute).cast(), size_of::<Attribute>()) }?;
    Ok(info)
}

/// The part of `union bpf_attr` that BPF_OBJ_PIN and BPF_OBJ_GET read.
#[repr(C, align(8))]
struct Place {
    path: u64,
    fd: u32,
    flags: u32,
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let place = Place { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the attribute has the shape that the command asks for; `path` lives through the call.
    let fd = unsafe { bpf(OBJ_GET, (&raw const place).cast(), size_of::<Place>()) }?;
    // SAFETY: the descriptor is new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let place = Place { path: path.as_ptr() as u64, fd: fd.as_raw_fd() as u32, flags: 0 };
    // SAFETY: as above.
    unsafe { bpf(OBJ_PIN, (&raw const place).cast(), size_of::<Place>()) }.map(drop)
}

/// One call of bpf(2).
///
/// # Safety
///
/// `attribute` points to `length` bytes that are what the command reads, with pointers that are valid
/// for what it reads and writes.
unsafe fn bpf(
    command: libc::c_long,
    attribute: *const libc::c_void,
    length: usize,
) -> io::Result<i32> {
    // SAFETY: the caller answers for the attribute.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attribute, length as libc::c_long) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
