//! Kill at every bpf(2) call of a change, and of a start that adopts.

use std::path::Path;

use enforcer::control::client::Error;

use super::world::{Beside, State};
use super::{begin, operator::Operator};
use crate::harness::{Daemon, Lab, lacking, skip, strace};

#[test]
fn a_policy_that_ends_at_any_system_call() {
    let new = State::default().other();
    each("killed-apply", new, |operator, new| operator.apply(new, None));
}

#[test]
fn an_unconfirmed_policy_that_ends_at_any_system_call() {
    let new = State::default().other();
    each("killed-confirm", new, |operator, new| operator.apply(new, Some(3600)));
}

#[test]
fn a_live_change_that_ends_at_any_system_call() {
    let change = Beside::Allow(0, 0);
    let new = State::default().toggled(change);
    each("killed-live", new, |operator, _| operator.toggle(&State::default(), change));
}

/// The policy that a daemon left stays completely in force at each call of the next start: nothing is
/// attached twice.
#[test]
fn a_restart_that_ends_at_any_system_call() {
    const NAME: &str = "killed-restart";
    if !lacking(&["strace"]).is_empty() {
        skip(NAME, "strace is not installed");
        return;
    }
    let lab = Lab::gateway(NAME);
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (mut daemon, _, timeline) = begin(&lab, daemon);
    let left = daemon.pinned();
    daemon.kill9();
    let all = (1..strace::MOST).find(|call| {
        let survived = strace::start(&mut daemon, *call, Path::new("/dev/null"));
        if survived {
            daemon.kill9();
        }
        timeline.stream().go_on();
        daemon.run();
        assert_eq!(daemon.pinned(), left, "call {call}");
        let log = daemon.last_log();
        assert!(log.contains("adopted lan0: it was protected all the time"), "call {call}: {log}");
        daemon.kill9();
        survived
    });
    let all = all.expect("a start makes fewer calls") - 1;
    println!("killed at each of {all} calls of a restart: {:?}", timeline.judge());
    assert!(all > 0);
}

/// Repeats a change, each time killing the daemon one call later, until the change completes.
#[track_caller]
fn each(name: &str, new: State, make: impl Fn(&Operator, &State) -> Result<(), Error>) {
    if !lacking(&["strace"]).is_empty() {
        skip(name, "strace is not installed");
        return;
    }
    let lab = Lab::gateway(name);
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (mut daemon, operator, mut timeline) = begin(&lab, daemon);
    let old = timeline.state().clone();
    let mut kept = 0;
    let all = (1..strace::MOST).find(|call| {
        let mut survived = false;
        timeline.disturb(false, |stream| {
            let strace = strace::kill_at(daemon.process().pid(), *call, Path::new("/dev/null"));
            survived = make(&operator, &new).is_ok();
            // It may wait for a thread that is gone: then only this signal ends it.
            drop(strace);
            if survived {
                daemon.kill9();
            } else {
                assert_eq!(daemon.wait().code, None, "the daemon ended by itself");
            }
            // One of the two policies decides, without a daemon.
            stream.go_on();
            daemon.run();
            let now = State::of(&operator.status());
            assert!(now.is(&old) || now.is(&new), "call {call}: {now:?}");
            (vec![new.clone()], now)
        });
        no_orphans(&daemon, *call);
        if !timeline.state().is(&old) {
            kept += 1;
            let now = timeline.state().clone();
            timeline.change(old.clone(), || back(&operator, &now, &old));
        }
        survived
    });
    let all = all.expect("a change makes fewer calls") - 1;
    println!("killed at each of {all} calls, {kept} kept: {:?}", timeline.judge());
    assert!(all > 0);
}

/// Restores the earlier policy.
#[track_caller]
fn back(operator: &Operator, now: &State, old: &State) {
    if now.second != old.second {
        operator.apply(old, None).expect("it is applied");
    }
    for change in &now.beside {
        operator.toggle(now, *change).expect("it is taken back");
    }
}

/// Only the generation in force is pinned.
#[track_caller]
fn no_orphans(daemon: &Daemon<'_>, call: u32) {
    let mut generations = daemon.pinned();
    generations.retain(|name| name.starts_with("gen-"));
    let in_force = daemon.status()["policy"]["generation"].to_string();
    assert_eq!(generations, [format!("gen-{in_force}")], "call {call}");
}
