//! Policies that must be confirmed. Otherwise the previous one returns: the kernel does that alone if the
//! daemon is gone.

use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};

use super::active::{Active, read_bundle};
use super::core::{Core, now};
use super::session::FORCE;
use super::source::saved;
use super::unconfirmed::Unconfirmed;
use super::{Error, failure};
use crate::api::{Decided, ErrorCode, Failure, Guard, PolicyBundle};
use crate::audit::{Action, Entry, Who};
use crate::policy::{Change, diff};

impl Core {
    /// Puts a policy in force; the previous one returns after `time` without a confirmation.
    pub(super) async fn switch_until(
        &mut self,
        next: Active,
        time: Duration,
        changes: &[Change],
    ) -> Result<(), Error> {
        // A restart goes back to the old policy: the new one is stored only as unconfirmed.
        let next = self.numbered(next);
        let (state, names) = (self.state.clone(), Arc::clone(&next));
        self.offload(move || state.await_confirmation(&saved(&names))).await?;
        let previous = self.engine.active.revision;
        let put = self
            .put(&next, |engine, loaded| engine.activate_until(&next, loaded, (time, changes)))
            .await;
        if let Err(e) = put {
            self.state.forget_unconfirmed();
            return Err(e);
        }
        self.say_active();
        info!("revision {previous} returns in {} s unless it is confirmed", time.as_secs());
        Ok(())
    }

    /// Fails while a policy is unconfirmed: no other policy can be applied then. Live changes can.
    pub(super) async fn refuse_while_unconfirmed(&mut self) -> Result<(), Failure> {
        self.return_if_overdue().await;
        let Some(pending) = &self.engine.pending else { return Ok(()) };
        Err(Failure {
            error: format!(
                "revision {} waits to be confirmed until {}",
                self.engine.active.revision,
                pending.until()
            ),
            hint: Some("`enforcer confirm` keeps it, `enforcer rollback` takes it back".into()),
            code: ErrorCode::Refused,
        })
    }

    /// Confirms the policy, and records it in the audit trail.
    pub(super) async fn confirm_for(&mut self, who: &Who) -> Result<Decided, Failure> {
        let old = self.engine.active.revision;
        self.announce(who, Action::Confirm, "")?;
        let outcome = self.confirm_policy(who).await;
        self.trail(who, Action::Confirm, old, &outcome);
        outcome
    }

    /// Goes back to an earlier policy, and records it in the audit trail.
    pub(super) async fn roll_back_for(
        &mut self,
        who: &Who,
        revision: Option<u64>,
        guard: Guard,
    ) -> Result<Decided, Failure> {
        let old = self.engine.active.revision;
        self.announce(who, Action::Rollback, "")?;
        let outcome = self.roll_back(who, revision, guard).await;
        self.trail(who, Action::Rollback, old, &outcome);
        outcome
    }

    fn trail(&mut self, who: &Who, action: Action, old: u64, outcome: &Result<Decided, Failure>) {
        let (subject, result) = match outcome {
            Ok(decided) => (decided.text.clone(), "ok".to_owned()),
            Err(failure) => (String::new(), failure.error.clone()),
        };
        let entry = self.entry(who, action).about(subject);
        self.audit.record(Entry { old_revision: Some(old), result, ..entry });
    }

    async fn confirm_policy(&mut self, who: &Who) -> Result<Decided, Failure> {
        self.return_if_overdue().await;
        if self.engine.pending.is_none() {
            return Err(Failure {
                error: format!(
                    "nothing waits to be confirmed: revision {} is in force",
                    self.engine.active.revision
                ),
                hint: Some("`enforcer history` shows what came and went".into()),
                code: ErrorCode::Refused,
            });
        }
        let (state, stamp, names) =
            (self.state.clone(), self.clock.stamp(), Arc::clone(&self.engine.active));
        self.offload(move || {
            state.prepare(&saved(&names))?.commit()?;
            state.prepare_live(&names.live, &stamp)?.commit()
        })
        .await
        .map_err(|e| failure(&e.into()))?;
        let changes = self.engine.confirm();
        self.state.forget_unconfirmed();
        self.keep(who, None, &changes).await;
        Ok(self
            .decided(format!("confirmed: revision {} stays in force", self.engine.active.revision)))
    }

    /// Reverts the unconfirmed policy, or applies an earlier revision again.
    async fn roll_back(
        &mut self,
        who: &Who,
        revision: Option<u64>,
        guard: Guard,
    ) -> Result<Decided, Failure> {
        self.return_if_overdue().await;
        if let Some(pending) = &self.engine.pending {
            let previous = Arc::clone(&pending.previous);
            if revision.is_some() {
                self.refuse_while_unconfirmed().await?;
            }
            self.spare_session(guard, &previous, FORCE).await?;
            self.return_to_previous("taken back").await.map_err(|e| failure(&e))?;
            return Ok(
                self.decided(format!("revision {} is in force again", self.engine.active.revision))
            );
        }
        let (earlier, bundle) = self.earlier(revision).await?;
        let (names, file) = (Arc::clone(&self.engine.active), bundle.file.clone());
        let (next, changes) = self
            .offload(move || {
                let (policy, problems) = read_bundle(&bundle);
                let host = names.host.clone();
                let next =
                    Active::compile(bundle.into(), policy.into(), &names.live, host, problems)?;
                let changes = diff(&names.written, &next.written);
                Ok((next, changes))
            })
            .await
            .map_err(|problems| failure(&Error::Problems { file, problems }))?;
        let names = &self.engine.active;
        let aside = Some(names.digest.clone()).filter(|digest| *digest != next.digest);
        let next = Active { revision: names.revision + 1, since: now(), aside, ..next };
        self.spare_session(guard, &next, FORCE).await?;
        self.switch(next).await.map_err(|e| failure(&e))?;
        self.keep(who, Some(format!("rolled back to revision {earlier}")), &changes).await;
        Ok(self.decided(format!(
            "revision {} is in force: the policy of revision {earlier} again",
            self.engine.active.revision
        )))
    }

    fn decided(&self, text: String) -> Decided {
        let (revision, generation) =
            (self.engine.active.revision, self.engine.active.generation.into());
        Decided { revision, generation, text }
    }

    /// Catches up with the kernel if it has already gone back to the previous policy.
    pub(super) async fn return_if_overdue(&mut self) {
        // Work in progress is about the active policy. Waiting is safe: the kernel has already gone back.
        let is_due = self.engine.pending.as_ref().is_some_and(Unconfirmed::is_overdue);
        if is_due
            && !self.turns.is_busy()
            && let Err(e) = self.return_to_previous("not confirmed in time").await
        {
            error!("{}", failure(&e).error);
        }
    }

    /// Puts the previous policy in force again. No order can intervene: `offload` accepts none.
    async fn return_to_previous(&mut self, why: &str) -> Result<(), Error> {
        let Some(pending) = &self.engine.pending else { return Ok(()) };
        let refused = Arc::clone(&self.engine.active);
        // The next start must not apply the refused policy's file.
        let previous = Active::clone(&pending.previous);
        let aside = Some(refused.digest.clone()).filter(|digest| *digest != previous.digest);
        let previous = Arc::new(Active { aside, ..previous });
        let (state, stamp, names) = (self.state.clone(), self.clock.stamp(), Arc::clone(&previous));
        let kept = self
            .offload(move || {
                state.prepare(&saved(&names))?.commit()?;
                // Live changes that fit only the refused policy are dropped.
                state.prepare_live(&names.live, &stamp)?.commit()
            })
            .await;
        if let Err(e) = kept {
            error!("{}", failure(&e.into()).error);
        }
        self.engine.return_to(previous)?;
        self.state.forget_unconfirmed();
        let text = format!(
            "revision {} was {why}: revision {} is in force again",
            refused.revision, self.engine.active.revision
        );
        warn!("{text}");
        let entry = self.entry(&Who::Daemon, Action::Returned).about(text.clone());
        self.audit.record(Entry { old_revision: Some(refused.revision), ..entry });
        self.warnings.push(text);
        Ok(())
    }
}

impl Core {
    /// The documents of an earlier revision; by default, of the previous one.
    async fn earlier(&mut self, revision: Option<u64>) -> Result<(u64, PolicyBundle), Failure> {
        let fail = |error: String| Failure {
            error,
            hint: Some("`enforcer history` lists the revisions that are kept".into()),
            code: ErrorCode::Refused,
        };
        let before =
            || (1..self.engine.active.revision).rev().find(|number| self.history.has(*number));
        let number = revision.or_else(before);
        let number = number.ok_or_else(|| fail("no earlier revision is kept".into()))?;
        if number == self.engine.active.revision {
            return Err(fail(format!("revision {number} is in force")));
        }
        let history = self.history.clone();
        let loaded = self.offload(move || history.load(number)).await;
        let (_, bundle) = loaded.map_err(|e| fail(e.to_string()))?;
        Ok((number, bundle))
    }
}
