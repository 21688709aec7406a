//! The daemon and the commands, as run by an operator of the gateway.
use std::{ffi::OsString, fs, path::PathBuf, time::Duration};

use tests::harness::{Finished, Netns, Process, wait::wait_for};

use super::cleanup;

/// The demo's first policy.
pub(crate) const POLICY: &str = include_str!("policy.toml");
/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The gateway: files, daemon and terminal.
pub(crate) struct Gateway<'a> {
    netns: &'a Netns,
    binary: OsString,
    directory: PathBuf,
    daemon: Option<Process>,
    tail: Option<Process>,
}

impl<'a> Gateway<'a> {
    /// Writes settings and policies into the demo's directory.
    pub(crate) fn new(netns: &'a Netns, binary: OsString) -> Self {
        let directory = cleanup::directory();
        let gateway = Self { netns, binary, directory, daemon: None, tail: None };
        let settings = format!(
            "interfaces = [\"lan0\"]\npolicy = '{}'\nsocket = '{}'\nstate_dir = '{}'\nbpffs = '{}'\n",
            gateway.file("policy.toml"),
            gateway.file("enforcer.sock"),
            gateway.file("state"),
            cleanup::pins().display(),
        );
        let changed =
            POLICY.replace("service = \"tcp/443\"", "service = [\"tcp/443\", \"tcp/80\"]");
        assert_ne!(changed, POLICY, "the second policy differs");
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&gateway.directory)?;
            fs::write(gateway.file("enforcer.toml"), settings)?;
            fs::write(gateway.file("policy.toml"), POLICY)?;
            fs::write(gateway.file("next.toml"), changed)
        };
        write().unwrap_or_else(|error| panic!("{}: {error}", gateway.directory.display()));
        gateway
    }

    /// A file of the demo.
    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Runs `enforcer run`; returns whether it enforces in time.
    pub(crate) fn start(&mut self) -> bool {
        let config = self.file("enforcer.toml");
        let daemon = self.spawn(&["run", "--config", &config]);
        self.daemon = Some(daemon);
        let started = wait_for(PATIENCE, || {
            if self.status().success() {
                return Some(true);
            }
            let running = self.daemon.as_mut().is_some_and(Process::is_running);
            (!running).then_some(false)
        });
        started == Some(true)
    }

    /// `enforcer tail` in the background.
    pub(crate) fn follow(&mut self) {
        let socket = self.file("enforcer.sock");
        self.tail = Some(self.spawn(&["--socket", &socket, "tail"]));
    }

    /// The output of `enforcer tail` so far.
    pub(crate) fn followed(&self) -> String {
        self.tail.as_ref().map(Process::stdout).unwrap_or_default()
    }

    /// What the daemon has logged so far.
    pub(crate) fn log(&self) -> String {
        self.daemon.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// Runs a command to its end.
    pub(crate) fn command(&self, words: &[&str]) -> Finished {
        let socket = self.file("enforcer.sock");
        let words = [&["--socket", &socket][..], words].concat();
        self.spawn(&words).finish(PATIENCE)
    }

    /// `enforcer status`.
    pub(crate) fn status(&self) -> Finished {
        self.command(&["status"])
    }

    /// Kills the daemon with kill -9; returns whether it is dead.
    pub(crate) fn kill(&mut self) -> bool {
        let Some(daemon) = self.daemon.take() else { return false };
        daemon.signal(libc::SIGKILL);
        daemon.finish(PATIENCE).code.is_none()
    }

    /// `enforcer detach`, as without a daemon.
    pub(crate) fn detach(&self) -> Finished {
        let config = self.file("enforcer.toml");
        self.spawn(&["detach", "--config", &config]).finish(PATIENCE)
    }

    /// Whether the kernel shows a program on lan0.
    pub(crate) fn attached(&self) -> bool {
        self.netns.ip("-details link show lan0").contains("xdp")
    }

    fn spawn(&self, words: &[&str]) -> Process {
        self.netns.spawn(&self.binary.to_string_lossy(), words)
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        self.daemon = None;
        self.tail = None;
        let _ = fs::remove_dir_all(cleanup::pins());
        let _ = fs::remove_dir_all(&self.directory);
    }
}
