//! kill -9, SIGTERM, restart, and detach.
use std::{collections::BTreeSet, path::Path};

use super::POLICY;
use crate::harness::{
    Daemon, Lab,
    kernel::bpftool,
    programs::{self, Server},
    topology::{DEV1, UPDATES},
    wait_until,
};

/// Markers that have arrived at a UDP port, by number.
fn arrived(server: &Server, port: u16) -> Vec<u64> {
    let start = format!("udp {port} {DEV1} ");
    let calls = server.calls();
    let markers = calls.iter().filter_map(|call| call.strip_prefix(&start));
    let number = |hex: &str| {
        // Eight digits, each as the hexadecimal code of its character.
        let digits: String = hex.chars().skip(1).step_by(2).collect();
        digits.parse().expect("a marker is a number")
    };
    markers.map(number).collect()
}

#[test]
fn kill_9_changes_nothing_for_traffic_and_the_next_start_adopts() {
    let lab = Lab::gateway("kill9");
    let server = Server::start(&lab.internet, "x", &[], &[5000, 5001]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let generation = daemon.status()["policy"]["generation"].clone();
    let program = daemon.attached("lan0").expect("it is attached");
    let _stream = programs::stream(&lab.dev1, UPDATES, &[5000, 5001]);
    let flows = |more: usize| {
        let before = arrived(&server, 5000).len();
        wait_until("allowed markers arrive", || {
            (arrived(&server, 5000).len() >= before + more).then_some(())
        });
    };
    flows(20);
    for _ in 0..3 {
        let before = [daemon.rule_frames(UPDATES), daemon.reason("default-drop", "frames")];
        assert!(before[0] > 10 && before[1] > 10, "{before:?}");
        daemon.kill9();
        flows(20);
        let (mode, _) = daemon.attached("lan0").expect("it stays attached");
        assert_eq!(mode, program.0);
        daemon.run();
        let log = daemon.last_log();
        assert!(log.contains("adopted generation"), "{log}");
        assert!(log.contains("adopted lan0: it was protected all the time"), "{log}");
        let status = daemon.status();
        assert_eq!(status["policy"]["generation"], generation);
        assert_eq!(status["policy"]["revision"], 1);
        let after = [daemon.rule_frames(UPDATES), daemon.reason("default-drop", "frames")];
        assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}");
        flows(20);
    }
    assert_eq!(arrived(&server, 5001), Vec::<u64>::new(), "refused markers arrived");
    let markers: BTreeSet<u64> = arrived(&server, 5000).into_iter().collect();
    let (first, last) = (markers.first().expect("some"), markers.last().expect("some"));
    assert_eq!(markers.len() as u64, last - first + 1, "allowed markers were lost");
}

#[test]
fn sigterm_leaves_the_policy_in_force() {
    let lab = Lab::gateway("sigterm");
    let server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    assert!(reach(80) && !reach(81));
    let ended = daemon.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("what is in force stays in force"), "{ended:?}");
    assert!(!daemon.path("enforcer.sock").exists());
    assert!(daemon.attached("lan0").is_some());
    assert!(reach(80) && !reach(81));
    let status = daemon.cli(&["status"]);
    assert_eq!(status.code, Some(5), "{status:?}");

    daemon.run();
    assert!(reach(80) && !reach(81));
    assert!(!server.heard(&format!("tcp 81 {DEV1}")), "{:?}", server.calls());
}

#[test]
fn a_restart_with_another_policy_file_replaces_the_policy_without_a_gap() {
    let lab = Lab::gateway("edit");
    let server = Server::start(&lab.internet, "x", &[], &[5000, 5001, 5002]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let _stream = programs::stream(&lab.dev1, UPDATES, &[5000, 5001, 5002]);
    wait_until("it flows", || (arrived(&server, 5000).len() > 10).then_some(()));
    daemon.write("policy.toml", &POLICY.replace("udp/5000\"", "udp/5000-5001\""));
    daemon.restart();
    assert_eq!(daemon.status()["policy"]["revision"], 2);
    wait_until("the new rule holds", || (arrived(&server, 5001).len() > 10).then_some(()));
    assert_eq!(arrived(&server, 5002), Vec::<u64>::new());
    let markers = arrived(&server, 5000);
    assert!(markers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{markers:?}");
}

/// Kernel objects of ours that run in, or are attached to, an interface of this daemon.
fn ours(kind: &str) -> BTreeSet<u64> {
    let named = |name: &str| name.starts_with("dispatch") || name.starts_with("classify");
    let maps = ["IMAGE", "RULES", "CONTROL", "REASONS", "GENERATIONS", "BUDGETS", "SEEN"];
    let list = bpftool(kind).into_iter().filter(|object| match kind {
        "prog" => object["name"].as_str().is_some_and(named),
        "map" => object["name"].as_str().is_some_and(|name| maps.contains(&name)),
        _ => object["type"] == "xdp",
    });
    list.filter_map(|object| object["id"].as_u64()).collect()
}

#[track_caller]
fn assert_gone(daemon: &Daemon<'_>, program: u64) {
    assert_eq!(daemon.attached("lan0"), None);
    let left: Vec<_> = walk(daemon.bpffs());
    assert!(left.is_empty(), "{left:?}");
    assert!(!daemon.bpffs().exists());
    assert!(!daemon.path("enforcer.sock").exists(), "the socket is still there");
    // The kernel frees programs and maps a moment after their last user has gone.
    wait_until("the dispatcher is freed", || (!ours("prog").contains(&program)).then_some(()));
    wait_until("its links are freed", || {
        let links = bpftool("link");
        links.iter().all(|link| link["prog_id"] != program).then_some(())
    });
}

fn walk(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

#[test]
fn detach_leaves_nothing_behind() {
    let lab = Lab::gateway("detach");
    let server = Server::start(&lab.internet, "x", &[81], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let objects = held(&daemon);
    assert!(objects.len() > 5, "{objects:?}");
    let program = daemon.attached("lan0").expect("attached").1;
    assert!(ours("prog").contains(&program));
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    let detached = daemon.cli(&["detach"]);
    assert!(detached.success(), "{detached:?}");
    assert!(detached.stdout.contains("nothing is enforced any more"), "{detached:?}");
    let ended = daemon.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_gone(&daemon, program);
    assert_freed(&objects);
    assert!(programs::connects(&lab.dev1, UPDATES, 81));
    assert!(server.heard(&format!("tcp 81 {DEV1}")), "{:?}", server.calls());

    // Without a daemon: after a crash.
    daemon.run();
    let objects = held(&daemon);
    let program = daemon.attached("lan0").expect("attached").1;
    daemon.kill9();
    let detached = daemon.detach();
    assert!(detached.success(), "{detached:?}");
    assert_gone(&daemon, program);
    assert_freed(&objects);
    // And once more, where nothing is.
    let detached = daemon.detach();
    assert!(detached.success(), "{detached:?}");
    assert_eq!(detached.stdout, "nothing was attached\n");
    assert_gone(&daemon, program);
}

/// Ids of the maps that the daemon's programs use.
fn held(daemon: &Daemon<'_>) -> BTreeSet<u64> {
    let pid = u64::from(daemon.process().pid());
    let uses = |object: &serde_json::Value| {
        let pids = object["pids"].as_array().into_iter().flatten();
        pids.into_iter().any(|user| user["pid"] == pid)
    };
    let maps = bpftool("map").into_iter().filter(|map| uses(map));
    let ids: BTreeSet<u64> = maps.filter_map(|map| map["id"].as_u64()).collect();
    if ids.is_empty() { ours("map") } else { ids }
}

#[track_caller]
fn assert_freed(objects: &BTreeSet<u64>) {
    // Where the kernel does not say who uses a map, other tests' maps are among these.
    let Some(oldest) = objects.first() else { return };
    wait_until("a map is freed", || {
        let left = bpftool("map").iter().filter_map(|map| map["id"].as_u64()).collect();
        (objects.difference(&left).next() == Some(oldest) || objects.difference(&left).count() > 5)
            .then_some(())
    });
}
