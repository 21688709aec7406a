//! A program that runs alongside the test, ends with it, and leaves its output.
use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::wait;

/// The result of a program.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal or the deadline ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Finished {
    /// Whether it ended by itself, with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// A running program; killed, with its children, when this value is dropped.
///
/// The kernel also kills it when the thread that started it ends, so a killed test leaves nothing
/// behind. Do not start one from a thread that ends earlier than the program should.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

impl Process {
    /// Starts a command with its output going to files.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let file = |name| {
            let file = format!("enforcer-lab-{}-{number}.{name}", std::process::id());
            std::env::temp_dir().join(file)
        };
        let (stdout, stderr) = (file("out"), file("err"));
        let create = |path| Stdio::from(File::create(path).expect("a temporary file can be made"));
        command.stdin(Stdio::null()).stdout(create(&stdout)).stderr(create(&stderr));
        command.process_group(0);
        // SAFETY: prctl is async-signal-safe, and the closure touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let what = format!("{command:?}").replace('"', "");
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        Self { child, what, stdout, stderr }
    }

    /// Its process id: `nsenter` executes its program in place, so it is that program's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        lossy(&self.stdout)
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        lossy(&self.stderr)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal, such as `libc::SIGTERM`.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: the child has not been waited for, so the id is still its own.
        unsafe { libc::kill(pid, signal) };
    }

    /// Waits until its stdout contains a text.
    ///
    /// # Panics
    /// When it ends first, or by the deadline.
    #[track_caller]
    pub fn wait_for_stdout(&mut self, text: &str) {
        let seen = wait::wait_for(wait::DEADLINE, || {
            if self.stdout().contains(text) {
                return Some(true);
            }
            (!self.is_running()).then_some(false)
        });
        if seen != Some(true) && !self.stdout().contains(text) {
            panic!(
                "{}: wrote no {text:?}; stdout: {} stderr: {}",
                self.what,
                self.stdout(),
                self.stderr()
            );
        }
    }

    /// Waits for its end; kills it if it is still running by then.
    pub fn finish(mut self, time: Duration) -> Finished {
        let status: Option<ExitStatus> =
            wait::wait_for(time, || self.child.try_wait().ok().flatten());
        Finished {
            code: status.and_then(|status| status.code()),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn terminate(self, time: Duration) -> Finished {
        self.signal(libc::SIGTERM);
        self.finish(time)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // Kill its group, because mount leaves mount.nfs behind. The id is valid until the
            // wait.
            let group = i32::try_from(self.child.id()).expect("a process id fits");
            // SAFETY: it takes numbers only, and the group is the one made in `spawn`.
            unsafe { libc::kill(-group, libc::SIGKILL) };
            // It fails only when there is nothing to wait for.
            let _ = self.child.wait();
        }
        let _ = fs::remove_file(&self.stdout);
        let _ = fs::remove_file(&self.stderr);
    }
}

fn lossy(path: &PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
