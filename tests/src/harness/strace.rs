//! Kills a daemon at one of its bpf(2) calls: strace kills it as it enters the call.
use std::{fs, path::Path, process::Command};

use super::{
    Daemon, Process,
    wait::{DEADLINE, wait_for},
    wait_until,
};

/// More calls than any change or start makes.
pub const MOST: u32 = 500;
/// Waits for strace before it becomes the program of its arguments.
const STOPPED: [&str; 4] = ["sh", "-c", "kill -STOP $$; exec \"$@\"", "sh"];

/// Kills a process when one of its threads enters its bpf(2) call with this number, from 1 on. The
/// calls up to there are in `log`.
///
/// # Panics
/// When strace does not start.
#[track_caller]
pub fn kill_at(pid: u32, call: u32, log: &Path) -> Process {
    let mut command = Command::new("strace");
    command.args(["-f", "-s", "256", "-e", "trace=bpf", "-o"]).arg(log);
    command.args(["-e", &format!("inject=bpf:signal=KILL:when={call}")]);
    command.args(["-p", &pid.to_string()]);
    let strace = Process::spawn(command);
    // It may have ended by then: a daemon also makes calls by itself.
    let attached = wait_for(DEADLINE, || strace.stderr().contains("attached").then_some(()));
    assert!(attached.is_some(), "strace: {}", strace.stderr());
    strace
}

/// Starts a daemon that is killed at a call of its start; returns whether it made fewer calls, and
/// runs.
///
/// # Panics
/// When it ends otherwise.
#[track_caller]
pub fn start(daemon: &mut Daemon<'_>, call: u32, log: &Path) -> bool {
    daemon.begin_by(&STOPPED);
    let pid = daemon.process().pid();
    wait_until("it waits", || (state(pid) == Some('T')).then_some(()));
    let strace = kill_at(pid, call, log);
    daemon.process().signal(libc::SIGCONT);
    let survived = wait_until("it starts or ends", || match state(pid) {
        None | Some('Z' | 'X') => Some(false),
        Some(_) => daemon.last_log().contains("enforcing revision").then_some(true),
    });
    // It may wait for a thread that is gone: then only this signal ends it.
    drop(strace);
    if !survived {
        let ended = daemon.wait();
        assert_eq!(ended.code, None, "call {call}: the daemon ended by itself: {ended:?}");
    }
    survived
}

/// The state of a process, see proc(5).
fn state(pid: u32) -> Option<char> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    line.rsplit_once(") ")?.1.chars().next()
}
