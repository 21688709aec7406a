//! seccomp's user notification (seccomp_unotify(2)): calls of a process that wait for an answer of ours.
use std::{
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use libc::c_long;

/// Where the process has the descriptor that this one takes over.
const PLACE: libc::c_int = 200;

/// Calls that may change something outside of the process, whatever their arguments.
const CHANGES: &[c_long] = &[
    libc::SYS_bpf,
    libc::SYS_bind,
    libc::SYS_copy_file_range,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_ftruncate,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_splice,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_umount2,
    libc::SYS_unlinkat,
];
/// The same, of x86 alone.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_link,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_symlink,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];
/// Calls that write to a descriptor: the log, which is the first three, is nobody's state.
const WRITES: [c_long; 5] =
    [libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_pwritev, libc::SYS_pwritev2];

/// A call that waits.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Notification {
    id: u64,
    /// Of which thread.
    pub(super) thread: u32,
    flags: u32,
    /// Which call, and the architecture that it is of.
    call: [u32; 2],
    at: u64,
    /// Its arguments.
    pub(super) arguments: [u64; 6],
}

/// What becomes of it.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `_IOWR('!', NUMBER, size)`.
const fn request(number: u64, size: usize) -> u64 {
    3 << 30 | (size as u64) << 16 | (b'!' as u64) << 8 | number
}

impl Notification {
    /// One of this process, with a first argument.
    #[cfg(test)]
    pub(super) fn of(number: c_long, argument: u64) -> Self {
        let (thread, call) = (std::process::id(), [number as u32, 0]);
        let arguments = [argument, 0, 0, 0, 0, 0];
        Self { id: 0, thread, flags: 0, call, at: 0, arguments }
    }

    /// Which call.
    pub(super) fn number(&self) -> c_long {
        c_long::from(self.call[0])
    }
}

/// The filter: in this order the words of a call are its number, architecture, address and arguments.
pub(super) fn code() -> Vec<libc::sock_filter> {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |at| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let jump = |how, k, jt, jf| instruction(libc::BPF_JMP | how | libc::BPF_K, jt, jf, k);
    let ends = |with| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, with);
    let argument = |number: u32| load(16 + 8 * number);
    let (wait, pass) = (libc::SECCOMP_RET_USER_NOTIF, libc::SECCOMP_RET_ALLOW);
    let is = |call: c_long, skips| jump(libc::BPF_JEQ, call as u32, 0, skips);
    let mut code = vec![load(0)];
    for call in CHANGES.iter().chain(OLD) {
        code.extend([is(*call, 1), ends(wait)]);
    }
    for call in WRITES {
        let log = jump(libc::BPF_JGT, 2, 0, 1);
        code.extend([is(call, 4), argument(0), log, ends(wait), ends(pass)]);
    }
    let makes = jump(libc::BPF_JSET, (libc::O_CREAT | libc::O_TRUNC) as u32, 0, 1);
    code.extend([is(libc::SYS_openat, 4), argument(2), makes, ends(wait), ends(pass)]);
    // What is written through memory that others share, no call tells.
    let writes = jump(libc::BPF_JSET, libc::PROT_WRITE as u32, 0, 3);
    let shares = jump(libc::BPF_JSET, libc::MAP_SHARED as u32, 0, 1);
    code.extend([is(libc::SYS_mmap, 6), argument(2), writes, argument(3), shares]);
    code.extend([ends(wait), ends(pass)]);
    // Whether reads wait is up to the process.
    let blocks = jump(libc::BPF_JEQ, libc::FIONBIO as u32, 1, 0);
    code.extend([is(libc::SYS_ioctl, 4), argument(1), blocks, ends(wait), ends(pass)]);
    code.push(ends(pass));
    code
}

/// Lets every call of this process that the filter picks wait for an answer.
///
/// # Errors
/// The kernel refuses.
pub(super) fn install(code: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(code.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: code.as_ptr().cast_mut() };
    let (set, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the program and its instructions live through the call.
    let listener = unsafe { libc::syscall(libc::SYS_seccomp, set, flags, &raw const program) };
    // SAFETY: it takes numbers only. The copy stays open in what this process becomes.
    if listener < 0 || unsafe { libc::dup2(listener as libc::c_int, PLACE) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The descriptor on which a process waits.
///
/// # Panics
/// When the kernel does not give it.
#[track_caller]
pub(super) fn listener(pid: u32) -> OwnedFd {
    let owned = |what: &str, result: c_long| {
        assert!(result >= 0, "{what}: {}", io::Error::last_os_error());
        let fd = i32::try_from(result).expect("a descriptor fits");
        // SAFETY: the descriptor is new, and nobody else owns it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    // SAFETY: it takes numbers only.
    let process = owned("pidfd_open", unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) });
    let (fd, get) = (process.as_raw_fd(), libc::SYS_pidfd_getfd);
    // SAFETY: it takes numbers only.
    owned("pidfd_getfd", unsafe { libc::syscall(get, fd, PLACE, 0) })
}

/// Waits for the next call; `None` when there will be none, or nobody asks any more.
pub(super) fn next(listener: &OwnedFd, stop: &AtomicBool) -> Option<Notification> {
    let fd = listener.as_raw_fd();
    while !stop.load(Ordering::Relaxed) {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives through the call.
        if unsafe { libc::poll(&raw mut poll, 1, 20) } <= 0 {
            continue;
        }
        if poll.revents & libc::POLLIN == 0 {
            return None;
        }
        // SAFETY: numbers, for which zero is valid.
        let mut call: Notification = unsafe { std::mem::zeroed() };
        let receive = request(0, size_of::<Notification>());
        // SAFETY: the notification has the shape that the request asks for, and lives through the call.
        if unsafe { libc::ioctl(fd, receive as _, &raw mut call) } == 0 {
            return Some(call);
        }
        // Otherwise it was taken back: who made it was killed.
    }
    None
}

/// Lets a call happen.
pub(super) fn go_on(listener: &OwnedFd, call: &Notification) {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let answer = Answer { id: call.id, value: 0, error: 0, flags };
    let send = request(1, size_of::<Answer>());
    // SAFETY: the answer has the shape that the request asks for, and lives through the call. It fails only
    // where nobody waits any more.
    unsafe { libc::ioctl(listener.as_raw_fd(), send as _, &raw const answer) };
}

/// Whether a call only wakes another thread of the same process: it writes to an eventfd.
pub(super) fn only_wakes(call: &Notification) -> bool {
    let link = || fs::read_link(format!("/proc/{}/fd/{}", call.thread, call.arguments[0]));
    WRITES.contains(&call.number())
        && link().is_ok_and(|to| to.as_os_str() == "anon_inode:[eventfd]")
}
