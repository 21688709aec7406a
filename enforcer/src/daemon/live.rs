//! Changes by command: in force in the kernel before they are answered.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use log::{error, info, warn};

use super::core::Core;
use super::in_force::InForce;
use super::session::FORCE;
use super::{Error, failure};
use crate::api::{Failure, Guard, LiveReport, LiveRequest};
use crate::audit::{Action, Entry, Who};
use crate::exit::Exit;
use crate::image::Patch;
use crate::policy::compile;
use crate::policy::compile::live::{denied_by, patch};
use crate::policy::live::{Change, MAX_CHANGES, What, identify, with_live};
use crate::policy::{Mode, Site};

impl Core {
    /// Makes a change, and writes it into the trail.
    pub(super) async fn change_for(
        &mut self,
        who: &Who,
        request: LiveRequest,
    ) -> Result<LiveReport, Failure> {
        let action = match request.change.what {
            What::Allow(_) => Action::Allow,
            What::Deny(_) => Action::Deny,
            What::Mode { .. } => Action::Mode,
        };
        let (subject, reason) = (request.change.to_string(), request.change.reason.clone());
        self.announce(who, action, &subject)?;
        let outcome = self.change(request, who.to_string()).await;
        self.trail_live(who, action, subject, reason, &outcome);
        outcome
    }

    /// Takes a change back, and writes it into the trail.
    pub(super) async fn revoke_for(
        &mut self,
        who: &Who,
        id: &str,
        guard: Guard,
    ) -> Result<LiveReport, Failure> {
        self.announce(who, Action::Revoke, id)?;
        let outcome = self.revoke(id, guard).await;
        let subject = match &outcome {
            Ok(report) => report.change.to_string(),
            Err(_) => id.to_owned(),
        };
        self.trail_live(who, Action::Revoke, subject, None, &outcome);
        outcome
    }

    fn trail_live(
        &mut self,
        who: &Who,
        action: Action,
        subject: String,
        reason: Option<String>,
        outcome: &Result<LiveReport, Failure>,
    ) {
        let result = match outcome {
            Ok(report) => format!("ok: {}", report.change.id),
            Err(failure) => failure.error.clone(),
        };
        let entry = self.entry(who, action).about(subject);
        self.audit.record(Entry { reason, result, ..entry });
    }

    /// Makes a change; the same change again takes the place of the first.
    async fn change(&mut self, request: LiveRequest, by: String) -> Result<LiveReport, Failure> {
        let begun = Instant::now();
        self.refuse_while_unconfirmed()?;
        let mut change = request.change;
        change.since = Timestamp::now().as_second();
        change.by = by;
        if change.has_ended(change.since) {
            return Err(usage("a change that has ended already changes nothing", None));
        }
        identify(&mut change, &self.in_force.live);
        let mut live = self.in_force.live.clone();
        live.retain(|other| !change.replaces(other));
        if live.len() >= MAX_CHANGES {
            let hint = "write what should stay into the policy file, and revoke the rest";
            return Err(usage(&format!("{MAX_CHANGES} changes are in force already"), Some(hint)));
        }
        live.push(change.clone());
        let (next, patch) = self.beside(live)?;
        self.spare_session(request.guard, &next, FORCE).await?;
        self.put_beside(next, patch).map_err(|e| failure(&e))?;
        info!("{change} ({}), by {}", change.id, change.by);
        let notes = self.notes(&change);
        Ok(self.report(change, notes, begun))
    }

    /// Takes a change back.
    async fn revoke(&mut self, id: &str, guard: Guard) -> Result<LiveReport, Failure> {
        let begun = Instant::now();
        self.refuse_while_unconfirmed()?;
        let mut live = self.in_force.live.clone();
        let Some(at) = live.iter().position(|change| change.id == id) else {
            let rule = self
                .in_force
                .policy
                .groups
                .iter()
                .any(|group| group.deny.iter().chain(&group.allow).any(|rule| rule.id == id));
            let hint = if rule {
                "it is a rule of the policy file: remove it there, and apply the file"
            } else {
                "`enforcer history` and `enforcer status` list the changes with their ids"
            };
            return Err(usage(&format!("there is no live change {id}"), Some(hint)));
        };
        let change = live.remove(at);
        let (next, patch) = self.beside(live)?;
        self.spare_session(guard, &next, FORCE).await?;
        self.put_beside(next, patch).map_err(|e| failure(&e))?;
        info!("revoked {change} ({})", change.id);
        Ok(self.report(change, Vec::new(), begun))
    }

    fn report(&self, change: Change, notes: Vec<String>, begun: Instant) -> LiveReport {
        let generation = self.in_force.generation.into();
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        LiveReport { change, generation, notes, milliseconds }
    }

    /// Forgets what has ended; in the kernel it ended on time.
    pub(super) fn end_changes(&mut self) {
        let now = Timestamp::now().as_second();
        if self.pending.is_some() || !self.in_force.live.iter().any(|c| c.has_ended(now)) {
            return;
        }
        let (ended, live): (Vec<_>, Vec<_>) =
            self.in_force.live.iter().cloned().partition(|change| change.has_ended(now));
        let done = self
            .beside(live)
            .and_then(|(next, patch)| self.put_beside(next, patch).map_err(|e| failure(&e)));
        match done {
            Ok(()) => {
                for change in ended {
                    info!("ended: {change} ({})", change.id);
                    let entry = self.entry(&Who::Daemon, Action::Ended).about(change.to_string());
                    self.audit.record(entry);
                }
            }
            Err(e) => error!("cannot forget a change that has ended: {}", e.error),
        }
    }

    /// What would be in force with these changes, and the patch that makes it of what is, where
    /// one is enough.
    fn beside(&self, live: Vec<Change>) -> Result<(InForce, Option<Patch>), Failure> {
        let names = &*self.in_force;
        let policy = with_live(&names.written, &live)
            .map_err(|(_, complaint)| usage(&complaint.message, complaint.hint.as_deref()))?;
        let site = Site { now: Timestamp::now().as_second(), ..names.site.clone() };
        let (compiled, patch) = match patch(&names.compiled, &names.policy, &policy, &site) {
            Some((compiled, patch)) => (compiled, Some(patch)),
            None => {
                let compiled = compile(&policy, &site).map_err(|problems| {
                    let file = names.bundle.file.clone();
                    failure(&Error::Problems { file, problems })
                })?;
                (compiled, None)
            }
        };
        let next = InForce {
            bundle: names.bundle.clone(),
            written: names.written.clone(),
            live,
            policy,
            site,
            compiled,
            revision: names.revision,
            generation: names.generation,
            since: names.since.clone(),
            digest: names.digest.clone(),
            aside: names.aside.clone(),
            warnings: names.warnings.clone(),
            read: names.read.clone(),
        };
        Ok((next, patch))
    }

    /// Puts the changes of `next` in force: a patch of the image where that is enough.
    fn put_beside(&mut self, next: InForce, patch: Option<Patch>) -> Result<(), Error> {
        let Some(patch) = patch else {
            return self.switch(next);
        };
        let pending = self.state.prepare_live(&next.live)?;
        let next = Arc::new(next);
        self.reporter.announce(next.generation, Arc::clone(&next));
        if let Err(e) = self.dataplane.patch(&patch) {
            pending.discard();
            return Err(e.into());
        }
        self.in_force = next;
        if let Err(e) = pending.commit() {
            error!("{}", failure(&e.into()).error);
            self.warnings.push("a live change is not on disk".into());
        }
        Ok(())
    }

    /// What an operator would not expect of a change.
    fn notes(&self, change: &Change) -> Vec<String> {
        let What::Allow(_) = change.what else { return Vec::new() };
        let live = self.in_force.policy.groups.iter().find_map(|group| {
            let rule = group.allow.iter().find(|rule| rule.live && rule.id == change.id)?;
            Some((group, rule))
        });
        let Some((group, rule)) = live else { return Vec::new() };
        let denied = denied_by(&self.in_force.site, group, rule);
        let mut notes: Vec<String> = denied
            .into_iter()
            .map(|deny| {
                format!(
                    "deny rule {} ({} to {}) still wins where both match",
                    deny.id, deny.service_text, deny.to_text
                )
            })
            .collect();
        if group.mode == Mode::Quarantine {
            notes
                .push(format!("group {} is in quarantine: no rule lets anything pass", group.name));
        }
        for note in &notes {
            warn!("{change}: {note}");
        }
        notes
    }
}

fn usage(error: &str, hint: Option<&str>) -> Failure {
    Failure { error: error.into(), hint: hint.map(Into::into), exit: Exit::Usage as u8 }
}
