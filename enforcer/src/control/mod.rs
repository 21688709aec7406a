//! HTTP over the unix socket: how the command line, or `curl`, talks to the daemon.
//!
//! - [`listen`]: the socket: its place, its mode, and whether somebody answers on it already
//! - [`access`]: who may do what
//! - [`accounts`]: names and numbers of users and groups
//! - `queue`: what waits for the core, root and operators first
//! - `board`: answers that many ask for at once
//! - `connections`: how many there may be, and how long each may take
//! - `patient`: peers that take nothing are let go
//! - `limits`: bytes and time of one request
//! - `body`: what requests carry and answers do
//! - [`server`]: requests to [`Input`], answers to responses
//! - `stream`: events as the body of an answer
//! - [`scrape`]: the port for Prometheus, where one is configured
//! - [`client`]: the other end
//! - `eager`: its stream, which hears the answer whatever becomes of the request
//!
//! The server knows nothing of policies and kernels: it sends an [`Input`] to the daemon's core
//! and waits for the reply.

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

/// A request, and the way back. A core that drops it without a reply is reported as stopped.
#[derive(Debug)]
pub struct Input {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// The body of an answer, or why there is none.
pub type Answer = Result<Body, Failure>;

/// What an answer says, as JSON or text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// It was done, or is what was asked for.
    Done(Bytes),
    /// It was understood and not done: the body is a report that says why.
    Refused(Bytes),
}

impl Body {
    /// Its bytes, shared.
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
    /// Who is at the other end. The kernel always knows for a connected socket; should it not, it
    /// is nobody (-1).
    pub(crate) fn of(stream: &tokio::net::UnixStream) -> Self {
        stream.peer_cred().map_or(Self { uid: u32::MAX, gid: u32::MAX, pid: None }, |cred| Self {
            uid: cred.uid(),
            gid: cred.gid(),
            pid: cred.pid(),
        })
    }

    /// The same for the audit trail, with the name of the user.
    pub fn who(&self) -> Who {
        let Self { uid, gid, pid } = *self;
        Who::Peer { uid, gid, pid, user: accounts::user(uid) }
    }
}
