//! Limits of one request: bytes of its body, and time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::access::Role;
use super::body::{Refusal, too_large};
use super::queue::Ticket;
use super::{MAX_BODY, Peer};
use crate::api::ErrorCode;

/// Largest body in bytes that is received without waiting for a turn, and that a viewer may send.
const MAX_SMALL: usize = 64 << 10;
/// Larger bodies that are received at the same time; root's are counted separately. Their bytes stay in memory until
/// they are parsed.
const MAX_LARGE: usize = 2;

/// Turns for large bodies, and time for all requests.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    large: Arc<Semaphore>,
    /// Separate, so that bodies of other users do not delay root's.
    large_of_root: Arc<Semaphore>,
    patience: Duration,
}

impl Budget {
    /// `patience` is the time until a request must start, and again until it must end.
    pub(super) fn new(patience: Duration) -> Self {
        let [large, large_of_root] = [0; 2].map(|_| Arc::new(Semaphore::new(MAX_LARGE)));
        Self { large, large_of_root, patience }
    }
}

/// Time and size of a request. A request that announces too large a body is refused unread; only a
/// few large ones are received at a time.
pub(super) async fn limits(
    State(budget): State<Budget>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extension(role): Extension<Role>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let max = if role == Role::Operator { MAX_BODY } else { MAX_SMALL };
    let unknown = headers.contains_key(TRANSFER_ENCODING);
    if length.is_some_and(|length: u64| length > max as u64) || (unknown && max == MAX_SMALL) {
        return Err(too_large(max));
    }
    let large = unknown || length.is_some_and(|length| length > MAX_SMALL as u64);
    let ticket = Ticket::default();
    request.extensions_mut().insert(ticket.clone());
    let turns = if peer.uid == 0 { &budget.large_of_root } else { &budget.large };
    let work = async {
        let _turn = match large {
            true => turns.acquire().await.ok(),
            false => None,
        };
        next.run(request).await
    };
    tokio::pin!(work);
    if let Ok(response) = timeout(budget.patience, &mut work).await {
        return Ok(response);
    }
    // A request that has not started by now never will. One that has started is awaited: it will
    // not stop half-way.
    let begun = !ticket.give_up();
    if begun && let Ok(response) = timeout(budget.patience, &mut work).await {
        return Ok(response);
    }
    Err(too_late(begun, budget.patience))
}

/// There was no answer in time; the message says for certain whether the request takes effect.
fn too_late(begun: bool, patience: Duration) -> Refusal {
    let seconds = patience.as_secs();
    let (error, hint) = match begun {
        false => (
            format!(
                "no answer within {} s: the request was not started and changes nothing",
                seconds
            ),
            "ask again",
        ),
        true => (
            format!(
                "no answer within {} s: the request has started and will be carried out",
                2 * seconds
            ),
            "`enforcer status` and `enforcer history` show the result",
        ),
    };
    Refusal::new(ErrorCode::Timeout, error, Some(hint))
}
