//! Programs, pins and interfaces that are removed, renamed or moved.
use std::fs;

use serde_json::Value;

use super::POLICY;
use super::tamper::pair;
use crate::harness::{
    Daemon, Lab, Netns,
    bpf::BpfFs,
    programs::{self, Server},
    run,
    topology::UPDATES,
    wait_until,
};

pub(super) fn reaches(device: &Netns) -> [bool; 2] {
    [80, 81].map(|port| programs::connects(device, UPDATES, port))
}

pub(super) fn tampered(line: &Value, reason: &str) -> bool {
    line["event_type"] == "tamper" && line["enforcer"]["reason"] == reason
}

#[test]
fn removing_a_pin_removes_nothing_and_the_pin_comes_back() {
    let lab = Lab::gateway("unpin");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let tail = daemon.tail(&["--group", "nobody"]);
    let program = daemon.attached("lan0");
    let link = daemon.pin(&format!("link-{}", lab.gw.index("lan0")));
    let generation = daemon.status()["policy"]["generation"].clone();
    for pin in [link, daemon.pin("GENERATIONS"), daemon.pin(&format!("gen-{generation}/program"))] {
        fs::remove_file(&pin).expect("it is pinned");
        assert_eq!(daemon.attached("lan0"), program, "a pin alone holds nothing");
        wait_until("the pin is back", || pin.exists().then_some(()));
        let text = format!("the pin {} was removed; it is back", pin.display());
        tail.wait_for(&text, |line| {
            tampered(line, "unpinned")
                && line["enforcer"]["message"].as_str().is_some_and(|it| it.starts_with(&text))
        });
    }
    fs::remove_dir_all(daemon.bpffs()).expect("it can be removed");
    assert_eq!(daemon.attached("lan0"), program);
    wait_until("all pins are back", || daemon.pin("REASONS").exists().then_some(()));
    // They are the same objects, so everything that uses them continues.
    let policy = POLICY.replace("tcp/80", "tcp/81");
    assert!(daemon.apply(&policy).success());
    assert_eq!(reaches(&lab.dev1), [false, true]);
    daemon.restart();
    let log = daemon.last_log();
    assert!(log.contains("adopted generation"), "{log}");
    assert!(log.contains("adopted lan0: it was protected all the time"), "{log}");
    assert!(daemon.curl("/v1/metrics", &[]).1.contains("enforcer_reattached_total 0"));
}

#[test]
fn an_unconfirmed_policy_is_in_force_although_the_pins_were_removed() {
    let lab = Lab::gateway("unpinconfirm");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let path = daemon.write("policy.toml", &POLICY.replace("tcp/80", "tcp/81"));
    // At once, before the daemon has checked its pins.
    fs::remove_dir_all(daemon.bpffs()).expect("it can be removed");
    let applied = daemon.cli(&["apply", "--confirm", "1h", &path.display().to_string()]);
    assert!(applied.success(), "{applied:?}");
    assert_eq!(reaches(&lab.dev1), [false, true]);
    let back = daemon.cli(&["rollback"]);
    assert!(back.success(), "{back:?}");
    assert_eq!(reaches(&lab.dev1), [true, false]);
}

#[test]
fn a_bpf_file_system_that_goes_takes_nothing_with_it() {
    let lab = Lab::gateway("umount");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mounted = BpfFs::mount();
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    daemon.pin_below(&mounted);
    daemon.run();
    let program = daemon.attached("lan0");
    mounted.unmount();
    assert_eq!(daemon.attached("lan0"), program);
    wait_until("the daemon tells", || {
        daemon.log().contains("what is enforced ends with this process").then_some(())
    });
    assert!(daemon.status()["warnings"].to_string().contains("cannot be put back"));
    assert_eq!(reaches(&lab.dev1), [true, false]);
    // The daemon checks each time, and must not lose any object that it holds.
    for number in 0..30 {
        lab.gw.ip(&format!("link set cen0 alias {number}"));
    }
    assert_eq!(daemon.attached("lan0"), program);
    mounted.remount();
    wait_until("it is pinned again", || daemon.pin("EVENTS").exists().then_some(()));
    daemon.kill9();
    assert_eq!(daemon.attached("lan0"), program);
    assert_eq!(reaches(&lab.dev1), [true, false]);
    daemon.run();
    assert!(daemon.last_log().contains("adopted lan0: it was protected all the time"));
    // Before the file system is gone for good.
    assert!(daemon.cli(&["detach"]).success());
    daemon.wait();
}

#[test]
fn a_link_that_was_detached_is_made_again() {
    let lab = Lab::gateway("unlink");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    assert!(daemon.backstop("install").success());
    daemon.run();
    let tail = daemon.tail(&["--verdict", "would-drop"]);
    let pin = daemon.pin(&format!("link-{}", lab.gw.index("lan0")));
    run("bpftool", &["link", "detach", "pinned", &pin.display().to_string()]);
    let line = tail.wait_for("detached", |line| tampered(line, "detached"));
    assert_eq!(line["in_iface"], "lan0");
    let text = "lan0 was not protected: the program was detached; attached again";
    assert_eq!(line["enforcer"]["message"], text);
    assert!(daemon.attached("lan0").is_some());
    wait_until("it is armed", || {
        (daemon.status()["interfaces"][0]["backstop"] == "armed").then_some(())
    });
    assert_eq!(reaches(&lab.dev1), [true, false]);
    assert!(daemon.curl("/v1/metrics", &[]).1.contains("enforcer_reattached_total 1"));
    // Another program keeps the interface, and the backstop blocks forwarding from it.
    let pass = "/usr/lib/x86_64-linux-gnu/bpf/xdp-dispatcher.o";
    if !std::path::Path::new(pass).exists() {
        crate::harness::skip("a_link_that_was_detached_is_made_again", "no xdp-tools here");
        return;
    }
    daemon.process().signal(libc::SIGSTOP);
    run("bpftool", &["link", "detach", "pinned", &pin.display().to_string()]);
    lab.gw.run_ok("ip", &["link", "set", "lan0", "xdpgeneric", "obj", pass, "sec", "xdp"]);
    daemon.process().signal(libc::SIGCONT);
    tail.wait_for("replaced", |line| tampered(line, "replaced"));
    let status = daemon.status();
    assert_eq!(status["enforcing"], false, "{status}");
    assert_eq!(status["interfaces"][0]["backstop"], "shut", "{status}");
    assert_eq!(reaches(&lab.dev1), [false, false]);
    lab.gw.ip("link set lan0 xdpgeneric off");
    wait_until("it is ours again", || (daemon.cli(&["status"]).code == Some(0)).then_some(()));
    assert_eq!(reaches(&lab.dev1), [true, false]);
}

#[test]
fn an_interface_that_is_renamed_stays_protected_and_so_does_the_next_of_its_name() {
    let lab = Lab::gateway("rename");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let device = pair(&lab);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan1"], POLICY);
    assert!(daemon.backstop("install").success());
    daemon.run();
    let tail = daemon.tail(&[]);
    lab.gw.ip("link set lan1 down");
    lab.gw.ip("link set lan1 name lan7");
    lab.gw.ip("link set lan7 up");
    tail.wait_for("renamed", |line| tampered(line, "interface-renamed"));
    let status = daemon.status();
    let interface = &status["interfaces"][0];
    assert_eq!(interface["name"], "lan1", "{status}");
    assert_eq!(interface["note"], "its name is lan7 now", "{status}");
    assert_eq!(interface["enforcing"], true, "{status}");
    wait_until("lan7 is armed", || {
        (daemon.status()["interfaces"][0]["backstop"] == "armed").then_some(())
    });
    assert_eq!(reaches(&device), [true, false]);
    // Another one under the old name.
    let other = Netns::create(&format!("{}-other", lab.gw.name()));
    lab.gw.veth(("lan1", "02:00:00:23:00:01"), &other, ("eth0", "00:1b:44:11:3a:c1"));
    lab.gw.address("lan1", "10.23.0.1/24");
    other.address("eth0", "10.23.0.11/24");
    other.ip("route add default via 10.23.0.1");
    wait_until("both are protected", || {
        let status = daemon.status();
        let rows = status["interfaces"].as_array().expect("a list");
        let armed = |row: &&Value| row["backstop"] == "armed" && row["enforcing"] == true;
        (rows.len() == 2 && rows.iter().filter(armed).count() == 2).then_some(())
    });
    assert_eq!(reaches(&device), [true, false]);
    assert_eq!(reaches(&other), [true, false]);
}

#[test]
fn an_interface_that_moves_away_is_reported_and_taken_back() {
    let lab = Lab::gateway("moved");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let device = pair(&lab);
    let mut daemon = Daemon::start(&lab.gw, &["lan1"], POLICY);
    let tail = daemon.tail(&[]);
    let elsewhere = Netns::create(&format!("{}-else", lab.gw.name()));
    lab.gw.ip(&format!("link set lan1 netns {}", elsewhere.name()));
    let line = tail.wait_for("gone", |line| tampered(line, "interface-gone"));
    let text = "lan1 is in another network namespace; it is still enforced there";
    assert_eq!(line["enforcer"]["message"], text);
    assert_eq!(daemon.cli(&["status"]).code, Some(1));
    elsewhere.ip(&format!("link set lan1 netns {}", lab.gw.name()));
    lab.gw.ip("link set lan1 up");
    lab.gw.address("lan1", "10.21.0.1/24");
    wait_until("it is back", || (daemon.cli(&["status"]).code == Some(0)).then_some(()));
    assert_eq!(reaches(&device), [true, false]);
    daemon.restart();
    assert!(daemon.last_log().contains("adopted lan1: it was protected all the time"));
}
