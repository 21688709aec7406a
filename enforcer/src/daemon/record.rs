//! Entries that the core writes to the audit trail.

use std::sync::Arc;

use super::active::Active;
use super::apply::Applied;
use super::core::Core;
use super::failure;
use super::history::{self, Revision};
use super::source::load;
use crate::api::{ErrorCode, Failure, PolicyBundle};
use crate::audit::{Action, Audit, Entry, Who};
use crate::config::Settings;
use crate::policy::{Change, Severity};

impl Core {
    /// An entry with the active revision and generation.
    pub(super) fn entry(&self, who: &Who, action: Action) -> Entry {
        let generation = self.engine.active.generation;
        Entry {
            new_revision: Some(self.engine.active.revision),
            generation: Some(generation),
            program: self.engine.dataplane.pins().tag(generation),
            ..Entry::new(who.clone(), action)
        }
    }

    /// Must precede every change: records its beginning in the trail, if the settings require a trail.
    ///
    /// # Errors
    ///
    /// The trail is required and cannot be written: the change must not be made.
    pub(super) fn announce(
        &mut self,
        who: &Who,
        action: Action,
        subject: &str,
    ) -> Result<(), Failure> {
        if !self.settings.audit_required {
            return Ok(());
        }
        let entry = self.entry(who, action).about(subject);
        let begun = self.audit.announce(Entry { result: "begun".into(), ..entry.clone() });
        begun.map_err(|why| {
            let error = format!("refused, as `audit_required` asks: {why}");
            self.audit.record(Entry { result: error.clone(), ..entry });
            let hint = "make room, or set audit_required = false and start the daemon again; what \
                        is enforced stays enforced";
            Failure { error, hint: Some(hint.into()), code: ErrorCode::Configuration }
        })
    }

    /// [`Core::apply`] with its entries in the trail; a dry run has none.
    pub(super) async fn apply_for(
        &mut self,
        who: &Who,
        action: Action,
        bundle: PolicyBundle,
    ) -> Result<Applied, Failure> {
        if bundle.dry_run {
            return self.apply(bundle).await;
        }
        let (file, reason) = (bundle.file.clone(), bundle.reason.clone());
        self.announce(who, action, &file)?;
        let old = self.engine.active.revision;
        let outcome = self.apply(bundle).await;
        if let Ok(report) = &outcome
            && report.applied
            && self.engine.pending.is_none()
        {
            self.keep(who, reason.clone(), &report.changes).await;
        }
        let entry = self.entry(who, action).about(file);
        self.audit.record(Entry {
            old_revision: Some(old),
            reason,
            difference: outcome.as_ref().map(difference).unwrap_or_default(),
            result: result(&outcome),
            ..entry
        });
        outcome
    }

    /// Applies the policy file again (SIGHUP).
    pub(super) async fn reload(&mut self) -> String {
        let file = self.settings.policy.clone();
        let outcome = match self.offload(move || load(&file)).await {
            Ok(bundle) => self.apply_for(&Who::Daemon, Action::Reload, bundle).await,
            Err(e) => {
                let failure = failure(&e);
                let entry = self.entry(&Who::Daemon, Action::Reload);
                self.audit.record(Entry { result: failure.error.clone(), ..entry });
                Err(failure)
            }
        };
        let revision = self.engine.active.revision;
        match outcome {
            Ok(answer)
                if answer.problems.iter().all(|problem| problem.severity != Severity::Error) =>
            {
                if !answer.applied {
                    log::info!("the policy file says what is in force: revision {revision} stays");
                }
                self.summary()
            }
            Ok(answer) => {
                for problem in answer.problems {
                    log::error!("{}: {}", problem.place, problem.message);
                }
                let text = format!("the policy file has errors: revision {revision} stays");
                log::error!("{text}");
                text
            }
            Err(e) => {
                log::error!("cannot reload: {}", e.error);
                format!("cannot reload: {}: revision {revision} stays", e.error)
            }
        }
    }

    /// Stores the active policy as a revision. A failure does not affect enforcement.
    pub(super) async fn keep(&mut self, who: &Who, why: Option<String>, changes: &[Change]) {
        let (history, (revision, bundle)) =
            (self.history.clone(), self.revision(who, why, changes));
        let saved = self.offload(move || history.save(revision, &bundle)).await;
        self.say_kept(saved);
    }

    /// The active policy as a revision, with its documents.
    pub(super) fn revision(
        &self,
        who: &Who,
        why: Option<String>,
        changes: &[Change],
    ) -> (Revision, Arc<PolicyBundle>) {
        let Active { revision, since, digest, bundle, .. } = &*self.engine.active;
        let kept = Revision {
            revision: *revision,
            since: since.clone(),
            who: who.clone(),
            why,
            file: bundle.file.clone(),
            digest: digest.clone(),
            counts: (0, 0, 0),
            changes: Vec::new(),
        };
        (kept.with(changes), Arc::clone(bundle))
    }

    /// Reports a revision that could not be stored.
    pub(super) fn say_kept(&mut self, saved: Result<(), history::Error>) {
        if let Err(e) = saved {
            let text =
                format!("revision {} is not in the history: {e}", self.engine.active.revision);
            log::error!("{text}");
            self.warnings.push(text);
        }
    }

    /// Permission denied: recorded in the audit trail, no reply.
    pub(super) fn refused(&mut self, who: &Who, request: String, count: u64) {
        let result = format!("refused, {count} since the last entry of this kind");
        let entry = self.entry(who, Action::Refused).about(request);
        self.audit.refused(Entry { result, ..entry }, count);
    }

    /// The daemon starts to enforce. The entry says how each interface was protected, so that a gap is on
    /// record.
    pub(super) fn record_start(&mut self) {
        let entry = self.entry(&Who::Daemon, Action::Start);
        let entry = entry.about(self.engine.active.bundle.file.clone());
        let difference = std::mem::take(&mut self.starts);
        self.audit.record(Entry { difference, ..entry });
    }

    /// The daemon ends.
    pub(super) fn record(&mut self, action: Action) {
        let entry = self.entry(&Who::Daemon, action).about(self.engine.active.bundle.file.clone());
        self.audit.record(entry);
    }
}

/// Everything was removed from the kernel, or an attempt was made.
pub(super) fn detached(
    audit: &mut Audit,
    who: Who,
    outcome: &Result<crate::api::Detached, super::Error>,
) {
    let entry = Entry::new(who, Action::Detach);
    audit.record(match outcome {
        Ok(detached) => Entry { difference: detached.removed.clone(), ..entry },
        Err(e) => Entry { result: failure(e).error, ..entry },
    });
}

/// The trail of a machine without a running daemon, if it has one, and the calling user.
pub(super) fn without_daemon(settings: &Settings) -> Option<(Audit, Who)> {
    if !settings.state_dir.is_dir() {
        return None;
    }
    // SAFETY: neither call has preconditions, and neither can fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let pid = Some(std::process::id().cast_signed());
    let audit = Audit::open(&settings.state_dir, settings.audit_keep);
    Some((audit, crate::request::Peer { uid, gid, pid }.who()))
}

/// A difference as lines of an entry.
pub(super) fn difference(report: &Applied) -> Vec<String> {
    if report.applied { report.changes.iter().map(line).collect() } else { Vec::new() }
}

fn line(change: &Change) -> String {
    let Change { sign, kind, subject, text, rule } = change;
    let subject = subject.as_ref().map(|subject| format!(" {subject}:")).unwrap_or_default();
    let rule = rule.as_ref().map(|rule| format!("  {rule}")).unwrap_or_default();
    format!("{sign} {kind}{subject} {text}{rule}").trim_end().to_owned()
}

fn result(outcome: &Result<Applied, Failure>) -> String {
    match outcome {
        Ok(report) if report.applied => "ok".into(),
        Ok(report) => match report
            .problems
            .iter()
            .find(|problem| problem.severity == Severity::Error)
        {
            Some(first) => {
                let more = report.problems.len() - 1;
                format!("refused: line {}: {} (and {more} more)", first.place.line, first.message)
            }
            None => "nothing changed".into(),
        },
        Err(failure) => failure.error.clone(),
    }
}
