//! An operator's requests to the daemon, without a process for each command.

use enforcer::api::{Guard, LiveRequest, PolicyBundle, Status};
use enforcer::control::client::{Client, Error};
use tokio::runtime::{Builder, Runtime};

use super::world::{Beside, State};
use crate::harness::Daemon;

/// Talks to a daemon over its socket.
pub(super) struct Operator {
    runtime: Runtime,
    client: Client,
}

impl Operator {
    /// An operator of this daemon, running or not.
    pub(super) fn of(daemon: &Daemon<'_>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let client = Client::new(&daemon.path("enforcer.sock"));
        Self { runtime: runtime.expect("a runtime can be made"), client }
    }

    /// The daemon's status.
    #[track_caller]
    pub(super) fn status(&self) -> Status {
        self.runtime.block_on(self.client.status()).expect("the daemon answers")
    }

    /// Applies a policy, with or without confirmation.
    pub(super) fn apply(&self, state: &State, confirm: Option<u32>) -> Result<(), Error> {
        self.put(&PolicyBundle { confirm, ..state.bundle() })
    }

    /// Applies documents.
    pub(super) fn put(&self, bundle: &PolicyBundle) -> Result<(), Error> {
        let report = self.runtime.block_on(self.client.apply(bundle))?;
        assert!(report.applied, "{report:?}");
        Ok(())
    }

    /// Makes a live change, or revokes it if it is in force in `state`.
    pub(super) fn toggle(&self, state: &State, change: Beside) -> Result<(), Error> {
        if state.beside.contains(&change) {
            return self.revoke(change);
        }
        let request = LiveRequest { change: change.change(), guard: Guard::default() };
        self.runtime.block_on(self.client.change(&request))?;
        Ok(())
    }

    fn revoke(&self, change: Beside) -> Result<(), Error> {
        let live = self.runtime.block_on(self.client.status())?.live;
        let own = live.iter().find(|live| change.is(live)).expect("it was made");
        self.runtime.block_on(self.client.revoke(&own.id, &Guard::default()))?;
        Ok(())
    }
}
