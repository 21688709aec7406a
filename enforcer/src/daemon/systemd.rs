//! What the service manager hears: that every interface is confirmed, that the loop turns, and what a
//! reload came to.

use std::time::{Duration, Instant};

use log::warn;
use sd_notify::NotifyState;

use crate::shown::escaped;

/// The manager that started this process, if one did: systemd, or what speaks its protocol.
pub(super) struct Manager {
    /// How often it wants to hear that the loop turns; `None`: it does not ask.
    every: Option<Duration>,
    told: Instant,
}

impl Manager {
    /// Says that all is in force, and begins with the signs of life that the manager asks for.
    pub(super) fn ready(status: &str) -> Self {
        tell(&[NotifyState::Ready, NotifyState::Status(&escaped(status))]);
        // Half of the time is what sd_watchdog_enabled(3) asks for; a third leaves room for a policy.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        Self { every, told: Instant::now() }
    }

    /// Says that the loop turns, when it is time. Nothing but the loop itself may call this.
    ///
    /// It does not say so while something that is done aside, since `busy`, takes longer than four times what the
    /// manager allows the loop: as long as it does not end, no order is carried out.
    pub(super) fn alive(&mut self, busy: Option<Instant>) {
        let Some(every) = self.every else { return };
        let hangs = busy.is_some_and(|since| since.elapsed() > every * 12);
        if !hangs && self.told.elapsed() >= every {
            self.told = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// Replaces the line that `systemctl status` shows.
    pub(super) fn status(&self, text: &str) {
        // A newline in it would begin another message to the manager.
        tell(&[NotifyState::Status(&escaped(text))]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        warn!("cannot tell the service manager: {e}");
    }
}
