//! Requests to the daemon.
//!
//! A [`Request`] does not hold its reply channel, so that it can be compared, recorded and replayed. The
//! channel is in [`crate::control::Input`]. With `ENFORCER_TEST_RECORD`, the daemon records its requests in
//! the named file.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::{ExplainFrames, ExplainRequest, Guard, LiveRequest, PolicyBundle};

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A `GET` that needs only its path: one answer can serve many clients.
    Ask(Question),
    /// Permission denied: recorded in the audit trail, no reply.
    Refused {
        /// The client.
        peer: Peer,
        /// Method and path.
        request: String,
        /// Refused requests of this user since the last such entry.
        count: u64,
    },
    /// `PUT /v1/policy`. A policy with errors is refused with a report.
    Apply {
        /// The document and the files that it names.
        bundle: PolicyBundle,
        /// The client.
        peer: Peer,
    },
    /// `POST /v1/live`: a live change.
    Change {
        /// The change.
        request: LiveRequest,
        /// The client.
        peer: Peer,
    },
    /// `DELETE /v1/live/ID`.
    Revoke {
        /// Id of the change.
        id: String,
        /// Protection of the operator's own session.
        guard: Guard,
        /// The client.
        peer: Peer,
    },
    /// `POST /v1/confirm`: keep the unconfirmed policy.
    Confirm {
        /// The client.
        peer: Peer,
    },
    /// `POST /v1/rollback`: revert the unconfirmed policy, or apply an earlier revision again.
    Rollback {
        /// The revision; the previous one if absent.
        revision: Option<u64>,
        /// Protection of the operator's own session.
        guard: Guard,
        /// The client.
        peer: Peer,
    },
    /// `POST /v1/explain`.
    Explain(ExplainRequest),
    /// `POST /v1/explain/frames`.
    ExplainFrames(ExplainFrames),
    /// `POST /v1/detach`: remove every trace from the kernel, then stop.
    Detach {
        /// The client.
        peer: Peer,
    },
}

impl Request {
    /// Whether it may change what is in force: such requests run one at a time.
    pub fn is_order(&self) -> bool {
        match self {
            Self::Apply { .. }
            | Self::Change { .. }
            | Self::Revoke { .. }
            | Self::Confirm { .. }
            | Self::Rollback { .. }
            | Self::Detach { .. } => true,
            Self::Ask(_) | Self::Refused { .. } | Self::Explain(_) | Self::ExplainFrames(_) => {
                false
            }
        }
    }
}

/// Questions that need only a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// `GET /v1/status`.
    Status,
    /// `GET /v1/devices`.
    Devices,
    /// `GET /v1/flows`.
    Flows,
    /// `GET /v1/rules`.
    Rules,
    /// `GET /v1/history`.
    History,
    /// `GET /v1/policy`: the policy in force as one document that `apply` accepts.
    Policy,
    /// `GET /v1/policy?revision=N`: an earlier revision as such a document.
    Revision(u64),
    /// `GET /v1/metrics`: Prometheus text.
    Metrics,
}

/// The peer of a connection, according to the kernel (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
    /// Process id, if the kernel reported it.
    pub pid: Option<i32>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        self.pid.map_or(Ok(()), |pid| write!(f, ", pid {pid}"))
    }
}

/// A line of a recording: a request, and when the daemon began to process it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Seconds since 1970-01-01 UTC, by the daemon's clock.
    pub at: i64,
    /// The request.
    pub request: Request,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Endpoint, LiveAction, LiveChange};

    #[test]
    fn a_recording_is_what_was_asked() {
        let peer = Peer { uid: 0, gid: 0, pid: Some(7) };
        let end = Endpoint { to: "192.0.2.7".into(), service: "tcp/443".into() };
        let change = LiveChange::new("beds", LiveAction::Allow(end));
        let guard = Guard::default();
        let bundle = PolicyBundle { text: "schema = 1\n".into(), ..PolicyBundle::default() };
        let all = [
            Request::Ask(Question::Revision(7)),
            Request::Refused { peer, request: "PUT /v1/policy".into(), count: 2 },
            Request::Apply { bundle, peer },
            Request::Change { request: LiveRequest { change, guard }, peer },
            Request::Revoke { id: "l-1".into(), guard, peer },
            Request::Confirm { peer },
            Request::Rollback { revision: None, guard, peer },
            Request::ExplainFrames(ExplainFrames::default()),
            Request::Detach { peer },
        ];
        for request in all {
            let recorded = Recorded { at: 1_800_000_000, request };
            let line = serde_json::to_string(&recorded).unwrap();
            assert_eq!(serde_json::from_str::<Recorded>(&line).unwrap(), recorded, "{line}");
        }
    }
}
