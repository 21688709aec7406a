//! The port that Prometheus scrapes, if the settings enable it: `GET /metrics` and nothing else.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

use super::Inputs;
use super::queue::{Rank, Ticket};
use crate::metrics;
use crate::request::{Question, Request as Asked};

/// Connections at a time; a further one is closed.
const MAX_CONNECTIONS: usize = 8;
/// Time for a whole connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requests within this time get the same answer, so that clients of the port cannot keep the
/// daemon busy.
const FRESH: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// Opens the port.
///
/// # Errors
///
/// The kernel's error: the port is in use, or the address is not this machine's.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The last answer, and when it was made.
type Last = Arc<Mutex<Option<(Instant, Bytes)>>>;

/// Answers requests until the daemon ends.
pub async fn serve(listener: TcpListener, inputs: Inputs) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let last = Last::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (inputs, last) = (inputs.clone(), Arc::clone(&last));
        let service = service_fn(move |request| answer(request, inputs.clone(), Arc::clone(&last)));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).max_buf_size(MAX_HEAD).keep_alive(false);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _slot = slot;
            // Errors of peers that disconnect or are slow do not matter.
            let _ = timeout(TIMEOUT, connection).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    inputs: Inputs,
    last: Last,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match text(&inputs, &last).await {
            Some(text) => (StatusCode::OK, metrics::CONTENT_TYPE, text),
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n"),
        },
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"),
        _ => plain(StatusCode::NOT_FOUND, "there is only /metrics\n"),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http_value(kind));
    Ok(response)
}

fn plain(status: StatusCode, text: &'static str) -> (StatusCode, &'static str, Bytes) {
    (status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn http_value(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}

/// The metrics, not older than [`FRESH`]; only one task at a time asks the core.
async fn text(inputs: &Inputs, last: &Last) -> Option<Bytes> {
    let mut last = last.lock().await;
    if let Some((made, text)) = &*last
        && made.elapsed() < FRESH
    {
        return Some(text.clone());
    }
    // At most once a second: the watch never waits for a scrape.
    let ask = Asked::Ask(Question::Metrics);
    let text = inputs.reply(Rank::Operator, Ticket::default(), ask).await.ok()?.ok()?.bytes();
    *last = Some((Instant::now(), text.clone()));
    Some(text)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::{Input, queue};

    use super::*;

    async fn get(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_serves_metrics_and_nothing_else_and_asks_once_a_second() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (inputs, mut core) = queue(1);
        let server = tokio::spawn(serve(listener, inputs));
        let core = tokio::spawn(async move {
            let mut asked = 0;
            while let Some((_, Input { reply, .. })) = core.next().await {
                asked += 1;
                reply.send(Ok(Bytes::from(format!("asked {asked}\n")).into())).unwrap();
            }
            asked
        });
        for _ in 0..3 {
            let answer = get(address, "GET /metrics HTTP/1.1\r\nhost: e\r\n\r\n").await;
            assert!(
                answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("asked 1\n"),
                "{answer}"
            );
            assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        }
        for (head, status) in [
            ("GET /v1/status", "404"),
            ("GET /v1/metrics", "404"),
            ("POST /metrics", "405"),
            ("POST /v1/detach", "404"),
        ] {
            let answer = get(address, &format!("{head} HTTP/1.1\r\nhost: e\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        }
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        assert_eq!(core.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn held_connections_are_limited() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (inputs, _core) = queue(1);
        let server = tokio::spawn(serve(listener, inputs));
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let mut further = TcpStream::connect(address).await.unwrap();
        let mut none = [0];
        assert_eq!(further.read(&mut none).await.unwrap_or(0), 0, "it is closed");
        server.abort();
    }
}
