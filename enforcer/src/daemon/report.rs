//! Turns records from the kernel into events, and keeps the devices that were seen in them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use enforcer_common::decide::answers::mirror;
use enforcer_common::event::{INTERFACES, Record};
use enforcer_common::flow::{Class, Flow};
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::{mac_bytes, protocol};

use super::active::{Active, ip};
use super::totals::{Row, Totals, refused};
use super::unresolved::Unresolved;
use crate::api::DeviceRow;
use crate::clock::wall_offset;
use crate::dataplane::{Sighted, SuppressedCounts};
use crate::events::event::{
    Direction, Ether, Event, Head, Lost, LostFrames, Protocol, RING_FULL, ReasonName, Refusal,
    Rule, Sender, Suppressed, Tamper,
};
use crate::events::hub::Hub;
use crate::events::{Time, text};
use crate::policy::{Mac, Symbols};

/// Most devices that are kept: a flood of invented MACs must not exhaust memory.
const MAX_SEEN: usize = 65_536;
/// Generations whose names are kept: records can be older than the active generation.
const MAX_GENERATIONS: usize = 8;

/// Turns records into events; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Reporter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hub: Hub,
    names: RwLock<BTreeMap<u32, Arc<Symbols>>>,
    seen: Mutex<HashMap<u64, DeviceRow>>,
    totals: Totals,
    unresolved: Mutex<Unresolved>,
}

impl Reporter {
    pub(super) fn new(hub: Hub) -> Self {
        let (names, seen, totals) = (RwLock::default(), Mutex::default(), Totals::default());
        Self(Arc::new(Shared { hub, names, seen, totals, unresolved: Mutex::default() }))
    }

    /// Registers the names of a generation, before it is activated.
    pub(super) fn announce(&self, active: &Active) {
        let (generation, names) = (active.generation, Arc::new(active.symbols()));
        let mut known = self.0.names.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(generation, names);
        while known.len() > MAX_GENERATIONS {
            known.pop_first();
        }
    }

    /// Handles one record.
    pub(super) fn handle(&self, record: &Record) {
        let Some(names) = self.names(record.generation) else { return };
        let refusal = refusal(record, &names);
        self.0.totals.count(record.decision.reason, &refusal);
        self.note(record, &refusal, &names);
        self.note_stranger(record);
        self.0.hub.publish(Event::Drop(refusal.into()));
    }

    fn names(&self, generation: u32) -> Option<Arc<Symbols>> {
        let known = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&generation).cloned()
    }

    /// The names of the active policy's generation.
    fn names_of(&self, active: &Active) -> Arc<Symbols> {
        self.names(active.generation).unwrap_or_else(|| Arc::new(active.symbols()))
    }

    fn note_stranger(&self, record: &Record) {
        if record.decision.reason != Reason::DestinationBinding {
            return;
        }
        let Flow { family, destination, interface, .. } = record.flow;
        if let Some(address) = ip(family, destination) {
            let mut unresolved = self.0.unresolved.lock().unwrap_or_else(PoisonError::into_inner);
            unresolved.note(interface, address);
        }
    }

    /// Destinations of frames that were dropped for their next hop, since the last call.
    pub(super) fn take_unresolved(&self) -> Unresolved {
        std::mem::take(&mut self.0.unresolved.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reports refused frames without an event to the followers, and counts them.
    pub(super) fn suppressed(&self, share: &SuppressedCounts, active: &Active) {
        let names = self.names_of(active);
        let (device, group) = self.count(share, &names);
        self.0.totals.count_suppressed(share, group.as_deref());
        let interface = share
            .interface
            .and_then(|held| names.interface_where(|index| index % INTERFACES == held).cloned());
        let head = Head { interface, ..head(&names) };
        let sender = Sender {
            direction: if share.inwards { Direction::In } else { Direction::Out },
            mac: share.mac.map(|mac| Mac(mac_bytes(mac))),
            device: device.map(Into::into),
            group: group.map(Into::into),
        };
        let (verdict, reason) = (refused(share.verdict), ReasonName::from(share.reason));
        if share.lost > 0 {
            let frames =
                LostFrames { sender: sender.clone(), verdict, reason: Some(reason.clone()) };
            let (head, cause) = (head.clone(), ReasonName::of(RING_FULL));
            let lost = Lost { head, cause, count: share.lost, frames: Some(frames) };
            self.0.hub.publish(Event::Lost(lost));
        }
        if share.suppressed > 0 {
            let count = share.suppressed;
            let suppressed = Suppressed { head, sender, verdict, reason, count };
            self.0.hub.publish(Event::Suppressed(suppressed));
        }
    }

    /// Adds frames to their device's row. Returns the device's name and group, as far as known.
    fn count(&self, share: &SuppressedCounts, names: &Symbols) -> (Option<String>, Option<String>) {
        let Some(mac) = share.mac else { return (None, None) };
        if share.inwards {
            let device = names.device_of(Mac(mac_bytes(mac)));
            return (device.map(ToString::to_string), None);
        }
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = row(&mut seen, mac, names) else { return (None, None) };
        let frames = share.suppressed + share.lost;
        match share.verdict {
            Verdict::WouldDrop => row.would_drop += frames,
            Verdict::Drop | Verdict::Pass => row.dropped += frames,
        }
        (row.device.clone(), Some(row.group.clone()).filter(|group| !group.is_empty()))
    }

    /// Adds the devices that the kernel refused, with or without an event.
    pub(super) fn sighted(&self, sighted: &[Sighted], active: &Active) {
        let names = self.names_of(active);
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for Sighted { mac, time: at, .. } in sighted {
            let Some(row) = row(&mut seen, *mac, &names) else { continue };
            let at = time(*at).to_string();
            if row.last_seen.as_ref().is_none_or(|known| *known < at) {
                row.last_seen = Some(at);
            }
        }
    }

    /// Publishes a tamper event.
    pub(super) fn tamper(
        &self,
        reason: &'static str,
        interface: Option<&str>,
        message: String,
        active: &Active,
    ) {
        let names = self.names_of(active);
        let head = Head { interface: interface.map(Into::into), ..head(&names) };
        let reason = ReasonName::of(reason);
        self.0.hub.publish(Event::Tamper(Tamper { head, reason, message }));
    }

    /// The devices seen in events, by MAC.
    pub(super) fn seen(&self) -> HashMap<u64, DeviceRow> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refused frames that events reported.
    pub(super) fn totals(&self) -> BTreeMap<Row, u64> {
        self.0.totals.rows()
    }

    /// Keeps what a device has sent.
    fn note(&self, record: &Record, refusal: &Refusal, names: &Symbols) {
        if refusal.direction == Direction::In {
            return;
        }
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = row(&mut seen, record.flow.source_mac, names) else { return };
        let mode = names.group(record.decision.group).map(|(_, mode)| mode);
        row.device = refusal.device.as_deref().map(Into::into);
        row.ip = refusal.source.map(|address| address.to_string()).or(row.ip.take());
        row.group = refusal.group.as_deref().unwrap_or_default().into();
        row.mode = mode.unwrap_or_default().to_string();
        match record.decision.verdict {
            Verdict::WouldDrop => row.would_drop += 1,
            Verdict::Drop | Verdict::Pass => row.dropped += 1,
        }
        row.last_seen = Some(refusal.head.time.to_string());
        if refusal.destination.is_some() {
            row.last_destination = Some(text::destination(refusal));
        }
    }
}

/// The row of a MAC. A new row is added for a device that the policy names, and for others while there is
/// room.
fn row<'a>(
    seen: &'a mut HashMap<u64, DeviceRow>,
    mac: u64,
    names: &Symbols,
) -> Option<&'a mut DeviceRow> {
    if !seen.contains_key(&mac) {
        let own = Mac(mac_bytes(mac));
        let device = names.device_of(own);
        if device.is_none() && seen.len() >= MAX_SEEN {
            return None;
        }
        let device = device.map(ToString::to_string);
        let new = DeviceRow { device, mac: Some(own.to_string()), ..DeviceRow::default() };
        seen.insert(mac, new);
    }
    seen.get_mut(&mac)
}

/// Wall-clock time of a moment on the boot clock, which continues during suspend. The present offset is
/// used: a step of the wall clock shifts every event reported after it, but not these events relative to
/// each other.
fn time(boot: u64) -> Time {
    let nanoseconds = i128::from(boot) + i128::from(wall_offset());
    jiff::Timestamp::from_nanosecond(nanoseconds).unwrap_or_default().into()
}

/// The head of an event at the present time, with these names.
fn head(names: &Symbols) -> Head {
    let Symbols { generation, revision, .. } = *names;
    Head { time: Time::now(), interface: None, generation: generation.into(), revision }
}

fn refusal(record: &Record, names: &Symbols) -> Refusal {
    let (seen, decision) = (&record.flow, &record.decision);
    // A frame towards a device is judged in the device's view.
    let mut flow = *seen;
    let direction = if flow.direction == 0 {
        Direction::Out
    } else {
        mirror(&mut flow);
        Direction::In
    };
    let flow = &flow;
    let is_ip = flow.family != 0 && flow.class != Class::Arp;
    let ports = matches!(flow.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
        && (flow.source_port, flow.destination_port) != (0, 0);
    let rule = names.rule(decision.rule);
    // If the parser gave up at a tag, it did not count the tags before.
    let read = flow.vlans.iter().take_while(|id| **id != 0).count();
    let tags = read.max(usize::from(flow.tags()));
    let frame = record.frame();
    Refusal {
        head: Head {
            time: time(record.time),
            interface: names.interface(flow.interface).cloned(),
            generation: record.generation.into(),
            revision: names.revision,
        },
        direction,
        vlans: flow.vlans.iter().copied().take(tags).collect(),
        ether: Some(Ether {
            source: Mac(mac_bytes(flow.source_mac)),
            destination: Mac(mac_bytes(flow.destination_mac)),
            ether_type: flow.ether_type,
        }),
        source: ip(flow.family, flow.source),
        source_port: ports.then_some(flow.source_port),
        destination: ip(flow.family, flow.destination),
        destination_port: ports.then_some(flow.destination_port),
        protocol: is_ip.then_some(Protocol(flow.protocol)),
        length: flow.length,
        verdict: refused(decision.verdict),
        reason: decision.reason.into(),
        device: names.device(decision.device, seen).cloned(),
        // Broadcast and multicast are towards no one device.
        group: names
            .group(decision.group)
            .filter(|_| decision.reason != Reason::Flooded)
            .map(|(name, _)| name.clone()),
        rule: rule.map(|rule| Rule { id: rule.id.clone(), reason: rule.reason.clone() }),
        repeats: record.repeats.into(),
        repeats_since: (record.repeats > 0)
            .then(|| time(record.time.saturating_sub(u64::from(record.since) * 1_000_000))),
        suppressed: record.suppressed.into(),
        frame: (!frame.is_empty()).then(|| Bytes::copy_from_slice(frame)),
    }
}
