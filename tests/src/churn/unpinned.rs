//! Pins, their file system and links that are removed under a stream, with the backstop on.
use std::fs;

use super::{UNPINNED, begin};
use crate::harness::bpf::BpfFs;
use crate::harness::{Daemon, Lab, number, run, wait_until};

#[test]
fn pins_that_go_under_load_let_nothing_through_and_stop_nothing() {
    let lab = Lab::gateway("unpinned");
    let mounted = BpfFs::mount();
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    daemon.pin_below(&mounted);
    assert!(daemon.backstop("install").success());
    let (mut daemon, _, timeline) = begin(&lab, daemon);
    let (all, program) = (daemon.pinned(), daemon.attached("lan0"));
    let link = format!("link-{}", lab.gw.index("lan0"));
    let back = |daemon: &Daemon<'_>| {
        timeline.stream().go_on();
        wait_until("all is pinned again", || (daemon.pinned() == all).then_some(()));
        assert_eq!(daemon.attached("lan0"), program);
    };
    for _ in 0..number("ENFORCER_CHURN_UNPINNED", UNPINNED) {
        for pin in [&link, "GENERATIONS", "gen-1/program"] {
            fs::remove_file(daemon.pin(pin)).expect("it is pinned");
            timeline.stream().go_on();
            wait_until("it is pinned again", || daemon.pin(pin).exists().then_some(()));
        }
        fs::remove_dir_all(daemon.bpffs()).expect("it can be removed");
        back(&daemon);
        mounted.unmount();
        timeline.stream().go_on();
        assert_eq!(daemon.attached("lan0"), program);
        mounted.remount();
        back(&daemon);
    }
    println!("{:?}", timeline.judge());
    // Before the file system is gone for good.
    assert!(daemon.cli(&["detach"]).success());
    daemon.wait();
}

/// The kernel does not notify about a detached link, and the index stays armed until the daemon
/// polls: frames that pass until then are counted, and none passes afterwards.
#[test]
fn nothing_leaks_once_a_link_that_was_detached_is_attached_again() {
    let lab = Lab::gateway("detached");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    assert!(daemon.backstop("install").success());
    let (daemon, _, mut timeline) = begin(&lab, daemon);
    let pin = daemon.pin(&format!("link-{}", lab.gw.index("lan0")));
    let rounds = number("ENFORCER_CHURN_UNPINNED", UNPINNED);
    for round in 1..=rounds {
        timeline.expose(|| {
            run("bpftool", &["link", "detach", "pinned", &pin.display().to_string()]);
            wait_until("it is attached again", || {
                let metrics = daemon.curl("/v1/metrics", &[]).1;
                metrics.contains(&format!("enforcer_reattached_total {round}\n")).then_some(())
            });
            wait_until("it is armed", || {
                (daemon.status()["interfaces"][0]["backstop"] == "armed").then_some(())
            });
        });
        timeline.stream().go_on();
    }
    println!("{rounds} links detached: {:?}", timeline.judge());
}
