//! The end of a daemon as it enters a bpf(2) call: seccomp hands each such call to this process first, whichever
//! thread makes it.
//!
//! After SIGKILL only what the kernel and the disk hold is left. So a call is a moment to end at when it may
//! leave something there, or when something has happened since the last moment: the daemon, or a program that it
//! runs, made another call that may change something outside of the process, or it wrote into the memory of a
//! map. Every other call finds the same kernel and the same disk as the moment before it.
//! `ENFORCER_EVERY_CALL=1` ends at those as well.
//!
//! Each daemon ends at the first moment at which none has ended before, until one meets no other. No moment is
//! left out when a daemon makes a call more or less than the one before it: moments have no numbers.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::{fs::FileExt as _, process::CommandExt as _},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::{Daemon, filter, number, wait_until};

/// Moments at which daemons have ended.
#[derive(Clone, Debug, Default)]
pub struct Ends(Arc<Mutex<BTreeSet<Moment>>>);

impl Ends {
    /// How many they are.
    ///
    /// # Panics
    /// When there are more than any change or start has.
    #[track_caller]
    pub fn count(&self) -> usize {
        let count = lock(&self.0).len();
        assert!(count < 500, "they have no end");
        count
    }

    /// Those at which something was pinned, by the end of its path.
    pub fn pins(&self, name: &str) -> usize {
        lock(&self.0).iter().filter(|moment| moment.pin.contains(name)).count()
    }

    /// Those at calls of a command.
    pub fn commands(&self, command: u32) -> usize {
        lock(&self.0).iter().filter(|moment| moment.command == command).count()
    }
}

/// A bpf(2) call, and what it comes after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    /// What has happened since the last one.
    after: After,
    /// Its number in include/uapi/linux/bpf.h.
    command: u32,
    /// What it pins, if it does.
    pin: String,
    /// How many like it have come before, after the same.
    number: u32,
}

/// What happened last that may outlive a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum After {
    /// Nothing.
    #[default]
    Nothing,
    /// The count began.
    Start,
    /// A system call.
    Call(libc::c_long),
    /// A command of bpf(2).
    Command(u32),
    /// A store into memory.
    Store,
}

/// A daemon's calls, answered one by one until this value goes.
#[derive(Debug)]
pub struct Watch {
    calls: Arc<Mutex<Calls>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a daemon has called since the count began.
#[derive(Debug, Default)]
struct Calls {
    /// Where others have ended, if it has to end.
    ends: Option<Ends>,
    ended: bool,
    number: u32,
    /// What has happened since the last moment.
    after: After,
    /// What the daemon had in the memory of maps then.
    memory: Vec<u8>,
    /// The moments so far, each as the first of its kind, with how many there were.
    met: BTreeMap<Moment, u32>,
}

/// A command of bpf(2).
pub const MAP_UPDATE_ELEM: u32 = 2;
/// A command of bpf(2).
pub const OBJ_PIN: u32 = 6;
/// A command of bpf(2).
pub const LINK_CREATE: u32 = 28;
/// Commands that only read, or make what ends with its descriptor: MAP_CREATE, MAP_LOOKUP_ELEM,
/// MAP_GET_NEXT_KEY, PROG_LOAD, OBJ_GET, OBJ_GET_INFO_BY_FD, BTF_LOAD, and those that find an object by its
/// id. After any other, something may outlive the process.
const NOTHING_LASTS: [u32; 13] = [0, 1, 4, 5, 7, 11, 12, 13, 14, 15, 18, 19, 30];

impl Watch {
    /// Starts a daemon that ends at a moment of its start at which none has ended, if others are given.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn begin(daemon: &mut Daemon<'_>, ends: Option<&Ends>) -> Self {
        daemon.begin_as(|command| {
            let code = filter::code();
            // SAFETY: the closure makes system calls and touches no memory of the parent.
            unsafe { command.pre_exec(move || filter::install(&code)) };
        });
        let pid = daemon.process().pid();
        let listener = filter::listener(pid);
        let calls = Arc::new(Mutex::new(Calls::begin(ends)));
        let stop = Arc::new(AtomicBool::new(false));
        let (counted, stopped) = (Arc::clone(&calls), Arc::clone(&stop));
        let every = number("ENFORCER_EVERY_CALL", 0) != 0;
        let thread = std::thread::spawn(move || {
            let mut ended = false;
            while let Some(call) = filter::next(&listener, &stopped) {
                // What the daemon has started goes on. It would itself, too, if it were answered now.
                if ended && Path::new(&format!("/proc/{pid}/task/{}", call.thread)).exists() {
                    continue;
                }
                if !ended && lock(&counted).meet(&call, &|| mapped(pid), every) {
                    ended = true;
                    // SAFETY: it takes numbers only. The daemon waits for an answer, so the id is its own.
                    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
                    continue;
                }
                filter::go_on(&listener, &call);
            }
        });
        Self { calls, stop, thread: Some(thread) }
    }

    /// Counts from now on, and lets the daemon end at a moment at which none has ended.
    pub fn end_at(&self, ends: &Ends) {
        *lock(&self.calls) = Calls::begin(Some(ends));
    }

    /// Lets the daemon live from now on; whether it still does.
    pub fn spare(&self) -> bool {
        let mut calls = lock(&self.calls);
        calls.ends = None;
        !calls.ended
    }

    /// Calls since the count began; the last one is the end, if it has come.
    pub fn calls(&self) -> u32 {
        lock(&self.calls).number
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking(),
            "what answers a daemon's calls panicked"
        );
    }
}

impl Calls {
    fn begin(ends: Option<&Ends>) -> Self {
        Self { ends: ends.cloned(), after: After::Start, ..Self::default() }
    }

    /// Takes a call into account; whether the daemon has to end as it enters it.
    fn meet(
        &mut self,
        call: &filter::Notification,
        memory: &dyn Fn() -> Vec<u8>,
        every: bool,
    ) -> bool {
        if call.number() != libc::SYS_bpf {
            if !filter::only_wakes(call) {
                self.after = After::Call(call.number());
            }
            return false;
        }
        self.number += 1;
        let memory = memory();
        if memory != self.memory && self.after == After::Nothing {
            self.after = After::Store;
        }
        let command = call.arguments[0] as u32;
        let lasts = !NOTHING_LASTS.contains(&command);
        if self.after == After::Nothing && !lasts && !every {
            return false;
        }
        let pin = if command == OBJ_PIN { pin(call) } else { String::new() };
        let mut moment = Moment { after: self.after, command, pin, number: 0 };
        let alike = self.met.entry(moment.clone()).or_default();
        moment.number = *alike;
        *alike += 1;
        self.memory = memory;
        self.after = if lasts { After::Command(command) } else { After::Nothing };
        self.ended = self.ends.as_ref().is_some_and(|ends| lock(&ends.0).insert(moment));
        self.ended
    }
}

/// Starts a daemon that ends at a moment of its start at which none has ended; whether there was none, and it runs.
///
/// # Panics
/// When it ends otherwise.
#[track_caller]
pub fn start(daemon: &mut Daemon<'_>, ends: &Ends) -> (bool, Watch) {
    let watch = Watch::begin(daemon, Some(ends));
    wait_until("it starts or ends", || {
        (!daemon.is_running() || daemon.last_log().contains("enforcing revision")).then_some(())
    });
    let survived = watch.spare();
    if !survived {
        let ended = daemon.wait();
        assert_eq!(ended.code, None, "end {}: it ended by itself: {ended:?}", ends.count());
    }
    (survived, watch)
}

/// What a process has in the memory of maps that it may write, without those that the kernel counts in: an
/// image and what the daemon controls are a page each, counters are larger.
fn mapped(pid: u32) -> Vec<u8> {
    const PAGE: u64 = 4096;
    let mut bytes = Vec::new();
    let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return bytes };
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return bytes };
    for line in maps.lines().filter(|l| l.contains(" rw-s ") && l.ends_with("anon_inode:bpf-map")) {
        let Some((start, end)) = line.split_once(' ').and_then(|(range, _)| range.split_once('-'))
        else {
            continue;
        };
        let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap_or(0));
        let mut page = [0; PAGE as usize];
        if end - start == PAGE && memory.read_exact_at(&mut page, start).is_ok() {
            bytes.extend(page);
        }
    }
    bytes
}

/// The path of a BPF_OBJ_PIN call: what the first word of its attribute points to.
fn pin(call: &filter::Notification) -> String {
    let read = || {
        let memory = File::open(format!("/proc/{}/mem", call.thread)).ok()?;
        let mut address = [0; 8];
        memory.read_exact_at(&mut address, call.arguments[1]).ok()?;
        let mut text = [0; 256];
        let length = memory.read_at(&mut text, u64::from_ne_bytes(address)).ok()?;
        let path = text[..length].split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(path).into_owned())
    };
    read().unwrap_or_default()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::harness::bpf;

    const LOOKUP: u64 = 1;
    const UPDATE: u64 = MAP_UPDATE_ELEM as u64;

    /// Whether a daemon ends at a call.
    fn meet(calls: &mut Calls, number: libc::c_long, argument: u64, memory: u8) -> bool {
        calls.meet(&filter::Notification::of(number, argument), &|| vec![memory], false)
    }

    #[test]
    fn a_call_that_finds_what_the_one_before_found_is_no_moment() {
        let mut calls = Calls::begin(Some(&Ends::default()));
        let met = [
            (libc::SYS_bpf, LOOKUP, 0),
            (libc::SYS_bpf, LOOKUP, 0),
            (libc::SYS_unlinkat, 0, 0),
            (libc::SYS_bpf, LOOKUP, 0),
            (libc::SYS_bpf, LOOKUP, 0),
            (libc::SYS_bpf, LOOKUP, 1),
            (libc::SYS_bpf, LOOKUP, 1),
            (libc::SYS_bpf, UPDATE, 1),
            (libc::SYS_bpf, UPDATE, 1),
            (libc::SYS_bpf, LOOKUP, 1),
            (libc::SYS_bpf, LOOKUP, 1),
        ]
        .map(|(number, argument, memory)| meet(&mut calls, number, argument, memory));
        let expected = [true, false, false, true, false, true, false, true, true, true, false];
        assert_eq!(met, expected);
        assert_eq!(calls.number, 10);
    }

    #[test]
    fn each_ends_where_none_has_ended() {
        let ends = Ends::default();
        let calls = [
            (libc::SYS_bpf, LOOKUP),
            (libc::SYS_unlinkat, 0),
            (libc::SYS_bpf, UPDATE),
            (libc::SYS_bpf, UPDATE),
        ];
        // One that the second daemon alone makes takes no other one's place.
        let more = [(libc::SYS_bpf, LOOKUP), (libc::SYS_sendto, 0), (libc::SYS_bpf, LOOKUP)];
        let end = |calls: &[(libc::c_long, u64)]| {
            let mut daemon = Calls::begin(Some(&ends));
            calls.iter().position(|(number, argument)| meet(&mut daemon, *number, *argument, 0))
        };
        let run = |calls: &[&[(libc::c_long, u64)]]| end(&calls.concat());
        let found = [
            run(&[&calls]),
            run(&[&more, &calls[1..]]),
            run(&[&calls]),
            run(&[&calls]),
            run(&[&calls]),
        ];
        assert_eq!(found, [Some(0), Some(2), Some(2), Some(3), None]);
        assert_eq!((ends.count(), ends.commands(MAP_UPDATE_ELEM)), (4, 2));
    }

    #[test]
    fn a_store_into_the_memory_of_a_map_is_seen() {
        const ARRAY: u32 = 2;
        const MMAPABLE: u32 = 1 << 10;
        const STORED: u64 = 0x6d6f_6d65_6e74_7321;
        let attribute = [ARRAY, 4, 64, 1, MMAPABLE, 0, 0, 0, 0, 0];
        let map = bpf::bpf("map", 0, &attribute).expect("it returns a descriptor");
        let (protection, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice; the descriptor is open.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), 64, protection, shared, map.as_raw_fd(), 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        let is_seen = || {
            let seen = mapped(std::process::id());
            seen.chunks_exact(8).any(|word| word == STORED.to_ne_bytes())
        };
        assert!(!is_seen());
        // SAFETY: the mapping is ours, and has 64 bytes.
        unsafe { memory.cast::<u64>().write_volatile(STORED) };
        assert!(is_seen());
        // SAFETY: nobody uses the mapping any more.
        unsafe { libc::munmap(memory, 64) };
    }
}
