//! Slow work on a separate thread, while the loop goes on.

use std::time::Instant;

use tokio::task::spawn_blocking;

use super::core::Core;
use super::turns::Turn;

impl Core {
    /// Runs slow work on a separate thread, and meanwhile handles everything except orders.
    pub(super) async fn offload<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let mut work = spawn_blocking(work);
        let was_busy = self.turns.busy_since.replace(Instant::now());
        let done = loop {
            let turn = tokio::select! {
                biased;
                done = &mut work => break done,
                turn = self.turns.next() => turn,
            };
            // A turn may offload work itself.
            Box::pin(self.turn(turn)).await;
        };
        self.turns.busy_since = was_busy;
        match done {
            Ok(done) => done,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        }
    }

    /// Handles one turn; an order to end is left to the loop.
    pub(super) async fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Tick => self.tick().await,
            Turn::Hear(notice) => self.hear(notice).await,
            Turn::PollLinks => self.poll_links().await,
            Turn::Probe(probe) => self.probe(probe),
            Turn::Request(Some((rank, input))) => self.answer(rank, input).await,
            Turn::Request(None) => {}
        }
    }
}
