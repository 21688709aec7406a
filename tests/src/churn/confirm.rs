//! The kernel alone withdraws an unconfirmed policy.

use std::time::{Duration, Instant};

use super::begin;
use super::world::State;
use crate::harness::wait::{pause, wait_for};
use crate::harness::{Daemon, Lab};

/// Time to confirm.
const TIME: Duration = Duration::from_secs(5);
/// Tolerance.
const EARLY: Duration = Duration::from_millis(500);
const LATE: Duration = Duration::from_secs(2);

#[test]
fn what_cuts_everything_goes_after_its_time_with_no_daemon_running() {
    let lab = Lab::gateway("deadman");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (mut daemon, _, mut timeline) = begin(&lab, daemon);
    let good = timeline.state().clone();
    let cut = State { cut: true, ..good.clone() };
    let file = daemon.path("policy.toml").display().to_string();
    let begun = Instant::now();
    timeline.disturb(true, |_| {
        daemon.write("policy.toml", &cut.document());
        let applied = daemon.cli(&["apply", "--confirm", "5s", &file]);
        daemon.kill9();
        assert!(applied.success(), "{applied:?}");
        (Vec::new(), cut.clone())
    });
    let killed = Instant::now();
    timeline.disturb(true, |stream| {
        assert_eq!(daemon.cli(&["status"]).code, Some(5), "a daemon answers");
        // Let frames that already passed the gateway arrive.
        pause(EARLY);
        let judged = stream.judged();
        let back = wait_for(2 * TIME, || (stream.judged() != judged).then(Instant::now));
        let back = back.expect("the policy before returns");
        let (early, late) = (back - begun, back - killed);
        println!("back {early:?} after the command, {late:?} after the kill");
        assert!(early > TIME - EARLY && late < TIME + LATE, "{early:?}, {late:?}");
        assert_eq!(daemon.cli(&["status"]).code, Some(5), "a daemon answers");
        assert!(stream.goes_on_within(LATE), "not all devices are back");
        (Vec::new(), good.clone())
    });

    // The file still has the unconfirmed policy.
    daemon.run();
    refused(
        &daemon,
        "revision 2 was not confirmed before the daemon ended: revision 1 is in force",
    );
    daemon.restart();
    refused(&daemon, "is not in force: it was rolled back, or not confirmed");
    timeline.stream().go_on();

    // A start does not wait until the time is over.
    timeline.disturb(false, |_| {
        let applied = daemon.cli(&["apply", "--confirm", "1h", &file]);
        assert!(applied.success(), "{applied:?}");
        daemon.kill9();
        daemon.run();
        (vec![cut], good)
    });
    refused(&daemon, "was not confirmed before the daemon ended: revision 1 is in force");
    println!("{:?}", timeline.judge());
}

/// The first revision is in force, and the daemon says what is not.
#[track_caller]
fn refused(daemon: &Daemon<'_>, warning: &str) {
    let status = daemon.status();
    assert_eq!(status["policy"]["revision"], 1, "{status}");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains(warning), "{warnings}");
}
