//! A start that is killed at its bpf(2) calls, at every one that finds another kernel or disk than the one
//! before, and then the next one.
use std::fs;

use serde_json::json;

use super::POLICY;
use super::backstop::{forbidden, install, leaked};
use crate::harness::{
    Daemon, Lab, Sniffer,
    frames::Flood,
    kernel::bpftool,
    programs::{self, Server},
    seccomp::{self, Ends},
    topology::{LAN0_MAC, UPDATES},
};

#[test]
fn a_first_start_that_ends_at_any_system_call() {
    let lab = Lab::gateway("killed-start");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    install(&daemon);
    let sniffer = Sniffer::start(&lab.internet, "eth0");
    let flood = Flood::start(&lab.dev1, "eth0", vec![forbidden(LAN0_MAC, [198, 51, 100, 10])]);
    let ends = Ends::default();
    let link = format!("link-{}", lab.gw.index("lan0"));
    let last = loop {
        let (survived, watch) = seccomp::start(&mut daemon, &ends);
        if survived {
            break watch;
        }
        let end = ends.count();
        let is_pinned = daemon.pinned().contains(&link);
        assert_eq!(daemon.attached("lan0").is_some(), is_pinned, "end {end}");
        flood.wait_for(30);
        assert_eq!(leaked(&sniffer), 0, "end {end}");
        daemon.run();
        whole(&daemon, &link, end);
        assert!(programs::connects(&lab.dev1, UPDATES, 80), "end {end}");
        assert_eq!(leaked(&sniffer), 0, "end {end}");
        // As after a boot: first shut, then without anything of ours.
        daemon.kill9();
        assert!(daemon.backstop("remove").success());
        install(&daemon);
        fs::remove_dir_all(daemon.bpffs()).expect("it was pinned");
        fs::remove_file(daemon.path("state").join("policy.json")).expect("it was saved");
    };
    let is_there = |command: u32| ends.commands(command) > 0;
    assert!(is_there(seccomp::LINK_CREATE) && is_there(seccomp::MAP_UPDATE_ELEM), "{ends:?}");
    assert!(ends.pins("/link-") > 0, "{ends:?}");
    println!(
        "killed at {} moments of {} calls of a first start, {} frames sent",
        ends.count(),
        last.calls(),
        flood.sent()
    );
    daemon.kill9();
    fs::remove_dir_all(daemon.bpffs()).expect("it was pinned");
    assert!(daemon.backstop("remove").success());
    flood.wait_for(100);
    assert!(leaked(&sniffer) > 0, "this test would have seen a leak");
}

/// One link, which has the attached program, one generation, and every table.
#[track_caller]
fn whole(daemon: &Daemon<'_>, link: &str, end: usize) {
    let mut pinned = daemon.pinned();
    let status = daemon.status();
    let mut expected = enforcer_common::abi::map::LASTING.map(str::to_owned).to_vec();
    expected.extend([link.to_owned(), format!("gen-{}", status["policy"]["generation"])]);
    expected.sort_unstable();
    pinned.sort_unstable();
    assert_eq!(pinned, expected, "end {end}");
    let pin = daemon.pin(link).display().to_string();
    let attached = daemon.attached("lan0").expect("it is attached").1;
    assert_eq!(bpftool(&["link", "show", "pinned", &pin])["prog_id"], json!(attached));
    assert_eq!(status["interfaces"][0]["backstop"], "armed", "end {end}");
}
