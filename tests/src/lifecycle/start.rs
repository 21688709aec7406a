//! A start that is killed at any of its bpf(2) calls, and then the next one.
use std::fs;

use serde_json::json;

use super::POLICY;
use super::backstop::{forbidden, install, leaked};
use crate::harness::{
    Daemon, Lab, Sniffer,
    frames::Flood,
    kernel::bpftool,
    lacking,
    programs::{self, Server},
    skip, strace,
    topology::{LAN0_MAC, UPDATES},
};

#[test]
fn a_first_start_that_ends_at_any_system_call() {
    const NAME: &str = "killed-start";
    if !lacking(&["strace"]).is_empty() {
        skip(NAME, "strace is not installed");
        return;
    }
    let lab = Lab::gateway(NAME);
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    install(&daemon);
    let sniffer = Sniffer::start(&lab.internet, "eth0");
    let flood = Flood::start(&lab.dev1, "eth0", vec![forbidden(LAN0_MAC, [198, 51, 100, 10])]);
    let (calls, mut ends, mut unpinned) = (daemon.path("calls"), Vec::new(), 0);
    for call in 1..strace::MOST {
        let survived = strace::start(&mut daemon, call, &calls);
        if survived {
            break;
        }
        let link = format!("link-{}", lab.gw.index("lan0"));
        let is_pinned = daemon.pinned().contains(&link);
        assert_eq!(daemon.attached("lan0").is_some(), is_pinned, "call {call}");
        let log = fs::read_to_string(&calls).expect("strace writes it");
        let last = log.lines().rfind(|line| line.contains("bpf(")).expect("a call").to_owned();
        unpinned += u32::from(last.contains("BPF_OBJ_PIN") && last.contains("/link-"));
        ends.push(last);
        flood.wait_for(30);
        assert_eq!(leaked(&sniffer), 0, "call {call}");
        daemon.run();
        whole(&daemon, &link, call);
        assert!(programs::connects(&lab.dev1, UPDATES, 80), "call {call}");
        assert_eq!(leaked(&sniffer), 0, "call {call}");
        // As after a boot: first shut, then without any of our objects.
        daemon.kill9();
        assert!(daemon.backstop("remove").success());
        install(&daemon);
        fs::remove_dir_all(daemon.bpffs()).expect("it was pinned");
        fs::remove_file(daemon.path("state").join("policy.json")).expect("it was saved");
    }
    let is_there = |what: &str| ends.iter().any(|line| line.contains(what));
    assert!(is_there("BPF_LINK_CREATE") && is_there("BPF_MAP_UPDATE_ELEM"), "{ends:#?}");
    assert_eq!(unpinned, 1, "{ends:#?}");
    println!(
        "killed at each of {} calls of a first start, {} frames sent",
        ends.len(),
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
fn whole(daemon: &Daemon<'_>, link: &str, call: u32) {
    let mut pinned = daemon.pinned();
    let status = daemon.status();
    let mut expected = enforcer_common::abi::map::LASTING.map(str::to_owned).to_vec();
    expected.extend([link.to_owned(), format!("gen-{}", status["policy"]["generation"])]);
    expected.sort_unstable();
    pinned.sort_unstable();
    assert_eq!(pinned, expected, "call {call}");
    let pin = daemon.pin(link).display().to_string();
    let attached = daemon.attached("lan0").expect("it is attached").1;
    assert_eq!(bpftool(&["link", "show", "pinned", &pin])["prog_id"], json!(attached));
    assert_eq!(status["interfaces"][0]["backstop"], "armed", "call {call}");
}
