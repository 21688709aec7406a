//! The trail of changes: a daemon's entries, and a full disk.
use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{POLICY, wider};
use crate::harness::{
    Daemon, Finished, Lab,
    programs::{self, Server},
    topology::UPDATES,
    wait_until,
};

/// `enforcer audit WORDS` on its state directory.
#[track_caller]
fn audit(daemon: &Daemon<'_>, words: &[&str]) -> Finished {
    let dir = daemon.path("state").display().to_string();
    daemon.cli(&[&["audit", words[0], &dir], &words[1..]].concat())
}

#[track_caller]
pub(super) fn entries(daemon: &Daemon<'_>) -> Vec<Value> {
    let shown = audit(daemon, &["show", "--json"]);
    assert!(shown.success(), "{shown:?}");
    shown.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().expect("a word")).collect()
}

/// A small file system for the state; unmounted when dropped.
pub(super) struct Disk(String);

impl Disk {
    #[track_caller]
    pub(super) fn mount(path: &Path) -> Self {
        fs::create_dir(path).expect("it is ours");
        let path = path.display().to_string();
        mount(&["-t", "tmpfs", "-o", "size=128k,nr_inodes=500", "enforcer-lab", &path]);
        Self(path)
    }

    /// Makes the file system read-only while the value lives.
    #[track_caller]
    pub(super) fn read_only(&self) -> Self {
        mount(&["--bind", &self.0, &self.0]);
        mount(&["-o", "remount,bind,ro", &self.0]);
        Self(self.0.clone())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[track_caller]
fn mount(words: &[&str]) {
    assert!(Command::new("mount").args(words).status().expect("mount").success(), "{words:?}");
}

#[test]
fn the_trail_records_every_change() {
    let lab = Lab::gateway("audit");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    assert!(daemon.apply(&wider()).success());
    assert_eq!(daemon.apply("schema = 2\n").code, Some(1));
    let file = format!("@{}", daemon.write("bad.toml", "schema = 1\nx = 1\n").display());
    let words = ["-X", "PUT", "-H", "content-type: application/toml", "--data-binary", &file];
    assert_eq!(daemon.curl("/v1/policy?file=bad.toml", &words).0, 422);
    let dry = ["-X", "PUT", "-H", "content-type: application/toml", "--data-binary", "schema=1"];
    assert_eq!(daemon.curl("/v1/policy?dry_run=true", &dry).0, 200);
    daemon.write("policy.toml", POLICY);
    daemon.process().signal(libc::SIGHUP);
    wait_until("the file is applied", || {
        (daemon.status()["policy"]["revision"] == 3).then_some(())
    });
    let generation = daemon.status()["policy"]["generation"].clone();
    let pin = daemon.pin(&format!("gen-{generation}/program")).display().to_string();
    let shown = Command::new("bpftool").args(["-j", "prog", "show", "pinned", &pin]).output();
    let shown: Value = serde_json::from_slice(&shown.expect("bpftool").stdout).expect("JSON");
    daemon.restart();
    assert!(daemon.cli(&["detach"]).success());
    assert_eq!(daemon.wait().code, Some(0));

    let entries = entries(&daemon);
    let expected = ["start", "apply", "apply", "reload", "stop", "start", "detach"];
    assert_eq!(actions(&entries), expected);
    let [start, apply, refused, reload, _, _, detach] = &entries[..] else { unreachable!() };
    assert_eq!((&start["who"], &start["new_revision"]), (&"daemon".into(), &1.into()));
    assert_eq!(apply["who"]["peer"]["user"], "root");
    assert!(apply["who"]["peer"]["pid"].as_u64() > Some(1), "{apply}");
    assert_eq!((&apply["old_revision"], &apply["new_revision"]), (&1.into(), &2.into()));
    assert!(apply["difference"][0].as_str().is_some_and(|d| d.starts_with("+ allow beds")));
    assert_eq!((&apply["result"], &apply["generation"]), (&"ok".into(), &2.into()));
    assert!(refused["result"].as_str().is_some_and(|r| r.starts_with("refused: line 2")));
    assert_eq!(refused["new_revision"], 2);
    assert_eq!((&reload["new_revision"], &reload["generation"]), (&3.into(), &generation));
    assert_eq!(reload["program"], shown["tag"], "as bpftool says it");
    assert!(detach["difference"].to_string().contains("link"), "{detach}");

    let whole = audit(&daemon, &["verify"]);
    assert!(whole.success() && whole.stdout.contains("7 lines, entries 1 to 7"), "{whole:?}");
    // Without a daemon, too.
    assert!(daemon.detach().success());
    let path = daemon.path("state/audit.jsonl");
    let text = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, text.replacen("\"result\":\"ok\"", "\"result\":\"no\"", 1)).expect("written");
    let damaged = audit(&daemon, &["verify"]);
    assert_eq!(damaged.code, Some(1), "{damaged:?}");
    assert!(damaged.stdout.contains("audit.jsonl:1: this line was changed"), "{damaged:?}");
}

#[test]
fn a_full_disk_stops_no_enforcement_and_is_not_silent() {
    let lab = Lab::gateway("auditfull");
    let server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let disk = Disk::mount(&daemon.path("state"));
    daemon.setting("audit_required = true");
    daemon.run();
    let filler = daemon.path("state/filler");
    let filled = fs::write(&filler, vec![1; 1 << 20]);
    assert!(filled.is_err(), "the disk is full");

    let apply = || daemon.apply(&wider());
    let refused = wait_until("the trail is full", || {
        let refused = apply();
        assert_eq!(refused.code, Some(3), "{refused:?}");
        refused.stderr.contains("audit_required").then_some(refused)
    });
    assert!(refused.stderr.contains("the audit trail cannot be written"), "{refused:?}");
    let status = daemon.status();
    assert_eq!((&status["enforcing"], &status["policy"]["revision"]), (&true.into(), &1.into()));
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("entries wait in memory"), "{warnings}");
    let (_, metrics) = daemon.curl("/v1/metrics", &[]);
    assert!(metrics.contains("\nenforcer_audit_lost_total 0\n"), "{metrics}");
    let detach = daemon.cli(&["detach"]);
    assert_eq!(detach.code, Some(3), "{detach:?}");
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    server.wait_for("tcp 80");

    fs::remove_file(&filler).expect("it is ours");
    wait_until("the trail goes on", || {
        (!daemon.status()["warnings"].to_string().contains("wait in memory")).then_some(())
    });
    assert!(apply().success());
    let entries = entries(&daemon);
    let refused = entries.iter().filter(|entry| {
        entry["result"].as_str().is_some_and(|result| result.contains("audit_required"))
    });
    assert_eq!(refused.count(), 2, "apply and detach: {entries:?}");
    let last = &entries[entries.len() - 2..];
    assert_eq!(actions(last), ["apply", "apply"]);
    assert_eq!((&last[0]["result"], &last[1]["result"]), (&"begun".into(), &"ok".into()));
    assert!(audit(&daemon, &["verify"]).success());
    drop(daemon);
    drop(disk);
}
