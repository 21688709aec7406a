//! A full disk, no BTF, a daemon that hangs, tables that root writes to.
use std::{collections::BTreeMap, fs, mem::offset_of, process::Command, time::Duration};

use enforcer_common::abi::Control;
use serde_json::Value;

use super::{
    POLICY,
    audit::Disk,
    watch::{reaches, tampered},
    wider,
};
use crate::harness::{
    Daemon, Lab,
    kernel::bpftool,
    programs::Server,
    topology::HOSTILE,
    wait::{DEADLINE, pause, wait_for},
    wait_until,
};

/// Longer than the daemon's interval for comparing the image.
const LOOK: Duration = Duration::from_secs(12);

#[test]
fn a_state_directory_that_takes_nothing_changes_nothing() {
    let lab = Lab::gateway("nospace");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let disk = Disk::mount(&daemon.path("state"));
    daemon.run();
    let before = daemon.status()["policy"].clone();
    let refused = |why: &str| {
        let live = daemon.cli(&["allow", "beds", HOSTILE, "tcp/81"]);
        for refused in [daemon.apply(&wider()), live] {
            assert_eq!(refused.code, Some(3), "{refused:?}");
            assert!(refused.stderr.contains(why), "{why}: {refused:?}");
            assert!(refused.stderr.contains("state/"), "which file: {refused:?}");
        }
        assert_eq!(daemon.status()["policy"], before);
        assert_eq!(daemon.status()["enforcing"], true);
        assert_eq!(reaches(&lab.dev1), [true, false]);
    };
    let filler = daemon.path("state/filler");
    assert!(fs::write(&filler, vec![1; 1 << 20]).is_err(), "the disk is full");
    refused("No space left on device");
    fs::remove_file(&filler).expect("it is ours");

    let read_only = disk.read_only();
    refused("Read-only file system");
    drop(read_only);
    let applied = daemon.apply(&wider());
    assert!(applied.success(), "{applied:?}");
    drop(daemon);
}

#[test]
fn a_kernel_without_btf_will_do() {
    let lab = Lab::gateway("nobtf");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let script = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"";
    daemon.start_by(&["unshare", "--mount", "sh", "-c", script]);
    let root = format!("/proc/{}/root/sys/kernel/btf", daemon.process().pid());
    assert_eq!(fs::read_dir(root).expect("a directory").count(), 0, "it sees BTF");
    assert_eq!(reaches(&lab.dev1), [true, false]);
    assert!(daemon.apply(&POLICY.replace("tcp/80", "tcp/81")).success());
    assert_eq!(reaches(&lab.dev1), [false, true]);
}

#[test]
fn a_daemon_that_hangs_stops_no_enforcement_and_answers_afterwards() {
    let lab = Lab::gateway("hang");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let before = daemon.reason("default-drop", "frames");
    daemon.process().signal(libc::SIGSTOP);
    let mut question = daemon.command(&["status", "--json"]);
    assert_eq!(reaches(&lab.dev1), [true, false]);
    assert!(daemon.attached("lan0").is_some());
    assert!(question.is_running(), "nobody can have answered");
    daemon.process().signal(libc::SIGCONT);
    let answer = question.finish(DEADLINE);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let status: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!(status["enforcing"], true);
    assert!(daemon.reason("default-drop", "frames") > before, "counted meanwhile");
    assert!(daemon.apply(&POLICY.replace("tcp/80", "tcp/81")).success());
    assert_eq!(reaches(&lab.dev1), [false, true]);
}

/// The elements of a pinned array by key, in `bpftool`'s format.
#[track_caller]
fn dump(pin: &str) -> BTreeMap<String, String> {
    let words = |part: &Value| {
        let bytes = part.as_array().expect("bytes").iter().map(|byte| byte.as_str().expect("hex"));
        bytes.collect::<Vec<_>>().join(" ")
    };
    let list = bpftool(&["map", "dump", "pinned", pin]);
    let list = list.as_array().expect("a list");
    list.iter().map(|element| (words(&element["key"]), words(&element["value"]))).collect()
}

#[track_caller]
fn map(line: &str) {
    let words = ["map"].into_iter().chain(line.split(' '));
    let ended = Command::new("bpftool").args(words).output().expect("bpftool starts");
    assert!(ended.status.success(), "{line}: {ended:?}");
}

/// The written object, the write, and what device 1 may reach then.
type Scribble<'a> = (&'a str, &'a dyn Fn(), &'a [[bool; 2]]);

#[test]
fn foreign_writes_to_the_tables_are_noticed_and_undone() {
    let lab = Lab::gateway("scribble");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let other = POLICY.replace("tcp/80", "tcp/81");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &other);
    let tail = daemon.tail(&["--group", "nobody"]);
    let image = || {
        let generation = daemon.status()["policy"]["generation"].clone();
        daemon.pin(&format!("gen-{generation}/IMAGE")).display().to_string()
    };
    let wrong = dump(&image());
    assert!(daemon.apply(POLICY).success());
    let pin = image();
    let [slots, control] =
        ["GENERATIONS", "CONTROL"].map(|name| daemon.pin(name).display().to_string());
    let overdue = |byte| if byte == offset_of!(Control, deadline) { "1" } else { "0" };
    let overdue: Vec<_> = (0..size_of::<Control>()).map(overdue).collect();
    let overdue = format!("update pinned {control} key 0 0 0 0 value {}", overdue.join(" "));
    let scribbles: [Scribble<'_>; 3] = [
        (
            "image",
            &|| {
                let right = dump(&pin);
                assert_eq!(right.len(), wrong.len(), "the other policy's image fits");
                let differ = wrong.iter().filter(|(key, value)| right[*key] != **value);
                differ.for_each(|(key, value)| {
                    map(&format!("update pinned {pin} key {key} value {value}"))
                });
            },
            // A flow in the CPU's cache passes without a look-up in the image.
            &[[false, true], [true, true]],
        ),
        ("slot", &|| map(&format!("delete pinned {slots} key 0 0 0 0")), &[[false, false]]),
        ("deadline", &|| map(&overdue), &[[false, false]]),
    ];
    for (number, (what, scribble, until_then)) in (1..).zip(scribbles) {
        assert_eq!(reaches(&lab.dev1), [true, false]);
        daemon.process().signal(libc::SIGSTOP);
        scribble();
        let then = reaches(&lab.dev1);
        assert!(until_then.contains(&then), "{what}: {then:?}");
        daemon.process().signal(libc::SIGCONT);
        let count = format!("\nenforcer_tamper_total{{reason=\"image\"}} {number}\n");
        let seen = || daemon.curl("/v1/metrics", &[]).1.contains(&count).then_some(());
        assert!(wait_for(LOOK + DEADLINE, seen).is_some(), "{what} is not noticed");
        assert_eq!(reaches(&lab.dev1), [true, false], "{what}");
    }
    let line = tail.wait_for("image", |line| tampered(line, "image"));
    assert!(line["enforcer"]["message"].to_string().contains("published again"), "{line}");
    assert_eq!(daemon.status()["policy"]["revision"], 2);

    // The daemon's own changes are not tampering, and neither is a policy that waits to be
    // confirmed.
    let tampers = || tail.lines().iter().filter(|line| tampered(line, "image")).count();
    wait_until("all events are there", || (tampers() == 3).then_some(()));
    let allowed = daemon.cli(&["allow", "beds", HOSTILE, "tcp/81", "--for", "1h"]);
    assert!(allowed.success(), "{allowed:?}");
    pause(LOOK);
    let path = daemon.write("policy.toml", &other).display().to_string();
    assert!(daemon.cli(&["apply", "--confirm", "60s", &path]).success());
    pause(LOOK);
    assert_eq!(tampers(), 3, "{}", daemon.log());
}
