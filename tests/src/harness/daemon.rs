//! The daemon: the real binary, with directories and a socket of its own.
// tidy: long because each command, start and end of a daemon is a method of one value
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    Finished, Netns, Process, bpf::BpfFs, kernel::attached, tail::Tail, wait::DEADLINE, wait_until,
};

/// Where bpffs is mounted.
const BPFFS: &str = "/sys/fs/bpf";

static STARTED: AtomicU32 = AtomicU32::new(0);

/// A daemon in a namespace; when this value is dropped, the process ends and everything of it is
/// removed.
#[derive(Debug)]
pub struct Daemon<'a> {
    netns: &'a Netns,
    dir: TempDir,
    bpffs: PathBuf,
    binary: String,
    process: Option<Process>,
    /// stderr of earlier processes.
    earlier: String,
}

impl<'a> Daemon<'a> {
    /// Writes settings and a policy; starts nothing.
    ///
    /// # Panics
    /// When a file cannot be written, or there is no bpffs.
    #[track_caller]
    pub fn prepare(netns: &'a Netns, interfaces: &[&str], policy: &str) -> Self {
        super::mount_bpffs();
        sweep();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let bpffs = PathBuf::from(format!("{BPFFS}/enforcer-lab-{}-{number}", std::process::id()));
        let dir = tempfile::Builder::new().prefix("enforcer-lab-").tempdir();
        let dir = dir.expect("a temporary directory can be made");
        let daemon =
            Self { netns, dir, bpffs, binary: binary(), process: None, earlier: String::new() };
        daemon.write("policy.toml", policy);
        daemon.settings(&format!(
            "interfaces = {interfaces:?}\npolicy = {:?}\nsocket = {:?}\nstate_dir = {:?}\nbpffs = {:?}\n",
            daemon.path("policy.toml"),
            daemon.path("enforcer.sock"),
            daemon.path("state"),
            daemon.bpffs,
        ));
        daemon
    }

    /// Starts a daemon and waits until it enforces.
    ///
    /// # Panics
    /// When it does not, with its log.
    #[track_caller]
    pub fn start(netns: &'a Netns, interfaces: &[&str], policy: &str) -> Self {
        let mut daemon = Self::prepare(netns, interfaces, policy);
        daemon.run();
        daemon
    }

    /// Replaces the settings file.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn settings(&self, text: &str) {
        self.write("enforcer.toml", text);
    }

    /// Adds a line to the settings file.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn setting(&self, line: &str) {
        let text = fs::read_to_string(self.path("enforcer.toml")).expect("it was written");
        self.settings(&format!("{text}{line}\n"));
    }

    /// Writes a file into its directory.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its directory of pins.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Pins on another file system from the next start on.
    ///
    /// # Panics
    /// When the settings cannot be written.
    #[track_caller]
    pub fn pin_below(&mut self, mounted: &BpfFs) {
        let text = fs::read_to_string(self.path("enforcer.toml")).expect("it was written");
        let place = mounted.path().join("enforcer");
        let [usual, other] = [&self.bpffs, &place].map(|path| format!("bpffs = {path:?}"));
        self.settings(&text.replace(&usual, &other));
        self.bpffs = place;
    }

    /// A pin, below the directory of the ABI version.
    pub fn pin(&self, name: &str) -> PathBuf {
        let version = format!("v{}", enforcer_common::abi::ABI_VERSION);
        self.bpffs.join(version).join(name)
    }

    /// Names of its pins, below the directory of the ABI version; none without that.
    ///
    /// # Panics
    /// When a name is not UTF-8.
    #[track_caller]
    pub fn pinned(&self) -> Vec<String> {
        let pins = fs::read_dir(self.pin("")).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            pins.map(|pin| pin.file_name().into_string().expect("plain")).collect();
        names.sort_unstable();
        names
    }

    /// Starts the process and waits until it enforces.
    ///
    /// # Panics
    /// When it does not, with its log.
    #[track_caller]
    pub fn run(&mut self) {
        self.start_by(&[]);
    }

    /// The same by way of another program, such as `setpriv --reuid 65534`.
    ///
    /// # Panics
    /// When it does not enforce, with its log.
    #[track_caller]
    pub fn start_by(&mut self, words: &[&str]) {
        self.begin_by(words);
        self.enforces();
    }

    /// Waits until a process that was started enforces.
    ///
    /// # Panics
    /// When it does not, with its log.
    #[track_caller]
    pub fn enforces(&mut self) {
        let process = self.process.as_mut().expect("it has begun");
        wait_until("the daemon enforces", || {
            let log = process.stderr();
            assert!(process.is_running(), "the daemon ended: {log}");
            log.contains("enforcing revision").then_some(())
        });
        let status = self.status();
        assert_eq!(status["enforcing"], true, "{status}");
    }

    /// Starts the process, and does not wait for anything.
    ///
    /// # Panics
    /// When it runs already.
    #[track_caller]
    pub fn begin(&mut self) {
        self.begin_by(&[]);
    }

    /// The same by way of another program.
    ///
    /// # Panics
    /// When it runs already.
    #[track_caller]
    pub fn begin_by(&mut self, by: &[&str]) {
        assert!(self.process.is_none(), "the daemon runs already");
        let words = [by, &[self.binary.as_str()]].concat();
        self.process = Some(spawn(self.netns, self.dir.path(), &words));
    }

    /// Starts the process with something done to its command before, and does not wait.
    ///
    /// # Panics
    /// When it runs already.
    #[track_caller]
    pub fn begin_as(&mut self, prepare: impl FnOnce(&mut Command)) {
        assert!(self.process.is_none(), "the daemon runs already");
        let mut command = command(self.netns, self.dir.path(), &[self.binary.as_str()]);
        prepare(&mut command);
        self.process = Some(Process::spawn(command));
    }

    /// Takes another binary from the next start on.
    pub fn is_built_as(&mut self, binary: &Path) {
        self.binary = binary.display().to_string();
    }

    /// Runs a second process with the same settings until it ends by itself.
    pub fn run_to_end(&self) -> Finished {
        spawn(self.netns, self.dir.path(), &[&self.binary]).finish(DEADLINE)
    }

    /// The same by way of another program, such as `setpriv --reuid 65534`.
    pub fn run_by(&self, words: &[&str]) -> Finished {
        // Another user has to be able to read the settings.
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755))
            .expect("it is ours");
        let words = [words, &[&self.binary]].concat();
        spawn(self.netns, self.dir.path(), &words).finish(DEADLINE)
    }

    /// Runs `enforcer ARGS` against its socket, inside the namespace.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Finished {
        self.command(args).finish(DEADLINE)
    }

    /// Starts `enforcer ARGS` against its socket.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn command(&self, args: &[&str]) -> Process {
        let socket = self.path("enforcer.sock").display().to_string();
        let words = [&["--socket", socket.as_str()], args].concat();
        self.netns.spawn(&binary(), &words)
    }

    /// Runs a command that has to succeed; its lines as JSON.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let ended = self.cli(&[args, &["--json"]].concat());
        assert!(ended.code.is_some_and(|code| code < 2), "{args:?}: {ended:?}\n{}", self.log());
        let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        ended.stdout.lines().map(line).collect()
    }

    /// `enforcer status --json`.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.json(&["status"]).remove(0)
    }

    /// `enforcer rules --json`.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn rules(&self) -> Vec<Value> {
        self.json(&["rules"])
    }

    /// `enforcer devices --json`.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn devices(&self) -> Vec<Value> {
        self.json(&["devices"])
    }

    /// Frames that the rule with this remote end, as written, has decided.
    ///
    /// # Panics
    /// When there is no such rule.
    #[track_caller]
    pub fn rule_frames(&self, to: &str) -> u64 {
        let rules = self.rules();
        let rule = rules.iter().find(|rule| rule["to"] == to);
        let rule = rule.unwrap_or_else(|| panic!("no rule to {to}: {rules:?}"));
        rule["frames"].as_u64().expect("a number")
    }

    /// A number from the counters of a reason, such as `frames`; 0 when it was never met.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn reason(&self, name: &str, field: &str) -> u64 {
        let status = self.status();
        let reasons = status["reasons"].as_array().expect("a list");
        let reason = reasons.iter().find(|reason| reason["reason"] == name);
        reason.map_or(0, |reason| reason[field].as_u64().expect("a number"))
    }

    /// `enforcer apply` of a text.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[track_caller]
    pub fn apply(&self, policy: &str) -> Finished {
        let path = self.write("policy.toml", policy);
        self.cli(&["apply", &path.display().to_string()])
    }

    /// Starts `enforcer tail --json ARGS` and waits until the daemon sends it events.
    ///
    /// # Panics
    /// When it does not begin.
    #[track_caller]
    pub fn tail(&self, args: &[&str]) -> Tail {
        let follows = || self.log().matches("follows the events").count();
        let before = follows();
        let mut process = self.command(&[&["tail", "--json"], args].concat());
        wait_until("tail follows", || {
            assert!(process.is_running(), "tail: {}", process.stderr());
            (follows() > before).then_some(())
        });
        Tail::new(process)
    }

    /// `curl --unix-socket` with a path and more words; status and body.
    ///
    /// # Panics
    /// When curl fails.
    #[track_caller]
    pub fn curl(&self, path: &str, words: &[&str]) -> (u16, String) {
        let socket = self.path("enforcer.sock").display().to_string();
        let url = format!("http://enforcer{path}");
        let fixed = [
            "-q",
            "-sS",
            "--max-time",
            "5",
            "--unix-socket",
            &socket,
            "-w",
            "\n%{http_code}",
            &url,
        ];
        let ended = self.netns.run("curl", &[&fixed, words].concat(), DEADLINE);
        assert!(ended.success(), "{path}: {ended:?}");
        let (body, code) = ended.stdout.rsplit_once('\n').expect("the code has its own line");
        (code.parse().expect("a status"), body.to_owned())
    }

    /// Kills the process (SIGKILL).
    ///
    /// # Panics
    /// When none runs.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.end(libc::SIGKILL);
    }

    /// Asks the process to end (SIGTERM), and returns what it left.
    ///
    /// # Panics
    /// When none runs.
    #[track_caller]
    pub fn terminate(&mut self) -> Finished {
        self.end(libc::SIGTERM)
    }

    /// Ends the process with SIGTERM and starts it again.
    ///
    /// # Panics
    /// When it does not end well, or does not enforce again.
    #[track_caller]
    pub fn restart(&mut self) {
        let ended = self.terminate();
        assert!(ended.success(), "{ended:?}");
        self.run();
    }

    #[track_caller]
    fn end(&mut self, signal: i32) -> Finished {
        self.process().signal(signal);
        self.wait()
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// When none runs.
    #[track_caller]
    pub fn wait(&mut self) -> Finished {
        let ended = self.process.take().expect("the daemon runs").finish(DEADLINE);
        self.earlier.push_str(&ended.stderr);
        ended
    }

    /// Whether its process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Its process.
    ///
    /// # Panics
    /// When none runs.
    #[track_caller]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the daemon runs")
    }

    /// Everything that it has written to stderr, from its first start.
    pub fn log(&self) -> String {
        let now = self.process.as_ref().map(Process::stderr).unwrap_or_default();
        format!("{}{now}", self.earlier)
    }

    /// What it has written to stderr since its last start.
    pub fn last_log(&self) -> String {
        self.process.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// `enforcer detach` with its settings.
    #[track_caller]
    pub fn detach(&self) -> Finished {
        self.configured(&["detach"])
    }

    /// `enforcer backstop WORD` with its settings.
    #[track_caller]
    pub fn backstop(&self, word: &str) -> Finished {
        self.configured(&["backstop", word])
    }

    /// `enforcer doctor WORDS` with its settings.
    #[track_caller]
    pub fn doctor(&self, words: &[&str]) -> Finished {
        self.configured(&[&["doctor"], words].concat())
    }

    #[track_caller]
    fn configured(&self, words: &[&str]) -> Finished {
        let config = self.path("enforcer.toml").display().to_string();
        self.netns.run(&binary(), &[words, &["--config", &config]].concat(), DEADLINE)
    }

    /// The program on an interface of its namespace, according to the kernel: `native` or
    /// `generic`, and the id.
    ///
    /// # Panics
    /// When there is no such interface.
    #[track_caller]
    pub fn attached(&self, interface: &str) -> Option<(&'static str, u64)> {
        attached(self.netns, interface)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the daemon:\n{}", self.log());
        }
        drop(self.process.take());
        // The test may have left anything there; the directory belongs to it.
        let _ = fs::remove_dir_all(&self.bpffs);
    }
}

/// The binary under test.
///
/// # Panics
/// When nothing names it.
#[track_caller]
pub fn binary() -> String {
    std::env::var("ENFORCER_BIN").expect("ENFORCER_BIN is set: run `cargo xtask test local`")
}

/// Starts `WORDS run`, where the last word is the binary.
#[track_caller]
fn spawn(netns: &Netns, dir: &Path, words: &[&str]) -> Process {
    Process::spawn(command(netns, dir, words))
}

/// The command for it.
fn command(netns: &Netns, dir: &Path, words: &[&str]) -> Command {
    let config = dir.join("enforcer.toml").display().to_string();
    let words = [words, &["run", "--config", &config]].concat();
    let mut command = netns.command(words[0], &words[1..]);
    command.env("RUST_LOG", "enforcer=debug").env_remove("JOURNAL_STREAM");
    command
}

/// Removes pins of labs whose process was killed: the process id is in the name.
fn sweep() {
    for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("enforcer-lab-").and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another process may sweep at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
