//! A terminal of 80 columns and 24 lines, through tmux: takes keys, returns the visible text.
use std::{path::PathBuf, time::Duration};

use super::{Daemon, Netns, daemon::binary};

/// How long tmux may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command on a terminal; both end when this value is dropped.
#[derive(Debug)]
pub struct Screen<'a> {
    netns: &'a Netns,
    socket: PathBuf,
}

impl<'a> Screen<'a> {
    /// Starts `enforcer ARGS` against a daemon's socket. The terminal stays open when the command
    /// ends, and shows `ended with CODE`.
    ///
    /// # Panics
    /// When tmux cannot be started.
    #[track_caller]
    pub fn start(netns: &'a Netns, daemon: &Daemon<'_>, args: &str) -> Self {
        let screen = Self { netns, socket: daemon.path("tmux.sock") };
        let enforcer = daemon.path("enforcer.sock");
        let command =
            format!("{} --socket {} {args}; echo ended with $?; cat", binary(), enforcer.display());
        let words = ["new-session", "-d", "-x", "80", "-y", "24", &command];
        screen.tmux(&words);
        screen
    }

    #[track_caller]
    fn tmux(&self, words: &[&str]) -> String {
        let socket = self.socket.display().to_string();
        // The user may run the tests inside their own tmux, with a configuration.
        let fixed =
            ["-u", "TMUX", "LC_ALL=C.UTF-8", "tmux", "-u", "-f", "/dev/null", "-S", &socket];
        let ended = self.netns.run("env", &[&fixed, words].concat(), PATIENCE);
        assert!(ended.success(), "{words:?}: {ended:?}");
        ended.stdout
    }

    /// Presses keys, by tmux's names: `Enter`, `Tab`, `C-c`, or a text.
    ///
    /// # Panics
    /// When tmux is gone.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// The visible text, trimmed.
    ///
    /// # Panics
    /// When tmux is gone.
    #[track_caller]
    pub fn text(&self) -> String {
        let text = self.tmux(&["capture-pane", "-p"]);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    /// Waits until a text is visible; returns the whole screen.
    ///
    /// # Panics
    /// When it does not appear, with the screen.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let mut seen = String::new();
        let found = super::wait::wait_for(super::wait::DEADLINE, || {
            seen = self.text();
            seen.contains(text).then(|| seen.clone())
        });
        found.unwrap_or_else(|| panic!("{text:?} is not seen:\n{seen}"))
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let socket = self.socket.display().to_string();
        self.netns.run("tmux", &["-S", &socket, "kill-server"], PATIENCE);
        // A server that is still ending would keep the namespace.
        let ended = || !self.netns.run("tmux", &["-S", &socket, "ls"], PATIENCE).success();
        super::wait::wait_for(PATIENCE, || ended().then_some(()));
    }
}
