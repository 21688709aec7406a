//! Conversion between the types of the policy and those of the API: neither crate depends on the other.

use std::sync::Arc;

use crate::api;
use crate::policy::explain::{self, RuleWords};
use crate::policy::live::{Endpoint, LiveAction, LiveChange};
use crate::policy::{Change, Mode, Place, Problem, Severity};

/// A problem in a document.
pub fn problem(problem: &Problem) -> api::ProblemReport {
    api::ProblemReport {
        severity: problem.severity.name().to_owned(),
        file: problem.place.file.to_string(),
        line: problem.place.line,
        column: problem.place.column,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    }
}

/// The reverse of [`problem`].
pub fn reported(report: &api::ProblemReport) -> Problem {
    Problem {
        severity: if report.severity == "error" { Severity::Error } else { Severity::Warning },
        place: Place {
            file: Arc::from(report.file.as_str()),
            line: report.line,
            column: report.column,
        },
        message: report.message.clone(),
        hint: report.hint.clone(),
    }
}

/// A difference between two policies.
pub fn change(change: Change) -> api::Change {
    let Change { sign, kind, subject, text, rule } = change;
    api::Change { sign, kind, subject, text, rule }
}

/// A request to explain a flow.
pub fn request(request: &api::ExplainRequest) -> explain::Request {
    let api::ExplainRequest { from, mac, to, proto, interface, vlan, .. } = request.clone();
    explain::Request { from, mac, to, proto, interface, vlan }
}

/// An explanation; the counters of its rule are zero.
pub fn explanation(explanation: explain::Explanation) -> api::Explanation {
    let near_misses = explanation.near_misses.into_iter();
    api::Explanation {
        verdict: explanation.verdict.to_owned(),
        reason: explanation.reason.to_owned(),
        text: explanation.text,
        decided_by: explanation.decided_by.to_owned(),
        frame: explanation.frame,
        assumed: explanation.assumed,
        device: explanation.device,
        group: explanation.group,
        mode: explanation.mode,
        rule: explanation.rule.map(rule),
        near_misses: near_misses
            .map(|explain::NearMiss { rule, place, why }| api::NearMiss { rule, place, why })
            .collect(),
        suggestion: explanation.suggestion,
        notes: explanation.notes,
    }
}

/// A rule; its counters are zero.
pub fn rule(words: RuleWords) -> api::RuleRow {
    let RuleWords { id, group, action, to, service, reason, owner, until, place, live } = words;
    api::RuleRow {
        id,
        group,
        action: action.to_owned(),
        to,
        service,
        reason,
        owner,
        until,
        left: None,
        frames: 0,
        bytes: 0,
        place,
        live,
    }
}

/// A live change.
pub fn live(change: LiveChange) -> api::LiveChange {
    let action = match change.action {
        LiveAction::Allow(end) => api::LiveAction::Allow(endpoint(end)),
        LiveAction::Deny(end) => api::LiveAction::Deny(endpoint(end)),
        LiveAction::Accept(end) => api::LiveAction::Accept(endpoint(end)),
        LiveAction::Refuse(end) => api::LiveAction::Refuse(endpoint(end)),
        LiveAction::Mode { mode } => api::LiveAction::Mode { mode: self::mode(mode) },
    };
    api::LiveChange {
        id: change.id,
        target: change.target,
        action,
        reason: change.reason,
        owner: change.owner,
        until: change.until,
        lasts: change.lasts,
        deadline: change.deadline,
        left: change.left,
        since: change.since,
        by: change.by,
    }
}

/// The reverse of [`live`].
pub fn live_change(change: api::LiveChange) -> LiveChange {
    let end = |api::Endpoint { to, service }| Endpoint { to, service };
    let action = match change.action {
        api::LiveAction::Allow(asked) => LiveAction::Allow(end(asked)),
        api::LiveAction::Deny(asked) => LiveAction::Deny(end(asked)),
        api::LiveAction::Accept(asked) => LiveAction::Accept(end(asked)),
        api::LiveAction::Refuse(asked) => LiveAction::Refuse(end(asked)),
        api::LiveAction::Mode { mode } => LiveAction::Mode {
            mode: match mode {
                api::Mode::Enforce => Mode::Enforce,
                api::Mode::Observe => Mode::Observe,
                api::Mode::Quarantine => Mode::Quarantine,
            },
        },
    };
    LiveChange {
        id: change.id,
        target: change.target,
        action,
        reason: change.reason,
        owner: change.owner,
        until: change.until,
        lasts: change.lasts,
        deadline: change.deadline,
        left: change.left,
        since: change.since,
        by: change.by,
    }
}

/// `allow bed-12: tcp/443 to 192.0.2.7`.
pub fn words(change: &api::LiveChange) -> String {
    live_change(change.clone()).to_string()
}

fn endpoint(end: Endpoint) -> api::Endpoint {
    let Endpoint { to, service } = end;
    api::Endpoint { to, service }
}

fn mode(mode: Mode) -> api::Mode {
    match mode {
        Mode::Enforce => api::Mode::Enforce,
        Mode::Observe => api::Mode::Observe,
        Mode::Quarantine => api::Mode::Quarantine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API shows a change exactly as the state directory stores it.
    #[test]
    fn a_live_change_is_the_same_in_both() {
        let end = || Endpoint { to: "192.0.2.7".into(), service: "tcp/443".into() };
        let actions = [
            LiveAction::Allow(end()),
            LiveAction::Deny(end()),
            LiveAction::Accept(end()),
            LiveAction::Refuse(end()),
            LiveAction::Mode { mode: Mode::Enforce },
            LiveAction::Mode { mode: Mode::Observe },
            LiveAction::Mode { mode: Mode::Quarantine },
        ];
        for action in actions {
            let change = LiveChange {
                id: "l-1".into(),
                target: "beds".into(),
                action,
                reason: Some("CHG-1".into()),
                owner: Some("it@clinic".into()),
                until: Some(1),
                lasts: Some(2),
                deadline: Some(3),
                left: Some(4),
                since: 5,
                by: "root".into(),
            };
            let shown = live(change.clone());
            let json = |value: serde_json::Result<serde_json::Value>| value.unwrap();
            assert_eq!(json(serde_json::to_value(&shown)), json(serde_json::to_value(&change)));
            assert_eq!(live_change(shown), change);
        }
    }
}
