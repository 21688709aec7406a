//! Foreign programs and links, made directly with bpf(2) (numbers of include/uapi/linux/bpf.h), and
//! a separate file system for pins.
use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    process::Command,
};

use super::run;

/// Commands.
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const LINK_CREATE: libc::c_long = 28;
const LINK_DETACH: libc::c_long = 34;
/// Types of programs.
pub const SOCKET_FILTER: u32 = 1;
/// Types of programs.
pub const XDP: u32 = 6;
/// Types of programs.
pub const SK_LOOKUP: u32 = 30;
/// Where programs of these types are attached.
pub const ATTACH_SK_LOOKUP: u32 = 36;
/// Where programs of these types are attached.
pub const ATTACH_XDP: u32 = 37;

/// Loads a program that returns 1 and does nothing: for XDP that drops.
///
/// # Panics
/// When the kernel refuses it.
#[track_caller]
pub fn load(kind: u32, name: &str, attach: u32) -> OwnedFd {
    load_code(kind, name, attach, &returns(1))
}

/// A program that returns a number and does nothing else.
pub fn returns(number: u32) -> [u64; 2] {
    // `r0 = number; exit`.
    [u64::from(number) << 32 | 0xb7, 0x95]
}

/// Loads a program of these instructions.
///
/// # Panics
/// When the kernel refuses it.
#[track_caller]
pub fn load_code(kind: u32, name: &str, attach: u32, code: &[u64]) -> OwnedFd {
    #[repr(C, align(8))]
    struct Attribute {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log: [u64; 3],
        name: [u8; 16],
        interface: u32,
        attach: u32,
    }
    let license = c"GPL";
    let mut short = [0; 16];
    short[..name.len()].copy_from_slice(name.as_bytes());
    let attribute = Attribute {
        kind,
        count: u32::try_from(code.len()).expect("it is short"),
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log: [0; 3],
        name: short,
        interface: 0,
        attach,
    };
    bpf("load", PROG_LOAD, &attribute).expect("it returns a descriptor")
}

/// Attaches a program to an interface of this namespace, or to a namespace, by a link.
///
/// # Panics
/// When the kernel refuses.
#[track_caller]
pub fn link(program: &OwnedFd, target: u32, attach: u32) -> OwnedFd {
    let attribute = [program.as_raw_fd() as u32, target, attach, 0];
    bpf("link", LINK_CREATE, &attribute).expect("it returns a descriptor")
}

/// Detaches the link behind a pin; the pin stays.
///
/// # Panics
/// When the kernel refuses.
#[track_caller]
pub fn detach(pin: &Path) {
    let text = CString::new(pin.as_os_str().as_bytes()).expect("a path has no zero byte");
    let link = bpf("open", OBJ_GET, &[text.as_ptr() as u64, 0]).expect("it returns a descriptor");
    bpf("detach", LINK_DETACH, &[link.as_raw_fd() as u32, 0]);
}

/// Pins the object behind a descriptor.
///
/// # Panics
/// When the kernel refuses.
#[track_caller]
pub fn pin(object: &OwnedFd, path: &Path) {
    let text = CString::new(path.as_os_str().as_bytes()).expect("a path has no zero byte");
    let attribute = [text.as_ptr() as u64, object.as_raw_fd() as u64];
    bpf("pin", OBJ_PIN, &attribute);
}

/// The descriptor that a command returns, if it returns one.
#[track_caller]
pub(super) fn bpf<T>(what: &str, command: libc::c_long, attribute: &T) -> Option<OwnedFd> {
    let length = libc::c_long::try_from(size_of::<T>()).expect("it is small");
    // SAFETY: each caller's attribute has the shape that its command asks for, and pointers in it that
    // live through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attribute, length) };
    assert!(result >= 0, "{what}: {}", io::Error::last_os_error());
    let fd = i32::try_from(result).expect("a descriptor fits");
    // SAFETY: the descriptor is new, and nobody else owns it.
    (fd > 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A separate BPF file system; unmounted when this value is dropped.
#[derive(Debug)]
pub struct BpfFs(tempfile::TempDir);

impl BpfFs {
    /// Mounts one.
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[track_caller]
    pub fn mount() -> Self {
        let fs = Self(tempfile::tempdir().expect("a temporary directory can be made"));
        fs.remount();
        fs
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Mounts a new one in its place.
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[track_caller]
    pub fn remount(&self) {
        run("mount", &["-t", "bpf", "bpf", &self.0.path().display().to_string()]);
    }

    /// Unmounts it.
    ///
    /// # Panics
    /// When it is not mounted.
    #[track_caller]
    pub fn unmount(&self) {
        run("umount", &["--lazy", &self.0.path().display().to_string()]);
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        // A failed test may have left it unmounted.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}
