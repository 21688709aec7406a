//! Events to those who follow.
//!
//! Each follower has a bounded queue of its own. One that does not read loses its own lines, is
//! told how many with a `lost` event, and delays nobody: publishing never waits.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use jiff::ZonedDateTime;

use super::past::{Line, Past};
use super::subscription::Subscription;
use crate::api::{Detail, Event, LOST};

/// Most followers at a time.
pub const MAX_FOLLOWERS: usize = 32;
/// Most lines that wait for one follower.
pub const MAX_LINES: usize = 1024;
/// The `reason` of a `lost` event about a follower that did not read.
pub const SLOW_READER: &str = "slow-reader";

/// Bytes that are handed to a connection at once.
const CHUNK: usize = 64 << 10;
/// Lines of the past that are looked at before others have their turn.
const GLANCE: usize = 256;

/// Where the daemon publishes events and connections follow them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Mutex<Followers>>);

#[derive(Debug, Default)]
struct Followers {
    queues: Vec<Arc<Queue>>,
    past: Past,
    closed: bool,
}

#[derive(Debug)]
struct Queue {
    wants: Subscription,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Bytes>,
    /// Lines that this follower missed and was not told of.
    lost: u64,
    /// What the missed lines were about, for the `lost` event.
    generation: u64,
    revision: u64,
    closed: bool,
    waker: Option<Waker>,
}

/// Everybody who may follow does already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_FOLLOWERS} programs follow the events already")]
pub struct Full;

impl Hub {
    /// A hub without followers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether anybody follows.
    pub fn is_followed(&self) -> bool {
        !lock(&self.0).queues.is_empty()
    }

    /// Sends an event to every follower who wants it, and keeps it. Never waits for one.
    pub fn publish(&self, event: &Event) {
        self.publish_with(event, None);
    }

    /// The same, with the beginning of the frame, base64, for those who want that too.
    pub fn publish_with(&self, event: &Event, frame: Option<&str>) {
        let line = Line::new(event, frame);
        let mut followers = lock(&self.0);
        for queue in &followers.queues {
            if queue.wants.filter.matches(event) {
                queue.push(&line, event);
            }
        }
        followers.past.keep(line);
    }

    /// Follows from now on, and from the past what is asked for.
    pub fn follow(&self, wants: impl Into<Subscription>) -> Result<Follower, Full> {
        let wants = wants.into();
        let mut followers = lock(&self.0);
        if followers.queues.len() >= MAX_FOLLOWERS {
            return Err(Full);
        }
        let past = wants.since.map(|time| followers.past.since(time)).unwrap_or_default();
        let state = State { closed: followers.closed, ..State::default() };
        let queue = Arc::new(Queue { wants, state: Mutex::new(state) });
        followers.queues.push(Arc::clone(&queue));
        Ok(Follower { hub: self.clone(), queue, past })
    }

    /// Ends every stream after what waits in its queue: the daemon stops.
    pub fn close(&self) {
        let mut followers = lock(&self.0);
        followers.closed = true;
        for queue in &followers.queues {
            let mut state = lock(&queue.state);
            state.closed = true;
            state.wake();
        }
    }
}

impl Queue {
    fn push(&self, line: &Line, event: &Event) {
        let mut state = lock(&self.state);
        // After a loss, wait until half of the queue is read: otherwise a follower that is just
        // too slow would read a line about loss after every event.
        let room = if state.lost > 0 { MAX_LINES / 2 } else { MAX_LINES };
        if state.lines.len() >= room {
            state.lost += 1;
            state.generation = event.enforcer.generation;
            state.revision = event.enforcer.revision;
            return;
        }
        state.tell_loss();
        state.lines.push_back(line.bytes(self.wants.frames));
        state.wake();
    }
}

impl State {
    fn tell_loss(&mut self) {
        if self.lost > 0 {
            let count = std::mem::take(&mut self.lost);
            let event = lost(SLOW_READER, count, self.generation, self.revision);
            self.lines.push_back(Line::new(&event, None).bytes(false));
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A follower's end: a response body of newline-delimited JSON.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    queue: Arc<Queue>,
    /// What is still to be sent from before.
    past: VecDeque<Line>,
}

impl Follower {
    /// Some of what is still to be sent from before; nothing, if nothing of it is wanted.
    fn before(&mut self) -> Bytes {
        let mut chunk = BytesMut::new();
        for _ in 0..GLANCE {
            if chunk.len() >= CHUNK {
                break;
            }
            let Some(line) = self.past.pop_front() else { break };
            if line.event().is_some_and(|event| self.queue.wants.filter.matches(&event)) {
                chunk.extend_from_slice(&line.bytes(self.queue.wants.frames));
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
        let mut state = lock(&self.queue.state);
        if state.lines.is_empty() {
            state.tell_loss();
        }
        let Some(first) = state.lines.pop_front() else {
            if state.closed {
                return Poll::Ready(None);
            }
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let next_fits =
            |len: usize, state: &State| state.lines.front().is_some_and(|l| len + l.len() <= CHUNK);
        if !next_fits(first.len(), &state) {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let mut chunk = BytesMut::from(&first[..]);
        while next_fits(chunk.len(), &state) {
            if let Some(line) = state.lines.pop_front() {
                chunk.extend_from_slice(&line);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&self.hub.0).queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
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
mod tests {
    use http_body_util::BodyExt;

    use super::super::filter::Filter;
    use super::super::filter::tests::{event, filter};
    use super::*;

    /// Reads to the end; the hub must be closed.
    async fn read(follower: Follower) -> Vec<Event> {
        let bytes = follower.collect().await.unwrap().to_bytes();
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn numbered(n: u64) -> Event {
        let mut event = event();
        event.enforcer.count = n;
        event
    }

    #[tokio::test]
    async fn who_does_not_read_loses_his_own_lines_and_is_told_how_many() {
        let hub = Hub::new();
        let stalled = hub.follow(Filter::default()).unwrap();
        let max = MAX_LINES as u64;
        for n in 0..max + 100 {
            hub.publish(&numbered(n));
        }
        let other = hub.follow(Filter::default()).unwrap();
        hub.publish(&numbered(7));
        hub.close();

        let events = read(stalled).await;
        assert_eq!(events.len() as u64, max + 1);
        for (n, event) in (0..max).zip(&events) {
            assert_eq!(event.enforcer.count, n);
        }
        let last = events.last().unwrap();
        assert_eq!(last.event_type, "lost");
        assert_eq!(last.enforcer.reason.as_deref(), Some(SLOW_READER));
        assert_eq!(last.enforcer.count, 101);
        assert_eq!((last.enforcer.generation, last.enforcer.revision), (3, 2));

        assert_eq!(read(other).await, [numbered(7)]);
    }

    #[tokio::test]
    async fn the_line_about_loss_stands_where_the_lines_are_missing() {
        let hub = Hub::new();
        let mut follower = hub.follow(Filter::default()).unwrap();
        for n in 0..MAX_LINES as u64 + 5 {
            hub.publish(&numbered(n));
        }
        let mut seen = 0;
        while seen <= MAX_LINES / 2 {
            let chunk = follower.frame().await.unwrap().unwrap().into_data().unwrap();
            seen += chunk.iter().filter(|b| **b == b'\n').count();
        }
        hub.publish(&numbered(9999));
        hub.close();
        let events = read(follower).await;
        assert_eq!(events.len() + seen, MAX_LINES + 2);
        let [.., lost, last] = &events[..] else { panic!("{events:?}") };
        assert_eq!((lost.event_type.as_str(), lost.enforcer.count), ("lost", 5));
        assert_eq!(last.enforcer.count, 9999);
    }

    #[tokio::test]
    async fn a_filtered_follower_is_not_crowded_out_by_what_he_did_not_ask_for() {
        let hub = Hub::new();
        let follower = hub.follow(filter(&[("group", "pumps")])).unwrap();
        for n in 0..MAX_LINES as u64 * 2 {
            hub.publish(&numbered(n));
        }
        let mut pump = event();
        pump.enforcer.group = Some("pumps".into());
        hub.publish(&pump);
        hub.close();
        assert_eq!(read(follower).await, [pump]);
    }

    #[tokio::test]
    async fn who_asks_for_the_past_gets_what_he_wants_of_it_first() {
        let hub = Hub::new();
        for n in 0..2000 {
            let mut event = numbered(n);
            if n % 1000 == 999 {
                event.enforcer.group = Some("pumps".into());
            }
            hub.publish_with(&event, Some("AAEC"));
        }
        let since = |time: &str| Subscription {
            filter: filter(&[("group", "pumps")]),
            since: time.parse().ok(),
            frames: true,
        };
        // The events are from 11:03:04.123456 UTC.
        let all = hub.follow(since("2026-11-23T11:03:04Z")).unwrap();
        let late = hub.follow(since("2026-11-23T11:03:05Z")).unwrap();
        let mut pump = numbered(7);
        pump.enforcer.group = Some("pumps".into());
        hub.publish(&pump);
        hub.close();
        let told: Vec<_> =
            read(all).await.into_iter().map(|e| (e.enforcer.count, e.packet.is_some())).collect();
        assert_eq!(told, [(999, true), (1999, true), (7, false)]);
        assert_eq!(read(late).await, [pump]);
    }

    #[test]
    fn followers_are_counted() {
        let hub = Hub::new();
        assert!(!hub.is_followed());
        let mut followers: Vec<_> =
            (0..MAX_FOLLOWERS).map(|_| hub.follow(Filter::default()).unwrap()).collect();
        assert_eq!(hub.follow(Filter::default()).unwrap_err(), Full);
        followers.pop();
        assert!(hub.follow(Filter::default()).is_ok());
        followers.clear();
        assert!(!hub.is_followed());
    }
}
