//! What is active, and how that changes. Each transition is a method that does all of it: the kernel, the names of what
//! it judges by, and the counters of what is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};

use super::active::Active;
use super::state::Counters;
use super::unconfirmed::Unconfirmed;
use crate::clock::boot_clock;
use crate::dataplane::generation::Generation;
use crate::dataplane::{Dataplane, Error, Loaded};
use crate::image::Patch;
use crate::policy::Change;

/// The active policy, and what judges by it in the kernel.
pub(super) struct Engine {
    pub(super) dataplane: Dataplane,
    pub(super) active: Arc<Active>,
    /// The policy that returns unless the active one is confirmed.
    pub(super) pending: Option<Unconfirmed>,
    /// Generations by which frames may still be judged.
    retired: Vec<Retired>,
    /// Counters of rules from removed generations.
    counters: Counters,
}

/// A generation that is out of force, with its names.
pub(super) type Retired = (Generation, Arc<Active>);

impl Engine {
    /// With a policy that is in force, and the counters of earlier generations.
    pub(super) fn new(dataplane: Dataplane, active: Arc<Active>, counters: Counters) -> Self {
        Self { dataplane, active, pending: None, retired: Vec::new(), counters }
    }

    /// A policy with the next generation's number.
    pub(super) fn numbered(&self, mut next: Active) -> Arc<Active> {
        next.generation = self.dataplane.next_number();
        next.into()
    }

    /// Puts a generation in force.
    pub(super) fn activate(&mut self, next: &Arc<Active>, loaded: Loaded) -> Result<(), Error> {
        let old = self.dataplane.activate(loaded)?;
        let names = std::mem::replace(&mut self.active, Arc::clone(next));
        self.retired.push((old, names));
        Ok(())
    }

    /// Puts a generation in force; the present one returns after `time` without a confirmation.
    pub(super) fn activate_until(
        &mut self,
        next: &Arc<Active>,
        loaded: Loaded,
        (time, changes): (Duration, &[Change]),
    ) -> Result<(), Error> {
        let deadline = boot_clock().saturating_add(time.as_nanos() as u64);
        let at = Timestamp::now() + (time.as_secs() as i64).seconds();
        self.dataplane.activate_until(loaded, deadline)?;
        let previous = std::mem::replace(&mut self.active, Arc::clone(next));
        self.pending = Some(Unconfirmed { previous, deadline, at, changes: changes.to_vec() });
        Ok(())
    }

    /// Changes the image in force.
    pub(super) fn patch(&mut self, next: Arc<Active>, patch: &Patch) -> Result<(), Error> {
        self.dataplane.patch(patch)?;
        self.active = next;
        Ok(())
    }

    /// Changes the image of the policy that returns without a confirmation.
    pub(super) fn patch_previous(&mut self, next: Arc<Active>, patch: &Patch) -> Result<(), Error> {
        self.dataplane.patch_previous(patch)?;
        if let Some(pending) = &mut self.pending {
            pending.previous = next;
        }
        Ok(())
    }

    /// Replaces the generation that returns without a confirmation.
    pub(super) fn replace_previous(
        &mut self,
        next: &Arc<Active>,
        loaded: Loaded,
    ) -> Result<(), Error> {
        let old = self.dataplane.put_previous(loaded)?;
        let Some(pending) = &mut self.pending else { return Ok(()) };
        let names = std::mem::replace(&mut pending.previous, Arc::clone(next));
        self.retired.extend(old.map(|old| (old, names)));
        Ok(())
    }

    /// Keeps the active policy for good. Returns what it differs in from the one before.
    pub(super) fn confirm(&mut self) -> Vec<Change> {
        let old = self.dataplane.confirm();
        let Some(Unconfirmed { previous, changes, .. }) = self.pending.take() else {
            return Vec::new();
        };
        self.retired.extend(old.map(|old| (old, previous)));
        changes
    }

    /// Puts the previous policy in force again, under these names.
    pub(super) fn return_to(&mut self, previous: Arc<Active>) -> Result<(), Error> {
        let old = self.dataplane.return_to_previous()?;
        let refused = std::mem::replace(&mut self.active, previous);
        self.retired.extend(old.map(|old| (old, refused)));
        self.pending = None;
        Ok(())
    }

    /// Adds the counters of generations that are gone to the sums of the rules that are still there. Returns those
    /// generations, to be freed, and the sums; `None` if there were none.
    pub(super) fn fold(&mut self) -> Option<(Vec<Retired>, &Counters)> {
        if self.retired.is_empty() {
            return None;
        }
        let gone = std::mem::take(&mut self.retired);
        for (generation, names) in &gone {
            add(&mut self.counters, generation, names);
        }
        let previous = self.pending.as_ref().map(|pending| &*pending.previous);
        let known = previous.into_iter().chain([&*self.active]).flat_map(rules);
        let known: BTreeSet<&str> = known.map(|(_, id)| id).collect();
        self.counters.retain(|id, _| known.contains(id.as_str()));
        Some((gone, &self.counters))
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
