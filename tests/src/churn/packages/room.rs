//! A Debian root file system run as a machine: its own processes, mounts, control groups and BPF file
//! system, and the gateway's network namespace.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::wait::wait_for;
use crate::harness::{Finished, Netns, Process, wait_until};

/// Time for a command: a package manager on a loaded machine.
const COMMAND: Duration = Duration::from_secs(120);
/// Environment of programs in the room.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Sets up the room as its first process, and then executes the program in it: `$1` is the suite's
/// root, `$2` a directory for written files, the rest is the program.
const ENTER: &str = r#"set -eu
lower=$1 here=$2; shift 2
mount --make-rprivate /
mkdir "$here/upper" "$here/work" "$here/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$here/upper,workdir=$here/work" "$here/root"
cd "$here/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    IFS=: read -r name major minor <<END
$node
END
    mknod -m 666 "dev/$name" c "$major" "$minor"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
pivot_root . mnt
cd /
umount -l /mnt
# As systemd does where it is not in a container: what is mounted and unmounted reaches its units.
mount --make-rshared /
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
"#;

/// Enters a separate control group, so that a service manager in the room controls only that one.
const CONFINE: &str = r#"set -eu
mkdir "$1"; echo $$ > "$1/cgroup.procs"; shift
exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup sh -c "$0" sh "$@"
"#;

/// A running room; its processes and written files are removed when this value is dropped.
pub(super) struct Room {
    _outer: Process,
    init: u32,
    cgroup: PathBuf,
    _dir: TempDir,
}

impl Room {
    /// Enters the root of a suite with systemd as its first process, and waits until it has booted.
    #[track_caller]
    pub(super) fn boot(netns: &Netns, suite: &str) -> Self {
        let room = Self::open(netns, suite, &["/sbin/init"]);
        wait_until("systemd has booted", || {
            let state = room.run(&["systemctl", "is-system-running"]).stdout;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        room
    }

    /// Enters it with a first process that does nothing: a machine without a service manager.
    #[track_caller]
    pub(super) fn bare(netns: &Netns, suite: &str) -> Self {
        Self::open(netns, suite, &["sleep", "infinity"])
    }

    #[track_caller]
    fn open(netns: &Netns, suite: &str, program: &[&str]) -> Self {
        let lower = place("ENFORCER_ROOTS").join(suite);
        assert!(lower.is_dir(), "{}: not there: run `cargo xtask test dist`", lower.display());
        let dir = tempfile::Builder::new().prefix("enforcer-room-").tempdir_in("/var/tmp");
        let dir = dir.expect("a directory can be made");
        let cgroup = cgroup2().join(dir.path().file_name().expect("it has a name"));
        let [lower, here, group] =
            [&lower, dir.path(), &cgroup].map(|path: &Path| path.display().to_string());
        let words = [&["-c", CONFINE, ENTER, &group, &lower, &here], program].concat();
        let mut outer = netns.spawn("sh", &words);
        let wanted =
            program[0].rsplit('/').next().expect("it has a name").replace("init", "systemd");
        let children = format!("/proc/{0}/task/{0}/children", outer.pid());
        let init = wait_for(COMMAND, || {
            assert!(outer.is_running(), "the room cannot be entered: {}", outer.stderr());
            let init: u32 = fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{init}/comm")).ok()?;
            (name.trim() == wanted).then_some(init)
        });
        let init = init.unwrap_or_else(|| panic!("nobody entered: {}", outer.stderr()));
        Self { _outer: outer, init, cgroup, _dir: dir }
    }

    /// Runs a command in the room.
    #[track_caller]
    pub(super) fn run(&self, words: &[&str]) -> Finished {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]);
        command
            .args(["env", "-i", PATH, "TERM=dumb", "DEBIAN_FRONTEND=noninteractive"])
            .args(words);
        Process::spawn(command).finish(COMMAND)
    }

    /// Runs a command that has to succeed; returns its output.
    #[track_caller]
    pub(super) fn ok(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        if !ended.success() {
            let journal = self.run(&["journalctl", "--no-pager", "-n", "40"]).stdout;
            panic!("{}: {ended:?}\n{journal}", words.join(" "));
        }
        ended.stdout + &ended.stderr
    }

    /// A path in the room, from outside.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Writes a file.
    #[track_caller]
    pub(super) fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let init = i32::try_from(self.init).expect("a process id fits");
        // SAFETY: it takes numbers only; the process is ours, and its namespace ends with it.
        unsafe { libc::kill(init, libc::SIGKILL) };
        // Groups are removed from the innermost outwards, once they are empty.
        wait_for(Duration::from_secs(5), || {
            let group = self.cgroup.display().to_string();
            let words = [group.as_str(), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"];
            let _ = std::process::Command::new("find").args(words).output();
            (!self.cgroup.exists()).then_some(())
        });
    }
}

/// A directory that `cargo xtask test dist` provides.
#[track_caller]
pub(super) fn place(name: &str) -> PathBuf {
    let place = std::env::var_os(name);
    place.unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test dist`")).into()
}

/// Where control groups of the second version are mounted.
#[track_caller]
fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("it can be read");
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = mounts.find(|words| words.get(2) == Some(&"cgroup2"));
    found.expect("cgroup2 is mounted").get(1).expect("a place").into()
}
