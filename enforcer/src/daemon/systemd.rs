//! Messages to the service manager: every interface is protected, the loop is alive, and the outcome of a
//! reload.

use std::time::{Duration, Instant};

use log::warn;
use sd_notify::NotifyState;

use crate::shown::escaped;

/// The service manager that started this process, if any: systemd, or another one with its protocol.
pub(super) struct Manager {
    /// How often the manager expects a sign of life; `None` if it does not.
    every: Option<Duration>,
    told: Instant,
}

impl Manager {
    /// Reports readiness, and begins to send the requested signs of life.
    pub(super) fn ready(status: &str) -> Self {
        tell(&[NotifyState::Ready, NotifyState::Status(&escaped(status))]);
        // sd_watchdog_enabled(3) recommends half of the time; a third leaves room for applying a policy.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        Self { every, told: Instant::now() }
    }

    /// Sends a sign of life when it is due. Only the loop itself may call this.
    ///
    /// None is sent while offloaded work, begun at `busy`, takes longer than four times the manager's
    /// limit: until it ends, no order can be carried out.
    pub(super) fn alive(&mut self, busy: Option<Instant>) {
        let Some(every) = self.every else { return };
        let hangs = busy.is_some_and(|since| since.elapsed() > every * 12);
        if !hangs && self.told.elapsed() >= every {
            self.told = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// Sets the line that `systemctl status` shows.
    pub(super) fn status(&self, text: &str) {
        // A newline would begin another message to the manager.
        tell(&[NotifyState::Status(&escaped(text))]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        warn!("cannot tell the service manager: {e}");
    }
}
