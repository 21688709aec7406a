//! A wall clock that is wrong, and that is corrected. A file supplies the daemon's clock, because no
//! test may change this machine's clock. The kernel program uses the time that the daemon sets.
use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::UPDATES,
    wait::pause,
    wait_until,
};

const DAY: i64 = 86_400;

/// The machine's clock, in seconds since 1970-01-01 UTC.
pub(super) fn now() -> i64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    i64::try_from(time.as_secs()).expect("it is not that late")
}

/// A time in a policy's format.
fn date(seconds: i64) -> String {
    // Days to a civil date: Howard Hinnant, chrono-Compatible Low-Level Date Algorithms.
    let (days, rest) = (seconds.div_euclid(DAY) + 719_468, seconds.rem_euclid(DAY));
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Tells a daemon on `ENFORCER_TEST_CLOCK` how many seconds its clock is off, and whether something synchronises it.
#[track_caller]
pub(super) fn tell(daemon: &Daemon<'_>, shift: i64, synchronised: bool, boot: u32) {
    let synchronised = if synchronised { "yes" } else { "no" };
    // This machine may have been up for days; a boot of the test has not.
    let boot = format!("boot b{boot}\nuptime 10\n");
    let text = format!("shift {shift}\nsynchronised {synchronised}\n{boot}");
    // Whole: the daemon reads it meanwhile.
    let path = daemon.write("clock.new", &text);
    fs::rename(path, daemon.path("clock")).expect("it was written");
}

/// A daemon whose clock a file tells.
struct Clocked<'a> {
    daemon: Daemon<'a>,
    boot: u32,
}

impl<'a> Clocked<'a> {
    /// Starts one with a clock that is off by `shift` seconds.
    #[track_caller]
    fn start(lab: &'a Lab, policy: &str, shift: i64, synchronised: bool) -> Self {
        let mut clocked = Self { daemon: Daemon::prepare(&lab.gw, &["lan0"], policy), boot: 0 };
        clocked.set(shift, synchronised);
        clocked.run();
        clocked
    }

    #[track_caller]
    fn run(&mut self) {
        let file = format!("ENFORCER_TEST_CLOCK={}", self.daemon.path("clock").display());
        self.daemon.start_by(&["env", &file]);
    }

    /// Sets the clock, and waits until a running daemon has read it.
    #[track_caller]
    fn set(&self, shift: i64, synchronised: bool) {
        tell(&self.daemon, shift, synchronised, self.boot);
    }

    /// Removes everything from the kernel, like a shutdown, and starts another boot.
    #[track_caller]
    fn reboot(&mut self, shift: i64, synchronised: bool) {
        self.leave();
        self.boot += 1;
        self.set(shift, synchronised);
        self.run();
    }

    #[track_caller]
    fn leave(&mut self) {
        let ended = self.daemon.terminate();
        assert!(ended.success(), "{ended:?}");
        fs::remove_dir_all(self.daemon.bpffs()).expect("its pins can be removed");
    }

    /// The warnings of `status`.
    #[track_caller]
    fn warnings(&self) -> String {
        self.daemon.status()["warnings"].to_string()
    }

    /// Remaining seconds of the first live change.
    #[track_caller]
    fn left(&self) -> u64 {
        let status = self.daemon.status();
        status["live"][0]["left"].as_u64().unwrap_or_else(|| panic!("{status}"))
    }

    #[track_caller]
    fn change(&self, words: &[&str]) -> Value {
        self.daemon.json(words).remove(0)
    }
}

/// Long enough for two checks of the daemon.
fn looks() {
    pause(Duration::from_millis(2_500));
}

const OPEN: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
default = "pass"
"#;

#[test]
fn a_time_is_as_long_as_it_says_while_the_clock_is_put_right() {
    let lab = Lab::gateway("clock-for");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    // In 1970, until a time server answers.
    let clocked = Clocked::start(&lab, OPEN, 60 - now(), false);
    assert!(reach(80));
    let made = clocked.change(&["deny", "beds", UPDATES, "tcp/80", "--for", "10m"]);
    assert_eq!(made["change"]["for"], 600, "{made}");
    clocked.change(&["mode", "beds", "quarantine", "--for", "20s"]);
    assert!(!reach(80) && !reach(81));
    clocked.set(0, true);
    looks();
    assert!(!reach(80) && !reach(81), "a step of the clock ends nothing");
    let left = clocked.left();
    assert!((570..=600).contains(&left), "{left}");
    wait_until("the mode ends in its time", || reach(81).then_some(()));
    assert!(!reach(80));
}

#[test]
fn a_time_given_a_day_ahead_is_over_when_it_is_over() {
    let lab = Lab::gateway("clock-ahead");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    let clocked = Clocked::start(&lab, super::POLICY, DAY, false);
    clocked.change(&["allow", "beds", UPDATES, "tcp/81", "--for", "8s"]);
    clocked.set(0, true);
    looks();
    assert!(reach(81), "before its end");
    pause(Duration::from_secs(7));
    assert!(!reach(81), "it is over, whatever the clock says now");
    wait_until("the daemon forgets it", || {
        (clocked.daemon.status()["live"] == serde_json::json!([])).then_some(())
    });
}

#[test]
fn a_time_survives_a_restart_exactly_and_a_reboot_as_what_is_left() {
    let lab = Lab::gateway("clock-boot");
    let _server = Server::start(&lab.internet, "x", &[81], &[]);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    let mut clocked = Clocked::start(&lab, super::POLICY, 0, true);
    clocked.change(&["allow", "beds", UPDATES, "tcp/81", "--for", "10m"]);
    let first = clocked.left();
    clocked.daemon.kill9();
    pause(Duration::from_secs(4));
    clocked.run();
    let second = clocked.left();
    assert!((first - 30..=first - 4).contains(&second), "{first}, then {second}");
    // A day off: the remaining time is unchanged, however long the machine was off, and whatever
    // its clock says.
    clocked.leave();
    pause(Duration::from_secs(6));
    clocked.boot += 1;
    clocked.set(-20 * DAY, false);
    clocked.run();
    let third = clocked.left();
    assert!((second - 4..=second).contains(&third), "{second}, then {third}");
    assert!(reach(81));
}

#[test]
fn what_ended_does_not_live_again_in_1970_and_is_said() {
    let lab = Lab::gateway("clock-1970");
    let _server = Server::start(&lab.internet, "x", &[80, 81, 82, 83], &[]);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    // tcp/80 permanently, 81 until an hour ago, 82 until tomorrow; 83 is denied until tomorrow.
    let (ago, tomorrow) = (date(now() - 3_600), date(now() + DAY));
    let policy = format!(
        r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [
  {{ to = "{UPDATES}", service = ["tcp/80", "tcp/83"] }},
  {{ to = "{UPDATES}", service = "tcp/81", until = {ago} }},
  {{ to = "{UPDATES}", service = "tcp/82", until = {tomorrow} }},
]
deny = [{{ to = "{UPDATES}", service = "tcp/83", until = {tomorrow} }}]
"#
    );
    let open = || [80, 81, 82, 83].map(reach);
    let mut clocked = Clocked::start(&lab, &policy, 0, true);
    assert_eq!(open(), [true, false, true, false]);
    assert!(!clocked.warnings().contains("clock"), "{}", clocked.warnings());

    clocked.reboot(100 - now(), false);
    // Tomorrow may already be past.
    assert_eq!(open(), [true, false, false, false]);
    let warnings = clocked.warnings();
    assert!(warnings.contains("behind") && warnings.contains("clock.json"), "{warnings}");
    // Not even if the kernel reports 1970 as synchronised.
    clocked.set(100 - now(), true);
    looks();
    assert_eq!(open(), [true, false, false, false]);
    // `--for` needs no clock; a date that cannot be kept is refused.
    let refused =
        clocked.daemon.cli(&["allow", "beds", UPDATES, "tcp/81", "--until", &date(now() + DAY)]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--for"), "{refused:?}");
    clocked.change(&["allow", "beds", UPDATES, "tcp/81", "--for", "1h"]);
    assert!(reach(81));

    clocked.set(0, true);
    wait_until("tomorrow is to come", || (open() == [true, true, true, false]).then_some(()));
    assert!(!clocked.warnings().contains("clock"), "{}", clocked.warnings());
}

#[test]
fn two_days_ahead_ends_no_deny_rule_and_is_said() {
    let lab = Lab::gateway("clock-deny");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    let tomorrow = date(now() + DAY);
    let policy = format!(
        r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
default = "pass"
deny = [{{ to = "{UPDATES}", service = "tcp/80", until = {tomorrow} }}]
"#
    );
    let mut clocked = Clocked::start(&lab, &policy, 2 * DAY, false);
    assert!(!reach(80) && reach(81), "the clock is only a claim");
    let warnings = clocked.warnings();
    assert!(warnings.contains("nothing synchronises the clock"), "{warnings}");
    let quarantined =
        clocked.change(&["mode", "beds", "quarantine", "--until", &date(now() + 2 * DAY + 4)]);
    assert!(quarantined["notes"].to_string().contains("until that is certain"), "{quarantined}");
    pause(Duration::from_secs(6));
    assert!(!reach(81), "nor a quarantine");
    clocked.change(&["revoke", quarantined["change"]["id"].as_str().expect("an id")]);

    // The setting for a clock that is kept right by other means.
    clocked.leave();
    clocked.daemon.setting("clock = \"trusted\"");
    clocked.run();
    assert!(reach(80) && reach(81));
    assert!(!clocked.warnings().contains("clock"), "{}", clocked.warnings());
}

#[test]
fn a_step_while_it_runs_moves_no_end_and_is_said() {
    let lab = Lab::gateway("clock-step");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let reach = |port| programs::connects(&lab.dev1, UPDATES, port);
    let hour = date(now() + 3_600);
    let policy = format!(
        r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [{{ to = "{UPDATES}", service = ["tcp/80", "tcp/81"], until = {hour} }}]
deny = [{{ to = "{UPDATES}", service = "tcp/80", until = {hour} }}]
"#
    );
    let clocked = Clocked::start(&lab, &policy, 0, true);
    assert!(!reach(80) && reach(81));
    // Back a week, which would prolong allow rules.
    for synchronised in [false, true] {
        clocked.set(-7 * DAY, synchronised);
        wait_until("it is said", || clocked.warnings().contains("behind").then_some(()));
        looks();
        assert!(!reach(80) && reach(81));
    }
    // Ahead, without confirmation.
    clocked.set(DAY, false);
    wait_until("what allows is over", || (!reach(81)).then_some(()));
    assert!(!reach(80));
    let warnings = clocked.warnings();
    assert!(warnings.contains("ahead at once"), "{warnings}");
    clocked.set(0, true);
    wait_until("the clock is right", || reach(81).then_some(()));
    assert!(!reach(80));
    assert!(!clocked.warnings().contains("clock"), "{}", clocked.warnings());
}
