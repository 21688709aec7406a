//! A running `enforcer tail --json`, and the lines that it writes.
use std::time::Duration;

use serde_json::Value;

use super::{
    Finished, Process,
    wait::{DEADLINE, wait_for},
};

/// A running `enforcer tail --json`.
#[derive(Debug)]
pub struct Tail {
    process: Process,
}

impl Tail {
    pub(super) fn new(process: Process) -> Self {
        Self { process }
    }

    /// The lines so far.
    ///
    /// # Panics
    /// When one is not JSON.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let text = self.process.stdout();
        // The last one may not be complete yet.
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        text.get(..end).unwrap_or_default().lines().map(line).collect()
    }

    /// Waits for a line that satisfies the predicate.
    ///
    /// # Panics
    /// When none comes by the deadline, with the lines that came.
    #[track_caller]
    pub fn wait_for(&self, what: &str, likes: impl Fn(&Value) -> bool) -> Value {
        let found = wait_for(DEADLINE, || self.lines().into_iter().find(&likes));
        found.unwrap_or_else(|| panic!("no line with {what}: {:?}", self.lines()))
    }

    /// Waits for a line about a destination.
    ///
    /// # Panics
    /// When none comes by the deadline.
    #[track_caller]
    pub fn wait_for_dest(&self, address: &str) -> Value {
        self.wait_for(address, |line| line["dest_ip"] == address)
    }

    /// Waits for its end.
    pub fn finish(self, time: Duration) -> Finished {
        self.process.finish(time)
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
