//! Starts with missing parts: everything possible is enforced, and missing parts are reported and
//! picked up later.
use std::{fs, path::Path};

use serde_json::Value;

use super::{
    POLICY,
    audit::{Disk, entries},
    tamper::pair,
    watch::{reaches, tampered},
};
use crate::harness::{
    Daemon, Lab,
    kernel::bpftool,
    programs::{self, Server},
    topology::UPDATES,
    wait_until,
};

/// The last entry about a start: how it found each interface.
#[track_caller]
fn started(daemon: &Daemon<'_>) -> Vec<String> {
    let all = entries(daemon);
    let start = all.iter().rfind(|entry| entry["action"] == "start").expect("it has started");
    let lines = start["difference"].as_array().expect("a line for each interface").iter();
    lines.map(|line| line.as_str().expect("text").to_owned()).collect()
}

#[track_caller]
fn interface(status: &Value, name: &str) -> Value {
    let rows = status["interfaces"].as_array().expect("a list");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{status}")).clone()
}

/// Starts it and waits until its policy is in force, on any number of interfaces.
#[track_caller]
fn begin(daemon: &mut Daemon<'_>) {
    daemon.begin();
    wait_until("it has started", || {
        assert!(daemon.is_running(), "{}", daemon.log());
        let log = daemon.last_log();
        ["enforcing revision", "is NOT enforced"].iter().any(|it| log.contains(it)).then_some(())
    });
}

#[test]
fn one_interface_that_is_missing_leaves_no_other_one_open() {
    let lab = Lab::gateway("missing");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0", "lan1"], POLICY);
    begin(&mut daemon);
    wait_until("lan0 enforces", || (reaches(&lab.dev1) == [true, false]).then_some(()));
    let tail = daemon.tail(&[]);
    let said = daemon.cli(&["status"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.starts_with("NOT ENFORCING"), "{said:?}");
    let status = daemon.status();
    assert_eq!(interface(&status, "lan0")["enforcing"], true, "{status}");
    assert_eq!(interface(&status, "lan1")["note"], "there is no such interface", "{status}");
    assert!(
        daemon.log().contains("lan1 is NOT protected: no interface `lan1`"),
        "{}",
        daemon.log()
    );
    let metrics = daemon.curl("/v1/metrics", &[]).1;
    assert!(metrics.contains("enforcer_tamper_total{reason=\"interface-missing\"} 1"), "{metrics}");
    assert!(started(&daemon)[1].starts_with("lan1: not protected: no interface"));

    let device = pair(&lab);
    wait_until("lan1 is picked up", || (daemon.cli(&["status"]).code == Some(0)).then_some(()));
    tail.wait_for("it is told", |line| tampered(line, "interface-new"));
    assert!(programs::connects(&device, UPDATES, 80));
    assert!(!programs::connects(&device, UPDATES, 81));
}

#[test]
fn the_only_interface_is_waited_for() {
    let lab = Lab::gateway("waited");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan1"], POLICY);
    begin(&mut daemon);
    assert!(daemon.log().contains("is NOT enforced on any interface yet"), "{}", daemon.log());
    assert!(daemon.log().contains("hint: "), "{}", daemon.log());
    assert_eq!(daemon.cli(&["status"]).code, Some(1));
    let device = pair(&lab);
    wait_until("it is picked up", || (daemon.cli(&["status"]).code == Some(0)).then_some(()));
    assert!(programs::connects(&device, UPDATES, 80));
    assert!(!programs::connects(&device, UPDATES, 81));
}

/// An interface whose frames have no Ethernet header is refused by its link type, everywhere.
#[test]
fn an_interface_without_ethernet_is_refused_and_the_other_one_is_enforced() {
    let lab = Lab::gateway("tun");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    lab.gw.ip("tuntap add dev tun0 mode tun");
    let mut daemon = Daemon::prepare(&lab.gw, &["tun0"], POLICY);
    let ended = daemon.run_to_end();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("its frames are not Ethernet"), "{ended:?}");
    assert_eq!(daemon.attached("tun0"), None);
    let settings = fs::read_to_string(daemon.path("enforcer.toml")).expect("it was written");
    daemon.settings(&settings.replace("[\"tun0\"]", "[\"tun0\", \"lan0\"]"));
    begin(&mut daemon);
    wait_until("lan0 enforces", || (reaches(&lab.dev1) == [true, false]).then_some(()));
    let status = daemon.status();
    assert_eq!(status["enforcing"], false, "{status}");
    let row = interface(&status, "tun0");
    assert_eq!(row["enforcing"], false, "{row}");
    assert!(row["note"].as_str().is_some_and(|note| note.contains("not Ethernet")), "{row}");
    assert_eq!(daemon.attached("tun0"), None);
    let doctor = daemon.doctor(&["--json"]);
    assert!(doctor.stdout.contains("its frames are not Ethernet (link type none)"), "{doctor:?}");
    assert_eq!(doctor.code, Some(1));
}

#[test]
fn a_state_directory_that_cannot_be_written_stops_no_start() {
    let lab = Lab::gateway("rostate");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let disk = Disk::mount(&daemon.path("state"));
    daemon.run();
    assert!(daemon.terminate().success());
    for full in [false, true] {
        let (mut read_only, filler) = (None, daemon.path("state/filler"));
        if full {
            assert!(fs::write(&filler, vec![1; 1 << 20]).is_err(), "the disk is full");
        } else {
            read_only = Some(disk.read_only());
        }
        daemon.run();
        assert_eq!(reaches(&lab.dev1), [true, false]);
        let status = daemon.status();
        let warnings = status["warnings"].to_string();
        assert!(warnings.contains("the active policy could not be saved"), "{warnings}");
        assert_eq!(interface(&status, "lan0")["enforcing"], true, "{status}");
        let text = daemon.last_log();
        assert!(text.contains("a reboot would load what was saved before"), "{text}");
        assert!(daemon.terminate().success());
        drop(read_only);
        let _ = fs::remove_file(&filler);
    }
    daemon.run();
    assert!(!daemon.status()["warnings"].to_string().contains("could not be saved"));
    drop(daemon);
}

#[test]
fn a_full_run_directory_keeps_only_the_commands_out() {
    let lab = Lab::gateway("fullrun");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let run = daemon.path("run");
    let disk = Disk::mount(&run);
    let settings = fs::read_to_string(daemon.path("enforcer.toml")).expect("it was written");
    let [usual, other] = ["enforcer.sock", "run/enforcer.sock"].map(|name| daemon.path(name));
    let [usual, there] = [&usual, &other].map(|path| format!("socket = {path:?}"));
    daemon.settings(&settings.replace(&usual, &there));
    fill(&run);
    daemon.begin();
    wait_until("lan0 enforces", || (reaches(&lab.dev1) == [true, false]).then_some(()));
    wait_until("it is said", || {
        daemon.log().contains("cannot open the control socket").then_some(())
    });
    assert!(daemon.is_running());
    assert!(!other.exists());
    for entry in fs::read_dir(&run).expect("it is mounted").flatten() {
        fs::remove_file(entry.path()).expect("it is ours");
    }
    wait_until("the socket is opened", || other.exists().then_some(()));
    let socket = other.display().to_string();
    let words = ["--socket", &socket, "status", "--json"];
    let said = lab.gw.run_ok(&crate::harness::daemon::binary(), &words);
    let status: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(status["enforcing"], true, "{status}");
    assert_eq!(daemon.terminate().code, Some(0));
    drop(disk);
}

/// Uses up every byte and every inode.
#[track_caller]
fn fill(dir: &Path) {
    assert!(fs::write(dir.join("filler"), vec![1; 1 << 20]).is_err(), "the disk is full");
    let made = (0..100_000)
        .take_while(|number| fs::write(dir.join(format!("inode-{number}")), "").is_ok());
    assert!(made.count() < 100_000);
}

#[test]
fn a_link_that_was_lost_while_no_daemon_ran_is_a_gap_in_the_trail() {
    let lab = Lab::gateway("gap");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let link = || {
        let pin = daemon.pin(&format!("link-{}", lab.gw.index("lan0"))).display().to_string();
        (bpftool(&["link", "show", "pinned", &pin])["id"].to_string(), pin)
    };
    let (first, pin) = link();
    assert_eq!(started(&daemon), [format!("lan0: first, link {first}")]);
    daemon.restart();
    assert_eq!(started(&daemon), [format!("lan0: adopted, link {first}")]);
    daemon.kill9();
    daemon.run();
    assert_eq!(started(&daemon), [format!("lan0: adopted, link {first}")], "a crash is no gap");
    assert!(!daemon.last_log().contains("was not protected for a time"));

    // A detached link, and then a removed pin: both end enforcement while no daemon runs.
    let detach: [(&str, &dyn Fn()); 2] = [
        ("was dead", &|| {
            lab.gw.run_ok("bpftool", &["link", "detach", "pinned", &pin]);
        }),
        ("was gone", &|| fs::remove_file(&pin).expect("it is pinned")),
    ];
    let mut known = first;
    for (word, lose) in detach {
        assert!(daemon.terminate().success());
        lose();
        daemon.run();
        let (now, _) = {
            let shown = bpftool(&["link", "show", "pinned", &pin]);
            (shown["id"].to_string(), ())
        };
        let expected = format!("lan0: attached anew, link {now}: link {known} {word}");
        assert_eq!(started(&daemon), [expected]);
        let status = daemon.status();
        let warnings = status["warnings"].to_string();
        assert!(warnings.contains("was not protected for a time before this start"), "{warnings}");
        assert_eq!(status["enforcing"], true, "{status}");
        known = now;
    }
    let metrics = daemon.curl("/v1/metrics", &[]).1;
    assert!(metrics.contains("enforcer_tamper_total{reason=\"detached\"} 1"), "{metrics}");
}

#[test]
fn a_backstop_that_was_flushed_while_no_daemon_ran_is_restored_and_reported() {
    let lab = Lab::gateway("flushed");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    assert!(daemon.backstop("install").success());
    daemon.run();
    assert!(daemon.terminate().success());
    lab.gw.run_ok("nft", &["flush", "ruleset"]);
    daemon.run();
    let status = daemon.status();
    assert_eq!(interface(&status, "lan0")["backstop"], "armed", "{status}");
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("removed while no daemon ran; they are installed again"),
        "{warnings}"
    );
    assert!(
        started(&daemon).iter().any(|line| line.contains("backstop")),
        "{:?}",
        started(&daemon)
    );
    let metrics = daemon.curl("/v1/metrics", &[]).1;
    assert!(metrics.contains("enforcer_tamper_total{reason=\"backstop\"} 1"), "{metrics}");

    // Tables that the operator removes stay removed, with either command.
    assert!(daemon.backstop("remove").success());
    daemon.restart();
    assert_eq!(interface(&daemon.status(), "lan0")["backstop"], "absent");
    assert!(daemon.backstop("install").success());
    assert!(daemon.detach().success());
    let _ = daemon.wait();
    daemon.run();
    assert_eq!(interface(&daemon.status(), "lan0")["backstop"], "absent");
}

/// If the daemon dies at each start with a policy, the previous policy must come into force.
#[test]
fn a_policy_that_ends_the_daemon_at_each_start_is_left_for_the_one_before() {
    let lab = Lab::gateway("deadly");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    assert!(daemon.terminate().success());
    // A million ranges, which exceed a small memory limit.
    let ranges = (0..1_000_000u32).map(|n| std::net::Ipv4Addr::from(0x0b00_0000 + n * 512));
    let list: String = ranges.map(|first| format!("{first}/24\n")).collect();
    daemon.write("large.txt", &list);
    let large =
        POLICY.replace("schema = 1\n", "schema = 1\nsets.large = { file = \"large.txt\" }\n");
    daemon.write("policy.toml", &large.replace("198.51.100.10", "@large"));
    let script = "ulimit -d 120000 && exec \"$0\" \"$@\"";
    for _ in 0..2 {
        let ended = daemon.run_by(&["sh", "-c", script]);
        assert!(!ended.success(), "{ended:?}");
    }
    daemon.start_by(&["sh", "-c", script]);
    assert_eq!(reaches(&lab.dev1), [true, false]);
    let warnings = daemon.status()["warnings"].to_string();
    assert!(warnings.contains("the daemon ended at its last 2 starts"), "{warnings}");
    // With enough memory, the command puts it in force.
    assert!(daemon.terminate().success());
    daemon.run();
    assert_eq!(reaches(&lab.dev1), [true, false]);
    let file = daemon.path("policy.toml").display().to_string();
    assert!(daemon.cli(&["apply", "--force", &file]).success());
}

/// A disabled backstop needs neither its program nor its kernel feature.
#[test]
fn what_is_switched_off_is_not_needed() {
    let lab = Lab::gateway("nonft");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    daemon.setting("backstop = \"off\"");
    let calls = daemon.path("calls").display().to_string();
    if !crate::harness::lacking(&["strace"]).is_empty() {
        crate::harness::skip("what_is_switched_off_is_not_needed", "strace is not installed");
        return;
    }
    // As on a kernel without nfnetlink: NETLINK_NETFILTER, the twelfth, is refused.
    daemon.start_by(&["strace", "-f", "-qq", "-o", &calls, "-e", "trace=socket"]);
    assert_eq!(reaches(&lab.dev1), [true, false]);
    let log = fs::read_to_string(&calls).expect("strace writes it");
    assert!(!log.contains("NETLINK_NETFILTER"), "{log}");
    assert!(log.contains("NETLINK_ROUTE"), "{log}");
}

/// Reattaching is one event, not two: a new program's mode has not changed.
#[test]
fn attaching_again_is_no_change_of_mode() {
    let lab = Lab::gateway("onlyonce");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let tail = daemon.tail(&[]);
    let pin = daemon.pin(&format!("link-{}", lab.gw.index("lan0"))).display().to_string();
    lab.gw.run_ok("bpftool", &["link", "detach", "pinned", &pin]);
    tail.wait_for("it is told", |line| tampered(line, "detached"));
    wait_until("it is enforced", || (daemon.cli(&["status"]).code == Some(0)).then_some(()));
    // Two checks later no further event has come.
    crate::harness::wait::pause(std::time::Duration::from_millis(2500));
    let lines = tail.lines();
    assert!(!lines.iter().any(|line| tampered(line, "xdp-mode")), "{lines:?}");
}
