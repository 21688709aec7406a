//! Pins that do not match their names, or that others may use: refused by name, and left alone.
use std::{
    fs::{self, File, Permissions},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
};

use super::POLICY;
use super::watch::reaches;
use crate::harness::{Daemon, Lab, bpf, programs::Server, run, wait_until};

/// Gid and uid of `nobody`.
const NOBODY: u32 = 65534;
/// `BPF_F_MMAPABLE`.
const MMAPABLE: &str = "1024";

/// A gateway whose daemon has ended, but still enforces.
struct Left<'a> {
    lab: &'a Lab,
    daemon: Daemon<'a>,
}

impl<'a> Left<'a> {
    fn by_a_daemon(lab: &'a Lab) -> Self {
        let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
        assert!(daemon.terminate().success());
        Self { lab, daemon }
    }

    /// Replaces a pin by something else, and restores it afterwards.
    #[track_caller]
    fn forge(&self, pin: &Path, make: impl FnOnce(&Path), says: &str) {
        let aside = self.daemon.pin("aside");
        let was_there = pin.exists();
        if was_there {
            fs::rename(pin, &aside).expect("it is pinned");
        }
        make(pin);
        self.refuses(pin, says, "hint: if nothing else uses it, remove it: rm -r ");
        if pin.is_dir() { fs::remove_dir(pin) } else { fs::remove_file(pin) }.expect("it is there");
        if was_there {
            fs::rename(&aside, pin).expect("the place is free");
        }
    }

    /// A start ends with an error that names the pin, the fault and the remedy; nothing changes.
    #[track_caller]
    fn refuses(&self, pin: &Path, says: &str, hint: &str) {
        let what =
            |path: &Path| fs::symlink_metadata(path).map(|it| (it.ino(), it.mode(), it.uid()));
        let (forged, attached) = (what(pin).expect("it is there"), self.daemon.attached("lan0"));
        let ended = self.daemon.run_to_end();
        assert_eq!(ended.code, Some(4), "{says}: {ended:?}");
        let text = &ended.stderr;
        assert!(text.contains(&format!("{} {says}", pin.display())), "{says}: {text}");
        assert!(text.contains(hint), "{says}: {text}");
        assert_eq!(what(pin).expect("it is there still"), forged, "{says}");
        assert!(attached.is_some(), "{says}");
        assert_eq!(self.daemon.attached("lan0"), attached, "{says}");
        assert_eq!(reaches(&self.lab.dev1), [true, false], "{says}");
    }

    fn link(&self, interface: &str) -> PathBuf {
        self.daemon.pin(&format!("link-{}", self.lab.gw.index(interface)))
    }

    fn generation(&self, name: &str) -> PathBuf {
        self.daemon.pin("gen-1").join(name)
    }
}

/// `bpftool map create`, of type, value size, entries and flags.
fn table(path: &Path, [kind, value, entries, flags]: [&str; 4]) {
    let path = path.display().to_string();
    let shape = ["type", kind, "key", "4", "value", value, "entries", entries];
    let words = [&["map", "create", &path][..], &shape, &["name", "forged", "flags", flags]];
    run("bpftool", &words.concat());
}

#[test]
fn pins_that_are_not_ours_are_refused_by_name() {
    let lab = Lab::gateway("forged");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut left = Left::by_a_daemon(&lab);
    let lasting = |name: &str| left.daemon.pin(name);
    for (pin, shape, says) in [
        (
            lasting("REASONS"),
            ["percpu_array", "8", "16", "0"],
            "is a map with value size 8, not 40",
        ),
        (lasting("REASONS"), ["hash", "40", "16", "0"], "is a map with type 1, not 6"),
        (lasting("CONTROL"), ["array", "64", "1", "0"], "is a map with flags 0, not 1024"),
        (lasting("GENERATIONS"), ["prog_array", "4", "16", "0"], "is a map with entries 16, not 2"),
        (left.generation("IMAGE"), ["array", "64", "9", "0"], "is a map with flags 0, not 1024"),
        (left.generation("IMAGE"), ["array", "32", "9", MMAPABLE], "is a map with value size 32"),
        (left.generation("RULES"), ["array", "16", "9", "0"], "is a map with type 2, not 6"),
        (left.generation("program"), ["array", "16", "9", "0"], "is not a program"),
        (left.link("lan0"), ["array", "16", "9", "0"], "is not a link"),
    ] {
        left.forge(&pin, |pin| table(pin, shape), says);
    }
    for (kind, name, says) in [
        (bpf::SOCKET_FILTER, "classify", "is a program of type 1, not 6"),
        (bpf::XDP, "another", "is the program `another`, not `classify`"),
        (bpf::XDP, "classify", "does not use the IMAGE beside it"),
    ] {
        let place = |pin: &Path| bpf::pin(&bpf::load(kind, name, 0), pin);
        left.forge(&left.generation("program"), place, says);
    }
    let program = |pin: &Path| bpf::pin(&bpf::load(bpf::XDP, "classify", 0), pin);
    left.forge(&lasting("REASONS"), program, "is not a map");
    left.forge(&lasting("EVENTS"), |pin| fs::create_dir(pin).expect("made"), "is not a map");
    let of_another_image = |pin: &Path| table(pin, ["array", "64", "9", MMAPABLE]);
    let (image, aside) = (left.generation("IMAGE"), left.daemon.pin("aside"));
    fs::rename(&image, &aside).expect("it is pinned");
    of_another_image(&image);
    let hint = "hint: if nothing else uses it";
    left.refuses(&left.generation("program"), "does not use the IMAGE beside it", hint);
    fs::rename(&aside, &image).expect("it replaces the other");

    // The original objects are complete and in force as before.
    left.daemon.run();
    let log = left.daemon.last_log();
    assert!(log.contains("adopted generation 1: it holds this policy"), "{log}");
    assert!(log.contains("adopted lan0: it was protected all the time"), "{log}");
}

#[test]
fn links_that_are_not_ours_are_refused_by_name() {
    let lab = Lab::gateway("forgedlink");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut left = Left::by_a_daemon(&lab);
    let (lan0, cen0) = (left.lab.gw.index("lan0"), left.lab.gw.index("cen0"));
    // Our own link, under the number of another interface, and without its own pin meanwhile.
    let (own, other) = (left.link("lan0"), left.link("cen0"));
    fs::rename(&own, &other).expect("it is pinned");
    let hint = "hint: if nothing else uses it";
    left.refuses(&other, &format!("is the link of interface {lan0}, not {cen0}"), hint);
    fs::rename(&other, &own).expect("it was renamed");
    // Links on an interface that is not protected: a start would have removed them.
    for (name, says) in [
        ("another", "runs the program `another`, not `dispatch`"),
        ("dispatch", "runs a program that uses none of the tables beside it"),
    ] {
        let attach = |pin: &Path| {
            let program = bpf::load(bpf::XDP, name, bpf::ATTACH_XDP);
            bpf::pin(&lab.gw.enter(|| bpf::link(&program, cen0, bpf::ATTACH_XDP)), pin);
        };
        left.forge(&other, attach, says);
        // The kernel removes an unreferenced link a moment later.
        let gone = || left.daemon.attached("cen0").is_none().then_some(());
        wait_until("the link is gone", gone);
    }
    let lookup = |pin: &Path| {
        let program = bpf::load(bpf::SK_LOOKUP, "lookup", bpf::ATTACH_SK_LOOKUP);
        let netns = File::open(lab.gw.path()).expect("it is there");
        bpf::pin(&bpf::link(&program, netns.as_raw_fd() as u32, bpf::ATTACH_SK_LOOKUP), pin);
    };
    left.forge(&other, lookup, "is a link of type 5, not 6");
    left.daemon.run();
    assert!(left.daemon.last_log().contains("adopted lan0: it was protected all the time"));
}

#[test]
fn pins_that_others_may_use_are_refused_by_name() {
    let lab = Lab::gateway("exposed");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut left = Left::by_a_daemon(&lab);
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("we are root");
    };
    for pin in [left.daemon.pin("GENERATIONS"), left.link("lan0"), left.generation("program")] {
        mode(&pin, 0o620);
        let hint = format!("if it is intact: chmod 600 {}", pin.display());
        left.refuses(&pin, "has mode 0620, not 0600", &hint);
        mode(&pin, 0o600);
        chown(&pin, Some(NOBODY), None).expect("we are root");
        left.refuses(&pin, "belongs to uid 65534, not 0", &format!("chown 0 {}", pin.display()));
        chown(&pin, Some(0), None).expect("we are root");
    }
    for dir in [left.daemon.bpffs().to_owned(), left.daemon.pin(""), left.daemon.pin("gen-1")] {
        mode(&dir, 0o770);
        let name = dir.display().to_string();
        let dir = PathBuf::from(name.trim_end_matches('/'));
        let hint = format!("chmod 700 {}", dir.display());
        left.refuses(&dir, "has mode 0770, not 0700", &hint);
        mode(&dir, 0o700);
        // Its owner could remove the pins, which ends enforcement.
        chown(&dir, Some(NOBODY), Some(NOBODY)).expect("we are root");
        left.refuses(&dir, "belongs to uid 65534", &format!("chown 0 {}", dir.display()));
        chown(&dir, Some(0), Some(0)).expect("we are root");
    }
    left.daemon.run();
    assert!(left.daemon.last_log().contains("adopted lan0: it was protected all the time"));
}

#[test]
fn a_directory_with_another_owner_is_refused() {
    let lab = Lab::gateway("squat");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    fs::create_dir(daemon.bpffs()).expect("bpffs is mounted");
    chown(daemon.bpffs(), Some(NOBODY), Some(NOBODY)).expect("we are root");
    let ended = daemon.run_to_end();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("belongs to uid 65534"), "{ended:?}");
    assert_eq!(daemon.attached("lan0"), None);
}
