//! kill -9, SIGTERM, restart, and detach.
use std::collections::BTreeSet;

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

/// Ids of this daemon's programs in the kernel, and of the maps that they use.
#[track_caller]
fn held(daemon: &Daemon<'_>) -> [BTreeSet<u64>; 2] {
    let generation = daemon.status()["policy"]["generation"].clone();
    let classifier = daemon.pin(&format!("gen-{generation}/program")).display().to_string();
    let dispatcher = daemon.attached("lan0").expect("it is attached").1.to_string();
    let [mut programs, mut maps] = [const { BTreeSet::new() }; 2];
    for (by, which, name) in [("id", dispatcher, "dispatch"), ("pinned", classifier, "classify")] {
        let program = bpftool(&["prog", "show", by, &which]);
        assert!(program["name"].as_str().is_some_and(|n| n.starts_with(name)), "{program}");
        programs.extend(program["id"].as_u64());
        let ids = program["map_ids"].as_array().expect("a list");
        maps.extend(ids.iter().filter_map(serde_json::Value::as_u64));
    }
    assert!(maps.len() > 5, "{maps:?}");
    [programs, maps]
}

#[track_caller]
fn assert_gone(daemon: &Daemon<'_>, [programs, maps]: &[BTreeSet<u64>; 2]) {
    assert_eq!(daemon.attached("lan0"), None);
    assert!(!daemon.bpffs().exists(), "there are still pins");
    assert!(!daemon.path("enforcer.sock").exists(), "the socket is still there");
    // The kernel frees objects a moment after their last user is gone.
    for (kind, field, ours) in
        [("link", "prog_id", programs), ("prog", "id", programs), ("map", "id", maps)]
    {
        wait_until("the kernel frees it", || {
            let list = bpftool(&[kind, "list"]);
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            let left = list.iter().filter_map(|object| object[field].as_u64());
            left.into_iter().all(|id| !ours.contains(&id)).then_some(())
        });
    }
}

#[test]
fn detach_leaves_nothing_behind() {
    let lab = Lab::gateway("detach");
    let server = Server::start(&lab.internet, "x", &[81], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let objects = held(&daemon);
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    let detached = daemon.cli(&["detach"]);
    assert!(detached.success(), "{detached:?}");
    assert!(detached.stdout.contains("nothing is enforced any more"), "{detached:?}");
    let ended = daemon.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_gone(&daemon, &objects);
    assert!(programs::connects(&lab.dev1, UPDATES, 81));
    server.wait_for(&format!("tcp 81 {DEV1}"));

    // Without a daemon: after a crash.
    daemon.run();
    let objects = held(&daemon);
    daemon.kill9();
    let detached = daemon.detach();
    assert!(detached.success(), "{detached:?}");
    assert_gone(&daemon, &objects);
    // And again, when nothing is left.
    let detached = daemon.detach();
    assert!(detached.success(), "{detached:?}");
    assert_eq!(detached.stdout, "nothing was attached\n");
    assert_gone(&daemon, &objects);
}
