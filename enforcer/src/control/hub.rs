//! Events to those who follow.
//!
//! Each follower has a bounded queue of its own. One that does not read loses its own lines, is
//! told how many with a `lost` event, and delays nobody: publishing never waits. A line is kept once, however
//! many followers it waits for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use jiff::{Timestamp, ZonedDateTime};

use super::backlog::{Backlog, Line, Section};
pub use super::seats::{Full, MAX_EACH, MAX_FOLLOWERS, MAX_ROOT, Seat};
use super::seats::{Place, Seats};
use super::subscription::Subscription;
use crate::api::{Detail, Event, LOST};

/// Most lines that wait for one follower on the socket.
pub const MAX_LINES: usize = 1024;
/// Most lines that wait for a sink of the daemon: more than a second of 50,000 a second, for a disk that is busy.
pub const MAX_SINK_LINES: usize = 65_536;
/// The `reason` of a `lost` event about a follower that did not read.
pub const SLOW_READER: &str = "slow-reader";

/// Bytes that are handed to a connection at once.
const CHUNK: usize = 64 << 10;
/// Lines of the past that are looked at before others have their turn.
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
    /// Lines that this follower missed since it came.
    missed: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Arc<Line>>,
    /// Lines that this follower missed and was not told of.
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

    /// Whether anybody follows.
    pub fn is_followed(&self) -> bool {
        !lock(&self.0.followers).queues.is_empty()
    }

    /// How many follow.
    #[cfg(test)]
    pub(crate) fn followers(&self) -> usize {
        lock(&self.0.followers).queues.len()
    }

    /// Sends an event to every follower who wants it, and keeps it. Never waits for one.
    pub fn publish(&self, event: &Event) {
        self.publish_with(event, None);
    }

    /// The same, with the beginning of the frame, base64, for those who want that too.
    pub fn publish_with(&self, event: &Event, frame: Option<&str>) {
        let line = Arc::new(Line::new(event, frame));
        let mut followers = lock(&self.0.followers);
        for queue in &followers.queues {
            if queue.wants.filter.matches(event) {
                queue.push(&line, event);
            }
        }
        followers.past.keep(line);
    }

    /// Follows from now on, and from the past what is asked for.
    ///
    /// # Errors
    ///
    /// There is no place for one more follower of this kind.
    pub fn follow(&self, wants: impl Into<Subscription>, seat: Seat) -> Result<Follower, Full> {
        let wants = wants.into();
        let place = self.0.seats.take(seat)?;
        let most = if seat == Seat::Sink { MAX_SINK_LINES } else { MAX_LINES };
        let mut followers = lock(&self.0.followers);
        let since = wants.since.unwrap_or(Timestamp::MAX);
        let past = wants.since.map(|time| followers.past.since(time)).unwrap_or_default();
        let state = Mutex::new(State { closed: followers.closed, ..State::default() });
        let queue = Arc::new(Queue { wants, most, missed: Arc::default(), state });
        followers.queues.push(Arc::clone(&queue));
        Ok(Follower { hub: self.clone(), queue, past, since, _place: place })
    }

    /// Ends every stream after what waits in its queue: the daemon stops.
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
    fn push(&self, line: &Arc<Line>, event: &Event) {
        let mut state = lock(&self.state);
        // After a loss, wait until half of the queue is read: otherwise a follower that is just
        // too slow would read a line about loss after every event.
        let room = if state.lost > 0 { self.most / 2 } else { self.most };
        if state.lines.len() >= room {
            state.lost += 1;
            self.missed.fetch_add(1, Ordering::Relaxed);
            state.generation = event.enforcer.generation;
            state.revision = event.enforcer.revision;
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

/// The line that tells a follower what it has missed.
fn missing(count: u64, generation: u64, revision: u64) -> Arc<Line> {
    Arc::new(Line::new(&lost(SLOW_READER, count, generation, revision), None))
}

/// A follower's end: a response body of newline-delimited JSON.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    queue: Arc<Queue>,
    /// What is still to be sent from before. It stays where it is kept: whoever reads it slowly finds the
    /// oldest of it gone, and is told how much.
    past: Section,
    /// From when on.
    since: Timestamp,
    _place: Place,
}

impl Follower {
    /// Lines that this follower missed since it came, because it did not read them in time; it counts on.
    pub fn missed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.queue.missed)
    }

    /// Some of what is still to be sent from before; nothing, if nothing of it is wanted.
    fn before(&mut self) -> Bytes {
        let (lines, gone) = lock(&self.hub.0.followers).past.read(&mut self.past, GLANCE);
        let Subscription { filter, frames, .. } = &self.queue.wants;
        let mut chunk = BytesMut::new();
        if gone > 0 {
            self.queue.missed.fetch_add(gone, Ordering::Relaxed);
            let next = lines.first().and_then(|line| line.event()).unwrap_or_default().enforcer;
            missing(gone, next.generation, next.revision).put(false, &mut chunk);
        }
        for line in lines {
            let is_wanted =
                || filter.takes_all() || line.event().is_some_and(|event| filter.matches(&event));
            if line.time >= self.since && is_wanted() {
                line.put(*frames, &mut chunk);
            }
        }
        chunk.freeze()
    }
}

impl HttpBody for Follower {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.past.is_empty() {
            let chunk = self.before();
            if chunk.is_empty() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let frames = self.queue.wants.frames;
        let mut state = lock(&self.queue.state);
        if state.lines.is_empty() {
            state.tell_loss();
        }
        let mut chunk = BytesMut::new();
        while let Some(line) = state.lines.front() {
            if !chunk.is_empty() && chunk.len() + line.len(frames) > CHUNK {
                break;
            }
            if let Some(line) = state.lines.pop_front() {
                line.put(frames, &mut chunk);
            }
        }
        if !chunk.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&self.hub.0.followers).queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
    }
}

/// RFC 3339 with microseconds and offset, as events carry it.
pub fn timestamp(time: &ZonedDateTime) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()
}

/// What tells a follower that `count` events are missing where it stands, and for what reason.
pub fn lost(reason: &str, count: u64, generation: u64, revision: u64) -> Event {
    Event {
        timestamp: timestamp(&ZonedDateTime::now()),
        event_type: LOST.to_owned(),
        in_iface: None,
        vlan: Vec::new(),
        ether: None,
        src_ip: None,
        src_port: None,
        dest_ip: None,
        dest_port: None,
        proto: None,
        pkt_len: None,
        enforcer: Detail {
            reason: Some(reason.to_owned()),
            generation,
            revision,
            count,
            ..Detail::default()
        },
        packet: None,
        packet_info: None,
    }
}

/// Nothing in here leaves a half-made change behind, so a poisoned lock is as good as another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
