//! The daemon's capabilities, as root and as another user.
use std::fs;
use std::os::unix::fs::chown;

use super::{POLICY, wider};
use crate::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::UPDATES,
};

/// The user `nobody`, which owns only what the daemon needs.
const NOBODY: u32 = 65534;
/// Bits of include/uapi/linux/capability.h: CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF.
const NET_ADMIN: u64 = 1 << 12;
const PERFMON: u64 = 1 << 38;
const KEPT: u64 = NET_ADMIN | PERFMON | 1 << 39;
/// CAP_PERFMON is raised only to load a program.
const IN_FORCE: u64 = KEPT & !PERFMON;

/// A set of capabilities, such as `CapEff`, of every thread of the daemon.
fn sets(daemon: &Daemon<'_>, name: &str) -> Vec<u64> {
    let threads = format!("/proc/{}/task", daemon.process().pid());
    let threads = fs::read_dir(threads).expect("the daemon runs");
    let mut sets = Vec::new();
    for thread in threads.flatten() {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        sets.extend(line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()));
    }
    assert!(sets.len() > 2, "{name}: {sets:?}");
    sets
}

#[track_caller]
fn assert_reduced(daemon: &Daemon<'_>) {
    for (name, expected) in
        [("CapEff", IN_FORCE), ("CapPrm", KEPT), ("CapBnd", KEPT), ("CapInh", NET_ADMIN)]
    {
        let sets = sets(daemon, name);
        assert!(sets.iter().all(|set| *set == expected), "{name}: {sets:x?}");
    }
    assert!(sets(daemon, "CapAmb").iter().all(|set| *set == NET_ADMIN));
    assert!(sets(daemon, "NoNewPrivs").iter().all(|flag| *flag == 1));
}

/// Applies, allows, and follows a drop.
#[track_caller]
fn works(lab: &Lab, daemon: &Daemon<'_>) {
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let tail = daemon.tail(&[]);
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    tail.wait_for("a drop", |event| event["dest_port"] == 81);
    let allowed = daemon.cli(&["allow", "beds", UPDATES, "tcp/81", "--for", "1h", "--reason", "x"]);
    assert!(allowed.success(), "{allowed:?}");
    assert!(programs::connects(&lab.dev1, UPDATES, 81));
    let applied = daemon.apply(&wider());
    assert!(applied.success(), "{applied:?}");
    let status = daemon.status();
    assert_eq!((&status["enforcing"], &status["policy"]["revision"]), (&true.into(), &2.into()));
    assert_eq!(status["interfaces"][0]["backstop"], "armed", "{status}");
}

#[test]
fn root_keeps_three_capabilities() {
    let lab = Lab::gateway("caps");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    assert!(daemon.backstop("install").success());
    daemon.run();
    assert_reduced(&daemon);
    works(&lab, &daemon);
    daemon.restart();
    assert_reduced(&daemon);
}

/// The command prefix that runs a program as `nobody` with these capabilities, and makes the
/// daemon's directories its own.
fn nobody<'a>(daemon: &Daemon<'_>, sets: &'a [String; 3]) -> [&'a str; 9] {
    fs::create_dir_all(daemon.path("state")).expect("it is ours");
    fs::create_dir_all(daemon.bpffs()).expect("bpffs is mounted");
    for path in [daemon.path(""), daemon.path("state"), daemon.bpffs().to_owned()] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("we are root");
    }
    let [bounding, inheritable, ambient] = sets;
    let words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let [a, b, c, d, e, f] = words;
    [a, b, c, d, e, f, bounding, inheritable, ambient]
}

fn sets_of(capabilities: &str) -> [String; 3] {
    ["bounding-set", "inh-caps", "ambient-caps"].map(|set| format!("--{set}=-all,{capabilities}"))
}

#[test]
fn another_user_with_three_capabilities_enforces() {
    let lab = Lab::gateway("nobody");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let sets = sets_of("+net_admin,+bpf,+perfmon");
    let words = nobody(&daemon, &sets);
    assert!(daemon.backstop("install").success());
    chown(daemon.path("state"), Some(NOBODY), Some(NOBODY)).expect("we are root");
    daemon.start_by(&words);
    assert_reduced(&daemon);
    works(&lab, &daemon);
}

#[test]
fn without_perfmon_the_refusal_says_what_is_missing() {
    let lab = Lab::gateway("noperf");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let sets = sets_of("+net_admin,+bpf");
    let ended = daemon.run_by(&nobody(&daemon, &sets));
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("hint: the verifier is stricter without CAP_PERFMON"));
    assert_eq!(daemon.attached("lan0"), None);
}
