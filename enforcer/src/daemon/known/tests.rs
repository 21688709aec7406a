use super::*;

const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// 2026-11-29, about noon.
const NOON: i64 = 1_795_953_600 * SECOND;

/// A machine through several boots.
struct Machine {
    known: Known,
    boot: String,
    doubt: Option<Doubt>,
}

impl Machine {
    fn new() -> Self {
        Self { known: Known::NOTHING, boot: "first".into(), doubt: None }
    }

    /// Reads its clocks, and returns the latest and the earliest time, both relative to the wall clock.
    fn look(&mut self, wall: i64, boot: i64, trusted: bool) -> (i64, i64) {
        let reading = Reading { wall, boot, uptime: boot, trusted };
        (self.known, self.doubt) = self.known.look(&self.boot, reading);
        let (latest, earliest) = self.known.offsets();
        (latest.saturating_add(boot).saturating_sub(wall), earliest + boot - wall)
    }

    fn reboot(&mut self) {
        self.boot.push('\'');
    }

    /// Whether the latest time is unbounded.
    fn is_unbounded(&self, wall: i64, boot: i64) -> bool {
        self.known.at(boot).latest > wall / SECOND + 100 * 365 * 86_400
    }
}

#[test]
fn a_clock_that_is_right_is_the_time() {
    let mut machine = Machine::new();
    assert_eq!(machine.look(NOON, HOUR, true), (0, 0));
    assert_eq!(machine.look(NOON + SECOND, HOUR + SECOND, true), (0, 0));
    // A step ahead, as after a server's first answer.
    assert_eq!(machine.look(NOON + DAY, HOUR + 2 * SECOND, true), (0, 0));
    machine.reboot();
    assert_eq!(machine.look(NOON + 2 * DAY, SECOND, true), (0, 0));
    assert_eq!(machine.doubt, None);
    // The stored record equals the one in memory.
    let text = serde_json::to_string(&machine.known).unwrap();
    assert_eq!(serde_json::from_str::<Known>(&text).unwrap(), machine.known);
}

#[test]
fn nothing_that_ended_lives_again_in_1970() {
    for trusted in [false, true] {
        let mut machine = Machine::new();
        machine.look(NOON, HOUR, true);
        machine.reboot();
        machine.look(5 * SECOND, 5 * SECOND, trusted);
        // Not before the recorded time; and whatever lets frames pass is assumed to have ended.
        assert_eq!(machine.known.at(5 * SECOND).earliest, NOON / SECOND + 5);
        assert!(machine.is_unbounded(5 * SECOND, 5 * SECOND));
        assert_eq!(machine.doubt, Some(Doubt::Behind(NOON)));
        assert!(machine.known.is_held());
        // Nor if the daemon is restarted in between.
        machine.look(9 * SECOND, 9 * SECOND, trusted);
        assert!(machine.is_unbounded(9 * SECOND, 9 * SECOND));
        // The clock is corrected, by hand or by a server.
        let (latest, _) = machine.look(NOON + DAY, 20 * SECOND, trusted);
        assert_eq!(latest, 0);
        assert!(machine.known.at(20 * SECOND).earliest >= NOON / SECOND + 20);
    }
}

#[test]
fn the_first_start_in_1970_knows_that_it_is_later() {
    let mut machine = Machine::new();
    machine.look(0, SECOND, false);
    assert!(machine.is_unbounded(0, SECOND));
    assert_eq!(machine.known.at(SECOND).earliest, EARLIEST / SECOND + 1);
}

#[test]
fn a_day_ahead_ends_what_allows_and_not_what_denies() {
    let mut machine = Machine::new();
    machine.look(NOON, HOUR, true);
    machine.reboot();
    // A minute later, by an unsynchronised clock.
    let ahead = NOON + DAY + 60 * SECOND;
    assert_eq!(machine.look(ahead, 60 * SECOND, false), (0, NOON + 60 * SECOND - ahead));
    assert_eq!(machine.doubt, Some(Doubt::Unsynchronised));
    // The server answers: the state is as if the clock had always been right.
    assert_eq!(machine.look(NOON + 61 * SECOND, 61 * SECOND, true), (0, 0));
    assert_eq!(machine.doubt, None);
}

#[test]
fn a_step_ahead_while_it_runs_is_said() {
    let mut machine = Machine::new();
    machine.look(NOON, HOUR, true);
    let (latest, earliest) = machine.look(NOON + DAY, HOUR + SECOND, false);
    assert_eq!((latest, earliest), (0, SECOND - DAY));
    assert_eq!(machine.doubt, Some(Doubt::Ahead(DAY - SECOND)));
    // Back again: the latest time stays, because it may be right.
    let (latest, earliest) = machine.look(NOON + 2 * SECOND, HOUR + 2 * SECOND, false);
    assert_eq!((latest, earliest), (DAY - SECOND, 0));
    assert_eq!(machine.doubt, Some(Doubt::Behind(DAY - SECOND)));
    assert!(!machine.known.is_held());
}

#[test]
fn a_step_back_while_it_runs_changes_nothing() {
    let mut machine = Machine::new();
    machine.look(NOON, HOUR, true);
    // By hand, or by a server that is wrong by more than an hour.
    for trusted in [false, true] {
        let (latest, earliest) = machine.look(NOON - DAY, HOUR + 5 * SECOND, trusted);
        assert_eq!((latest, earliest), (DAY + 5 * SECOND, DAY + 5 * SECOND));
        assert_eq!(machine.doubt, Some(Doubt::Behind(DAY + 5 * SECOND)));
    }
}

#[test]
fn a_small_step_back_of_a_synchronised_clock_lets_time_stand_still() {
    let mut machine = Machine::new();
    machine.look(NOON, HOUR, true);
    for second in 1..=40 {
        let wall = NOON - 30 * SECOND + second * SECOND;
        let now = machine.look(wall, HOUR + second * SECOND, true);
        let still = (30 - second).max(0) * SECOND;
        assert_eq!(now, (still, still), "{second}");
        assert_eq!(machine.doubt, None);
    }
}

#[test]
fn a_machine_that_nothing_synchronises_ends_what_allows_on_time() {
    let mut machine = Machine::new();
    assert_eq!(machine.look(NOON, HOUR, false).0, 0);
    // Microseconds back and forth, as when two clocks are read in turn.
    for (step, shift) in [(1, -3_000), (2, 4_000), (3, 0)] {
        let (latest, _) = machine.look(NOON + step * SECOND + shift, HOUR + step * SECOND, false);
        assert!((0..10_000).contains(&latest), "{latest}");
        assert_eq!(machine.doubt, Some(Doubt::Unsynchronised));
    }
    // The hardware clock counts seconds.
    machine.reboot();
    assert!(machine.look(NOON + 3 * SECOND, SECOND, false).0 <= 2 * SECOND);
    assert!(!machine.known.is_held());
    // A change that was in force when the last boot ended is not known to be over.
    machine.reboot();
    let (latest, earliest) = machine.look(NOON + DAY, SECOND, false);
    assert!(latest == 0 && earliest < -DAY, "{latest} {earliest}");
}

#[test]
fn the_time_of_sleep_passes() {
    let mut machine = Machine::new();
    machine.look(NOON, HOUR, false);
    // Eight hours later by both clocks.
    let (latest, _) = machine.look(NOON + 8 * HOUR, 9 * HOUR, false);
    assert_eq!((latest, machine.doubt), (0, Some(Doubt::Unsynchronised)));
}

#[test]
fn without_an_id_of_the_boot_a_restart_adds_no_time() {
    let mut machine = Machine { boot: "?1".into(), ..Machine::new() };
    machine.look(NOON, HOUR, true);
    machine.boot = "?2".into();
    let (latest, earliest) = machine.look(NOON + SECOND, HOUR + SECOND, false);
    assert_eq!((latest, earliest), (0, -SECOND));
}

#[test]
fn what_is_left_of_a_time_is_left_after_a_reboot() {
    // Ten minutes from second 1,000 on, of which four had passed.
    assert_eq!(resumed(1_600, 1_240, 7), 367);
    assert_eq!(resumed(1_600, 1_700, 7), 7);
}
