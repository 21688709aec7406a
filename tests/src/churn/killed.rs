//! kill -9 at random moments, while policies and live changes are made.

use std::time::Duration;

use super::world::{Beside, State};
use super::{KILLS, begin};
use crate::harness::wait::pause;
use crate::harness::{Daemon, Lab, number};
use enforcer_testkit::random::Random;

/// Longest time from a request to the end, in microseconds: about twice what a request takes.
const LATEST: u64 = 150_000;

#[test]
fn kill_9_at_any_moment_leaves_one_whole_policy() {
    let lab = Lab::gateway("killed");
    let seed = number("ENFORCER_CHURN_SEED", 2);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (mut daemon, operator, mut timeline) = begin(&lab, daemon);
    let (mut answered, mut taken) = (0, 0);
    for _ in 0..number("ENFORCER_CHURN_KILLS", KILLS) {
        let old = timeline.state().clone();
        let policy = random.below(2) == 0;
        let change = random.pick(&Beside::ALL);
        let new = if policy { old.other() } else { old.toggled(change) };
        let moment = Duration::from_micros(random.below(if policy { LATEST } else { LATEST / 5 }));
        // Kill it during its start too, while it cleans up after the previous one.
        let again = random.once_in(4).then(|| Duration::from_micros(random.below(2 * LATEST)));
        timeline.disturb(false, |_| {
            let asked = std::thread::scope(|scope| {
                let asked = scope.spawn(|| match policy {
                    true => operator.apply(&new, None),
                    false => operator.toggle(&old, change),
                });
                pause(moment);
                daemon.kill9();
                asked.join().expect("an operator does not panic")
            });
            if let Some(moment) = again {
                daemon.begin();
                pause(moment);
                daemon.kill9();
            }
            daemon.run();
            let now = State::of(&operator.status());
            assert!(now.is(&old) || now.is(&new), "neither {old:?} nor {new:?}: {now:?}");
            // An answered change must be kept.
            assert!(asked.is_err() || now.is(&new), "answered, and lost: {new:?}, {now:?}");
            answered += u32::from(asked.is_ok());
            taken += u32::from(now.is(&new));
            (vec![new], now)
        });
        timeline.stream().go_on();
    }
    let tally = timeline.judge();
    println!("{answered} answered, {taken} in force after the restart: {tally:?}");
}
