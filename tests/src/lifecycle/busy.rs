//! Other work while a large policy is compiled and put in force.

use std::time::{Duration, Instant};

use super::POLICY;
use crate::harness::{
    Daemon,
    topology::Lab,
    wait::{pause, wait_until},
};
use crate::hostile::proc_number;
use crate::viewers::feed;

const LARGE: &str = r#"schema = 1
[sets]
feed = { file = "feed.txt" }
[groups.beds]
members = ["00:1b:44/24"]
deny = [{ to = "@feed" }]
allow = [{ to = "198.51.100.10", service = ["udp/5000", "tcp/80"], reason = "CHG-4711" }]
"#;

/// Checks link polling, a query and the next order while the first order takes seconds.
#[test]
fn the_loop_goes_on_while_a_million_prefixes_are_put_in_force() {
    let lab = Lab::gateway("busy");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    daemon.write("feed.txt", &feed(1_000_000));
    let large = daemon.write("large.toml", LARGE).display().to_string();
    let pin = daemon.pin(&format!("link-{}", lab.gw.index("lan0"))).display().to_string();

    let mut apply = daemon.command(&["apply", &large]);
    wait_until("the daemon has it", || daemon.log().contains("large.toml, asked").then_some(()));
    let begun = Instant::now();
    // A second order waits for the first.
    let mut allow = daemon.command(&["allow", "beds", "192.0.2.7", "tcp/1"]);
    let (mut back, mut answered) = (Vec::new(), Vec::new());
    while apply.is_running() {
        lab.gw.run_ok("bpftool", &["link", "detach", "pinned", &pin]);
        let cut = Instant::now();
        wait_until("it is attached again", || daemon.attached("lan0"));
        let time = cut.elapsed();
        let asked = Instant::now();
        let (code, _) = daemon.curl("/v1/status", &[]);
        assert_eq!(code, 200);
        if apply.is_running() {
            back.push(time);
            answered.push(asked.elapsed());
            assert!(allow.is_running(), "orders come one after the other");
        }
        pause(Duration::from_millis(200));
    }
    println!(
        "in {:.1} s: {} links cut, back after {back:?}; status after {answered:?}",
        begun.elapsed().as_secs_f64(),
        back.len()
    );
    assert!(back.len() >= 3, "the loop stood still: {back:?}");
    let applied = apply.finish(Duration::from_secs(10));
    assert!(applied.success(), "{applied:?}");
    let allowed = allow.finish(Duration::from_secs(30));
    assert!(allowed.success(), "{allowed:?}");
    let status = daemon.status();
    assert_eq!(status["policy"]["revision"], 2, "{status}");
    assert_eq!(status["live"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(status["enforcing"], true, "{status}");
}

/// Only names are kept of old policies, and their memory is released.
#[test]
fn the_memory_of_large_policies_is_given_back() {
    let lab = Lab::gateway("memory");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let resident = || proc_number(&daemon, "VmRSS:") / 1024;
    let before = resident();
    let large = daemon.write("large.toml", LARGE).display().to_string();
    let mut most = Vec::new();
    for count in [300_000, 299_999, 299_998, 299_997] {
        daemon.write("feed.txt", &feed(count));
        assert!(daemon.cli(&["apply", &large]).success());
        // The previous generation is removed a second or two later.
        pause(Duration::from_secs(3));
        most.push(resident());
    }
    println!("MiB at the start {before}, with large policies {most:?}");
    // A policy of this size takes about 15 MiB while it is in force.
    assert!(most.iter().all(|now| *now < before + 40), "{before} MiB, then {most:?}");
    let small = daemon.write("small.toml", POLICY).display().to_string();
    assert!(daemon.cli(&["apply", &small]).success());
    wait_until("the memory is given back", || (resident() < before + 12).then_some(()));
}
