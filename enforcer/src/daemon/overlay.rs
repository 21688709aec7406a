//! Puts live changes into the kernel: over the active policy, and over the previous one while that may
//! return.

use std::sync::Arc;

use log::{error, warn};

use super::active::Active;
use super::core::Core;
use super::session::FORCE;
use super::{Error, failure, usage};
use crate::api::{Failure, Guard};
use crate::image::Patch;
use crate::policy::Host;
use crate::policy::compile;
use crate::policy::compile::live::patch;
use crate::policy::live::{LiveChange, with_live};

/// A policy with live changes, and the patch from its present image, if a patch is enough.
struct Step {
    next: Active,
    patch: Option<Patch>,
}

/// The new state of both policies, or of the one that the changes fit.
pub(super) struct Plan {
    /// For the active policy.
    current: Option<Step>,
    /// For the policy that returns without a confirmation.
    previous: Option<Step>,
    /// The policy that the changes do not fit, and why.
    note: Option<String>,
}

impl Core {
    /// The live changes of the active policy, and those that only the policy that may return has.
    pub(super) fn all_live(&self) -> Vec<LiveChange> {
        let previous = self.engine.pending.as_ref().map(|pending| &*pending.previous);
        together(&self.engine.active.live, previous.map_or(&[], |previous| &previous.live))
    }

    /// Applies `edit` to the live changes of both policies, and compiles the results.
    ///
    /// # Errors
    ///
    /// The changes fit neither policy.
    pub(super) async fn plan(
        &mut self,
        edit: impl Fn(&[LiveChange]) -> Result<Vec<LiveChange>, Failure>,
    ) -> Result<Plan, Failure> {
        let current = self.step(Arc::clone(&self.engine.active), &edit).await;
        let Some(pending) = &self.engine.pending else {
            return Ok(Plan { current: Some(current?), previous: None, note: None });
        };
        let (now, then) = (self.engine.active.revision, pending.previous.revision);
        let previous = Arc::clone(&pending.previous);
        match (current, self.step(previous, &edit).await) {
            (Ok(current), Ok(previous)) => {
                Ok(Plan { current: Some(current), previous: Some(previous), note: None })
            }
            (Ok(current), Err(e)) => {
                let note = format!(
                    "only beside revision {now}, which waits to be confirmed; not beside revision \
                     {then}, should that return: {}",
                    e.error
                );
                Ok(Plan { current: Some(current), previous: None, note: Some(note) })
            }
            (Err(e), Ok(previous)) => {
                let note = format!(
                    "only beside revision {then}, should that return; not beside revision {now}, \
                     which waits to be confirmed: {}",
                    e.error
                );
                Ok(Plan { current: None, previous: Some(previous), note: Some(note) })
            }
            (Err(e), Err(_)) => Err(e),
        }
    }

    /// Puts a plan in force, unless it cuts off the operator's session. Returns remarks about it.
    pub(super) async fn carry_out(
        &mut self,
        plan: Plan,
        guard: Guard,
    ) -> Result<Vec<String>, Failure> {
        if let Some(step) = &plan.current {
            self.spare_session(guard, &step.next, FORCE).await?;
        }
        if let (Some(step), Some(pending)) = (&plan.previous, &self.engine.pending) {
            self.spare_session_in(&pending.previous, guard, &step.next, FORCE).await?;
        }
        let notes: Vec<String> = plan.note.clone().into_iter().collect();
        notes.iter().for_each(|note| warn!("{note}"));
        self.publish(plan).await.map_err(|e| failure(&e))?;
        Ok(notes)
    }

    /// Puts a plan in force.
    pub(super) async fn publish(&mut self, plan: Plan) -> Result<(), Error> {
        let Plan { current, previous, .. } = plan;
        if self.engine.pending.is_none() {
            return match current {
                Some(step) => self.put_alone(step).await,
                None => Ok(()),
            };
        }
        let lives = |step: &Option<Step>, names: &Active| match step {
            Some(step) => step.next.live.clone(),
            None => names.live.clone(),
        };
        let before =
            self.engine.pending.as_ref().map(|pending| lives(&previous, &pending.previous));
        // A daemon that starts now goes back to the previous policy, and drops the changes that do not fit
        // it.
        let live = together(&lives(&current, &self.engine.active), &before.unwrap_or_default());
        let file = self.state.prepare_live(&live, &self.clock.stamp())?;
        if let Some(step) = previous
            && let Err(e) = self.put_previous(step).await
        {
            file.discard();
            return Err(e);
        }
        let done = match current {
            Some(step) => self.put_current(step).await,
            None => Ok(()),
        };
        if let Err(e) = &done {
            let text = "a live change is only beside the policy that returns unless the one in force \
                        is confirmed";
            error!("{text}: {e}");
            self.warnings.push(text.into());
        }
        self.commit(file);
        done
    }

    /// Puts a step in force while no policy is unconfirmed.
    async fn put_alone(&mut self, step: Step) -> Result<(), Error> {
        if step.patch.is_none() {
            return self.switch(step.next).await;
        }
        let file = self.state.prepare_live(&step.next.live, &self.clock.stamp())?;
        if let Err(e) = self.put_current(step).await {
            file.discard();
            return Err(e);
        }
        self.commit(file);
        Ok(())
    }

    fn commit(&mut self, file: super::state::Pending) {
        if let Err(e) = file.commit() {
            error!("{}", failure(&e.into()).error);
            self.warnings.push("a live change could not be saved; a restart would lose it".into());
        }
        self.clock.keep_soon();
    }

    /// Changes only the kernel: an unconfirmed policy is not stored as the active one.
    async fn put_current(&mut self, step: Step) -> Result<(), Error> {
        let Step { next, patch } = step;
        let Some(patch) = patch else { return self.put_generation(next).await };
        let next = Arc::new(next);
        self.reporter.announce(&next);
        Ok(self.engine.patch(next, &patch)?)
    }

    /// Activates a new generation without writing to disk: the stored state is the same.
    pub(super) async fn put_generation(&mut self, next: Active) -> Result<(), Error> {
        let next = self.numbered(next);
        self.put(&next, |engine, loaded| engine.activate(&next, loaded)).await
    }

    /// Changes the policy that returns without a confirmation.
    async fn put_previous(&mut self, step: Step) -> Result<(), Error> {
        let Step { next, patch } = step;
        if let Some(patch) = patch {
            let next = Arc::new(next);
            self.reporter.announce(&next);
            return Ok(self.engine.patch_previous(next, &patch)?);
        }
        let next = self.numbered(next);
        self.put(&next, |engine, loaded| engine.replace_previous(&next, loaded)).await
    }

    /// Applies `edit` to a policy, on a separate thread because it may have to be compiled.
    async fn step(
        &mut self,
        names: Arc<Active>,
        edit: impl Fn(&[LiveChange]) -> Result<Vec<LiveChange>, Failure>,
    ) -> Result<Step, Failure> {
        let live = edit(&names.live)?;
        let now = self.clock.now().earliest;
        self.offload(move || Step::of(&names, live, now)).await
    }
}

impl Step {
    /// The policy with these live changes.
    fn of(names: &Active, live: Vec<LiveChange>, now: i64) -> Result<Self, Failure> {
        let policy = with_live(&names.written, &live)
            .map_err(|(_, error)| usage(&error.message, error.hint.as_deref()))?;
        let host = Host { now, ..names.host.clone() };
        let (compiled, patch) = match patch(&names.compiled, &names.policy, &policy, &host) {
            Some((compiled, patch)) => (compiled, Some(patch)),
            None => {
                let compiled = compile(&policy, &host).map_err(|problems| {
                    let file = names.bundle.file.clone();
                    failure(&Error::Problems { file, problems })
                })?;
                (compiled, None)
            }
        };
        let next = Active {
            bundle: names.bundle.clone(),
            written: names.written.clone(),
            live,
            policy,
            host,
            compiled,
            revision: names.revision,
            generation: names.generation,
            since: names.since.clone(),
            digest: names.digest.clone(),
            aside: names.aside.clone(),
            warnings: names.warnings.clone(),
            read: names.read.clone(),
        };
        Ok(Self { next, patch })
    }
}

/// The changes of both lists, without duplicates.
fn together(current: &[LiveChange], previous: &[LiveChange]) -> Vec<LiveChange> {
    let mut all = current.to_vec();
    all.extend(previous.iter().filter(|change| !all.contains(change)).cloned().collect::<Vec<_>>());
    all
}
