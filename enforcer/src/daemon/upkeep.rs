//! Periodic work, once a second, and the counters of generations that are gone.

use std::collections::BTreeMap;

use log::warn;

use super::active::Active;
use super::core::Core;
use super::state::Counters;
use super::{Error, failure, record};
use crate::api::Detached;
use crate::audit::Who;
use crate::dataplane::generation::Generation;
use crate::memory;

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
        self.dataplane.tell_diagnostics();
        self.reconcile_or_log().await;
    }

    /// Reads the clocks, updates the kernel, and stores the record once a minute.
    pub(super) fn look_at_clock(&mut self) {
        self.clock.look();
        let (latest, earliest) = self.clock.offsets();
        self.dataplane.set_clock(latest, earliest);
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
        for share in self.dataplane.suppressed() {
            self.reporter.suppressed(&share, &self.active);
        }
    }

    /// Adds the counters of removed generations to the stored ones.
    pub(super) fn fold(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let gone = std::mem::take(&mut self.retired);
        for (generation, names) in &gone {
            add(&mut self.counters, generation, names);
        }
        // Freeing a million prefixes takes a while.
        tokio::task::spawn_blocking(|| {
            drop(gone);
            memory::trim();
        });
        let previous = self.pending.as_ref().map(|pending| &*pending.previous);
        let known = previous.into_iter().chain([&*self.active]).flat_map(rules);
        let known: BTreeMap<_, _> = known.map(|(_, id)| (id, ())).collect();
        self.counters.retain(|id, _| known.contains_key(id.as_str()));
        if let Err(e) = self.state.save_counters(&self.counters) {
            warn!("{}", failure(&e.into()).error);
        }
    }

    /// Frames and bytes by rule id, over all generations.
    pub(super) fn rule_counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        for (generation, names) in &self.retired {
            add(&mut counters, generation, names);
        }
        add(&mut counters, self.dataplane.current(), &self.active);
        counters
    }

    /// Removes everything from the kernel.
    pub(super) async fn detach(self, who: Who) -> Result<Detached, Error> {
        let Self { dataplane, mut audit, settings, .. } = self;
        let detached = super::remove_all(dataplane.detach(), &settings.state_dir).await;
        record::detached(&mut audit, who, &detached);
        detached
    }
}

/// Ids of the rules, with the rules' numbers.
fn rules(names: &Active) -> impl Iterator<Item = (u32, &str)> {
    let rules = (0u32..).zip(&names.compiled.rules);
    rules.filter_map(|(number, rule)| {
        let (_, rule) = rule.as_ref()?.rule(&names.policy)?;
        Some((number, &*rule.id))
    })
}

fn add(counters: &mut Counters, generation: &Generation, names: &Active) {
    for (number, id) in rules(names) {
        let counter = generation.counter(number);
        let sum = counters.entry(id.to_owned()).or_default();
        sum.0 = sum.0.wrapping_add(counter.frames);
        sum.1 = sum.1.wrapping_add(counter.bytes);
    }
}
