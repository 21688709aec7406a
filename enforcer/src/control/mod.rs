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

use crate::api::{
    ApplyReport, Decided, Detached, ExplainFrames, ExplainRequest, Explanation, Failure, Guard,
    LiveReport, LiveRequest, PolicyBundle,
};
use crate::audit::Who;

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

/// A question or an order for the daemon's core. Each carries the way back; a core that drops it
/// without a reply is reported as stopped.
#[derive(Debug)]
pub enum Input {
    /// A `GET` that needs nothing but its path: many may ask it at once.
    Ask {
        /// What is asked.
        question: Question,
        /// The body of the answer, or why there is none.
        reply: oneshot::Sender<Answer>,
    },
    /// Permission denied: recorded in the audit trail, no reply.
    Refused {
        /// Who asked.
        peer: Peer,
        /// Method and path.
        request: String,
        /// Requests of this user that were refused since the last such entry.
        count: u64,
    },
    /// `PUT /v1/policy`.
    Apply {
        /// The document and the files that it names.
        bundle: PolicyBundle,
        /// Who asks.
        peer: Peer,
        /// A policy with errors is an `Ok` whose problems say so.
        reply: oneshot::Sender<Result<ApplyReport, Failure>>,
    },
    /// `POST /v1/live`: a change beside the policy file.
    Change {
        /// The change.
        request: LiveRequest,
        /// Who asks.
        peer: Peer,
        /// What was made of it.
        reply: oneshot::Sender<Result<LiveReport, Failure>>,
    },
    /// `DELETE /v1/live/ID`.
    Revoke {
        /// Id of the change.
        id: String,
        /// What must not be cut off.
        guard: Guard,
        /// Who asks.
        peer: Peer,
        /// What was revoked.
        reply: oneshot::Sender<Result<LiveReport, Failure>>,
    },
    /// `POST /v1/confirm`: keep the policy that waits for it.
    Confirm {
        /// Who asks.
        peer: Peer,
        /// What is in force.
        reply: oneshot::Sender<Result<Decided, Failure>>,
    },
    /// `POST /v1/rollback`: take back the policy that waits to be confirmed, or apply an earlier
    /// revision again.
    Rollback {
        /// Which one; the one before if absent.
        revision: Option<u64>,
        /// What must not be cut off.
        guard: Guard,
        /// Who asks.
        peer: Peer,
        /// What is in force.
        reply: oneshot::Sender<Result<Decided, Failure>>,
    },
    /// `POST /v1/explain`.
    Explain {
        /// The frame that is asked about.
        request: ExplainRequest,
        /// The verdict and why, or what is wrong with the question.
        reply: oneshot::Sender<Result<Explanation, Failure>>,
    },
    /// `POST /v1/explain/frames`.
    ExplainFrames {
        /// The frames that are asked about.
        request: ExplainFrames,
        /// The verdict of each and why, or what is wrong with the question.
        reply: oneshot::Sender<Result<Vec<Explanation>, Failure>>,
    },
    /// `POST /v1/detach`: remove every trace from the kernel, then stop.
    Detach {
        /// Who asks.
        peer: Peer,
        /// What was removed.
        reply: oneshot::Sender<Result<Detached, Failure>>,
    },
}

impl Input {
    /// Whether it may change what is in force: one such comes after the other.
    pub(crate) fn is_order(&self) -> bool {
        match self {
            Self::Apply { .. }
            | Self::Change { .. }
            | Self::Revoke { .. }
            | Self::Confirm { .. }
            | Self::Rollback { .. }
            | Self::Detach { .. } => true,
            Self::Ask { .. }
            | Self::Refused { .. }
            | Self::Explain { .. }
            | Self::ExplainFrames { .. } => false,
        }
    }
}

/// What can be asked of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// `GET /v1/status`.
    Status,
    /// `GET /v1/devices`.
    Devices,
    /// `GET /v1/rules`.
    Rules,
    /// `GET /v1/history`.
    History,
    /// `GET /v1/policy`: the policy in force as one document that `apply` accepts.
    Policy,
    /// `GET /v1/policy?revision=N`: the same of an earlier revision.
    Revision(u64),
    /// `GET /v1/metrics`: Prometheus text.
    Metrics,
}

/// The body of an answer, shared by all clients that get it.
pub type Answer = Result<Bytes, Failure>;

/// Who is at the other end of a connection, as the kernel says (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
    /// Process id, if the kernel told.
    pub pid: Option<i32>,
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

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "uid {}", self.uid)?;
        self.pid.map_or(Ok(()), |pid| write!(f, ", pid {pid}"))
    }
}
