//! Conditions with a deadline.
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; successful waits are far shorter.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Polls until there is an answer; panics if `what` has not happened by the deadline.
///
/// # Panics
/// When it takes longer than [`DEADLINE`].
#[track_caller]
pub fn wait_until<T>(what: &str, answer: impl FnMut() -> Option<T>) -> T {
    match wait_for(DEADLINE, answer) {
        Some(answer) => answer,
        None => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Polls until there is an answer or the time is over.
pub fn wait_for<T>(time: Duration, mut answer: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(answer) = answer() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        pause(Duration::from_millis(5));
    }
}

/// Sleeps.
#[expect(clippy::disallowed_methods, reason = "the one place where tests sleep, between two looks")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
