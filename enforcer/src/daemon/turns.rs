//! What the daemon's loop turns for, and work that would hold it up.
//!
//! Reading, compiling and loading a policy of a million prefixes takes seconds. It is done on a thread of its own,
//! and meanwhile the loop goes on: it attaches a link that was cut, answers questions and shows the service
//! manager that it lives. The next order waits, and what would replace the policy that is being replaced.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::core::Core;
use super::explain::Probe;
use super::notifications::Notice;
use super::reconcile::LINK_POLL;
use super::systemd::Manager;
use crate::control::{Input, Queue, Rank};

/// How often the kernel is asked whether all is as it should be.
const TICK: Duration = Duration::from_secs(1);

/// What the loop has to do.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Turn {
    /// A look at everything is due.
    Tick,
    /// A look at the links is due.
    PollLinks,
    /// The kernel says that something has changed.
    Hear(Notice),
    /// The program in the kernel is asked.
    Probe(Probe),
    /// A request; `None` when there will be none any more.
    Request(Option<(Rank, Input)>),
}

/// Where turns come from.
pub(super) struct Turns {
    inputs: Queue,
    notices: mpsc::Receiver<Notice>,
    probes: mpsc::Receiver<Probe>,
    tick: Interval,
    link_poll: Interval,
    /// Whom to show that the loop turns, once all is in force.
    manager: Option<Manager>,
    /// Since when something is done aside.
    busy_since: Option<Instant>,
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

    /// Whom to show that the loop turns.
    pub(super) fn report_to(&mut self, manager: Manager) {
        self.manager = Some(manager);
    }

    /// Says something to the service manager.
    pub(super) fn say(&self, text: &str) {
        if let Some(manager) = &self.manager {
            manager.status(text);
        }
    }

    /// Whether something is done aside: what is in force is about to be replaced.
    pub(super) fn is_busy(&self) -> bool {
        self.busy_since.is_some()
    }

    /// The next turn; no order while something is done aside. May be dropped at any time: nothing is lost.
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

    /// A sign of life. None comes of a loop whose work aside does not end: no order can be carried out any more.
    fn live(&mut self) {
        if let Some(manager) = &mut self.manager {
            manager.alive(self.busy_since);
        }
    }
}

impl Core {
    /// Does what takes long on a thread of its own, and meanwhile what is not an order.
    pub(super) async fn offload<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let mut work = spawn_blocking(work);
        let was_busy = self.turns.busy_since.replace(Instant::now());
        let done = loop {
            let turn = tokio::select! {
                biased;
                done = &mut work => break done,
                turn = self.turns.next() => turn,
            };
            // What a turn asks for may be work of its own.
            Box::pin(self.turn(turn)).await;
        };
        self.turns.busy_since = was_busy;
        match done {
            Ok(done) => done,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        }
    }

    /// Does what a turn asks for; orders to end are the loop's.
    pub(super) async fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Tick => self.tick().await,
            Turn::Hear(notice) => self.hear(notice).await,
            Turn::PollLinks => self.poll_links().await,
            Turn::Probe(probe) => self.probe(probe),
            Turn::Request(Some((rank, input))) => self.answer(rank, input).await,
            Turn::Request(None) => {}
        }
    }
}
