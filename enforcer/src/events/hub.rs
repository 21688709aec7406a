//! Distributes events to their followers.
//!
//! Each follower has a bounded queue of its own. A follower that does not read loses its own events, is told
//! how many with a `lost` event, and delays no other: publishing never waits. An event is stored once, however
//! many followers have it queued.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;

pub use super::backlog::Published;
use super::backlog::{Backlog, Section};
use super::event::{Event, Head, Lost, ReasonName, SLOW_READER};
pub use super::seats::{Full, MAX_EACH, MAX_FOLLOWERS, MAX_ROOT, Seat};
use super::seats::{Place, Seats};
use super::subscription::Subscription;
use super::time::Time;

/// Most events that wait for one follower.
pub const MAX_LINES: usize = 1024;
/// Most events that wait for the daemon's own file: more than a second's worth at 50,000 a second, for a busy
/// disk.
pub const MAX_FILE_LINES: usize = 65_536;
/// Past events that are examined before yielding to other tasks.
const GLANCE: usize = 256;

/// Where the daemon publishes events and connections follow them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    followers: Mutex<Followers>,
    seats: Seats,
}

#[derive(Debug, Default)]
struct Followers {
    queues: Vec<Arc<Queue>>,
    past: Backlog,
    closed: bool,
}

#[derive(Debug)]
struct Queue {
    wants: Subscription,
    /// Most lines that wait.
    most: usize,
    /// Lines that this follower missed since it connected.
    missed: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Arc<Published>>,
    /// Missed lines that this follower was not told of yet.
    lost: u64,
    /// What the missed lines were about, for the `lost` event.
    generation: u64,
    revision: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl Hub {
    /// A hub without followers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is a follower.
    pub fn is_followed(&self) -> bool {
        !lock(&self.0.followers).queues.is_empty()
    }

    /// Number of followers.
    #[cfg(test)]
    pub(crate) fn followers(&self) -> usize {
        lock(&self.0.followers).queues.len()
    }

    /// Sends an event to every follower that wants it, and keeps it. Never waits for one.
    pub fn publish(&self, event: Event) {
        let mut followers = lock(&self.0.followers);
        let wanted = |queue: &&Arc<Queue>| queue.wants.filter.matches(&event);
        let wanting: Vec<_> = followers.queues.iter().filter(wanted).cloned().collect();
        let line = Arc::new(Published::new(event, !wanting.is_empty()));
        for queue in wanting {
            queue.push(&line);
        }
        followers.past.keep(line);
    }

    /// Follows from now on, with the past events that the subscription asks for.
    ///
    /// # Errors
    ///
    /// There is no room for another follower of this kind.
    pub fn follow(&self, wants: impl Into<Subscription>, seat: Seat) -> Result<Follower, Full> {
        let wants = wants.into();
        let place = self.0.seats.take(seat)?;
        let most = if seat == Seat::File { MAX_FILE_LINES } else { MAX_LINES };
        let mut followers = lock(&self.0.followers);
        let since = wants.since.unwrap_or(Timestamp::MAX);
        let past = wants.since.map(|time| followers.past.since(time)).unwrap_or_default();
        let state = Mutex::new(State { closed: followers.closed, ..State::default() });
        let queue = Arc::new(Queue { wants, most, missed: Arc::default(), state });
        followers.queues.push(Arc::clone(&queue));
        Ok(Follower { hub: self.clone(), queue, past, since, _place: place })
    }

    /// Ends every stream after its queue: the daemon stops.
    pub fn close(&self) {
        let mut followers = lock(&self.0.followers);
        followers.closed = true;
        for queue in &followers.queues {
            let mut state = lock(&queue.state);
            state.closed = true;
            state.wake();
        }
    }
}

impl Queue {
    fn push(&self, line: &Arc<Published>) {
        let mut state = lock(&self.state);
        // After a loss, wait until half of the queue is read: otherwise a follower that is just
        // too slow would read a line about loss after every event.
        let room = if state.lost > 0 { self.most / 2 } else { self.most };
        if state.lines.len() >= room {
            state.lost += 1;
            self.missed.fetch_add(1, Ordering::Relaxed);
            let Head { generation, revision, .. } = line.event.head();
            (state.generation, state.revision) = (*generation, *revision);
            return;
        }
        state.tell_loss();
        state.lines.push_back(Arc::clone(line));
        state.wake();
    }
}

impl State {
    fn tell_loss(&mut self) {
        if self.lost > 0 {
            let count = std::mem::take(&mut self.lost);
            self.lines.push_back(missing(count, self.generation, self.revision));
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The event that tells a follower how many it has missed.
fn missing(count: u64, generation: u64, revision: u64) -> Arc<Published> {
    let head = Head { time: Time::now(), interface: None, generation, revision };
    let cause = ReasonName::of(SLOW_READER);
    Arc::new(Published::new(Event::Lost(Lost { head, cause, count, frames: None }), true))
}

/// A follower's end.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    queue: Arc<Queue>,
    /// Past events that are still to be sent. They are not copied: if the oldest are removed meanwhile, a
    /// slow reader is told how many.
    past: Section,
    /// Start of the subscription.
    since: Timestamp,
    _place: Place,
}

/// Some events for a follower.
#[derive(Debug)]
pub enum Batch {
    /// Past events; empty if none matched.
    Past(Vec<Arc<Published>>),
    /// New events.
    New(Vec<Arc<Published>>),
}

impl Follower {
    /// Counter of events that this follower missed since it connected, because it did not read them in
    /// time.
    pub fn missed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.queue.missed)
    }

    /// Whether it wants the first bytes of frames.
    pub fn wants_frames(&self) -> bool {
        self.queue.wants.frames
    }

    /// Some of the past events that are still to be sent.
    fn before(&mut self) -> Vec<Arc<Published>> {
        let (mut lines, gone) = lock(&self.hub.0.followers).past.read(&mut self.past, GLANCE);
        let filter = &self.queue.wants.filter;
        let told = (gone > 0).then(|| {
            self.queue.missed.fetch_add(gone, Ordering::Relaxed);
            let next = lines.first().map(|line| line.event.head());
            let (generation, revision) =
                next.map_or((0, 0), |head| (head.generation, head.revision));
            missing(gone, generation, revision)
        });
        lines.retain(|line| line.event.head().time.at >= self.since && filter.matches(&line.event));
        told.into_iter().chain(lines).collect()
    }

    /// The next events, `most` at a time; `None` when the hub is closed and all were taken.
    pub fn poll_next(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Batch>> {
        if !self.past.is_empty() {
            return Poll::Ready(Some(Batch::Past(self.before())));
        }
        let mut state = lock(&self.queue.state);
        if state.lines.is_empty() {
            state.tell_loss();
        }
        let count = state.lines.len().min(most);
        if count > 0 {
            return Poll::Ready(Some(Batch::New(state.lines.drain(..count).collect())));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The same, waiting.
    pub async fn next(&mut self, most: usize) -> Option<Vec<Arc<Published>>> {
        let batch = std::future::poll_fn(|cx| self.poll_next(cx, most)).await?;
        let (Batch::Past(events) | Batch::New(events)) = batch;
        Some(events)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&self.hub.0.followers).queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
    }
}

/// No code here leaves a partial change behind, so a poisoned lock is still valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
