//! Live changes: in force in the kernel before they are answered.

use std::time::Instant;

use jiff::Timestamp;
use log::{error, info, warn};

use super::core::Core;
use super::{failure, usage};
use crate::api::{Failure, Guard, LiveReport, LiveRequest};
use crate::audit::{Action, Entry, Who};
use crate::convert;
use crate::policy::Mode;
use crate::policy::compile::live::denied_by;
use crate::policy::live::{LiveAction, LiveChange, MAX_CHANGES, identify};

/// Longest duration of a change, in seconds: ten years.
const MAX_SECONDS: i64 = 10 * 365 * 86_400;

impl Core {
    /// Makes a change, and records it in the audit trail.
    pub(super) async fn change_for(
        &mut self,
        who: &Who,
        request: LiveRequest,
    ) -> Result<LiveReport, Failure> {
        let LiveRequest { change, guard } = request;
        let change = convert::live_change(change);
        let action = match change.action {
            LiveAction::Allow(_) => Action::Allow,
            LiveAction::Deny(_) => Action::Deny,
            LiveAction::Accept(_) => Action::Accept,
            LiveAction::Refuse(_) => Action::Refuse,
            LiveAction::Mode { .. } => Action::Mode,
        };
        let (subject, reason) = (change.to_string(), change.reason.clone());
        self.announce(who, action, &subject)?;
        let outcome = self.change(change, guard, who.to_string()).await;
        self.trail_live(who, action, subject, reason, &outcome);
        outcome
    }

    /// Revokes a change, and records it in the audit trail.
    pub(super) async fn revoke_for(
        &mut self,
        who: &Who,
        id: &str,
        guard: Guard,
    ) -> Result<LiveReport, Failure> {
        self.announce(who, Action::Revoke, id)?;
        let outcome = self.revoke(id, guard).await;
        let subject = match &outcome {
            Ok(report) => convert::words(&report.change),
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

    /// Makes a change; it replaces an earlier one with the same content.
    async fn change(
        &mut self,
        mut change: LiveChange,
        guard: Guard,
        by: String,
    ) -> Result<LiveReport, Failure> {
        let begun = Instant::now();
        self.return_if_overdue().await;
        change.since = Timestamp::now().as_second();
        change.by = by;
        change.check().map_err(|wrong| usage(&wrong.message, wrong.hint.as_deref()))?;
        self.set_end(&mut change)?;
        identify(&mut change, &self.all_live());
        let plan = self.plan(|live| {
            let mut live = live.to_vec();
            live.retain(|other| !change.replaces(other));
            if live.len() >= MAX_CHANGES {
                let hint = "write what should stay into the policy file, and revoke the rest";
                let text = format!("{MAX_CHANGES} changes are in force already");
                return Err(usage(&text, Some(hint)));
            }
            live.push(change.clone());
            Ok(live)
        });
        let plan = plan.await?;
        let mut notes = self.carry_out(plan, guard).await?;
        info!("{change} ({}), by {}", change.id, change.by);
        notes.extend(self.notes(&change));
        Ok(self.report(&change, notes, begun))
    }

    /// Revokes a change.
    async fn revoke(&mut self, id: &str, guard: Guard) -> Result<LiveReport, Failure> {
        let begun = Instant::now();
        self.return_if_overdue().await;
        let known = self.all_live().into_iter().find(|change| change.id == id);
        let Some(change) = known else {
            let rule = self.engine.active.policy.every_rule().any(|rule| rule.id == id);
            let hint = if rule {
                "it is a rule of the policy file: remove it there, and apply the file"
            } else {
                "`enforcer history` and `enforcer status` list the changes with their ids"
            };
            return Err(usage(&format!("there is no live change {id}"), Some(hint)));
        };
        let plan = self.plan(|live| {
            let others = live.iter().filter(|change| change.id != id).cloned().collect::<Vec<_>>();
            match others.len() == live.len() {
                true => Err(usage("it was never beside that policy", None)),
                false => Ok(others),
            }
        });
        let plan = plan.await?;
        let notes = self.carry_out(plan, guard).await?;
        info!("revoked {change} ({})", change.id);
        Ok(self.report(&change, notes, begun))
    }

    /// Sets the end of a change: a duration ends on the boot clock, which no step of the wall clock
    /// affects.
    fn set_end(&self, change: &mut LiveChange) -> Result<(), Failure> {
        (change.deadline, change.left) = (None, None);
        let now = self.clock.now();
        match (change.lasts, change.until) {
            (None, None) => {}
            (Some(_), Some(_)) => {
                let hint = "give `for` or `until`";
                return Err(usage("a change ends after a time or at a date, not both", Some(hint)));
            }
            (Some(seconds), None) => {
                let lasts = i64::try_from(seconds).ok().filter(|s| (1..=MAX_SECONDS).contains(s));
                let Some(lasts) = lasts else {
                    let hint = format!("1 to {MAX_SECONDS} seconds, or no end at all");
                    return Err(usage(&format!("a change cannot last {seconds} s"), Some(&hint)));
                };
                // The current second has already begun and is not counted.
                change.deadline = Some(now.boot + 1 + lasts);
            }
            (None, Some(until)) => {
                let held = self.clock.is_held();
                let lets = |what: &LiveAction| {
                    matches!(
                        what,
                        LiveAction::Allow(_)
                            | LiveAction::Accept(_)
                            | LiveAction::Mode { mode: Mode::Observe }
                    )
                };
                let past = if held { now.earliest } else { now.latest };
                if until <= past {
                    let text = "a change that has ended already changes nothing";
                    return Err(usage(text, None));
                }
                if held && lets(&change.action) {
                    let text = "the clock is behind a time that has been: nothing can be let \
                                through until a date";
                    return Err(usage(
                        text,
                        Some("give a time, such as --for 2h; or set the clock"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn report(&self, change: &LiveChange, notes: Vec<String>, begun: Instant) -> LiveReport {
        let change = convert::live(self.clock.told(change));
        let generation = self.engine.active.generation.into();
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        LiveReport { change, generation, notes, milliseconds }
    }

    /// Removes changes that have ended; in the kernel they ended on time.
    pub(super) async fn end_changes(&mut self) {
        if self.turns.is_busy() {
            return;
        }
        let now = self.clock.now();
        let mut ended = self.all_live();
        ended.retain(|change| change.has_ended(now));
        if ended.is_empty() {
            return;
        }
        let left = |live: &[LiveChange]| -> Result<Vec<LiveChange>, Failure> {
            Ok(live.iter().filter(|change| !change.has_ended(now)).cloned().collect())
        };
        let done = match self.plan(left).await {
            Ok(plan) => self.publish(plan).await.map_err(|e| failure(&e)),
            Err(e) => Err(e),
        };
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

    /// Effects of a change that the operator might not expect.
    fn notes(&self, change: &LiveChange) -> Vec<String> {
        let by_date = change.until.is_some() && !self.clock.is_sure();
        if by_date
            && matches!(
                change.action,
                LiveAction::Deny(_)
                    | LiveAction::Refuse(_)
                    | LiveAction::Mode { mode: Mode::Quarantine }
            )
        {
            let note = "nothing says that the clock is right: it goes on past its end until that is \
                        certain; `--for` needs no clock";
            return vec![note.into()];
        }
        let LiveAction::Allow(_) = change.action else { return Vec::new() };
        let live = self.engine.active.policy.groups.iter().find_map(|group| {
            let rule = group.allow.iter().find(|rule| rule.live && rule.id == change.id)?;
            Some((group, rule))
        });
        let Some((group, rule)) = live else { return Vec::new() };
        let denied = denied_by(&self.engine.active.host, group, rule);
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
