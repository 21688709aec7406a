//! Kill at every bpf(2) call of a change: strace ends the daemon as it enters the call.

use std::process::Command;

use enforcer::control::client::Error;

use super::world::{Beside, State};
use super::{begin, operator::Operator};
use crate::harness::{Daemon, Lab, Process, lacking, skip, wait_until};

/// More calls than any change makes.
const MOST: u32 = 500;

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

/// Makes a change again and again, each time with one call more before the end, until it makes no
/// call more.
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
    let all = (1..MOST).find(|call| {
        let mut survived = false;
        timeline.disturb(false, |stream| {
            let strace = kill_at(&daemon, *call);
            survived = make(&operator, &new).is_ok();
            // It may wait for a thread that is gone: no signal but this one ends it then.
            drop(strace);
            if survived {
                daemon.kill9();
            } else {
                assert_eq!(daemon.wait().code, None, "the daemon ended by itself");
            }
            // One of the two decides, with nobody there.
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

/// Puts in force what was before.
#[track_caller]
fn back(operator: &Operator, now: &State, old: &State) {
    if now.second != old.second {
        operator.apply(old, None).expect("it is applied");
    }
    for change in &now.beside {
        operator.toggle(now, *change).expect("it is taken back");
    }
}

/// Lets a daemon end as a thread of it enters its bpf(2) call with this number, from 1 on.
#[track_caller]
fn kill_at(daemon: &Daemon<'_>, call: u32) -> Process {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", "trace=bpf"]);
    command.args(["-e", &format!("inject=bpf:signal=KILL:when={call}")]);
    command.args(["-p", &daemon.process().pid().to_string()]);
    let mut strace = Process::spawn(command);
    wait_until("strace is attached", || {
        assert!(strace.is_running(), "strace: {}", strace.stderr());
        strace.stderr().contains("attached").then_some(())
    });
    strace
}

/// Only the generation in force is pinned.
#[track_caller]
fn no_orphans(daemon: &Daemon<'_>, call: u32) {
    let pins = std::fs::read_dir(daemon.pin("")).expect("it is there");
    let names = pins.map(|pin| pin.expect("it can be read").file_name().into_string());
    let generations: Vec<String> =
        names.flatten().filter(|name| name.starts_with("gen-")).collect();
    let in_force = daemon.status()["policy"]["generation"].to_string();
    assert_eq!(generations, [format!("gen-{in_force}")], "call {call}");
}
