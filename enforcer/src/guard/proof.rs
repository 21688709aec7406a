//! Proof that drivers run the program: frames that an interface received against runs of the program.
//!
//! Two counters that cannot lie together: the driver counts what it received, and the program counts, itself,
//! what it was given. Where the first one grows and the second one does not, frames pass without being
//! judged, whatever the kernel says is attached. Drivers differ in what they count, so only "none at all"
//! is held against them: the two numbers are never expected to be equal.

use std::time::Duration;

/// Frames without a single run that prove that the program does not run.
const FRAMES: u64 = 16;
/// Time that must lie between the first frame without a run and the conclusion: a driver may count a frame
/// before it hands it on.
const GRACE: Duration = Duration::from_millis(200);

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing has arrived since the program was attached.
    Idle,
    /// The program has run for what arrived.
    Seen,
    /// Something arrived after the program was attached or its interface changed, and it has not run yet.
    Doubted,
    /// Frames arrive, and it does not run.
    Refuted,
}

impl Proof {
    /// Whether nothing speaks against it that what arrives is judged.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Self::Idle | Self::Seen)
    }

    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Seen => "seen",
            Self::Doubted => "doubted",
            Self::Refuted => "refuted",
        }
    }
}

/// The counters of one interface at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Frames received, by the driver's statistics. To be read before `runs`.
    pub(crate) received: u64,
    /// Runs of the program.
    pub(crate) runs: u64,
}

/// Follows the counters of one interface.
#[derive(Clone, Debug)]
pub(crate) struct Prover {
    proof: Proof,
    /// `None` before the first look after an attachment: what had arrived before nothing judged.
    last: Option<Counters>,
    /// Frames received when the program was last seen to run, or was attached.
    answered: u64,
    /// Frames received since then, when it is proven that they were not judged.
    unanswered: u64,
    /// When the first frame after that was noticed.
    since: Option<Duration>,
    /// The program was attached, or the interface has changed, since it was last seen to run.
    fresh: bool,
}

/// A program that was just attached, or adopted.
impl Default for Prover {
    fn default() -> Self {
        let proof = Proof::Idle;
        Self { proof, last: None, answered: 0, unanswered: 0, since: None, fresh: true }
    }
}

impl Prover {
    /// What is known.
    pub(crate) fn proof(&self) -> Proof {
        self.proof
    }

    /// The counters at the last look.
    pub(crate) fn counters(&self) -> Counters {
        self.last.unwrap_or_default()
    }

    /// The interface has changed: a driver may have lost its program. One frame without a run is enough for a
    /// doubt from now on, until the program is seen again.
    pub(crate) fn renew(&mut self) {
        self.fresh = true;
    }

    /// Whether frames have arrived without a run, since the last repair or the last run, enough to prove that
    /// the program does not run.
    pub(crate) fn fails(&self) -> bool {
        self.proof == Proof::Refuted && self.unanswered >= FRAMES
    }

    /// Begins to count again after a repair. What was refuted stays so until the program is seen to run.
    pub(crate) fn mended(&mut self) {
        *self = Self { proof: self.proof, ..Self::default() };
    }

    /// Whether a look soon may tell more than one in a second.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh || self.since.is_some()
    }

    /// Takes a look; `time` is of a clock that does not step.
    pub(crate) fn look(&mut self, now: Counters, time: Duration) -> Proof {
        let Some(last) = self.last.replace(now) else {
            self.answered = now.received;
            return self.proof;
        };
        let ran = now.runs != last.runs;
        let restarted = now.received < last.received;
        if ran {
            (self.proof, self.since, self.fresh) = (Proof::Seen, None, false);
            (self.answered, self.unanswered) = (now.received, 0);
            return self.proof;
        }
        if restarted {
            // The driver began to count again: nothing can be concluded from the difference.
            (self.answered, self.unanswered, self.since) = (now.received, 0, None);
            return self.proof;
        }
        let unanswered = now.received - self.answered;
        if unanswered == 0 {
            return self.proof;
        }
        let since = *self.since.get_or_insert(time);
        if time.saturating_sub(since) >= GRACE {
            if unanswered >= FRAMES {
                (self.proof, self.unanswered) = (Proof::Refuted, unanswered);
            } else if self.fresh && self.proof != Proof::Refuted {
                self.proof = Proof::Doubted;
            }
        }
        self.proof
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these counters, a step of 100 ms apart; what is known after each.
    fn looks(prover: &mut Prover, from: u64, counters: &[(u64, u64)]) -> Vec<Proof> {
        let look = |(step, &(received, runs)): (u64, &(u64, u64))| {
            prover.look(Counters { received, runs }, Duration::from_millis(step * 100))
        };
        (from..).zip(counters).map(look).collect()
    }

    /// A prover that has looked once.
    fn at(received: u64, runs: u64) -> Prover {
        let mut prover = Prover::default();
        prover.look(Counters { received, runs }, Duration::ZERO);
        prover
    }

    #[test]
    fn a_program_that_runs_is_seen() {
        let mut prover = at(100, 7);
        assert_eq!(prover.proof(), Proof::Idle);
        assert_eq!(looks(&mut prover, 0, &[(100, 7), (101, 8)]), [Proof::Idle, Proof::Seen]);
        // Silence proves nothing either way, and neither does a driver that does not count what is dropped.
        assert_eq!(looks(&mut prover, 2, &[(101, 8), (101, 900)]), [Proof::Seen; 2]);
    }

    #[test]
    fn what_arrived_before_it_was_attached_is_not_held_against_it() {
        let mut prover = Prover::default();
        let found = looks(&mut prover, 0, &[(5000, 0), (5000, 0), (5000, 0), (5000, 0)]);
        assert_eq!(found, [Proof::Idle; 4]);
    }

    #[test]
    fn frames_without_a_run_refute_it() {
        let mut prover = at(0, 0);
        let found = looks(&mut prover, 0, &[(0, 5), (15, 5), (16, 5), (31, 5), (31, 5)]);
        // 16 frames beside no run, and 200 ms.
        assert_eq!(found, [Proof::Seen, Proof::Seen, Proof::Seen, Proof::Refuted, Proof::Refuted]);
        assert_eq!(looks(&mut prover, 5, &[(40, 6)]), [Proof::Seen]);
    }

    #[test]
    fn few_frames_without_a_run_refute_nothing_that_was_seen() {
        let mut prover = at(0, 0);
        let found = looks(&mut prover, 0, &[(0, 5), (15, 5), (15, 5), (15, 5), (15, 5)]);
        assert_eq!(found, [Proof::Seen; 5]);
        // But they add up, however slowly they come.
        assert_eq!(looks(&mut prover, 500, &[(16, 5)]), [Proof::Refuted]);
    }

    #[test]
    fn after_a_change_one_frame_is_enough_for_a_doubt() {
        let mut prover = at(0, 0);
        looks(&mut prover, 0, &[(9, 9)]);
        prover.renew();
        assert!(prover.is_fresh());
        let found = looks(&mut prover, 1, &[(9, 9), (10, 9), (10, 9), (10, 9)]);
        assert_eq!(found, [Proof::Seen, Proof::Seen, Proof::Seen, Proof::Doubted]);
        assert!(!Proof::Doubted.holds());
        assert_eq!(looks(&mut prover, 5, &[(10, 10)]), [Proof::Seen]);
        assert!(!prover.is_fresh());
    }

    #[test]
    fn a_program_that_never_ran_is_doubted_and_then_refuted() {
        let mut prover = at(1000, 0);
        let found = looks(&mut prover, 0, &[(1001, 0), (1001, 0), (1001, 0), (1100, 0)]);
        assert_eq!(found, [Proof::Idle, Proof::Idle, Proof::Doubted, Proof::Refuted]);
    }

    #[test]
    fn a_repair_has_to_be_seen_to_help() {
        let mut prover = at(0, 0);
        looks(&mut prover, 0, &[(20, 0), (20, 0), (20, 0)]);
        assert!(prover.fails());
        prover.mended();
        assert!(!prover.fails());
        // Silence is no proof: what was refuted once stays so.
        let found = looks(&mut prover, 10, &[(20, 0), (30, 0), (30, 0), (30, 0)]);
        assert_eq!(found, [Proof::Refuted; 4]);
        assert!(!prover.fails(), "ten frames more are too few for another repair");
        looks(&mut prover, 20, &[(36, 0)]);
        assert!(prover.fails());
        assert_eq!(looks(&mut prover, 21, &[(37, 1)]), [Proof::Seen]);
        assert!(!prover.fails());
    }

    #[test]
    fn statistics_that_begin_again_prove_nothing() {
        let mut prover = at(1_000_000, 0);
        let found = looks(&mut prover, 0, &[(1_000_000, 1), (3, 1), (3, 1), (3, 1)]);
        assert_eq!(found, [Proof::Seen; 4]);
        let found = looks(&mut prover, 4, &[(19, 1), (19, 1), (19, 1)]);
        assert_eq!(found[2], Proof::Refuted);
    }
}
