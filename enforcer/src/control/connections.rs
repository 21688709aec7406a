//! Connections: how many, how long, and what happens when there are too many.
//!
//! Nobody can keep another user out: each has so many connections and no more, root has its own,
//! and each has to send its request and take the answer in time.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Sleep, sleep, timeout};

use super::Peer;
use super::access::{Access, groups};

/// Time for running requests when the daemon stops.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted: the next attempt would fail the same way.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// Header fields of a request.
const MAX_FIELDS: usize = 64;
/// The log says at most this often that connections are refused.
const ONE_LINE: Duration = Duration::from_secs(10);

/// How many connections there may be, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of all users together; those of root do not count.
    pub all: usize,
    /// Connections of one user, root included.
    pub each: usize,
    /// Time for the head of a request, also from the last answer to the next request.
    pub head: Duration,
    /// Time in which a peer has to take some part of its answer; following events has no limit.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (head, stalled) = (Duration::from_secs(5), Duration::from_secs(30));
        Self { all: 256, each: 64, head, stalled }
    }
}

/// Says that a connection follows the events: it may be idle for as long as it likes.
#[derive(Clone, Debug, Default)]
pub(super) struct Follows(Arc<AtomicBool>);

impl Follows {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Accepts until `stop` resolves, then finishes what is being answered within two seconds.
pub(super) async fn run(
    listener: UnixListener,
    router: Router,
    access: Access,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let slots = Slots::default();
    let mut said: Option<Instant> = None;
    let mut warn = |text: String| {
        if said.is_none_or(|said| said.elapsed() >= ONE_LINE) {
            log::warn!("{text}");
            said = Some(Instant::now());
        }
    };
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                warn(format!("the control socket cannot accept a connection: {e}"));
                tokio::select! {
                    () = &mut stop => break,
                    () = sleep(PAUSE) => continue,
                }
            }
        };
        let peer = Peer::of(&stream);
        let Some(slot) = slots.take(peer.uid, limits) else {
            warn(format!("{peer} has too many connections to the control socket"));
            let _ = stream.try_write(TOO_MANY);
            continue;
        };
        let role = access.role(&peer, groups(&stream).ok().as_deref());
        let follows = Follows::default();
        let router = router.clone().layer(Extension(ConnectInfo(peer)));
        let router = router.layer(Extension(role)).layer(Extension(follows.clone()));
        let io = TokioIo::new(Patient { stream, limit: limits.stalled, follows, stalled: None });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head);
        http.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
        let connection =
            graceful.watch(http.serve_connection(io, TowerToHyperService::new(router)));
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(e) = connection.await {
                log::debug!("{peer}: the connection broke: {e}");
            }
        });
    }
    drop(listener);
    let _ = timeout(GRACE, graceful.shutdown()).await;
}

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 43\r\n\r\n\
    {\"error\":\"too many connections\",\"exit\":5} \n";

/// Connections by user.
#[derive(Clone, Debug, Default)]
struct Slots(Arc<Mutex<HashMap<u32, usize>>>);

/// A place among the connections, free again when it is dropped.
#[derive(Debug)]
struct Slot {
    uid: u32,
    slots: Slots,
}

impl Slots {
    fn take(&self, uid: u32, limits: Limits) -> Option<Slot> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others: usize = users.iter().filter(|(uid, _)| **uid != 0).map(|(_, n)| n).sum();
        let own = users.get(&uid).copied().unwrap_or(0);
        if own >= limits.each || (uid != 0 && others >= limits.all) {
            return None;
        }
        users.insert(uid, own + 1);
        Some(Slot { uid, slots: self.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut users = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

/// A stream whose peer has to read: else its answers would stay in memory for as long as it likes.
struct Patient {
    stream: UnixStream,
    limit: Duration,
    follows: Follows,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() || self.follows.0.load(Ordering::Relaxed) {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_place_of_another() {
        let (slots, limits) = (Slots::default(), Limits { all: 5, each: 3, ..Limits::default() });
        let take = |uid, n| (0..n).map_while(|_| slots.take(uid, limits)).collect::<Vec<_>>();
        let first = take(1, 9);
        assert_eq!((first.len(), take(2, 9).len()), (3, 2));
        let second = take(2, 9);
        assert_eq!((second.len(), take(3, 9).len(), take(0, 9).len()), (2, 0, 3));
        drop(first);
        assert_eq!(take(3, 9).len(), 3);
        drop(second);
        assert!(slots.0.lock().unwrap().is_empty());
    }

    #[test]
    fn the_refusal_has_the_length_that_it_says() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
