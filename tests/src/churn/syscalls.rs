//! Kill at the bpf(2) calls of a change, and of a start that adopts: at every one that finds another kernel or
//! disk than the one before, see [`seccomp`].

use enforcer::control::client::Error;

use super::world::{Beside, State};
use super::{begin, operator::Operator};
use crate::harness::seccomp::{self, Ends, Watch};
use crate::harness::{Daemon, Lab};

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
    let lab = Lab::gateway("killed-restart");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (mut daemon, _, timeline) = begin(&lab, daemon);
    let left = daemon.pinned();
    daemon.kill9();
    let ends = Ends::default();
    let calls = loop {
        let (survived, watch) = seccomp::start(&mut daemon, &ends);
        if survived {
            daemon.kill9();
        }
        let end = ends.count();
        timeline.stream().go_on();
        daemon.run();
        assert_eq!(daemon.pinned(), left, "end {end}");
        let log = daemon.last_log();
        assert!(log.contains("adopted lan0: it was protected all the time"), "end {end}: {log}");
        daemon.kill9();
        if survived {
            break watch.calls();
        }
    };
    let count = ends.count();
    println!("killed at {count} moments of {calls} calls of a restart: {:?}", timeline.judge());
    assert!(count > 0);
}

/// Makes a change again and again, each time with another end, until there is none.
#[track_caller]
fn each(name: &str, new: State, make: impl Fn(&Operator, &State) -> Result<(), Error>) {
    let lab = Lab::gateway(name);
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (mut daemon, operator, mut timeline) = begin(&lab, daemon);
    let old = timeline.state().clone();
    daemon.kill9();
    let mut watch = watched(&mut daemon);
    let (ends, mut kept) = (Ends::default(), 0);
    let calls = loop {
        let (mut survived, mut calls) = (false, 0);
        timeline.disturb(false, |stream| {
            watch.end_at(&ends);
            let made = make(&operator, &new).is_ok();
            survived = watch.spare();
            calls = watch.calls();
            if survived {
                assert!(made, "end {}: it lives, and does not answer", ends.count());
                daemon.kill9();
            } else {
                assert_eq!(daemon.wait().code, None, "the daemon ended by itself");
            }
            // One of the two policies decides, without a daemon.
            stream.go_on();
            watch = watched(&mut daemon);
            let now = State::of(&operator.status());
            assert!(now.is(&old) || now.is(&new), "end {}: {now:?}", ends.count());
            (vec![new.clone()], now)
        });
        no_orphans(&daemon, ends.count());
        if !timeline.state().is(&old) {
            kept += 1;
            let now = timeline.state().clone();
            timeline.change(old.clone(), || back(&operator, &now, &old));
        }
        if survived {
            break calls;
        }
    };
    let (count, tally) = (ends.count(), timeline.judge());
    println!("killed at {count} moments of {calls} calls, {kept} kept: {tally:?}");
    assert!(count > 0);
}

/// Starts a daemon whose calls can be its end.
#[track_caller]
fn watched(daemon: &mut Daemon<'_>) -> Watch {
    let watch = Watch::begin(daemon, None);
    daemon.enforces();
    watch
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
fn no_orphans(daemon: &Daemon<'_>, end: usize) {
    let mut generations = daemon.pinned();
    generations.retain(|name| name.starts_with("gen-"));
    let in_force = daemon.status()["policy"]["generation"].to_string();
    assert_eq!(generations, [format!("gen-{in_force}")], "end {end}");
}
