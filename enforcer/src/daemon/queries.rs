//! Answers to requests: the active policy and its counters.

use std::collections::HashMap;
use std::process;
use std::sync::Arc;

use bytes::Bytes;
use enforcer_common::decide::FrameContext;
use enforcer_common::flow::{Address, FAMILY_V4, FAMILY_V6, Flow};
use enforcer_common::wire;
use tokio::sync::oneshot;

use super::active::Active;
use super::apply::Applied;
use super::core::Core;
use super::explain::About;
use super::history;
use super::rows::rules;
use super::time::wall_time;
use super::unconfirmed::Unconfirmed;
use crate::api::{
    ApplyReport, DeviceRow, ErrorCode, Failure, GroupStatus, PolicyStatus, ReasonCount, RuleRow,
    Status,
};
use crate::audit::Action;
use crate::control::body::encode;
use crate::control::{Answer, Body, Input, Rank};
use crate::convert;
use crate::image::HostImage;
use crate::policy::live::{LiveAction, LiveChange, span};
use crate::policy::report::has_errors;
use crate::policy::{DefaultVerdict, Device, Mode, Range, Timed, Unknown};
use crate::request::{Question, Request};
use crate::shown::escaped;

impl Core {
    /// Answers everything except a detach. A client that has disconnected is ignored.
    pub(super) async fn answer(&mut self, rank: Rank, Input { request, reply }: Input) {
        if request.is_order() {
            self.recorder.record(self.clock.now(), &request);
        }
        let answer = match request {
            Request::Ask(question) => return self.look(rank, question, reply).await,
            Request::Explain(request) => return self.explain(rank, About::One(request), reply),
            Request::ExplainFrames(request) => {
                return self.explain(rank, About::Captured(request), reply);
            }
            Request::Refused { peer, request, count } => {
                return self.refused(&peer.who(), request, count);
            }
            Request::Apply { bundle, peer } => {
                log::info!("apply {}, asked for by {peer}", escaped(&bundle.file));
                self.apply_for(&peer.who(), Action::Apply, bundle).await.and_then(report)
            }
            Request::Change { request, peer } => {
                self.change_for(&peer.who(), request).await.and_then(|report| encode(&report))
            }
            Request::Revoke { id, guard, peer } => {
                self.revoke_for(&peer.who(), &id, guard).await.and_then(|report| encode(&report))
            }
            Request::Confirm { peer } => {
                self.confirm_for(&peer.who()).await.and_then(|decided| encode(&decided))
            }
            Request::Rollback { revision, guard, peer } => {
                let decided = self.roll_back_for(&peer.who(), revision, guard).await;
                decided.and_then(|decided| encode(&decided))
            }
            // Ends the loop; the reply is sent there.
            Request::Detach { .. } => return,
        };
        drop(reply.send(answer));
    }

    /// Answers a question. Slow answers are built outside the loop.
    async fn look(&mut self, rank: Rank, question: Question, reply: oneshot::Sender<Answer>) {
        let (aside, names) = (self.aside.clone(), Arc::clone(&self.engine.active));
        match question {
            Question::Status => {
                let status = self.status().await;
                aside.answer(rank, reply, move || encode(&status));
            }
            Question::Devices => {
                let reporter = self.reporter.clone();
                // Read here, because the other thread has no access to the tables.
                let sighted = self.engine.dataplane.sightings();
                aside.answer(rank, reply, move || {
                    reporter.sighted(&sighted, &names);
                    encode(&devices(&names, reporter.seen()))
                });
            }
            Question::Flows => {
                let flows = self.engine.dataplane.flows();
                let now = self.clock.now();
                aside.answer(rank, reply, move || encode(&super::flows::list(&names, &flows, now)));
            }
            Question::Rules => {
                let (counters, dates) = (self.engine.rule_counters(), self.clock.dates());
                aside.answer(rank, reply, move || encode(&rules(&names, &counters, dates)));
            }
            Question::Metrics => {
                let text = Bytes::from(self.metrics().await);
                drop(reply.send(Ok(text.into())));
            }
            Question::Policy => {
                let (shown, dates) = (self.shown.clone(), self.clock.dates());
                match shown.at_once(&names, dates) {
                    Some(text) => drop(reply.send(Ok(text.into()))),
                    None => aside.answer(rank, reply, move || Ok(shown.make(&names, dates).into())),
                }
            }
            Question::Revision(revision) => {
                let history = self.history.clone();
                aside.answer(rank, reply, move || {
                    let code = ErrorCode::Configuration;
                    let refused =
                        |e: history::Error| Failure { error: e.to_string(), hint: None, code };
                    history.document(revision).map(Body::from).map_err(refused)
                });
            }
            Question::History => {
                let (history, revision) = (self.history.clone(), names.revision);
                aside.answer(rank, reply, move || encode(&history.list(revision)));
            }
        }
    }

    async fn status(&mut self) -> Status {
        self.return_if_overdue().await;
        let interfaces = self.interfaces().await;
        let small_tables = self.small_tables().await;
        let names = &*self.engine.active;
        let mut warnings = self.warnings.clone();
        warnings.extend(self.audit.warnings());
        warnings.extend(self.sinks.iter().filter_map(|sink| sink.warning()));
        warnings.extend(self.clock.warning(names));
        warnings.extend(self.break_glass());
        warnings.extend(small_tables);
        warnings.extend(names.warnings.iter().map(|w| format!("{}: {}", w.place, w.message)));
        Status {
            enforcing: interfaces.iter().all(|interface| interface.enforcing),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: process::id(),
            started: self.started.clone(),
            policy: PolicyStatus {
                file: names.bundle.file.clone(),
                revision: names.revision,
                generation: names.generation.into(),
                digest: names.digest.clone(),
                since: names.since.clone(),
                groups: names.written.groups.len(),
                devices: names.policy.devices.len(),
                rules: rule_count(names),
                image_bytes: self.engine.dataplane.current().image_bytes,
            },
            interfaces,
            reasons: self.reasons(),
            groups: self.groups(),
            live: names.live.iter().map(|change| convert::live(self.clock.told(change))).collect(),
            confirm_until: self.engine.pending.as_ref().map(Unconfirmed::until),
            warnings,
        }
    }

    pub(super) fn reasons(&self) -> Vec<ReasonCount> {
        let counters = self.engine.dataplane.reasons();
        let counters = counters.into_iter();
        counters
            .map(|(reason, counter)| ReasonCount {
                reason: reason.name().into(),
                verdict: if reason.passes() { "pass" } else { "drop" }.into(),
                text: reason.words().into(),
                frames: counter.frames,
                bytes: counter.bytes,
                would_drop: counter.would_drop,
                suppressed: counter.suppressed,
                lost: counter.lost,
            })
            .collect()
    }

    /// Status of the groups and of unknown devices.
    pub(super) fn groups(&self) -> Vec<GroupStatus> {
        let names = &*self.engine.active;
        let until = |timed: Option<Timed>| wall_time(self.clock.date(timed?.until));
        let left = |timed: Option<Timed>| self.clock.left(timed?.until);
        let members: HashMap<&str, usize> =
            names.written.groups.iter().map(|group| (&*group.name, group.members.len())).collect();
        // A device's own group is shown as the group that it was made from.
        let known = names.policy.groups.iter().filter(|group| group.device_of.is_none());
        let known = known.map(|group| GroupStatus {
            name: group.name.clone(),
            mode: group.mode.to_string(),
            until: until(group.timed),
            left: left(group.timed),
            default: group.default.to_string(),
            inbound: group.inbound.to_string(),
            // A device with live rules of its own still counts as a member.
            members: members.get(&*group.name).copied().unwrap_or_default(),
            rules: group.every_rule().count(),
        });
        let unknown = names.policy.unknown;
        let unknown = GroupStatus {
            name: Unknown::NAME.into(),
            mode: unknown.mode.to_string(),
            until: until(unknown.timed),
            left: left(unknown.timed),
            default: unknown.default.to_string(),
            inbound: DefaultVerdict::Pass.to_string(),
            members: 0,
            rules: 0,
        };
        known.chain(std::iter::once(unknown)).collect()
    }

    /// Warnings about groups that a live change lets pass everything.
    fn break_glass(&self) -> impl Iterator<Item = String> + '_ {
        let observed = |change: &&LiveChange| {
            matches!(change.action, LiveAction::Mode { mode: Mode::Observe })
        };
        self.engine.active.live.iter().filter(observed).map(|change| {
            let LiveChange { target, by, until, left, .. } = self.clock.told(change);
            let until = until.and_then(wall_time).map(|until| format!(" until {until}"));
            let left = left.map(|left| format!(" ({} left)", span(left)));
            let until = until.unwrap_or_default() + &left.unwrap_or_default();
            format!("group {target} drops nothing{until}: {by} set it to observe")
        })
    }

    pub(super) fn rules(&self) -> Vec<RuleRow> {
        rules(&self.engine.active, &self.engine.rule_counters(), self.clock.dates())
    }
}

/// The API's report on an applied policy.
fn report(applied: Applied) -> Answer {
    let is_refused = has_errors(&applied.problems);
    let body = encode(&ApplyReport {
        applied: applied.applied,
        revision: applied.revision,
        generation: applied.generation,
        changes: applied.changes.into_iter().map(convert::change).collect(),
        problems: applied.problems.iter().map(convert::problem).collect(),
        milliseconds: applied.milliseconds,
        confirm_until: applied.confirm_until,
    })?;
    Ok(if is_refused { Body::Refused(body.bytes()) } else { body })
}

/// Named devices first, then those that were only seen.
fn devices(names: &Active, mut seen: HashMap<u64, DeviceRow>) -> Vec<DeviceRow> {
    let named = seen.iter().filter_map(|(key, row)| Some((row.device.clone()?, *key)));
    let named: HashMap<String, u64> = named.collect();
    let mut rows = Vec::new();
    for device in &names.policy.devices {
        let key = match device.mac {
            Some(mac) => Some(wire::mac(mac.0)),
            None => named.get(&device.name).copied(),
        };
        let mut row = key.and_then(|key| seen.remove(&key)).unwrap_or_default();
        row.device = Some(device.name.clone());
        row.mac = row.mac.or_else(|| device.mac.map(|mac| mac.to_string()));
        row.ip = row.ip.or_else(|| device.addresses.first().map(ToString::to_string));
        if row.group.is_empty() {
            let (group, mode) = group_of(names, device);
            (row.group, row.mode) = (group.into(), mode.to_string());
        }
        rows.push(row);
    }
    let unnamed = |(mac, mut row): (u64, DeviceRow)| {
        if row.group.is_empty() {
            let (group, mode) = group_of_flow(names, Flow { source_mac: mac, ..Flow::NEW });
            (row.group, row.mode) = (group.into(), mode.to_string());
        }
        row
    };
    let mut others: Vec<DeviceRow> = seen.into_iter().map(unnamed).collect();
    others.sort_by(|a, b| a.mac.cmp(&b.mac));
    rows.extend(others);
    rows
}

/// The group of a named device that was not seen yet.
fn group_of<'n>(names: &'n Active, device: &Device) -> (&'n str, Mode) {
    let mut flow = Flow::NEW;
    flow.source_mac = device.mac.map_or(0, |mac| wire::mac(mac.0));
    match device.addresses.first() {
        Some(Range::V4(first, _)) => {
            (flow.family, flow.source) = (FAMILY_V4, Address::v4(*first));
        }
        Some(Range::V6(first, _)) => {
            flow.family = FAMILY_V6;
            flow.source = Address::v6(first.to_be_bytes());
        }
        None => {}
    }
    group_of_flow(names, flow)
}

/// The group of a sender, and the group's mode.
fn group_of_flow(names: &Active, mut flow: Flow) -> (&str, Mode) {
    flow.interface = names.host.interfaces.first().map_or(0, |interface| interface.index);
    let reference = HostImage::new(&names.compiled.image, 0);
    let FrameContext { decision, .. } = reference.judge(flow);
    names.group_name(decision.group)
}

/// Number of rules, including live ones.
fn rule_count(names: &Active) -> usize {
    let written = names.written.every_rule().count();
    let live = names.live.iter().filter(|change| !matches!(change.action, LiveAction::Mode { .. }));
    written + live.count()
}
