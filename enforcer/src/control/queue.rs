//! The queue of the daemon's core: root and operators first; requests of disconnected clients are
//! dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::access::Role;
use super::{Answer, Input};
use crate::request::Request;

/// Priority of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// Root and operators.
    Operator,
    /// Viewers: served when no other request waits.
    Viewer,
}

impl Rank {
    /// The rank of a role.
    pub(super) fn of(role: Role) -> Self {
        match role {
            Role::Operator => Self::Operator,
            Role::Viewer | Role::Nobody => Self::Viewer,
        }
    }
}

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Whether a request has started: either the core starts it or the client gives up first, never both. An
/// answer can therefore say for certain whether the request took effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    fn begin(&self) -> bool {
        self.step(BEGUN)
    }

    /// Gives up the request; returns whether it will never start.
    pub(super) fn give_up(&self) -> bool {
        self.step(GIVEN_UP) || self.0.load(Ordering::Acquire) == GIVEN_UP
    }

    fn step(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Cancels a request when its client disconnects.
#[derive(Debug)]
pub(super) struct Asking(Ticket);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

#[derive(Debug)]
struct Waiting {
    input: Input,
    ticket: Ticket,
}

/// The sending side of the core's queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inputs {
    orders: mpsc::Sender<Waiting>,
    operators: mpsc::Sender<Waiting>,
    viewers: mpsc::Sender<Waiting>,
}

/// The core has stopped.
#[derive(Clone, Copy, Debug)]
pub struct Stopped;

impl Inputs {
    /// Waits for room in the queue. Dropping the returned value before the request has started gives it
    /// up.
    async fn ask(&self, rank: Rank, input: Input, ticket: Ticket) -> Result<Asking, Stopped> {
        let asking = Asking(ticket.clone());
        let queue = match rank {
            _ if input.request.is_order() => &self.orders,
            Rank::Operator => &self.operators,
            Rank::Viewer => &self.viewers,
        };
        queue.send(Waiting { input, ticket }).await.map_err(|_| Stopped)?;
        Ok(asking)
    }

    /// Sends an input to the core and waits for the reply. Dropping the future gives the request
    /// up.
    ///
    /// # Errors
    ///
    /// The core has stopped, before or while it made the reply.
    pub(super) async fn reply(
        &self,
        rank: Rank,
        ticket: Ticket,
        request: Request,
    ) -> Result<Answer, Stopped> {
        let (reply, answer) = oneshot::channel();
        let _asking = self.ask(rank, Input { request, reply }, ticket).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Queues something without a reply, if there is room.
    pub(super) fn note(&self, request: Request) {
        let (reply, _) = oneshot::channel();
        let input = Input { request, reply };
        let _ = self.viewers.try_send(Waiting { input, ticket: Ticket::default() });
    }
}

/// The core's side.
#[derive(Debug)]
pub struct Queue {
    orders: mpsc::Receiver<Waiting>,
    operators: mpsc::Receiver<Waiting>,
    viewers: mpsc::Receiver<Waiting>,
}

/// Both sides of a queue in which `most` requests of each kind may wait: orders, questions of root and operators,
/// and questions of viewers.
pub fn queue(most: usize) -> (Inputs, Queue) {
    let (orders, first) = mpsc::channel(most);
    let (operators, second) = mpsc::channel(most);
    let (viewers, third) = mpsc::channel(most);
    (
        Inputs { orders, operators, viewers },
        Queue { orders: first, operators: second, viewers: third },
    )
}

impl Queue {
    /// The next request whose client still waits; `None` when there will be no more. Cancellation safe.
    pub async fn next(&mut self) -> Option<(Rank, Input)> {
        self.take(true).await
    }

    /// The next question, for use while an order is being carried out. Never resolves if there will be no more.
    pub async fn next_question(&mut self) -> (Rank, Input) {
        match self.take(false).await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }

    async fn take(&mut self, orders: bool) -> Option<(Rank, Input)> {
        loop {
            let (rank, Waiting { input, ticket }) = tokio::select! {
                biased;
                Some(request) = self.orders.recv(), if orders => (Rank::Operator, request),
                Some(request) = self.operators.recv() => (Rank::Operator, request),
                Some(request) = self.viewers.recv() => (Rank::Viewer, request),
                else => return None,
            };
            if ticket.begin() {
                return Some((rank, input));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Peer, Question};

    fn revision(revision: u64) -> Input {
        let (reply, _) = oneshot::channel();
        Input { request: Request::Ask(Question::Revision(revision)), reply }
    }

    #[tokio::test]
    async fn operators_come_first_and_disconnected_clients_are_skipped() {
        let (inputs, mut queue) = queue(8);
        let mut waiting = Vec::new();
        let order = [
            (Rank::Viewer, 1),
            (Rank::Viewer, 2),
            (Rank::Operator, 3),
            (Rank::Viewer, 4),
            (Rank::Operator, 5),
        ];
        for (rank, number) in order {
            waiting.push(inputs.ask(rank, revision(number), Ticket::default()).await.unwrap());
        }
        // The clients that asked for revisions 2 and 3 disconnect.
        drop(waiting.drain(1..3));
        drop(inputs);
        let mut served = Vec::new();
        while let Some((rank, Input { request, .. })) = queue.next().await {
            served.push((rank, request));
        }
        let revision = |number| Request::Ask(Question::Revision(number));
        let expected = [
            (Rank::Operator, revision(5)),
            (Rank::Viewer, revision(1)),
            (Rank::Viewer, revision(4)),
        ];
        assert_eq!(served, expected);
    }

    #[tokio::test]
    async fn orders_wait_while_one_is_carried_out_and_questions_do_not() {
        let (inputs, mut queue) = queue(8);
        let (reply, _answer) = oneshot::channel();
        let peer = Peer { uid: 0, gid: 0, pid: None };
        let order = Input { request: Request::Confirm { peer }, reply };
        let _order = inputs.ask(Rank::Operator, order, Ticket::default()).await.unwrap();
        let _question = inputs.ask(Rank::Viewer, revision(1), Ticket::default()).await.unwrap();
        let (rank, question) = queue.next_question().await;
        assert!(rank == Rank::Viewer && matches!(question.request, Request::Ask(_)));
        let (rank, order) = queue.next().await.unwrap();
        assert!(rank == Rank::Operator && matches!(order.request, Request::Confirm { .. }));
        drop(inputs);
        assert!(queue.next().await.is_none());
    }

    #[test]
    fn either_it_began_or_it_was_given_up() {
        let ticket = Ticket::default();
        assert!(ticket.begin() && !ticket.give_up());
        let ticket = Ticket::default();
        assert!(ticket.give_up() && ticket.give_up() && !ticket.begin());
    }
}
