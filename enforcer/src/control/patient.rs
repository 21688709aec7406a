//! Disconnects peers that do not read their answers or events.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep};

use super::Peer;
use super::access::Refusals;

/// Marks a connection as following events: it may be idle while there are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Follows(Arc<AtomicBool>);

impl Follows {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream whose peer has to read; otherwise its answers would stay in memory indefinitely.
pub(super) struct Patient {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
    /// Time within which the peer has to read something.
    pub(super) limit: Duration,
    pub(super) follows: Follows,
    /// Disconnected followers, by user.
    pub(super) hung_up: Arc<Refusals>,
    /// Runs while the peer reads nothing.
    pub(super) stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        if self.follows.get() {
            self.say_hung_up();
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Logs the first one of a user, then once a minute how many there were.
    fn say_hung_up(&self) {
        let Some(count) = self.hung_up.count(self.peer.uid, Instant::now()) else { return };
        let more =
            if count > 1 { format!(" ({count} since this was said last)") } else { String::new() };
        log::warn!(
            "{}, which follows events, has read nothing for {} s: hung up{more}",
            self.peer,
            self.limit.as_secs()
        );
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
