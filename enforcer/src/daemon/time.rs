//! The machine's clocks, and the stored record of them; conclusions are drawn in [`super::known`].

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use log::{info, warn};

use super::active::Active;
use super::known::{Doubt, Known, MADE_UP, Reading, resumed};
use super::state::{Live, Stamp, State};
use crate::clock::clock;
use crate::config;
use crate::host;
use crate::image::Time;
use crate::policy::live::LiveChange;
use crate::policy::remark::nearest_end;
use crate::policy::{End, Policy};
use crate::policy::{Group, Rule};

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;
/// How often the record is stored: after a power cut, a live change with a duration may last longer by as
/// much.
const KEEP: i64 = 60 * SECOND;
/// For tests, which must not set the machine's clock: a file with the readings to use instead.
///
/// Its lines: `shift SECONDS` of the wall clock, `synchronised yes`, `boot ID`, `uptime SECONDS` of that
/// boot.
const TEST: &str = "ENFORCER_TEST_CLOCK";

/// The clocks of the machine, and what is known of the time.
pub(super) struct Clock {
    trust: config::Clock,
    boot_id: String,
    known: Known,
    /// When the record was last stored, on the boot clock.
    kept: i64,
    /// A problem of the clock to report.
    doubt: Option<Doubt>,
    /// How far the clock jumped ahead, while no source confirms it.
    ahead: Option<i64>,
    /// The boot of the previous daemon, and the last reading of its clock.
    before: Stamp,
    file: PathBuf,
    test: Option<PathBuf>,
}

/// The wall clock and the boot clock at one moment, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dates {
    wall: i64,
    boot: i64,
}

impl Dates {
    /// An end as a date; one on the boot clock is converted by the machine's clock.
    pub(super) fn date(self, end: End) -> i64 {
        match end {
            End::Wall(end) => end,
            End::Boot(end) => self.wall.saturating_add(end).saturating_sub(self.boot),
        }
    }

    /// Seconds left until an end on the boot clock.
    pub(super) fn left(self, end: End) -> Option<u64> {
        match end {
            End::Wall(_) => None,
            End::Boot(end) => Some(end.saturating_sub(self.boot).max(0).unsigned_abs()),
        }
    }

    /// Whether both give about the same date for every end: two readings of the clocks may differ by a
    /// second.
    pub(super) fn is_like(self, other: Self) -> bool {
        let offset = |dates: Self| dates.wall.saturating_sub(dates.boot);
        offset(self).abs_diff(offset(other)) <= 1
    }

    /// The policy with every end converted to a date that a document may contain.
    pub(super) fn dated(self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        // A clock without a battery starts in 1970, where no policy may end.
        let date = |end| End::Wall(nearest_end(self.date(end)));
        for rule in policy.every_rule_mut() {
            rule.until = rule.until.map(date);
        }
        let groups = policy.groups.iter_mut().filter_map(|group| group.timed.as_mut());
        for timed in groups.chain(&mut policy.unknown.timed) {
            timed.until = date(timed.until);
        }
        policy
    }
}

impl Clock {
    /// Reads the stored record and the clocks.
    pub(super) fn open(state: &State, trust: config::Clock) -> Self {
        let known = state.known().unwrap_or(Known::NOTHING);
        let test = std::env::var_os(TEST).map(PathBuf::from);
        if let Some(test) = &test {
            warn!("{TEST} is set: the clock is what {} says", test.display());
        }
        let mut clock = Self {
            trust,
            boot_id: boot_id(test.as_deref()),
            before: Stamp { boot: known.boot_id.clone(), at: known.boot / SECOND },
            known,
            kept: i64::MIN,
            doubt: None,
            ahead: None,
            file: state.known_file(),
            test,
        };
        clock.look();
        clock
    }

    /// Reads the clocks.
    pub(super) fn look(&mut self) {
        let reading = self.read();
        let (known, doubt) = self.known.look(&self.boot_id, reading);
        (self.known, self.doubt) = (known, doubt);
        match doubt {
            Some(Doubt::Ahead(step)) => {
                warn!("the clock went {} ahead at once", span(step / SECOND));
                self.ahead = Some(self.ahead.unwrap_or(0).saturating_add(step));
            }
            None if self.ahead.take().is_some() => info!("the clock is synchronised"),
            _ => {}
        }
    }

    fn read(&self) -> Reading {
        let test = self.test.as_deref();
        let shift = said(test, "shift").and_then(|shift| shift.parse::<i64>().ok()).unwrap_or(0);
        let synchronised = match said(test, "synchronised") {
            Some(word) => word == "yes",
            None => synchronised(),
        };
        let boot = clock(libc::CLOCK_BOOTTIME);
        let uptime = said(test, "uptime").and_then(|uptime| uptime.parse::<i64>().ok());
        Reading {
            wall: clock(libc::CLOCK_REALTIME).saturating_add(shift.saturating_mul(SECOND)),
            boot,
            uptime: uptime.map_or(boot, |uptime| uptime.saturating_mul(SECOND)),
            trusted: synchronised || self.trust == config::Clock::Trusted,
        }
    }

    /// Makes the next check store the record, so that the present change need not wait for it.
    pub(super) fn keep_soon(&mut self) {
        self.kept = i64::MIN;
    }

    /// For the kernel: see [`crate::dataplane::Dataplane::set_clock`].
    pub(super) fn offsets(&self) -> (i64, i64) {
        self.known.offsets()
    }

    /// The present time.
    pub(super) fn now(&self) -> Time {
        self.known.at(clock(libc::CLOCK_BOOTTIME))
    }

    /// Whether the latest time is unbounded.
    pub(super) fn is_held(&self) -> bool {
        self.known.is_held()
    }

    /// Whether the record is due to be stored.
    pub(super) fn is_due(&self) -> bool {
        self.known.boot >= self.kept.saturating_add(KEEP)
    }

    /// The record, to be stored now.
    pub(super) fn keep(&mut self) -> Known {
        self.look();
        self.kept = self.known.boot;
        self.known.clone()
    }

    /// Whether the clock is known to be right.
    pub(super) fn is_sure(&self) -> bool {
        self.doubt.is_none()
    }

    /// This boot, and a reading of its clock.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp { boot: self.boot_id.clone(), at: clock(libc::CLOCK_BOOTTIME) / SECOND }
    }

    /// Stored live changes without those that have ended. Durations are converted to this boot's clock.
    pub(super) fn resume(&self, live: Live) -> Vec<LiveChange> {
        let (now, Live { changes, stamp }) = (self.now(), live);
        let mut changes: Vec<LiveChange> = changes.into_iter().map(LiveChange::mended).collect();
        let stamp = stamp.unwrap_or_default();
        if stamp.boot != self.boot_id {
            let same = self.before.boot == stamp.boot;
            let last = if same { self.before.at.max(stamp.at) } else { stamp.at };
            for change in &mut changes {
                change.deadline = change.deadline.map(|deadline| resumed(deadline, last, now.boot));
            }
        }
        changes.retain(|change| {
            let over = change.has_ended(now);
            if over {
                info!("ended: {change} ({})", change.id);
            }
            !over
        });
        changes
    }

    /// A change for display: with the seconds left and the expected end by the machine's clock.
    pub(super) fn told(&self, change: &LiveChange) -> LiveChange {
        let mut change = change.clone();
        if let Some(deadline) = change.deadline.take() {
            let left = deadline.saturating_sub(self.now().boot).max(0);
            change.left = Some(left.unsigned_abs());
            change.until = Some(self.date(End::Boot(deadline)));
        }
        change
    }

    /// An end as a date; one on the boot clock is converted by the machine's clock.
    pub(super) fn date(&self, end: End) -> i64 {
        self.dates().date(end)
    }

    /// Seconds left until an end on the boot clock.
    pub(super) fn left(&self, end: End) -> Option<u64> {
        self.dates().left(end)
    }

    /// The clocks at this moment, to convert ends elsewhere.
    pub(super) fn dates(&self) -> Dates {
        Dates { wall: self.read().wall / SECOND, boot: self.now().boot }
    }

    /// A warning about the clock, and what to do about it.
    pub(super) fn warning(&self, active: &Active) -> Option<String> {
        const SET: &str = "set it: `timedatectl set-ntp true`, or chrony or ntpd";
        let by_date = by_date(&active.policy);
        match (self.doubt?, self.ahead) {
            (Doubt::Behind(by), _) => {
                let last = wall_time(self.known.last()).unwrap_or_default();
                let what = if self.is_held() {
                    "until it is right, rules with `until` that allow, and modes that let frames \
                     pass until a date, are over, and what drops frames until a date goes on"
                } else {
                    "ends by date follow what was known before it went back"
                };
                Some(format!(
                    "the clock is {} behind {last}, which has been: {what}; times by `--for` are as \
                     they were; {SET}; if it is right now, stop the daemon, remove {} and start it",
                    span(by / SECOND),
                    self.file.display()
                ))
            }
            (Doubt::Ahead(step), None) | (_, Some(step)) => Some(format!(
                "the clock went {} ahead at once, and nothing confirms that it is right: rules with \
                 `until` that allow end by it, deny rules and quarantines do not; {SET}",
                span(step / SECOND)
            )),
            (Doubt::Unsynchronised, None) if by_date > 0 => Some(format!(
                "nothing synchronises the clock, and {by_date} of the rules and modes in force end by \
                 date: what allows ends by this clock, what denies goes on until it is synchronised; \
                 {SET}, or clock = \"trusted\" in enforcer.toml if something else keeps it right"
            )),
            (Doubt::Unsynchronised, None) => None,
        }
    }
}

/// Number of rules and modes that end by date.
fn by_date(policy: &Policy) -> usize {
    let is_date = |end: &End| matches!(end, End::Wall(_));
    let ends = |rule: &&Rule| rule.until.as_ref().is_some_and(is_date);
    // A device's own group repeats the rules of its group.
    let repeats = |group: &Group, rule: &Rule| group.device_of.is_some() && !rule.live;
    let of = |group: &Group| {
        let rules = group.every_rule().filter(|rule| !repeats(group, rule));
        rules.filter(ends).count()
    };
    let floods = policy.interfaces.iter().flat_map(|interface| &interface.accept);
    let rules = policy.groups.iter().map(of).sum::<usize>() + floods.filter(ends).count();
    let modes = policy.groups.iter().map(|group| group.timed).chain([policy.unknown.timed]);
    rules + modes.flatten().filter(|timed| is_date(&timed.until)).count()
}

/// `9m 58s`, `2h 5m`, `3d 1h`.
pub(super) fn span(seconds: i64) -> String {
    crate::policy::live::span(seconds.unsigned_abs())
}

/// Seconds since 1970-01-01 UTC as RFC 3339.
pub(super) fn wall_time(seconds: i64) -> Option<String> {
    let time = Timestamp::from_second(seconds).ok()?;
    Some(crate::events::Time::from(time).to_string())
}

/// The id of this boot, without dashes.
fn boot_id(test: Option<&Path>) -> String {
    let id = said(test, "boot").or_else(host::boot_id);
    id.unwrap_or_else(|| format!("{MADE_UP}{}", clock(libc::CLOCK_BOOTTIME)))
}

/// The value of a keyword in the file for tests.
fn said(test: Option<&Path>, word: &str) -> Option<String> {
    let text = fs::read_to_string(test?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    line.map(str::to_owned)
}

/// Whether the kernel reports its clock as synchronised. If the kernel may not be asked: no.
fn synchronised() -> bool {
    // SAFETY: all zeros is a valid value: it has only numbers, and `modes` requests no change.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `timex` is writable and outlives the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    state != -1 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0
}
