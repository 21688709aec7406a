//! `enforcer init` on a gateway with a LAN, a VLAN, a bridge and an uplink.
use std::fs;
use std::time::Duration;

use crate::harness::{
    Daemon, Finished, Netns, kernel::lacks, lacking, screen::Screen, skip, wait_until,
};

const OUT: &str = "203.0.113.1";
const BY_VLAN: &str = "203.0.113.201";
const PATIENCE: Duration = Duration::from_secs(20);

/// ```text
///   bed 10.20.0.11  ── lan0 10.20.0.1        gw   wan0 203.0.113.2 ── out 203.0.113.1
///       10.30.0.11     lan0.30 10.30.0.1, with a VLAN
///   pump 10.40.0.12 ── lan1 ── br0 10.40.0.1
/// ```
struct Host {
    gw: Netns,
    bed: Netns,
    pump: Netns,
    _out: Netns,
}

impl Host {
    fn build(name: &str) -> Self {
        let create =
            |role: &str| Netns::create(&format!("enf-{}-{name}-{role}", std::process::id()));
        let host = Self {
            gw: create("gw"),
            bed: create("bed"),
            pump: create("pump"),
            _out: create("out"),
        };
        let Self { gw, bed, pump, _out: out } = &host;
        gw.veth(("lan0", "02:00:00:20:00:01"), bed, ("eth0", "00:1b:44:11:3a:b6"));
        gw.veth(("lan1", "02:00:00:40:00:01"), pump, ("eth0", "02:00:00:40:00:12"));
        gw.veth(("wan0", "02:00:00:03:00:02"), out, ("eth0", "02:00:00:03:00:01"));
        gw.ip("link add br0 type bridge forward_delay 0");
        gw.ip("link set lan1 master br0");
        for (netns, interface, address) in [
            (gw, "lan0", "10.20.0.1/24"),
            (gw, "br0", "10.40.0.1/24"),
            (gw, "wan0", "203.0.113.2/24"),
            (bed, "eth0", "10.20.0.11/24"),
            (pump, "eth0", "10.40.0.12/24"),
            (out, "eth0", "203.0.113.1/24"),
        ] {
            netns.ip(&format!("link set {interface} up"));
            netns.address(interface, address);
        }
        gw.sysctl("ipv4/ip_forward", "1");
        gw.ip("route add default via 203.0.113.1");
        out.ip("route add 10.0.0.0/8 via 203.0.113.2");
        bed.ip("route add default via 10.20.0.1");
        pump.ip("route add default via 10.40.0.1");
        out.address("eth0", "203.0.113.201/24");
        // The neighbour tables know devices that have sent something.
        speak(&[(bed, OUT), (pump, OUT)]);
        host
    }

    /// The device of the bed has a second address, in VLAN 30, and uses it towards one address.
    fn add_vlan(&self) {
        let Self { gw, bed, .. } = self;
        let ends = [(gw, "lan0", "10.30.0.1/24"), (bed, "eth0", "10.30.0.11/24")];
        for (netns, lower, address) in ends {
            netns.ip(&format!("link add link {lower} name {lower}.30 type vlan id 30"));
            netns.ip(&format!("link set {lower}.30 up"));
            netns.address(&format!("{lower}.30"), address);
        }
        bed.ip(&format!("route add {BY_VLAN}/32 via 10.30.0.1"));
        speak(&[(bed, BY_VLAN)]);
    }
}

fn speak(ways: &[(&Netns, &str)]) {
    for (netns, address) in ways {
        assert!(reaches(netns, address), "the lab lets {address} through");
    }
}

fn reaches(netns: &Netns, address: &str) -> bool {
    netns.run("ping", &["-c", "1", "-W", "2", address], PATIENCE).success()
}

/// A daemon's directory with neither settings nor policy in it.
fn empty(gw: &Netns) -> Daemon<'_> {
    let daemon = Daemon::prepare(gw, &[], "");
    for name in ["enforcer.toml", "policy.toml"] {
        fs::remove_file(daemon.path(name)).expect("it was written");
    }
    daemon
}

fn init(daemon: &Daemon<'_>, words: &[&str]) -> Finished {
    let directory = daemon.path("").display().to_string();
    daemon.cli(&[&["init", "--directory", &directory], words].concat())
}

fn texts(daemon: &Daemon<'_>) -> [String; 2] {
    ["enforcer.toml", "policy.toml"]
        .map(|name| fs::read_to_string(daemon.path(name)).unwrap_or_default())
}

#[test]
fn it_finds_the_lan_and_what_it_writes_observes() {
    let host = Host::build("init");
    let daemon = empty(&host.gw);

    let dry = init(&daemon, &["--dry-run"]);
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(dry.stdout.contains("\ninterfaces = [\"lan0\", \"lan1\"]\n"), "{dry:?}");
    assert!(dry.stderr.contains("the default route leaves by it"), "{dry:?}");
    assert_eq!(texts(&daemon), ["", ""], "nothing was written");

    for (words, said) in [
        (&[][..], "error: there is no terminal to ask on\nhint: `--yes` accepts"),
        (&["--interface", "br0"], "hint: name the interfaces below it: --interface lan1\n"),
        (&["--interface", "lan9"], "error: this machine has no interface `lan9`\n"),
        (&["--interface", "lo"], "error: no Ethernet frames arrive on `lo`\n"),
    ] {
        let refused = init(&daemon, words);
        assert_eq!(refused.code, Some(3), "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(said), "{words:?}: {refused:?}");
        assert_eq!(texts(&daemon), ["", ""], "{words:?}: nothing was written");
    }

    let devices = "\
# Behind lan0:
#devices.device-1 = { mac = \"00:1b:44:11:3a:b6\" }  # 10.20.0.11; ";
    let ways = [(&host.bed, OUT, "behind-lan0"), (&host.pump, OUT, "behind-lan1")];
    observes(daemon, &[devices, "#devices.device-2 = { mac = \"02:00:00:40:00:12\" }"], &ways);
}

#[test]
fn it_declares_the_vlans_and_observes_each() {
    let host = Host::build("init-vlan");
    if let Some(why) = lacks(&host.gw, "vlan id 30") {
        let test = "setup::it_declares_the_vlans_and_observes_each";
        return skip(test, &format!("this kernel has no `vlan`: {why}"));
    }
    host.add_vlan();
    let daemon = empty(&host.gw);
    let tagged = "\
# Behind lan0, VLAN 30:
#devices.device-2 = { mac = \"00:1b:44:11:3a:b6\", vlan = 30 }  # 10.30.0.11; ";
    let ways = [(&host.bed, OUT, "behind-lan0"), (&host.bed, BY_VLAN, "vlan-30")];
    observes(daemon, &[tagged, "[interfaces.lan0]\nvlans = [30]\n"], &ways);
}

/// Writes the files, and checks them and their effect: everything passes and is reported, and a
/// second attempt changes nothing. `lines` are in the policy.
fn observes(mut daemon: Daemon<'_>, lines: &[&str], ways: &[(&Netns, &str, &str)]) {
    let made = init(&daemon, &["--yes"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("protects lan0, lan1; every group observes"), "{made:?}");
    let [settings, policy] = texts(&daemon);
    assert!(settings.contains("\ninterfaces = [\"lan0\", \"lan1\"]\n"), "{settings}");
    let pump = "# Behind lan1:\n#devices.device-";
    let maker = "# 10.40.0.12; locally administered address\n";
    for line in [lines, &[pump, maker]].concat() {
        assert!(policy.contains(line), "{line}\n{policy}");
    }
    for (words, name) in [(&["config", "check"][..], "enforcer.toml"), (&["check"], "policy.toml")]
    {
        let path = daemon.path(name).display().to_string();
        let checked = daemon.cli(&[words, &[&path]].concat());
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert!(checked.stdout.starts_with(&format!("{path}: fine: ")), "{checked:?}");
    }

    // Only the directories are this test's instead of the written ones.
    daemon.setting(&format!("socket = {:?}", daemon.path("enforcer.sock")));
    daemon.setting(&format!("state_dir = {:?}", daemon.path("state")));
    daemon.setting(&format!("bpffs = {:?}", daemon.bpffs()));
    daemon.run();
    let tail = daemon.tail(&[]);
    for (netns, address, group) in ways {
        assert!(reaches(netns, address), "{group} is only observed");
        let line = tail.wait_for(group, |line| line["enforcer"]["group"] == *group);
        let verdict = &line["enforcer"]["verdict"];
        assert_eq!(
            (verdict, &line["dest_ip"]),
            (&"would-drop".into(), &(*address).into()),
            "{line}"
        );
    }
    let status = daemon.status();
    let reasons = status["reasons"].as_array().expect("a list");
    let dropped = reasons.iter().any(|r| r["verdict"] == "drop" && r["frames"] != r["would_drop"]);
    let seen = reasons.iter().any(|r| r["would_drop"] != 0);
    assert!(!dropped && seen, "{status}");

    let before = texts(&daemon);
    let again = init(&daemon, &["--yes"]);
    assert_eq!(again.code, Some(3), "{again:?}");
    let named = format!("error: {} already exists", daemon.path("enforcer.toml").display());
    assert!(again.stderr.starts_with(&named), "{again:?}");
    assert_eq!(texts(&daemon), before, "nothing was changed");
}

#[test]
fn it_asks_on_a_terminal_and_fills_in_the_packages_file() {
    if !lacking(&["tmux"]).is_empty() {
        return skip("setup::it_asks_on_a_terminal", "tmux is not here");
    }
    let host = Host::build("ask");
    let daemon = empty(&host.gw);
    // As installed by a package, without changes by the operator.
    daemon.settings(enforcer::setup::documents::SETTINGS);
    let directory = daemon.path("").display().to_string();
    let command = format!("init --directory {directory}");
    let screen = Screen::start(&host.gw, &daemon, &command);
    screen.wait_for("Interfaces that devices are behind [lan0 lan1]:");
    screen.press(&["-l", "br0"]);
    screen.press(&["Enter"]);
    screen.wait_for("\nhint: name the interfaces below it: --interface lan1\n");
    screen.press(&["-l", "lan0"]);
    screen.press(&["Enter"]);
    screen.wait_for("[Y/n]");
    screen.press(&["n", "Enter"]);
    screen.wait_for("ended with 0");
    let untouched = [enforcer::setup::documents::SETTINGS.to_owned(), String::new()];
    assert_eq!(texts(&daemon), untouched, "the answer was no");
    drop(screen);

    let screen = Screen::start(&host.gw, &daemon, &command);
    screen.wait_for("Interfaces that devices are behind");
    screen.press(&["Enter"]);
    screen.wait_for("[Y/n]");
    screen.press(&["Enter"]);
    screen.wait_for("ended with 0");
    let [settings, policy] = wait_until("both files are there", || {
        Some(texts(&daemon)).filter(|texts| texts.iter().all(|text| !text.is_empty()))
    });
    assert!(settings.contains("\ninterfaces = [\"lan0\", \"lan1\"]\n"), "{settings}");
    assert!(policy.contains("\n[groups.behind-lan1]\n"), "{policy}");
    let files = fs::read_dir(daemon.path("")).expect("its directory").flatten();
    let left = files.filter(|file| file.file_name().to_string_lossy().ends_with(".init")).count();
    assert_eq!(left, 0, "nothing is left of the replacement");
}
