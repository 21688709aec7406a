//! Answers that many clients may request at once: built once and shared by all of them.
//!
//! For each question, one answer is built at a time and one more may wait. Clients that ask before the
//! waiting answer is started share it; later ones get the next. An answer is therefore never older than
//! its question, and sixty-four clients with the same question cost two answers, not sixty-four.

use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::Body;
use super::queue::{Inputs, Rank, Ticket};

use crate::api::{ErrorCode, Failure};
use crate::request::{Question, Request};

/// Large answers to one kind of question that viewers may hold at the same time: they stay in memory until
/// the last client has read its answer or is disconnected.
const HELD: usize = 3;
/// Size in bytes from which an answer is large.
const LARGE: usize = 64 << 10;
/// Shortest time between two answers to one kind of question from viewers, so that they cost the core
/// little.
const PAUSE: Duration = Duration::from_millis(200);

/// The bytes of an answer, shared by all clients that get it.
type Answer = Result<Bytes, Failure>;
type Shared = watch::Sender<Option<Answer>>;
type Kind = (Rank, std::mem::Discriminant<Question>);

/// Pending questions. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Board {
    inputs: Inputs,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Questions whose answer is not started yet.
    waiting: HashMap<(Rank, Question), Shared>,
    kinds: HashMap<Kind, Arc<Line>>,
}

/// Questions of one kind, one after the other.
#[derive(Debug)]
struct Line {
    /// When the last answer was started.
    turn: tokio::sync::Mutex<Option<Instant>>,
    held: Arc<Semaphore>,
}

/// Bytes that count against the limit until the last client is done with them.
struct Held {
    bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Board {
    pub(super) fn new(inputs: Inputs) -> Self {
        Self { inputs, state: Arc::default() }
    }

    /// The answer to a question.
    pub(super) async fn ask(&self, rank: Rank, question: Question) -> Answer {
        let mut answer = self.join(rank, question);
        let told = answer.wait_for(Option::is_some).await;
        told.ok().and_then(|told| told.clone()).unwrap_or_else(|| Err(stopping()))
    }

    /// Joins the clients that wait for the answer, possibly as the first.
    fn join(&self, rank: Rank, question: Question) -> watch::Receiver<Option<Answer>> {
        let mut state = self.lock();
        if let Some(sender) = state.waiting.get(&(rank, question)) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        state.waiting.insert((rank, question), sender);
        let line =
            Arc::clone(state.kinds.entry((rank, discriminant(&question))).or_insert_with(|| {
                let held = Arc::new(Semaphore::new(HELD));
                Arc::new(Line { turn: tokio::sync::Mutex::default(), held })
            }));
        drop(state);
        // A separate task: the first client may disconnect while the others wait.
        tokio::spawn(self.clone().make(rank, question, line));
        receiver
    }

    async fn make(self, rank: Rank, question: Question, line: Arc<Line>) {
        let mut last = line.turn.lock().await;
        let place = match rank {
            Rank::Operator => None,
            Rank::Viewer => {
                if let Some(last) = *last {
                    sleep_until(last + PAUSE).await;
                }
                Arc::clone(&line.held).acquire_owned().await.ok()
            }
        };
        // Clients that ask from now on get the next one.
        let Some(sender) = self.lock().waiting.remove(&(rank, question)) else { return };
        if sender.receiver_count() == 0 {
            return;
        }
        *last = Some(Instant::now());
        let answer = tokio::select! {
            answer = self.fetch(rank, question) => answer,
            // All clients have disconnected: drop the question unless it has been started.
            () = sender.closed() => return,
        };
        sender.send_replace(Some(answer.map(|bytes| match place {
            Some(place) if bytes.len() > LARGE => Bytes::from_owner(Held { bytes, _place: place }),
            _ => bytes,
        })));
    }

    async fn fetch(&self, rank: Rank, question: Question) -> Answer {
        let answer = self.inputs.reply(rank, Ticket::default(), Request::Ask(question)).await;
        answer.map_err(|_| stopping())?.map(Body::bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The core no longer answers.
pub(super) fn stopping() -> Failure {
    Failure { error: "the daemon is stopping".into(), hint: None, code: ErrorCode::Stopping }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::super::Input;
    use super::super::queue::queue;
    use super::*;

    /// A core that answers each question with a large answer, and counts them.
    fn core() -> (Board, tokio::task::JoinHandle<u64>, tokio::sync::mpsc::UnboundedSender<()>) {
        let (inputs, mut queue) = queue(8);
        let (go, mut gate) = tokio::sync::mpsc::unbounded_channel();
        let core = tokio::spawn(async move {
            let mut made = 0u64;
            while let Some((_, Input { reply, .. })) = queue.next().await {
                gate.recv().await;
                made += 1;
                let mut bytes = vec![0; 2 * LARGE];
                bytes[..8].copy_from_slice(&made.to_be_bytes());
                let _ = reply.send(Ok(Bytes::from(bytes).into()));
            }
            made
        });
        (Board::new(inputs), core, go)
    }

    fn number(answer: Answer) -> u64 {
        u64::from_be_bytes(answer.unwrap()[..8].try_into().unwrap())
    }

    #[tokio::test]
    async fn sixty_four_equal_questions_cost_two_answers() {
        let (board, core, go) = core();
        let mut asked = JoinSet::new();
        let join = |asked: &mut JoinSet<Answer>| {
            for _ in 0..32 {
                let board = board.clone();
                asked.spawn(async move { board.ask(Rank::Viewer, Question::Policy).await });
            }
        };
        join(&mut asked);
        // The first one has been started once no client waits for its start.
        while board.lock().kinds.is_empty() || !board.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        join(&mut asked);
        go.send(()).unwrap();
        go.send(()).unwrap();
        let mut answers: Vec<Bytes> =
            asked.join_all().await.into_iter().map(Result::unwrap).collect();
        answers.sort();
        // One buffer each, however many clients share it.
        let places: std::collections::BTreeSet<_> =
            answers.iter().map(|bytes| bytes.as_ptr()).collect();
        assert_eq!(places.len(), 2);
        assert_eq!(answers.iter().filter(|bytes| bytes[7] == 1).count(), 32);
        drop((answers, board));
        assert_eq!(core.await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_client_that_disconnects_early_costs_nothing() {
        let (board, core, go) = core();
        // Operators keep the core busy with one.
        let first = tokio::spawn({
            let board = board.clone();
            async move { board.ask(Rank::Operator, Question::Rules).await }
        });
        while board.lock().kinds.is_empty() || !board.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        for revision in 0..50 {
            let asked = board.join(Rank::Viewer, Question::Revision(revision));
            tokio::task::yield_now().await;
            drop(asked);
        }
        go.send(()).unwrap();
        assert_eq!(number(first.await.unwrap()), 1);
        while !board.lock().waiting.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop((board, go));
        assert_eq!(core.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn viewers_hold_so_many_large_answers_and_operators_any() {
        let (board, _core, go) = core();
        (0..9).for_each(|_| go.send(()).unwrap());
        let mut held = Vec::new();
        for _ in 0..HELD {
            held.push(board.ask(Rank::Viewer, Question::Devices).await);
        }
        let next = tokio::spawn({
            let board = board.clone();
            async move { board.ask(Rank::Viewer, Question::Devices).await }
        });
        assert_eq!(number(board.ask(Rank::Operator, Question::Devices).await), HELD as u64 + 1);
        assert!(!next.is_finished());
        held.pop();
        assert_eq!(number(next.await.unwrap()), HELD as u64 + 2);
    }
}
