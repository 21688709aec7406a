//! Periodic work, once a second.

use enforcer_common::reason::Reason;
use log::{error, warn};

use super::core::Core;
use super::{Error, failure, record};
use crate::api::Detached;
use crate::audit::Who;
use crate::clock::boot_clock;
use crate::memory;

/// Seconds between two messages about a full table.
const FULL_PAUSE: u64 = 60;

impl Core {
    /// Checks everything that may change without the daemon, once a second.
    pub(super) async fn tick(&mut self) {
        self.look_at_clock();
        self.return_if_overdue().await;
        self.end_changes().await;
        self.audit.retry();
        self.shown.tidy();
        self.fold();
        self.report_suppressed();
        self.engine.dataplane.tell_diagnostics();
        self.tell_unjudged();
        self.tell_full();
        self.reconcile_or_log().await;
    }

    /// Says if frames were dropped because no generation was in force, since the last call.
    fn tell_unjudged(&mut self) {
        let frames = self.engine.dataplane.reason(Reason::NoPolicy).frames;
        let before = self.watched.unjudged.replace(frames);
        if let Some(more) =
            before.and_then(|before| frames.checked_sub(before)).filter(|it| *it > 0)
        {
            error!("no generation was in force: {more} frames were dropped unjudged");
        }
    }

    /// Says if sessions of others found no room, at most once a minute.
    fn tell_full(&mut self) {
        let [_, full] = self.engine.dataplane.flows_counted();
        let now = boot_clock() / 1_000_000_000;
        let (before, said) = *self.watched.full.get_or_insert((full, 0));
        if full <= before || said != 0 && now < said + FULL_PAUSE {
            return;
        }
        self.watched.full = Some((full, now));
        let more = full - before;
        let text = format!(
            "{more} sessions that others opened towards devices found no room: their answers were dropped; \
             `enforcer flows` lists those that did, and the setting `answers` makes room for more"
        );
        self.tamper("answers-full", None, text);
        self.remember(
            "the table of sessions was full: answers of some devices were dropped".into(),
        );
    }

    /// Reads the clocks, updates the kernel, and stores the record once a minute.
    pub(super) fn look_at_clock(&mut self) {
        self.clock.look();
        let (latest, earliest) = self.clock.offsets();
        self.engine.dataplane.set_clock(latest, earliest);
        if self.clock.is_due() {
            self.keep_time();
        }
    }

    /// Stores what is known of the time.
    pub(super) fn keep_time(&mut self) {
        if let Err(e) = self.state.keep_known(&self.clock.keep()) {
            warn!("{}", failure(&e.into()).error);
        }
    }

    /// Reports refused frames that had no event since the last report.
    pub(super) fn report_suppressed(&mut self) {
        for share in self.engine.dataplane.suppressed() {
            self.reporter.suppressed(&share, &self.engine.active);
        }
    }

    /// Adds the counters of removed generations to the stored ones.
    pub(super) fn fold(&mut self) {
        let Some((gone, counters)) = self.engine.fold() else { return };
        let saved = self.state.save_counters(counters);
        // Freeing a million prefixes takes a while.
        tokio::task::spawn_blocking(|| {
            drop(gone);
            memory::trim();
        });
        if let Err(e) = saved {
            warn!("{}", failure(&e.into()).error);
        }
    }

    /// Removes everything from the kernel.
    pub(super) async fn detach(self, who: Who) -> Result<Detached, Error> {
        let Self { engine, mut audit, settings, .. } = self;
        let detached = super::remove_all(engine.dataplane.detach(), &settings.state_dir).await;
        record::detached(&mut audit, who, &detached);
        detached
    }
}
