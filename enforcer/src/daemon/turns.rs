//! The work that the daemon's loop waits for, and work that must not block it.
//!
//! Reading, compiling and loading a policy of a million prefixes takes seconds. It runs on a separate
//! thread. Meanwhile the loop continues: it attaches lost links again, answers questions and sends the
//! service manager signs of life. Further orders wait, as does anything else that would replace the policy.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::notifications::Notice;
use super::probe::Probe;
use super::systemd::Manager;
use crate::control::{Input, Queue, Rank};

/// How often the links are polled for a detachment: one system call for each link.
pub(super) const LINK_POLL: Duration = Duration::from_millis(20);
/// How often everything is checked against the kernel.
const TICK: Duration = Duration::from_secs(1);

/// A unit of work for the loop.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Turn {
    /// A check of everything is due.
    Tick,
    /// A check of the links is due.
    PollLinks,
    /// A notification from the kernel.
    Hear(Notice),
    /// Frames for the program in the kernel.
    Probe(Probe),
    /// A request; `None` once no more can arrive.
    Request(Option<(Rank, Input)>),
}

/// Sources of the loop's work.
pub(super) struct Turns {
    inputs: Queue,
    notices: mpsc::Receiver<Notice>,
    probes: mpsc::Receiver<Probe>,
    tick: Interval,
    link_poll: Interval,
    /// The service manager, once everything is in force.
    manager: Option<Manager>,
    /// When the offloaded work began, if any is running.
    pub(super) busy_since: Option<Instant>,
}

impl Turns {
    pub(super) fn new(
        inputs: Queue,
        notices: mpsc::Receiver<Notice>,
        probes: mpsc::Receiver<Probe>,
    ) -> Self {
        let every = |time| {
            let mut every = interval(time);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            every
        };
        let (tick, link_poll) = (every(TICK), every(LINK_POLL));
        Self { inputs, notices, probes, tick, link_poll, manager: None, busy_since: None }
    }

    /// Sets the service manager.
    pub(super) fn report_to(&mut self, manager: Manager) {
        self.manager = Some(manager);
    }

    /// Sends a status text to the service manager.
    pub(super) fn say(&self, text: &str) {
        if let Some(manager) = &self.manager {
            manager.status(text);
        }
    }

    /// Whether offloaded work is running: what is in force is about to be replaced.
    pub(super) fn is_busy(&self) -> bool {
        self.busy_since.is_some()
    }

    /// The next unit of work; no order while offloaded work is running. Cancel safe: nothing is lost.
    pub(super) async fn next(&mut self) -> Turn {
        self.live();
        let (is_busy, inputs) = (self.is_busy(), &mut self.inputs);
        let input = async {
            if is_busy { Some(inputs.next_question().await) } else { inputs.next().await }
        };
        tokio::select! {
            _ = self.tick.tick() => Turn::Tick,
            Some(notice) = self.notices.recv() => Turn::Hear(notice),
            _ = self.link_poll.tick() => Turn::PollLinks,
            Some(probe) = self.probes.recv() => Turn::Probe(probe),
            input = input => Turn::Request(input),
        }
    }

    /// Sends a sign of life. It stops if offloaded work does not end, because no order can be carried out
    /// then.
    fn live(&mut self) {
        if let Some(manager) = &mut self.manager {
            manager.alive(self.busy_since);
        }
    }
}
