//! xdp-filter's own tests (Debian's `xdp-tests`), run against enforcer.
//!
//! They call `xdp-filter` with its verbs; `xdp-filter.sh` replaces it and maps the verbs to
//! enforcer. Tests that cannot be mapped are skipped by name.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Netns, Process, daemon, lacking, mount_bpffs, skip, topology};

const RUNNER: &str = "/usr/libexec/xdp-tools/test_runner.sh";
const TESTS: &str = "/usr/libexec/xdp-tools/tests/xdp-filter/test-xdp-filter.sh";
/// Programs that the runner requires, and those for its own mount namespace.
const TOOLS: [&str; 8] =
    ["capinfos", "ethtool", "ip", "nc", "ping", "tcpdump", "tshark", "unshare"];
/// They wait for seconds at every step, so they run in parallel.
const MAPPED: [&str; 6] = [
    "test_ports_deny",
    "test_ipv4_deny",
    "test_ipv6_deny",
    "test_ports_allow",
    "test_ipv4_allow",
    "test_ipv6_allow",
];
/// The slowest takes a minute.
const TIME: Duration = Duration::from_secs(240);

#[test]
fn xdp_filters_own_tests_pass() {
    if !Path::new(TESTS).is_file() {
        return skip("xdp_filters_own_tests_pass", "no xdp-tests here");
    }
    let missing = lacking(&TOOLS);
    if !missing.is_empty() {
        return skip("xdp_filters_own_tests_pass", &format!("no {}", missing.join(", ")));
    }
    mount_bpffs();
    let prefix = topology::prefix("xdpf");
    let runs: Vec<Run> = MAPPED.iter().map(|test| Run::start(&prefix, test)).collect();
    let failed: Vec<String> = runs.into_iter().filter_map(Run::finish).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// One of their tests, in a separate namespace.
struct Run {
    test: &'static str,
    pins: PathBuf,
    process: Option<Process>,
    _netns: Netns,
    _dir: tempfile::TempDir,
}

impl Run {
    #[track_caller]
    fn start(prefix: &str, test: &'static str) -> Self {
        let netns = Netns::create(&format!("{prefix}-{test}"));
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let shim = dir.path().join("xdp-filter");
        std::fs::write(&shim, include_str!("xdp-filter.sh")).expect("it is ours");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&shim, executable).expect("it is ours");
        // After a test the runner calls this to unload programs that enforcer has already removed.
        symlink("/bin/true", dir.path().join("xdp-loader")).expect("it is ours");
        // The runner raises the limit of locked memory, which not every root may do, for xdp-filter's
        // maps on kernels before 5.11; enforcer handles its own limit.
        let bash_env = dir.path().join("bash_env");
        std::fs::write(&bash_env, "ulimit() { echo unlimited; }\n").expect("it is ours");
        let pins = PathBuf::from(format!("/sys/fs/bpf/enforcer-{prefix}-{test}"));
        // The runner names its namespace `xdptest`; /run/netns of its own keeps runs apart.
        let script = format!("mount -t tmpfs tmpfs /run/netns && exec {RUNNER} {TESTS} {test}");
        let mut command = netns.command("unshare", &["--mount", "bash", "-c", &script]);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", dir.path().display()))
            .env("TMPDIR", dir.path())
            .env("BASH_ENV", bash_env)
            .env("ENFORCER_BIN", daemon::binary())
            .env("ENFORCER_SHIM", dir.path())
            .env("ENFORCER_SHIM_PINS", &pins);
        let process = Some(Process::spawn(command));
        Self { test, pins, process, _netns: netns, _dir: dir }
    }

    /// Its output, unless it passed.
    fn finish(mut self) -> Option<String> {
        let ended = self.process.take()?.finish(TIME);
        let verdict = |line: &str| {
            let (name, verdict) = line.trim().split_once(']')?;
            (name == format!("[{}", self.test)).then(|| verdict.trim().to_owned())
        };
        let verdict = ended.stdout.lines().find_map(verdict);
        println!("xdp-filter {}: {}", self.test, verdict.as_deref().unwrap_or("nothing"));
        let passed = ended.success() && verdict.as_deref() == Some("PASS");
        (!passed).then(|| format!("{}: {}{}", self.test, ended.stdout, ended.stderr))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.process.take());
        let _ = std::fs::remove_dir_all(&self.pins);
    }
}

/// A test for each of theirs that cannot be mapped, so that the summary names and counts it.
macro_rules! not_mapped {
    ($($test:ident $reason:literal,)*) => {
        $(#[test]
        fn $test() {
            skip(concat!("xdp_filter::", stringify!($test)), $reason);
        })*
    };
}

not_mapped! {
    test_load "it looks for the names of xdp-filter's eleven programs",
    test_print "it reads the table that `xdp-filter status` prints",
    test_output_remove "it filters on source ports, and reads the table of `xdp-filter status`",
    test_ether_allow "it filters on destination MACs; enforcer's destinations are addresses",
    test_ether_deny "it filters on destination MACs; enforcer's destinations are addresses",
    test_python_basic "it needs the Python module xdp_test_harness, which is in no package",
    test_python_slow "it needs the Python module xdp_test_harness, which is in no package",
}
