//! The client half: requests of the command line to the daemon.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::MAX_BODY;
use super::eager::Eager;
use crate::api::Exit;
use crate::api::{
    ApplyReport, Decided, Detached, DeviceRow, ExplainFrames, ExplainRequest, Explanation, Failure,
    FlowList, Guard, HistoryRow, LiveReport, LiveRequest, PolicyBundle, RuleRow, Status,
};
use crate::events::filter::{Filter, percent_encode};
use crate::events::subscription::Subscription;
use crate::fault::Fault;

/// Longer than the server's own limit, so that the server's answer arrives first.
const TIMEOUT: Duration = Duration::from_secs(150);

/// Talks to the daemon at a socket, with one connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No daemon listens.
    #[error("the daemon is not running: no answer on {}", socket.display())]
    NotRunning {
        /// Where it should listen.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// This user may not open the socket.
    #[error("not allowed to talk to the daemon at {}", socket.display())]
    NotAllowed {
        /// Which one.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Connecting failed in another way.
    #[error("cannot connect to {}", socket.display())]
    Connect {
        /// Where to.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon went away before it had answered")]
    Gone(#[from] hyper::Error),
    /// The event stream was cut off.
    #[error("the stream of events broke off")]
    Cut(#[source] hyper::Error),
    /// There was no answer in time.
    #[error("the daemon did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The answer is unexpected: from another version, or not from the daemon.
    #[error("unexpected reply from the daemon (HTTP {status})")]
    Answer {
        /// HTTP status of the answer.
        status: StatusCode,
        /// What is wrong with its body.
        source: serde_json::Error,
    },
    /// The request cannot be built.
    #[error("cannot make the request")]
    Request(#[from] hyper::http::Error),
    /// The request is larger than the daemon takes.
    #[error("policy and set files are larger than {} MiB", MAX_BODY >> 20)]
    TooLarge,
    /// The daemon refused.
    #[error("{}", .0.error)]
    Refused(Failure),
}

impl Fault for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRunning { .. } => "start it: `enforcer run`, or its service",
            Self::NotAllowed { .. } => "run as root, or join the group `enforcer`",
            Self::Gone(_) => "see why: journalctl -u enforcer",
            Self::Answer { .. } => {
                "`enforcer --version` and the running daemon should have the same version"
            }
            Self::Refused(failure) => return failure.hint.clone(),
            Self::Cut(_) => {
                "the daemon closes the connection if nothing is read for 30 s; `enforcer tail --since 5m` also \
                 shows what was missed"
            }
            Self::Connect { .. } | Self::Timeout | Self::Request(_) | Self::TooLarge => {
                return None;
            }
        };
        Some(hint.to_owned())
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Refused(failure) => failure.code.exit(),
            Self::TooLarge => Exit::Configuration,
            Self::NotRunning { .. }
            | Self::NotAllowed { .. }
            | Self::Connect { .. }
            | Self::Gone(_)
            | Self::Cut(_)
            | Self::Timeout
            | Self::Answer { .. }
            | Self::Request(_) => Exit::NotRunning,
        }
    }
}

impl Client {
    /// A client of the daemon that listens on `socket`; connects later.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks what is in force.
    pub async fn status(&self) -> Result<Status, Error> {
        self.get("/v1/status").await
    }

    /// Asks for the devices.
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, Error> {
        self.get("/v1/devices").await
    }

    /// Asks what others have opened towards devices.
    pub async fn flows(&self) -> Result<FlowList, Error> {
        self.get("/v1/flows").await
    }

    /// Asks for the rules and their counters.
    pub async fn rules(&self) -> Result<Vec<RuleRow>, Error> {
        self.get("/v1/rules").await
    }

    /// Asks for the revisions that are kept.
    pub async fn history(&self) -> Result<Vec<HistoryRow>, Error> {
        self.get("/v1/history").await
    }

    /// Asks for the policy of a revision that is kept, as one document.
    pub async fn revision(&self, revision: u64) -> Result<String, Error> {
        self.text(&format!("/v1/policy?revision={revision}")).await
    }

    /// Asks for the policy in force, as one document.
    pub async fn policy(&self) -> Result<String, Error> {
        self.text("/v1/policy").await
    }

    /// Asks for the counters as Prometheus reads them.
    pub async fn metrics(&self) -> Result<String, Error> {
        self.text("/v1/metrics").await
    }

    /// Applies a policy. A policy with errors is an `Ok` whose problems say so.
    pub async fn apply(&self, bundle: &PolicyBundle) -> Result<ApplyReport, Error> {
        let body = encode(bundle)?;
        if body.len() > MAX_BODY {
            return Err(Error::TooLarge);
        }
        let (status, body) = self.request(Method::PUT, "/v1/policy", body).await?;
        if status == StatusCode::UNPROCESSABLE_ENTITY
            && let Ok(report) = serde_json::from_slice(&body)
        {
            return Ok(report);
        }
        answer(status, &body)
    }

    /// Makes a change on top of the policy file.
    pub async fn change(&self, request: &LiveRequest) -> Result<LiveReport, Error> {
        let (status, body) = self.request(Method::POST, "/v1/live", encode(request)?).await?;
        answer(status, &body)
    }

    /// Revokes a change.
    pub async fn revoke(&self, id: &str, guard: &Guard) -> Result<LiveReport, Error> {
        let mut path = "/v1/live/".to_owned();
        percent_encode(id, &mut path);
        let (status, body) = self.request(Method::DELETE, &path, encode(guard)?).await?;
        answer(status, &body)
    }

    /// Keeps the policy that waits to be confirmed.
    pub async fn confirm(&self) -> Result<Decided, Error> {
        let (status, body) = self.request(Method::POST, "/v1/confirm", Bytes::new()).await?;
        answer(status, &body)
    }

    /// Withdraws the policy that waits to be confirmed, or applies an earlier revision again.
    pub async fn rollback(&self, revision: Option<u64>, guard: &Guard) -> Result<Decided, Error> {
        let query = revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
        let path = format!("/v1/rollback{query}");
        let (status, body) = self.request(Method::POST, &path, encode(guard)?).await?;
        answer(status, &body)
    }

    /// Asks what would happen to a frame, and why.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<Explanation, Error> {
        let (status, body) = self.request(Method::POST, "/v1/explain", encode(request)?).await?;
        answer(status, &body)
    }

    /// Asks what would happen to captured frames, and why.
    pub async fn explain_frames(&self, request: &ExplainFrames) -> Result<Vec<Explanation>, Error> {
        let body = encode(request)?;
        let (status, body) = self.request(Method::POST, "/v1/explain/frames", body).await?;
        answer(status, &body)
    }

    /// Removes every trace from the kernel and stops the daemon.
    pub async fn detach(&self) -> Result<Detached, Error> {
        let (status, body) = self.request(Method::POST, "/v1/detach", Bytes::new()).await?;
        answer(status, &body)
    }

    /// Follows the events that match a filter.
    pub async fn events(&self, filter: &Filter) -> Result<Events, Error> {
        self.follow(&filter.clone().into()).await
    }

    /// Follows events.
    pub async fn follow(&self, subscription: &Subscription) -> Result<Events, Error> {
        let path = format!("/v1/events{}", subscription.query());
        let response = in_time(self.send(Method::GET, &path, Bytes::new())).await?;
        let status = response.status();
        if !status.is_success() {
            let body = in_time(collect(response)).await?;
            return Err(refusal(status, &body));
        }
        Ok(Events { body: response.into_body(), rest: BytesMut::new() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let (status, body) = self.request(Method::GET, path, Bytes::new()).await?;
        answer(status, &body)
    }

    async fn text(&self, path: &str) -> Result<String, Error> {
        let (status, body) = self.request(Method::GET, path, Bytes::new()).await?;
        if status.is_success() {
            Ok(String::from_utf8_lossy(&body).into_owned())
        } else {
            Err(refusal(status, &body))
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Error> {
        in_time(async {
            let response = self.send(method, path, body).await?;
            Ok((response.status(), collect(response).await?))
        })
        .await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|e| unreachable(&self.socket, e))?;
        let stream = TokioIo::new(Eager::new(stream));
        let (mut sender, connection) = http1::handshake(stream).await?;
        // Errors on the connection surface where the answer is awaited.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "enforcer")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        Ok(sender.send_request(request).await?)
    }
}

/// Events as they come: lines of JSON.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    rest: BytesMut,
}

impl Events {
    /// Waits for whole lines, as many as there are, each with its newline; `None` when the daemon
    /// has stopped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(self.rest.split_to(end + 1).freeze()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.map_err(Error::Cut)?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Error> {
    Ok(response.into_body().collect().await?.to_bytes())
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(TIMEOUT, work).await.map_err(|_| Error::Timeout)?
}

fn unreachable(socket: &Path, source: io::Error) -> Error {
    let socket = socket.to_owned();
    let kind = source.kind();
    if kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused {
        Error::NotRunning { socket, source }
    } else if kind == io::ErrorKind::PermissionDenied {
        Error::NotAllowed { socket, source }
    } else {
        Error::Connect { socket, source }
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Bytes, Error> {
    let body = serde_json::to_vec(value);
    let body = body.map_err(|source| Error::Answer { status: StatusCode::BAD_REQUEST, source })?;
    Ok(body.into())
}

fn answer<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Error> {
    if !status.is_success() {
        return Err(refusal(status, body));
    }
    serde_json::from_slice(body).map_err(|source| Error::Answer { status, source })
}

fn refusal(status: StatusCode, body: &[u8]) -> Error {
    match serde_json::from_slice(body) {
        Ok(failure) => Error::Refused(failure),
        Err(source) => Error::Answer { status, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there() {
        let dir = tempfile::tempdir().unwrap();
        let error = Client::new(&dir.path().join("none.sock")).status().await.unwrap_err();
        assert!(matches!(error, Error::NotRunning { .. }), "{error:?}");
        assert_eq!(error.exit(), Exit::NotRunning);
        assert_eq!(error.hint().as_deref(), Some("start it: `enforcer run`, or its service"));

        // A socket as left by a crash.
        let stale = dir.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let error = Client::new(&stale).status().await.unwrap_err();
        assert!(matches!(error, Error::NotRunning { .. }), "{error:?}");
    }

    #[test]
    fn not_allowed() {
        let error = unreachable(Path::new("/run/s"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.exit(), Exit::NotRunning);
        assert_eq!(error.hint().as_deref(), Some("run as root, or join the group `enforcer`"));
    }
}
