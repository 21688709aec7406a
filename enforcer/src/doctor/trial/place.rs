//! A network namespace and a BPF file system that belong to one thread. The kernel removes both when
//! the thread ends, however it ends: nothing is left to clean up, even if the process is killed.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::ptr::null;
use std::thread;

/// Where the file system is mounted: the kernel provides this directory if it supports BPF.
pub(super) const BPF: &CStr = c"/sys/fs/bpf";

/// Why the environment could not be created.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot make {what}")]
    Make { what: &'static str, source: io::Error },
    #[error("its thread broke off")]
    Thread,
}

/// Runs `work` on a thread in its own namespaces.
pub(super) fn within<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let inside = || {
        enter()?;
        Ok(work())
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap_or(Err(Error::Thread)))
}

fn enter() -> Result<(), Error> {
    let make = |what, result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(Error::Make { what, source: io::Error::last_os_error() }),
    };
    // SAFETY: it takes flags only, and changes this thread alone.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
    make("a network namespace", result)?;
    // Before anything is mounted, because mounts would be visible outside.
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the strings end in NUL and live through the call; the rest may be null.
    let result = unsafe { libc::mount(null(), c"/".as_ptr(), null(), private, null()) };
    make("mounts of its own", result)?;
    let (kind, options) = (c"bpf".as_ptr(), c"mode=0700".as_ptr().cast());
    // SAFETY: as above.
    let result = unsafe { libc::mount(kind, BPF.as_ptr(), kind, 0, options) };
    make("a BPF file system", result)?;
    // Otherwise IPv6 sends frames on every new interface. A kernel without IPv6 has no such file.
    let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    Ok(())
}
