//! Queries of pinned objects through bpf(2). Numbers and layouts are those of include/uapi/linux/bpf.h,
//! in host byte order.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Pod;

/// Commands of bpf(2).
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
/// `BPF_XDP`, an attach type.
const XDP: u32 = 37;
/// `BPF_TCX_EGRESS`, likewise.
const TCX_EGRESS: u32 = 47;
/// `BPF_F_BEFORE`, a flag of an attachment.
const BEFORE: u32 = 1 << 3;
/// More maps than any of our programs uses.
const MAPS: usize = 64;

/// The kind of object behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    Program,
    Link,
    Other,
}

/// `struct bpf_map_info`, its first words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) key: u32,
    pub(super) value: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
}

/// `struct bpf_link_info`, its first words, of an XDP link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) program: u32,
    padding: u32,
    /// 0 when it is detached or the interface is gone.
    pub(super) interface: u32,
}

/// `struct bpf_prog_info`, as far as the name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawProgram {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    code: [u32; 6],
    loaded: u64,
    user: u32,
    maps: u32,
    map_ids: u64,
    name: [u8; 16],
}

const _: () = assert!(std::mem::offset_of!(RawProgram, map_ids) == 56);

/// A program, and the ids of the maps that it uses.
#[derive(Clone, Debug)]
pub(super) struct ProgramInfo {
    pub(super) kind: u32,
    /// The kernel's digest of its instructions.
    pub(super) tag: u64,
    /// At most 15 bytes of it.
    pub(super) name: String,
    pub(super) maps: Vec<u32>,
}

/// Opens a pin.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let place = Place { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the attribute has the shape that the command asks for; `path` lives through the call.
    unsafe { descriptor(OBJ_GET, &place) }
}

/// Pins the object behind a descriptor.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let place = Place { path: path.as_ptr() as u64, fd: fd.as_raw_fd() as u32, flags: 0 };
    // SAFETY: as above.
    unsafe { bpf(OBJ_PIN, &place) }.map(drop)
}

/// Attaches a program to an interface, in the modes of `flags` (`XDP_FLAGS_…`).
///
/// Aya falls back to netlink when the kernel returns EINVAL. Such an attachment has no link to pin, any
/// `ip link set … xdp off` removes it, and the driver's own error is lost.
pub(super) fn attach(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    create_link(program, interface, XDP, flags)
}

/// Attaches a program to the transmit side of an interface, in front of all others there.
///
/// # Errors
///
/// `EINVAL` before Linux 6.6.
pub(super) fn attach_tcx(program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
    create_link(program, interface, TCX_EGRESS, BEFORE)
}

/// Creates a link of an attach type. What else a type has is zero: of tcx the program that ours is put in front of,
/// which stands for the first one.
fn create_link(
    program: BorrowedFd<'_>,
    interface: u32,
    kind: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` that the command reads.
    #[repr(C, align(8))]
    struct Attribute {
        program: u32,
        interface: u32,
        kind: u32,
        flags: u32,
        rest: [u64; 6],
    }
    let program = program.as_raw_fd() as u32;
    let attribute = Attribute { program, interface, kind, flags, rest: [0; 6] };
    // SAFETY: the attribute has the shape that the command asks for, and no pointers.
    unsafe { descriptor(LINK_CREATE, &attribute) }
}

/// Gives a link another program, in one store.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    /// The part of `union bpf_attr` that the command reads.
    #[repr(C, align(8))]
    struct Attribute {
        link: u32,
        program: u32,
        flags: u32,
        old: u32,
    }
    let (link, program) = (link.as_raw_fd() as u32, program.as_raw_fd() as u32);
    let attribute = Attribute { link, program, flags: 0, old: 0 };
    // SAFETY: the attribute has the shape that the command asks for, and no pointers.
    unsafe { bpf(LINK_UPDATE, &attribute) }.map(drop)
}

/// The kind of object behind a descriptor, by the kernel's name for it.
pub(super) fn kind(fd: BorrowedFd<'_>) -> io::Result<Kind> {
    let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(match name.as_os_str().as_bytes() {
        b"anon_inode:bpf-map" => Kind::Map,
        b"anon_inode:bpf-prog" => Kind::Program,
        // The first descriptor of a link has a different name than later ones.
        b"anon_inode:bpf_link" | b"anon_inode:bpf-link" => Kind::Link,
        _ => Kind::Other,
    })
}

/// Type and id of an object; in all three kinds of `struct bpf_…_info` they come first.
pub(super) fn identity(fd: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let mut both = [0u32; 2];
    // SAFETY: any numbers are a value of it.
    unsafe { info(fd, &mut both) }?;
    Ok((both[0], both[1]))
}

/// A map.
pub(super) fn map(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut map = MapInfo::default();
    // SAFETY: any numbers are a value of it.
    unsafe { info(fd, &mut map) }?;
    Ok(map)
}

/// A link.
pub(super) fn link(fd: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut link = LinkInfo::default();
    // SAFETY: any numbers are a value of it.
    unsafe { info(fd, &mut link) }?;
    Ok(link)
}

/// A program.
pub(super) fn program(fd: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let mut ids = [0u32; MAPS];
    let mut raw =
        RawProgram { maps: MAPS as u32, map_ids: ids.as_mut_ptr() as u64, ..RawProgram::default() };
    // SAFETY: any numbers are a value of it. The kernel writes no more than `maps` ids to `ids`,
    // which lives through the call.
    unsafe { info(fd, &mut raw) }?;
    let name = raw.name.split(|byte| *byte == 0).next().unwrap_or_default();
    let maps = ids.iter().take(raw.maps as usize).copied().collect();
    let tag = u64::from_be_bytes(raw.tag);
    Ok(ProgramInfo { kind: raw.kind, tag, name: String::from_utf8_lossy(name).into_owned(), maps })
}

/// A program by its id.
///
/// # Errors
///
/// `EPERM` without CAP_SYS_ADMIN.
pub(super) fn program_by_id(id: u32) -> io::Result<ProgramInfo> {
    /// The part of `union bpf_attr` that the command reads.
    #[repr(C, align(8))]
    struct Attribute {
        id: u32,
        next: u32,
        flags: u32,
        /// The kernel checks every byte that it is given: there must be no padding.
        reserved: u32,
    }
    let attribute = Attribute { id, next: 0, flags: 0, reserved: 0 };
    // SAFETY: the attribute has the shape that the command asks for, and no pointers.
    let fd = unsafe { descriptor(PROG_GET_FD_BY_ID, &attribute) }?;
    program(fd.as_fd())
}

/// The value of an entry of an array map whose values have the size of `V`.
///
/// # Errors
///
/// `ENOENT` where the entry is empty.
pub(super) fn entry<V: Pod + Default>(map: BorrowedFd<'_>, index: u32) -> io::Result<V> {
    let mut value = V::default();
    let element = Element::new(map, &index, (&raw mut value) as u64);
    // SAFETY: the element, its key and its value live through the call; the caller knows the value's size,
    // and any bytes are a value of `V`.
    unsafe { bpf(MAP_LOOKUP_ELEM, &element) }?;
    Ok(value)
}

/// Id of the program in a slot of a pinned program array; `None` if the slot is empty or nothing is pinned there.
pub(super) fn occupant(path: &Path, slot: u32) -> io::Result<Option<u32>> {
    match open(path).and_then(|array| entry(array.as_fd(), slot)) {
        Ok(id) => Ok(Some(id)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sets an entry of an array map whose values have the size of `V`.
pub(super) fn set<V: Pod>(map: BorrowedFd<'_>, index: u32, value: &V) -> io::Result<()> {
    let element = Element::new(map, &index, (&raw const *value) as u64);
    // SAFETY: as above; the kernel only reads the value.
    unsafe { bpf(MAP_UPDATE_ELEM, &element) }.map(drop)
}

/// Puts a program into a slot of a program array.
pub(super) fn put(array: BorrowedFd<'_>, slot: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    set(array, slot, &program.as_raw_fd())
}

/// Empties a slot of a program array, if it is not empty.
pub(super) fn remove(array: BorrowedFd<'_>, slot: u32) -> io::Result<()> {
    let element = Element::new(array, &slot, 0);
    // SAFETY: the element and its key live through the call.
    match unsafe { bpf(MAP_DELETE_ELEM, &element) } {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The part of `union bpf_attr` that BPF_MAP_LOOKUP_ELEM and BPF_MAP_UPDATE_ELEM read.
#[repr(C, align(8))]
struct Element {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    fn new(map: BorrowedFd<'_>, key: &u32, value: u64) -> Self {
        let key = (&raw const *key) as u64;
        Self { map: map.as_raw_fd() as u32, reserved: 0, key, value, flags: 0 }
    }
}

/// Asks for the beginning of an object's `struct bpf_…_info`.
///
/// # Safety
///
/// Any bytes are a valid `T`, and the fields that the kernel uses as pointers are valid.
unsafe fn info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    /// The part of `union bpf_attr` that the command reads.
    #[repr(C, align(8))]
    struct Attribute {
        fd: u32,
        length: u32,
        info: u64,
    }
    let attribute = Attribute {
        fd: fd.as_raw_fd() as u32,
        length: size_of::<T>() as u32,
        info: (&raw mut *info) as u64,
    };
    // SAFETY: the attribute has the shape that the command asks for, and the kernel writes no more
    // than `length` bytes to `info`; the caller guarantees its contents.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &attribute) }.map(drop)
}

/// The part of `union bpf_attr` that BPF_OBJ_PIN and BPF_OBJ_GET read.
#[repr(C, align(8))]
struct Place {
    path: u64,
    fd: u32,
    flags: u32,
}

/// A call of bpf(2) that makes a descriptor.
///
/// # Safety
///
/// As [`bpf`]; the command returns a descriptor.
unsafe fn descriptor<T>(command: libc::c_long, attribute: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller answers for the attribute.
    let fd = unsafe { bpf(command, attribute) }?;
    // SAFETY: the descriptor is new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One call of bpf(2).
///
/// # Safety
///
/// `attribute` is what the command reads, with pointers that are valid for what it reads and writes.
unsafe fn bpf<T>(command: libc::c_long, attribute: &T) -> io::Result<i32> {
    let length = size_of::<T>() as libc::c_long;
    // SAFETY: the caller answers for the attribute.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attribute, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
