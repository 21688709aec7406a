//! The life cycle of an installation, under a stream whose frames are checked one by one.
//! `cargo xtask test dist` runs these in Debian root file systems made by debootstrap.
//!
//! - `room`: a root as a machine
mod room;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use room::{Room, place};
use serde_json::Value;

use super::judge::Timeline;
use super::stream::Stream;
use super::versions::patched;
use super::world::State;
use crate::harness::topology::{DEV1_MAC, UPDATES};
use crate::harness::{Lab, kernel::attached, run, wait_until};

/// A small daemon: resident, and from exec until the kernel enforces (design, section 9).
const MOST_RESIDENT_KIB: u64 = 25 << 10;
const MOST_START_MICROSECONDS: u64 = 300_000;
const SETTINGS: &str = "/etc/enforcer/enforcer.toml";
const POLICY: &str = "/etc/enforcer/policy.toml";

/// The built package, and a later version: with different kernel programs, and a different default
/// in its settings.
struct Packages {
    first: String,
    next: String,
}

impl Packages {
    /// Puts both into the room.
    #[track_caller]
    fn put(room: &Room) -> Self {
        let built = built("_amd64.deb");
        let dir = tempfile::tempdir().expect("a directory can be made");
        let tree = dir.path().join("tree").display().to_string();
        run("dpkg-deb", &["-R", &built.display().to_string(), &tree]);
        let tree = Path::new(&tree);
        let program = tree.join("usr/sbin/enforcer");
        patched(&program, &program);
        edit(&tree.join("DEBIAN/control"), |text| text.replace("-1\n", "-2\n"));
        edit(&tree.join("etc/enforcer/enforcer.toml"), |text| text + "# A new line.\n");
        let next = dir.path().join("next.deb").display().to_string();
        run("dpkg-deb", &["--root-owner-group", "-b", &tree.display().to_string(), &next]);
        for (from, to) in [(built, "/mnt/first.deb"), (next.into(), "/mnt/next.deb")] {
            fs::copy(from, room.path(to)).expect("the room can be written");
        }
        Self { first: "/mnt/first.deb".into(), next: "/mnt/next.deb".into() }
    }
}

#[track_caller]
fn built(end: &str) -> PathBuf {
    let files = fs::read_dir(place("ENFORCER_DIST")).expect("it was built").flatten();
    let mut files = files.map(|entry| entry.path());
    files.find(|file| file.display().to_string().ends_with(end)).expect("it was built")
}

#[track_caller]
fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    let before = fs::read_to_string(file).expect("it is text");
    let after = change(before.clone());
    assert_ne!(before, after, "{}", file.display());
    fs::write(file, after).expect("it is ours");
}

/// A property of the daemon's unit from `systemctl show`.
#[track_caller]
fn shown(room: &Room, property: &str) -> u64 {
    let value = room.ok(&["systemctl", "show", "enforcer", "--value", "-p", property]);
    value.trim().parse().unwrap_or_else(|_| panic!("{property}={value}"))
}

#[track_caller]
fn status(room: &Room) -> Value {
    let text = room.ok(&["enforcer", "status", "--json"]);
    serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
}

#[test]
fn bookworm() {
    life("bookworm");
}

#[test]
fn trixie() {
    life("trixie");
}

#[track_caller]
fn life(suite: &str) {
    let lab = Lab::gateway(suite);
    let room = Room::boot(&lab.gw, suite);
    let before = traces(&room);
    let packages = Packages::put(&room);

    let began = Instant::now();
    let said = room.ok(&["dpkg", "-i", &packages.first]);
    assert!(said.contains("Run `enforcer init`"), "{said}");
    assert_eq!(attached(&lab.gw, "lan0"), None, "an installation alone enforces nothing");
    first_drop(&room, &lab);
    println!("{suite}: from dpkg to the first drop: {:.1} s", began.elapsed().as_secs_f64());
    units_are_sound(&room);
    starts(&room);

    let first = State::default();
    let mut timeline = Timeline::begin(Stream::start(&lab), first);
    assert!(status(&room)["reasons"].as_array().is_some_and(|rows| {
        rows.iter().any(|row| row["reason"] == "deny" && row["frames"].as_u64() > Some(0))
    }));
    upgrade(&room, &packages, &timeline);
    reload(&room, &mut timeline);

    let pid = shown(&room, "MainPID");
    room.ok(&["dpkg", "-i", "--force-confold", &packages.first]);
    assert_ne!(shown(&room, "MainPID"), pid, "a downgrade starts the old program");
    timeline.stream().go_on();

    room.ok(&["systemctl", "kill", "--signal=KILL", "enforcer"]);
    wait_until("systemd starts it again", || {
        room.run(&["enforcer", "status"]).success().then_some(())
    });
    // The unit must see the next mount, or enforcement would end with the daemon.
    room.ok(&["umount", "-l", "/sys/fs/bpf"]);
    room.ok(&["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"]);
    wait_until("what enforces is pinned again", || {
        room.path("/sys/fs/bpf/enforcer").is_dir().then_some(())
    });
    room.ok(&["systemctl", "restart", "enforcer"]);
    room.ok(&["systemctl", "stop", "enforcer"]);
    timeline.stream().go_on();
    println!("{suite}: {:?}", timeline.judge());

    let said = room.ok(&["dpkg", "-r", "enforcer"]);
    assert!(said.contains("NOTHING IS ENFORCED ANY MORE"), "{said}");
    assert_eq!(attached(&lab.gw, "lan0"), None);
    assert!(room.path(SETTINGS).exists() && room.path(POLICY).exists(), "removing keeps settings");
    room.ok(&["dpkg", "-P", "enforcer"]);
    assert_eq!(traces(&room), before, "purging leaves nothing");
}

/// Everything that could be left behind.
#[track_caller]
fn traces(room: &Room) -> String {
    let find = "find / -xdev '(' -path /proc -o -path /sys -o -path /mnt -o \
                -path /var/cache/man ')' -prune -o \
                -name '*enforcer*' -print; find /run /sys/fs/bpf -name '*enforcer*'; \
                ls -A /sys/fs/bpf; grep enforcer /etc/passwd /etc/group /etc/gshadow; \
                nft list tables; ip -o link | grep xdp; \
                systemctl list-unit-files --no-legend | grep enforcer; \
                systemctl list-units --all --no-legend | grep enforcer; true";
    room.ok(&["sh", "-c", find])
}

#[track_caller]
fn units_are_sound(room: &Room) {
    let units = ["enforcer.service", "enforcer-backstop.service"];
    let said = room.ok(&[&["systemd-analyze", "verify"], &units[..]].concat());
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("enforcer")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    for unit in units {
        let words = ["systemd-analyze", "security", "--no-pager", "--threshold=22", unit];
        let said = room.ok(&words);
        println!("{}", said.lines().last().unwrap_or_default());
    }
}

/// As in the manual: `init` writes an observing policy, the service is ready when the kernel has
/// confirmed it, would-be drops are reported, and the interface's group is switched to enforce.
#[track_caller]
fn first_drop(room: &Room, lab: &Lab) {
    let refused = room.run(&["systemctl", "start", "enforcer"]);
    assert!(!refused.success(), "without an interface and a policy nothing starts");
    room.ok(&["systemctl", "stop", "enforcer"]);
    assert!(reaches(lab), "the lab lets it through");

    init(room);
    let policy = fs::read_to_string(room.path(POLICY)).expect("it was written");
    assert!(policy.contains(&format!("{{ mac = \"{DEV1_MAC}\" }}")), "{policy}");
    assert_eq!(attached(&lab.gw, "lan0"), None, "init changes nothing in the kernel");
    room.ok(&["systemctl", "enable", "--now", "enforcer-backstop", "enforcer"]);
    // systemctl waited for READY=1, so this check cannot be too early.
    assert!(attached(&lab.gw, "lan0").is_some(), "ready, and nothing is attached");
    let interface = &status(room)["interfaces"][0];
    assert_eq!((&interface["enforcing"], &interface["backstop"]), (&true.into(), &"armed".into()));
    let socket = room.ok(&["stat", "-c", "%a %U:%G", "/run/enforcer/enforcer.sock"]);
    assert_eq!(socket.trim(), "660 root:enforcer");
    assert!(reaches(lab), "what init wrote only observes");
    assert_eq!(told(room, "would-drop")["enforcer"]["group"], "behind-lan0");

    edit(&room.path(POLICY), |text| {
        text.replacen("\"observe\"\ndefault", "\"enforce\"\ndefault", 1)
    });
    room.ok(&["enforcer", "apply", "--reason", "CHG-4711", POLICY]);
    assert!(!reaches(lab), "what enforces drops");
    assert_eq!(told(room, "drop")["enforcer"]["group"], "behind-lan0");
}

/// Writes a first configuration with flags, and checks it; a second attempt changes nothing.
#[track_caller]
fn init(room: &Room) {
    let said = room.ok(&["enforcer", "init", "--yes", "--interface", "lan0"]);
    assert!(said.contains("protects lan0; every group observes"), "{said}");
    for words in [&["config", "check"][..], &["check", POLICY]] {
        room.ok(&[&["enforcer"], words].concat());
    }
    assert!(!room.run(&["enforcer", "init", "--yes"]).success(), "init never overwrites");
}

/// Whether a device reaches a destination that no rule names.
#[track_caller]
fn reaches(lab: &Lab) -> bool {
    lab.dev1.run("ping", &["-c", "1", "-W", "2", UPDATES], Duration::from_secs(20)).success()
}

/// An event with this verdict about the device's ping.
#[track_caller]
fn told(room: &Room, verdict: &str) -> Value {
    let filters = ["--verdict", verdict, "--to", UPDATES, "--since", "1m", "-n", "1"];
    let text = room.ok(&[&["enforcer", "tail", "--json"], &filters[..]].concat());
    serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
}

/// The cost of a start, with a small policy.
#[track_caller]
fn starts(room: &Room) {
    room.write(POLICY, &State::default().document());
    room.ok(&["systemctl", "restart", "enforcer"]);
    let mut took = start_time(room);
    // Other work on this machine takes time too, so the minimum counts.
    for _ in 0..4 {
        room.ok(&["systemctl", "stop", "enforcer"]);
        room.ok(&["enforcer", "detach"]);
        room.ok(&["systemctl", "restart", "enforcer-backstop", "enforcer"]);
        took = took.min(start_time(room));
    }
    let pid = shown(room, "MainPID");
    let text = room.ok(&["cat", &format!("/proc/{pid}/status")]);
    let resident = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("from exec to enforcing: {} ms; resident: {resident} KiB", took as f64 / 1e3);
    assert!(took <= MOST_START_MICROSECONDS, "{took} µs");
    assert!(resident <= MOST_RESIDENT_KIB, "{resident} KiB");
}

/// Microseconds from exec until the kernel had confirmed every interface, at the last start.
#[track_caller]
fn start_time(room: &Room) -> u64 {
    let [began, ready] = ["ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"];
    shown(room, ready) - shown(room, began)
}

/// dpkg asks about settings that changed on both sides; the operator's stay, and so does enforcement.
#[track_caller]
fn upgrade(room: &Room, packages: &Packages, timeline: &Timeline) {
    let (pid, generation) = (shown(room, "MainPID"), status(room)["policy"]["generation"].clone());
    let asked = room.run(&["dpkg", "-i", &packages.next]);
    assert!(!asked.success() && asked.stderr.contains("What would you like to do"), "{asked:?}");
    assert_eq!(shown(room, "MainPID"), pid, "nothing stops while a question is open");
    room.ok(&["dpkg", "--force-confold", "--configure", "enforcer"]);
    let settings = fs::read_to_string(room.path(SETTINGS)).expect("it is there");
    assert!(settings.contains("\ninterfaces = [\"lan0\"]\n"), "{settings}");
    let version = room.ok(&["dpkg-query", "-W", "-f", "${Version}", "enforcer"]);
    assert!(version.ends_with("-2"), "{version}");
    assert_ne!(shown(room, "MainPID"), pid, "the new program runs");
    assert_ne!(status(room)["policy"]["generation"], generation, "and its kernel program");
    assert_eq!(room.ok(&["systemctl", "is-enabled", "enforcer"]).trim(), "enabled");
    timeline.stream().go_on();
}

/// `systemctl reload` applies the policy file, and reports a faulty one.
#[track_caller]
fn reload(room: &Room, timeline: &mut Timeline) {
    let revision = status(room)["policy"]["revision"].as_u64().expect("a number");
    room.write(POLICY, "schema = 1\n[groups");
    room.ok(&["systemctl", "reload", "enforcer"]);
    wait_until("the refusal is told", || {
        let said = room.run(&["systemctl", "status", "--no-pager", "enforcer"]).stdout;
        said.contains(&format!("has errors: revision {revision} stays")).then_some(())
    });
    let next = timeline.state().other();
    timeline.change(next.clone(), || {
        room.write(POLICY, &next.document());
        room.ok(&["systemctl", "reload", "enforcer"]);
        wait_until("the policy file is in force", || {
            (status(room)["policy"]["revision"] == revision + 1).then_some(())
        });
    });
}

/// The archive, on a machine without systemd.
#[test]
fn archive() {
    let lab = Lab::gateway("archive");
    let room = Room::bare(&lab.gw, "bookworm");
    let archive = built("-linux-x86_64.tar.xz");
    let [from, to] = [&archive, &room.path("/mnt")].map(|path| path.display().to_string());
    run("tar", &["--extract", "--xz", "--file", &from, "--directory", &to]);
    let name = archive.file_name().expect("a name").to_string_lossy().replace(".tar.xz", "");
    let script = format!("/mnt/{name}/install.sh");
    // Its root has systemd's directories but no systemd: the init script must be installed.
    room.ok(&["sh", "-c", "mv /usr/lib/systemd /mnt/systemd && mv /etc/systemd /mnt/etc-systemd"]);
    let before = traces(&room);

    room.ok(&[&script]);
    assert_eq!(attached(&lab.gw, "lan0"), None);
    init(&room);
    room.write(POLICY, &State::default().document());
    room.write("/etc/enforcer/backstop", "");
    room.ok(&["/etc/init.d/enforcer", "start"]);
    assert!(attached(&lab.gw, "lan0").is_some());

    let timeline = Timeline::begin(Stream::start(&lab), State::default());
    let pid = room.ok(&["cat", "/run/enforcer/enforcer.pid"]);
    let said = room.ok(&[&script]);
    assert!(said.contains("upgraded"), "{said}");
    assert_ne!(room.ok(&["cat", "/run/enforcer/enforcer.pid"]), pid);
    timeline.stream().go_on();
    room.ok(&["/etc/init.d/enforcer", "stop"]);
    timeline.stream().go_on();
    println!("archive: {:?}", timeline.judge());

    let said = room.ok(&[&script, "uninstall"]);
    assert!(said.contains("NOTHING IS ENFORCED ANY MORE"), "{said}");
    assert!(room.path(SETTINGS).exists());
    assert_eq!(attached(&lab.gw, "lan0"), None);
    // Nothing is left to uninstall; a second installation is then purged.
    assert!(!room.run(&[&script, "uninstall"]).success());
    room.ok(&[&script]);
    room.ok(&[&script, "purge"]);
    assert_eq!(traces(&room), before);
}
