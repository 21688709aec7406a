//! Kernel, rights, clock and disk.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use rustix::system::uname;

use super::super::facts::{Disk, Machine, Unseen};
use super::checked;
use crate::config::Settings;
use crate::dataplane::pins;
use crate::privilege;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` in include/uapi/linux/magic.h.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

pub(super) fn look(settings: &Settings, neighbours: Vec<(&'static str, u32)>) -> Machine {
    let release = uname().release().to_string_lossy().into_owned();
    Machine {
        kernel: version(&release),
        release,
        lacking: privilege::lacking(),
        contained: privilege::in_user_namespace(),
        pins: settings.bpffs.clone(),
        bpffs: pins::may_hold(&settings.bpffs).map_err(|e| Unseen::new(e.to_string())),
        locked: getrlimit(Resource::Memlock).current,
        unprivileged: fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled")
            .ok()
            .and_then(|text| text.trim().parse().ok()),
        neighbours,
        now: jiff::Timestamp::now().as_second(),
        synchronised: synchronised().map_err(|e| Unseen::new(e.to_string())),
        disk: disk(&settings.state_dir).map_err(|e| Unseen::new(e.to_string())),
        state: settings.state_dir.clone(),
    }
}

/// `6.18.44-amd64` to 6 and 18.
fn version(release: &str) -> (u8, u8) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next())
}

fn synchronised() -> io::Result<bool> {
    // SAFETY: all zero is a value of it: numbers only, and `modes` asks for no change.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: it is writable and lives through the call.
    let state = checked(unsafe { libc::adjtimex(&raw mut timex) })?;
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

/// The disk of a directory that may not exist yet.
fn disk(dir: &Path) -> io::Result<Disk> {
    // Not `exists`: a directory that cannot be entered exists too.
    let is_there = |dir: &&Path| !matches!(fs::symlink_metadata(dir), Err(e) if e.kind() == io::ErrorKind::NotFound);
    let there = dir.ancestors().find(is_there).unwrap_or(Path::new("/"));
    let path = CString::new(there.as_os_str().as_bytes())?;
    // SAFETY: all zero is a value of it: numbers only.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends in NUL and `stat` is writable.
    checked(unsafe { libc::statfs(path.as_ptr(), &raw mut stat) })?;
    // SAFETY: as above.
    let writable = unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) } == 0;
    Ok(Disk {
        free: (stat.f_bavail as u64).saturating_mul(stat.f_bsize as u64),
        volatile: IN_MEMORY.contains(&(stat.f_type as i64)),
        writable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (release, expected) in
            [("6.18.44", (6, 18)), ("5.10.0-46-amd64", (5, 10)), ("7.2-rc1", (7, 2)), ("x", (0, 0))]
        {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_looked_for_above() {
        let dir = tempfile::tempdir().unwrap();
        let there = disk(dir.path()).unwrap();
        assert!(there.writable && there.free > 0);
        let deeper = disk(&dir.path().join("a/b")).unwrap();
        assert_eq!((deeper.writable, deeper.volatile), (true, there.volatile));
    }
}
