//! Starts and policies that must be refused, and the policy that stays in force.
use super::{POLICY, wider};
use crate::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::{HOSTILE, UPDATES},
};

/// Four mistakes, on lines 3, 5, 6 and 7.
const WRONG: &str = r#"schema = 1
[groups.beds]
members = ["10.20.0.300"]
allow = [
  { to = "@nowhere", service = "tcp/80" },
  { to = "198.51.100.10", service = "tcp/99999" },
  { to = "198.51.100.10", servce = "tcp/80" },
]
"#;

#[test]
fn a_second_daemon_ends_and_names_the_first() {
    let lab = Lab::gateway("second");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let program = daemon.attached("lan0");
    let second = daemon.run_to_end();
    assert_eq!(second.code, Some(4), "{second:?}");
    let pid = daemon.process().pid();
    assert!(second.stderr.contains(&format!("held by pid {pid}")), "{second:?}");
    assert_eq!(daemon.attached("lan0"), program);
    assert_eq!(daemon.status()["pid"], pid);
    // It cannot be detached by another process either.
    let socket = daemon.path("other.sock").display().to_string();
    let config = daemon.path("enforcer.toml").display().to_string();
    let binary = crate::harness::daemon::binary();
    let words = ["--socket", &socket, "detach", "--config", &config];
    let detached = lab.gw.run(&binary, &words, crate::harness::wait::DEADLINE);
    assert_eq!(detached.code, Some(4), "{detached:?}");
    assert_eq!(daemon.attached("lan0"), program);
}

#[test]
fn a_wrong_policy_never_starts() {
    let lab = Lab::gateway("wrong");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], WRONG);
    let ended = daemon.run_to_end();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("no earlier policy is known"), "{ended:?}");
    assert!(ended.stderr.contains("enforcer check"), "{ended:?}");
    assert_eq!(daemon.attached("lan0"), None);
    assert!(!daemon.path("enforcer.sock").exists());
    std::fs::remove_file(daemon.path("policy.toml")).expect("it was written");
    let ended = daemon.run_to_end();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("cannot read the policy"), "{ended:?}");
    assert_eq!(daemon.attached("lan0"), None);
}

#[test]
fn a_wrong_policy_at_a_restart_leaves_the_last_good_one_in_force() {
    let lab = Lab::gateway("lastgood");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    assert!(daemon.apply(&wider()).success());
    daemon.write("policy.toml", WRONG);
    daemon.restart();
    let status = daemon.status();
    assert_eq!(status["policy"]["revision"], 2, "{status}");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("revision 2 stays in force"), "{warnings}");
    let text = daemon.cli(&["status"]);
    assert!(text.stdout.contains("warning: "), "{text:?}");
    assert!(programs::connects(&lab.dev1, HOSTILE, 81), "the last good policy allows it");
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    let log = daemon.last_log();
    assert!(log.contains("policy.toml:3:"), "every mistake is in the log: {log}");
}

#[test]
fn apply_tells_every_mistake_at_once_and_changes_nothing() {
    let lab = Lab::gateway("mistakes");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let before = daemon.status()["policy"].clone();
    let refused = daemon.apply(WRONG);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for line in [3, 5, 6, 7] {
        let place = format!("policy.toml:{line}:");
        assert!(refused.stderr.contains(&place), "line {line}: {}", refused.stderr);
    }
    assert!(refused.stderr.contains("the old policy stays in force"), "{refused:?}");
    assert_eq!(daemon.status()["policy"], before);
    // The same over the socket, without the client's own check.
    let file = format!("@{}", daemon.path("policy.toml").display());
    let words = ["-X", "PUT", "-H", "content-type: application/toml", "--data-binary", &file];
    let (code, body) = daemon.curl("/v1/policy", &words);
    assert_eq!(code, 422, "{body}");
    assert!(body.matches("\"severity\":\"error\"").count() >= 4, "{body}");
    assert_eq!(daemon.status()["policy"], before);
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
}

#[test]
fn a_start_without_root_says_so() {
    let lab = Lab::gateway("noroot");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let words = ["setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set", "-all"];
    let ended = daemon.run_by(&words);
    assert!(matches!(ended.code, Some(3 | 4)), "{ended:?}");
    assert!(ended.stderr.contains("error: "), "{ended:?}");
    assert!(ended.stderr.contains("hint: run as root"), "{ended:?}");
    assert_eq!(daemon.attached("lan0"), None);
    assert!(!daemon.bpffs().exists(), "it left a directory of its own");
}

#[test]
fn a_place_without_bpffs_is_refused() {
    let lab = Lab::gateway("nowhere");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let settings = std::fs::read_to_string(daemon.path("enforcer.toml")).expect("it was written");
    let elsewhere = daemon.path("pins").display().to_string();
    daemon.settings(&settings.replace(&daemon.bpffs().display().to_string(), &elsewhere));
    let ended = daemon.run_to_end();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("is not on a BPF file system"), "{ended:?}");
    assert!(ended.stderr.contains("mount -t bpf"), "{ended:?}");
    assert_eq!(daemon.attached("lan0"), None);
}

#[test]
fn another_xdp_program_stays_where_it_is() {
    let lab = Lab::gateway("other");
    let object = "/usr/lib/x86_64-linux-gnu/bpf/xdp-dispatcher.o";
    let Some(object) = [object, "/usr/lib/aarch64-linux-gnu/bpf/xdp-dispatcher.o"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        crate::harness::skip("another_xdp_program_stays_where_it_is", "no xdp-tools here");
        return;
    };
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    std::fs::create_dir(daemon.bpffs()).expect("bpffs is mounted");
    let pin = daemon.bpffs().join("other").display().to_string();
    lab.gw.run_ok("bpftool", &["prog", "load", object, &pin, "type", "xdp"]);
    for (mode, off) in [("xdpgeneric", "xdpgeneric off"), ("xdpdrv", "xdp off")] {
        lab.gw.run_ok("bpftool", &["net", "attach", mode, "pinned", &pin, "dev", "lan0"]);
        let other = daemon.attached("lan0");
        let id = other.expect("it is attached").1;
        let ended = daemon.run_to_end();
        assert_eq!(ended.code, Some(4), "{ended:?}");
        // The program by number, and a command that works.
        let text = format!("another XDP program (id {id}) is attached to lan0");
        assert!(ended.stderr.contains(&text), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("ip link set dev lan0 {off}")), "{ended:?}");
        assert_eq!(daemon.attached("lan0"), other);
        lab.gw.ip(&format!("link set dev lan0 {off}"));
        assert_eq!(daemon.attached("lan0"), None);
    }
}
