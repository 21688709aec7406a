//! Events to other programs' logs.
//!
//! Each sink follows the events on its own, with a bounded queue at the hub. A sink that hangs or refuses
//! loses its own events, which are counted and reported where they are missing, and does not delay others.
//!
//! - `journald`: systemd's journal, structured fields
//! - `syslog`: RFC 5424 over a unix socket, UDP or TCP
//! - `file`: a rotating file of JSON lines

mod file;
mod journald;
mod syslog;

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::{sleep, timeout};

use self::file::Rotating;
use self::journald::Journald;
use self::syslog::Syslog;
use super::event::Event;
use super::filter::Filter;
use super::hub::{Follower, Full, Hub, Seat};
use crate::config::sinks::Sink;

/// Events that are written to a file at once.
const CHUNK: usize = 64;
/// Pause before a failed delivery is retried.
const PAUSE: Duration = Duration::from_secs(1);
/// Most time that the receiving program may take for one line.
const PATIENCE: Duration = Duration::from_secs(10);
/// A write that takes longer is reported.
const SLOW: Duration = Duration::from_secs(5);

/// The state of a sink.
#[derive(Debug)]
pub struct Health {
    /// `journald`, `syslog` or `file`.
    pub name: &'static str,
    lines: AtomicU64,
    /// Events that did not fit into its queue at the hub.
    missed: Arc<AtomicU64>,
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
    fn new(name: &'static str, missed: Arc<AtomicU64>) -> Self {
        Self { name, lines: AtomicU64::new(0), missed, trouble: Mutex::default() }
    }

    /// Lines that were delivered.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Lines that are lost.
    pub fn lost(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Why it does not deliver now; `None` while it does.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = trouble.busy.map(|since| since.elapsed()).filter(|time| *time > SLOW);
        let busy = busy.map(|time| format!("it has taken no line for {} s", time.as_secs()));
        trouble.error.clone().or(busy)
    }

    /// A warning for the operator; `None` if there is no problem.
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

    fn begins(&self) {
        self.change(|trouble| trouble.busy = Some(Instant::now()));
    }

    fn delivered(&self, lines: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
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
    /// Delivers an event. After an error the next call starts over.
    async fn write(&mut self, event: &Event) -> io::Result<()>;
}

/// Follows the events; the work ends when the hub is closed and the queue is empty.
///
/// # Errors
///
/// None currently: sinks are not limited.
pub fn follow(
    sink: Sink,
    hub: &Hub,
) -> Result<(Arc<Health>, impl Future<Output = ()> + use<>), Full> {
    let name = match &sink {
        Sink::Journald { .. } => "journald",
        Sink::Syslog { .. } => "syslog",
        Sink::File { .. } => "file",
    };
    let seat = if matches!(sink, Sink::File { .. }) { Seat::File } else { Seat::Sink };
    let follower = hub.follow(Filter::default(), seat)?;
    let health = Arc::new(Health::new(name, follower.missed()));
    let known = Arc::clone(&health);
    let work = async move {
        match sink {
            Sink::Journald { socket } => run(follower, Journald::new(socket), &known).await,
            Sink::Syslog { to, facility } => {
                run(follower, Syslog::new(to, facility), &known).await;
            }
            Sink::File { path, max_bytes, keep } => {
                write_chunks(follower, Rotating::new(path, max_bytes, keep), &known).await;
            }
        }
    };
    Ok((health, work))
}

/// Delivers in order, and retries until it succeeds.
async fn run(mut follower: Follower, mut out: impl Out, health: &Health) {
    while let Some(events) = follower.next(1).await {
        for published in events {
            loop {
                health.begins();
                match out.write(&published.event).await {
                    Ok(()) => break health.delivered(1),
                    Err(e) => health.failed(&e),
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Writes lines of JSON, as many at a time as there are, up to [`CHUNK`].
async fn write_chunks(mut follower: Follower, mut file: Rotating, health: &Health) {
    while let Some(events) = follower.next(CHUNK).await {
        let mut lines = BytesMut::new();
        events.iter().for_each(|published| lines.extend_from_slice(published.json(false)));
        let mut chunk = lines.freeze();
        while !chunk.is_empty() {
            health.begins();
            let (rest, written) = file.write(chunk.clone()).await;
            let done = chunk.split_to(chunk.len() - rest);
            let lines = done.iter().filter(|byte| **byte == b'\n').count() as u64;
            match written {
                Ok(()) => health.delivered(lines),
                Err(e) => {
                    health.lines.fetch_add(lines, Ordering::Relaxed);
                    health.failed(&e);
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Limits the time of the other end.
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
    use crate::events::event::tests::{event, refusal};
    use crate::events::hub::MAX_LINES;
    use tokio::sync::mpsc;

    /// An event with a number in it.
    fn numbered(number: u64) -> Event {
        let mut refusal = refusal();
        refusal.suppressed = number;
        Event::Drop(refusal.into())
    }

    fn number(event: &Event) -> u64 {
        event.refusal().map_or_else(|| event.count(), |refusal| refusal.suppressed)
    }

    /// A sink that blocks until it is opened.
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
        let follower = hub.follow(Filter::default(), Seat::Sink).unwrap();
        let (open, gate) = tokio::sync::watch::channel(false);
        let (seen, mut delivered) = mpsc::unbounded_channel();
        let health = Arc::new(Health::new("file", follower.missed()));
        let known = Arc::clone(&health);
        let work = tokio::spawn(async move { run(follower, Gate(gate, seen), &known).await });
        // One is being delivered, a full queue waits, and the rest is lost.
        let (all, kept) = (3 * MAX_LINES as u64, MAX_LINES as u64 + 1);
        for n in 1..=all {
            hub.publish(numbered(n));
            tokio::task::yield_now().await;
        }
        assert_eq!((health.lines(), health.lost()), (0, all - kept));
        open.send(true).unwrap();
        while health.lines() < kept {
            tokio::task::yield_now().await;
        }
        hub.publish(event());
        hub.close();
        work.await.unwrap();
        let mut found = Vec::new();
        while let Some(event) = delivered.recv().await {
            found.push((event.kind().to_owned(), number(&event)));
        }
        let expected: Vec<(String, u64)> = (1..=kept).map(|n| ("drop".into(), n)).collect();
        assert_eq!(found[..kept as usize], expected);
        let rest = [("lost".to_owned(), all - kept), ("drop".to_owned(), 0)];
        assert_eq!(found[kept as usize..], rest);
        let warning = health.warning().unwrap();
        assert_eq!(
            warning,
            format!("sink file: {} lines lost since the daemon started", all - kept)
        );
    }

    /// CPU time of this process so far.
    fn cpu() -> Duration {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel fills `usage`, of which all zeroes is a value.
        let usage = unsafe {
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
            usage.assume_init()
        };
        let time = |of: libc::timeval| {
            Duration::from_secs(of.tv_sec as u64) + Duration::from_micros(of.tv_usec as u64)
        };
        time(usage.ru_utime) + time(usage.ru_stime)
    }

    /// Every line is in the files exactly once and in order, over many rotations. With `ENFORCER_SINK_LINES`, so
    /// many lines at 50,000 a second, the rate of reports under a flood: a measurement, for an idle machine.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_has_every_line_once_and_in_order() {
        const EACH: u64 = 500;
        let measured: Option<u64> =
            std::env::var("ENFORCER_SINK_LINES").ok().map(|n| n.parse().unwrap());
        let lines = measured.unwrap_or(100_000);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let (max_bytes, keep) = (16 << 20, 100);
        let sink = Sink::File { path: path.clone(), max_bytes, keep };
        let hub = Hub::new();
        let (health, work) = follow(sink, &hub).unwrap();
        let work = tokio::spawn(work);
        let (begun, before) = (Instant::now(), cpu());
        let mut tick = tokio::time::interval(Duration::from_millis(1_000 * EACH / 50_000));
        for n in 0..lines {
            if n % EACH == 0 {
                tick.tick().await;
                // Without a measurement, as fast as the file takes them.
                while measured.is_none() && health.lines() + EACH < n {
                    tokio::task::yield_now().await;
                }
            }
            hub.publish(numbered(n));
        }
        hub.close();
        work.await.unwrap();
        let (took, cpu) = (begun.elapsed(), cpu() - before);
        println!("{lines} lines in {took:?}, {cpu:?} of CPU: publishing and writing together");
        assert_eq!((health.lines(), health.lost(), health.warning()), (lines, 0, None));
        let mut next = 0;
        let old = (1..=keep).rev().map(|number| dir.path().join(format!("events.json.{number}")));
        for file in old.chain([path]).filter(|file| file.exists()) {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.len() as u64 <= max_bytes);
            for line in text.lines() {
                let written: Event = serde_json::from_str(line).unwrap();
                assert_eq!(number(&written), next, "{}", written.kind());
                next += 1;
            }
        }
        assert_eq!(next, lines);
    }

    #[test]
    fn trouble_is_reported_until_it_is_over() {
        let health = Health::new("syslog", Arc::default());
        assert_eq!(health.warning(), None);
        health.failed(&io::Error::other("cannot connect"));
        assert_eq!(health.warning().unwrap(), "sink syslog: cannot connect");
        health.delivered(1);
        assert_eq!((health.warning(), health.lines()), (None, 1));
        let long = Instant::now().checked_sub(Duration::from_secs(60));
        health.change(|trouble| trouble.busy = long);
        assert_eq!(health.warning().unwrap(), "sink syslog: it has taken no line for 60 s");
    }
}
