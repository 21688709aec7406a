//! Events to other programs' logs.
//!
//! Each sink follows the events on its own, with a bounded queue. One that hangs or refuses loses its
//! own lines, which are counted and told where they are missing, and delays nobody.
//!
//! - `journald`: systemd's journal, structured fields
//! - `syslog`: RFC 5424 over a unix socket, UDP or TCP
//! - `rotating`: a file of JSON lines that begins anew when it is full

mod journald;
mod rotating;
mod syslog;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use self::journald::Journald;
use self::rotating::Rotating;
use self::syslog::Syslog;
use crate::api::Event;
use crate::config::sinks::Sink;
use crate::control::filter::Filter;
use crate::control::hub::{Follower, Full, Hub, SLOW_READER, lost};

/// Events that wait for one sink.
const QUEUE: usize = 1024;
/// Pause before what could not be delivered is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest that a program on the other end may take for one line.
const PATIENCE: Duration = Duration::from_secs(10);
/// A write that takes longer is trouble.
const SLOW: Duration = Duration::from_secs(5);

/// How a sink does.
#[derive(Debug)]
pub struct Health {
    /// `journald`, `syslog` or `file`.
    pub name: &'static str,
    lines: AtomicU64,
    lost: AtomicU64,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// Why the last line could not be delivered.
    error: Option<String>,
    /// Since when a line is being delivered.
    busy: Option<Instant>,
}

impl Health {
    fn new(name: &'static str) -> Self {
        let (lines, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { name, lines, lost, trouble: Mutex::default() }
    }

    /// Lines that were delivered.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Lines that will never be.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Why it does not deliver now; `None` while it does.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = trouble.busy.map(|since| since.elapsed()).filter(|time| *time > SLOW);
        let busy = busy.map(|time| format!("it has taken no line for {} s", time.as_secs()));
        trouble.error.clone().or(busy)
    }

    /// What the operator should know; `None` if all is well.
    pub fn warning(&self) -> Option<String> {
        let (trouble, lost) = (self.trouble(), self.lost());
        let lost = (lost > 0).then(|| format!("{lost} lines lost since the daemon started"));
        let parts: Vec<String> = trouble.into_iter().chain(lost).collect();
        (!parts.is_empty()).then(|| format!("sink {}: {}", self.name, parts.join("; ")))
    }

    fn change(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn failed(&self, e: &io::Error) {
        self.change(|trouble| {
            trouble.busy = None;
            let error = e.to_string();
            if trouble.error.as_ref() != Some(&error) {
                log::warn!("sink {}: {error}", self.name);
                trouble.error = Some(error);
            }
        });
    }

    fn delivered(&self) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.change(|trouble| {
            trouble.busy = None;
            if trouble.error.take().is_some() {
                log::info!("sink {}: delivers again", self.name);
            }
        });
    }
}

/// Where lines go.
trait Out {
    /// Delivers an event. After an error the next call begins anew.
    async fn write(&mut self, event: &Event) -> io::Result<()>;
}

/// Follows the events; the work ends when the hub is closed and the queue is empty.
///
/// # Errors
///
/// Everybody who may follow does already.
pub fn follow(
    sink: Sink,
    hub: &Hub,
) -> Result<(Arc<Health>, impl Future<Output = ()> + use<>), Full> {
    let name = match &sink {
        Sink::Journald { .. } => "journald",
        Sink::Syslog { .. } => "syslog",
        Sink::File { .. } => "file",
    };
    let health = Arc::new(Health::new(name));
    let follower = hub.follow(Filter::default())?;
    let known = Arc::clone(&health);
    let work = async move {
        match sink {
            Sink::Journald { socket } => run(follower, Journald::new(socket), &known).await,
            Sink::Syslog { to, facility } => {
                run(follower, Syslog::new(to, facility), &known).await;
            }
            Sink::File { path, max_bytes, keep } => {
                run(follower, Rotating::new(path, max_bytes, keep), &known).await;
            }
        }
    };
    Ok((health, work))
}

async fn run(follower: Follower, out: impl Out, health: &Health) {
    let (sender, queue) = mpsc::channel(QUEUE);
    tokio::join!(pump(follower, sender, health), deliver(queue, out, health));
}

/// Takes events as they come; what the queue cannot hold is lost, and told when half of it is free.
async fn pump(follower: Follower, queue: mpsc::Sender<Event>, health: &Health) {
    let mut follower = pin!(follower);
    let mut missed = 0;
    while let Some(Ok(frame)) = follower.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for event in lines.filter_map(|line| serde_json::from_slice::<Event>(line).ok()) {
            if event.enforcer.reason.as_deref() == Some(SLOW_READER) {
                health.lost.fetch_add(event.enforcer.count, Ordering::Relaxed);
            }
            if missed > 0 && queue.capacity() >= QUEUE / 2 {
                let (generation, revision) = (event.enforcer.generation, event.enforcer.revision);
                if queue.try_send(lost(SLOW_READER, missed, generation, revision)).is_ok() {
                    missed = 0;
                }
            }
            if missed > 0 || queue.try_send(event).is_err() {
                missed += 1;
                health.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Delivers in order, and tries again until it is done.
async fn deliver(mut queue: mpsc::Receiver<Event>, mut out: impl Out, health: &Health) {
    while let Some(event) = queue.recv().await {
        loop {
            health.change(|trouble| trouble.busy = Some(Instant::now()));
            match out.write(&event).await {
                Ok(()) => break health.delivered(),
                Err(e) => health.failed(&e),
            }
            sleep(PAUSE).await;
        }
    }
}

/// Gives the other end a while.
async fn in_time<T>(what: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let failed = |why: &dyn std::fmt::Display| format!("cannot {what}: {why}");
    match timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(|e| io::Error::new(e.kind(), failed(&e))),
        Err(e) => Err(io::Error::new(io::ErrorKind::TimedOut, failed(&e))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::filter::tests::event;

    /// Takes nothing until it is told to.
    struct Gate(tokio::sync::watch::Receiver<bool>, mpsc::UnboundedSender<Event>);

    impl Out for Gate {
        async fn write(&mut self, event: &Event) -> io::Result<()> {
            let _ = self.0.wait_for(|open| *open).await;
            let _ = self.1.send(event.clone());
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_sink_that_hangs_loses_its_own_lines_and_says_where_they_are_missing() {
        let hub = Hub::new();
        let follower = hub.follow(Filter::default()).unwrap();
        let (open, gate) = tokio::sync::watch::channel(false);
        let (seen, mut delivered) = mpsc::unbounded_channel();
        let health = Arc::new(Health::new("file"));
        let known = Arc::clone(&health);
        let work = tokio::spawn(async move { run(follower, Gate(gate, seen), &known).await });
        // One is being delivered, so many wait; the rest is lost.
        let all = 3 * QUEUE as u64;
        for n in 1..=all {
            let mut event = event();
            event.enforcer.count = n;
            hub.publish(&event);
            tokio::task::yield_now().await;
        }
        while health.lost() < all - QUEUE as u64 - 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!((health.lines(), health.lost()), (0, all - QUEUE as u64 - 1));
        open.send(true).unwrap();
        while health.lines() <= QUEUE as u64 {
            tokio::task::yield_now().await;
        }
        hub.publish(&event());
        hub.close();
        work.await.unwrap();
        let mut counts = Vec::new();
        while let Some(event) = delivered.recv().await {
            counts.push((event.event_type, event.enforcer.count));
        }
        let kept = QUEUE as u64 + 1;
        let expected: Vec<(String, u64)> = (1..=kept).map(|n| ("drop".into(), n)).collect();
        assert_eq!(counts[..kept as usize], expected);
        let rest = [("lost".to_owned(), all - kept), ("drop".to_owned(), 1)];
        assert_eq!(counts[kept as usize..], rest);
        let warning = health.warning().unwrap();
        assert_eq!(
            warning,
            format!("sink file: {} lines lost since the daemon started", all - kept)
        );
    }

    #[test]
    fn trouble_is_told_until_it_is_over() {
        let health = Health::new("syslog");
        assert_eq!(health.warning(), None);
        health.failed(&io::Error::other("cannot connect"));
        assert_eq!(health.warning().unwrap(), "sink syslog: cannot connect");
        health.delivered();
        assert_eq!((health.warning(), health.lines()), (None, 1));
        let long = Instant::now().checked_sub(Duration::from_secs(60));
        health.change(|trouble| trouble.busy = long);
        assert_eq!(health.warning().unwrap(), "sink syslog: it has taken no line for 60 s");
    }
}
