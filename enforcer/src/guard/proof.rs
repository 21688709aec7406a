//! Proof that drivers run the program: received frames are compared with runs of the program.
//!
//! The driver counts the frames that it received, and the program counts its own runs. If the first counter
//! grows and the second does not, frames pass without being judged, whatever the kernel reports as
//! attached. Drivers differ in what they count, so only a complete absence of runs counts as evidence: the
//! two numbers are never expected to be equal.

use std::time::Duration;

/// Received frames without a single run that prove that the program does not run.
const FRAMES: u64 = 16;
/// Minimum time between the first frame without a run and the conclusion: a driver may count a frame before
/// it passes it on.
const GRACE: Duration = Duration::from_millis(200);

/// Whether the driver runs the program, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// No frame has arrived since the program was attached.
    Idle,
    /// The program has run for arriving frames.
    Seen,
    /// A frame arrived after the program was attached or its interface changed, and the program has not run
    /// yet.
    Doubted,
    /// Frames arrive, and the program does not run.
    Refuted,
}

impl Proof {
    /// Whether there is no evidence that arriving frames bypass the program.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Self::Idle | Self::Seen)
    }

    /// Name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Seen => "seen",
            Self::Doubted => "doubted",
            Self::Refuted => "refuted",
        }
    }
}

/// Counters of one interface at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Frames received, from the driver's statistics. To be read before `runs`.
    pub(crate) received: u64,
    /// Runs of the program.
    pub(crate) runs: u64,
}

/// Follows the counters of one interface.
#[derive(Clone, Debug)]
pub(crate) struct Prover {
    proof: Proof,
    /// `None` before the first check after an attachment: earlier frames were not judged by the program.
    last: Option<Counters>,
    /// Runs before the frames of the last check were read. A frame that came while the two counters were read is among
    /// these frames only at the next check, but its run is already among the last one's.
    earlier: Option<u64>,
    /// The same for the check that is about to be made.
    begun: Option<u64>,
    /// Frames received when the program was attached or last seen to run.
    answered: u64,
    /// Frames received since then, once it is proven that they were not judged.
    unanswered: u64,
    /// When the first of those frames was noticed.
    since: Option<Duration>,
    /// The program was attached or the interface changed after the program was last seen to run.
    fresh: bool,
}

/// The state for a program that was just attached or adopted.
impl Default for Prover {
    fn default() -> Self {
        let proof = Proof::Idle;
        Self {
            proof,
            last: None,
            earlier: None,
            begun: None,
            answered: 0,
            unanswered: 0,
            since: None,
            fresh: true,
        }
    }
}

impl Prover {
    /// The present state.
    pub(crate) fn proof(&self) -> Proof {
        self.proof
    }

    /// The counters at the last check.
    pub(crate) fn counters(&self) -> Counters {
        self.last.unwrap_or_default()
    }

    /// The interface has changed: the driver may have lost its program. From now on a single frame without
    /// a run is enough for doubt, until the program is seen to run again.
    pub(crate) fn renew(&mut self) {
        self.fresh = true;
    }

    /// Whether enough frames have arrived without a run since the last repair or run to prove that the
    /// program does not run.
    pub(crate) fn fails(&self) -> bool {
        self.proof == Proof::Refuted && self.unanswered >= FRAMES
    }

    /// Restarts the count after a repair. A refuted proof stays refuted until the program is seen to run.
    pub(crate) fn mended(&mut self) {
        *self = Self { proof: self.proof, ..Self::default() };
    }

    /// Whether the next check should come earlier than the usual second.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh || self.since.is_some()
    }

    /// To be called before the frames of the next check are read, with the runs so far.
    pub(crate) fn begin(&mut self, runs: u64) {
        self.begun = Some(runs);
    }

    /// Checks the counters; `time` is from a monotonic clock.
    pub(crate) fn look(&mut self, now: Counters, time: Duration) -> Proof {
        let earlier = self.earlier.replace(self.begun.take().unwrap_or(now.runs));
        let (Some(last), Some(earlier)) = (self.last.replace(now), earlier) else {
            self.answered = now.received;
            return self.proof;
        };
        let ran = now.runs != earlier;
        let restarted = now.received < last.received;
        if ran {
            (self.proof, self.since, self.fresh) = (Proof::Seen, None, false);
            (self.answered, self.unanswered) = (now.received, 0);
            return self.proof;
        }
        if restarted {
            // The driver reset its counter: the difference proves nothing.
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

    /// Checks these counters at intervals of 100 ms, and returns the state after each.
    fn looks(prover: &mut Prover, from: u64, counters: &[(u64, u64)]) -> Vec<Proof> {
        let look = |(step, &(received, runs)): (u64, &(u64, u64))| {
            prover.look(Counters { received, runs }, Duration::from_millis(step * 100))
        };
        (from..).zip(counters).map(look).collect()
    }

    /// A prover after its first check.
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
        // Silence proves nothing either way, and neither does a driver that does not count dropped frames.
        assert_eq!(looks(&mut prover, 2, &[(101, 8), (101, 900)]), [Proof::Seen; 2]);
    }

    #[test]
    fn a_frame_that_came_between_the_two_readings_raises_no_doubt() {
        for fresh in [false, true] {
            // The first check finds frame 6 in the runs alone, the second one in both counters.
            let mut prover = if fresh { Prover::default() } else { at(5, 5) };
            let counters = [(5, 6), (6, 6), (6, 6), (6, 6), (6, 6)];
            for (step, (received, runs)) in (0..).zip(counters) {
                prover.begin(if step == 0 { 5 } else { 6 });
                prover.look(Counters { received, runs }, Duration::from_millis(step * 100));
            }
            assert_eq!(prover.proof(), Proof::Seen);
            // Of what comes after that, nothing is excused.
            for step in 5..8 {
                prover.renew();
                prover.begin(6);
                let counters = Counters { received: 7, runs: 6 };
                prover.look(counters, Duration::from_millis(step * 100));
            }
            assert_eq!(prover.proof(), Proof::Doubted);
        }
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
        // 16 frames without a run, and 200 ms.
        assert_eq!(found, [Proof::Seen, Proof::Seen, Proof::Seen, Proof::Refuted, Proof::Refuted]);
        assert_eq!(looks(&mut prover, 5, &[(40, 6)]), [Proof::Seen]);
    }

    #[test]
    fn few_frames_without_a_run_refute_nothing_that_was_seen() {
        let mut prover = at(0, 0);
        let found = looks(&mut prover, 0, &[(0, 5), (15, 5), (15, 5), (15, 5), (15, 5)]);
        assert_eq!(found, [Proof::Seen; 5]);
        // But they add up, even if they arrive slowly.
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
        // Silence proves nothing: a refuted proof stays refuted.
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
