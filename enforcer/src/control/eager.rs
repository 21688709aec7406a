//! The client's stream: it has to read the daemon's answer even if sending the request fails.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// A stream that reads the answer of a daemon that stopped reading the request, or never read it:
/// the answer may say why.
///
/// Nothing is read before something was written: hyper treats an answer without a request as an
/// error.
pub(super) struct Eager {
    stream: UnixStream,
    /// Whether something was written, or an attempt failed.
    wrote: bool,
    /// Whether the daemon has stopped reading.
    broken: bool,
    reader: Option<Waker>,
}

impl Eager {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, wrote: false, broken: false, reader: None }
    }

    /// Result of writing this many bytes; after an error all bytes are reported as written.
    fn written(
        &mut self,
        length: usize,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let result = match result {
            Poll::Ready(Err(e)) if is_gone(&e) => {
                self.broken = true;
                Poll::Ready(Ok(length))
            }
            other @ (Poll::Ready(_) | Poll::Pending) => other,
        };
        if result.is_ready() {
            self.wrote = true;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        result
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl AsyncRead for Eager {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.wrote {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Eager {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(bytes.len(), result)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use crate::api::PolicyBundle;
    use crate::control::client::Client;

    /// The answer is seen however early it comes, and whether or not the daemon reads the request.
    #[tokio::test]
    async fn an_answer_is_read_although_the_request_is_not() {
        const NO: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
             content-length: 29\r\n\r\n{\"error\":\"too\",\"code\":\"busy\"}";
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        // More than a socket holds.
        let text = "x".repeat(4 << 20);
        let bundle = PolicyBundle { text, ..PolicyBundle::default() };
        for large in [false, true].repeat(50) {
            let listener = listener.try_clone().unwrap();
            let daemon = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                std::io::Write::write_all(&mut stream, NO.as_bytes()).unwrap();
            });
            let client = Client::new(&socket);
            let error = match large {
                true => client.apply(&bundle).await.unwrap_err(),
                false => client.status().await.unwrap_err(),
            };
            daemon.join().unwrap();
            assert_eq!(error.to_string(), "too", "{error:?}");
        }
    }
}
