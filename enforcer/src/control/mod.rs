//! HTTP over the unix socket: how the command line, or `curl`, talks to the daemon.
//!
//! - [`listen`]: the socket: its path, its mode, and whether a process already answers on it
//! - [`access`]: permissions by role
//! - [`accounts`]: names and numbers of users and groups
//! - `queue`: requests that wait for the core, those of root and operators first
//! - `board`: one answer for many clients that ask the same
//! - `connections`: limits on the number of connections and their duration
//! - `patient`: disconnects peers that do not read
//! - `limits`: size and time limits of one request
//! - `body`: bodies of requests and responses
//! - [`server`]: HTTP requests to [`Input`], answers to HTTP responses
//! - `stream`: events as the body of a response
//! - [`scrape`]: the port for Prometheus, if configured
//! - [`client`]: the client's side
//! - `eager`: the client's stream, which reads the answer even if sending the request fails
//!
//! The server does not depend on policies or the kernel: it sends an [`Input`] to the daemon's core and
//! waits for the reply.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::api::Failure;
use crate::audit::Who;
use crate::request::{Peer, Request};

pub mod access;
pub mod accounts;
mod board;
pub(crate) mod body;
pub mod client;
mod connections;
mod eager;
mod limits;
pub mod listen;
mod patient;
mod queue;
pub mod scrape;
pub mod server;
mod stream;
#[cfg(test)]
mod tests;

pub use queue::{Inputs, Queue, Rank, Stopped, queue};

/// Largest request body in bytes: a policy with a million prefixes fits.
pub const MAX_BODY: usize = 64 << 20;

/// A request and its reply channel. If the core drops it without a reply, the client is told that the
/// daemon is stopping.
#[derive(Debug)]
pub struct Input {
    /// The request.
    pub request: Request,
    /// Channel for the answer.
    pub reply: oneshot::Sender<Answer>,
}

/// The body of an answer, or why there is none.
pub type Answer = Result<Body, Failure>;

/// Content of an answer, as JSON or text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The result.
    Done(Bytes),
    /// The request is valid but was not carried out: the body is a report with the reasons.
    Refused(Bytes),
}

impl Body {
    /// The bytes, shared.
    pub fn bytes(self) -> Bytes {
        match self {
            Self::Done(bytes) | Self::Refused(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Done(bytes)
    }
}

impl Peer {
    /// The peer of a connection. The kernel always knows it for a connected socket; if it did not, the ids
    /// would be those of no user (-1).
    pub(crate) fn of(stream: &tokio::net::UnixStream) -> Self {
        stream.peer_cred().map_or(Self { uid: u32::MAX, gid: u32::MAX, pid: None }, |cred| Self {
            uid: cred.uid(),
            gid: cred.gid(),
            pid: cred.pid(),
        })
    }

    /// The same for the audit trail, with the user's name.
    pub fn who(&self) -> Who {
        let Self { uid, gid, pid } = *self;
        Who::Peer { uid, gid, pid, user: accounts::user(uid) }
    }
}
