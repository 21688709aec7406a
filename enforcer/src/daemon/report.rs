//! Records from the kernel to event lines, and the devices that were seen in them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use enforcer_common::event::{INTERFACES, Record};
use enforcer_common::flow::{Class, Flow};
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::{mac_bytes, protocol};
use jiff::tz::TimeZone;

use super::active::{Active, address, ip};
use super::hops::Strangers;
use super::totals::{Row, Totals};
use super::wall_offset;
use crate::api::{Detail, DeviceRow, Ether, Event, SUPPRESSED, TAMPER};
use crate::control::hub::{Hub, lost, timestamp};
use crate::dataplane::{Sighted, SuppressedCounts};
use crate::policy::Mac;

/// Devices that are remembered: a flood of invented MACs must not fill the memory.
const MAX_SEEN: usize = 65_536;
/// Generations whose names are remembered: records can be older than the one in force.
const MAX_GENERATIONS: usize = 8;

/// Turns records into events; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Reporter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hub: Hub,
    names: RwLock<BTreeMap<u32, Arc<Active>>>,
    seen: Mutex<HashMap<u64, DeviceRow>>,
    totals: Totals,
    strangers: Mutex<Strangers>,
}

impl Reporter {
    pub(super) fn new(hub: Hub) -> Self {
        let (names, seen, totals) = (RwLock::default(), Mutex::default(), Totals::default());
        Self(Arc::new(Shared { hub, names, seen, totals, strangers: Mutex::default() }))
    }

    /// Makes the meaning of a generation's numbers known, before the generation is in force.
    pub(super) fn announce(&self, generation: u32, names: Arc<Active>) {
        let mut known = self.0.names.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(generation, names);
        while known.len() > MAX_GENERATIONS {
            known.pop_first();
        }
    }

    /// Handles one record.
    pub(super) fn handle(&self, record: &Record) {
        let names = {
            let known = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
            known.get(&record.generation).cloned()
        };
        let Some(names) = names else { return };
        self.0.totals.count(record, &names);
        self.note(record, &names);
        self.note_stranger(record);
        let frame = record.frame();
        let frame = (!frame.is_empty()).then(|| STANDARD.encode(frame));
        self.0.hub.publish_with(&event(record, &names), frame.as_deref());
    }

    fn note_stranger(&self, record: &Record) {
        if record.decision.reason != Reason::DestinationBinding {
            return;
        }
        let Flow { family, destination, interface, .. } = record.flow;
        if let Some(address) = ip(family, destination) {
            let mut strangers = self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            strangers.note(interface, address);
        }
    }

    /// Destinations that frames did not find their way to, since the last time.
    pub(super) fn take_strangers(&self) -> Strangers {
        std::mem::take(&mut self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the followers which refused frames had no event, and counts them.
    pub(super) fn suppressed(&self, share: &SuppressedCounts, active: &Active) {
        let (device, group) = self.count(share, active);
        self.0.totals.count_suppressed(share, group.as_deref());
        let mut base = lost("ring-full", share.lost, active.generation.into(), active.revision);
        base.in_iface = share.interface.and_then(|held| {
            let mut known = active.site.interfaces.iter();
            known.find(|known| known.index % INTERFACES == held).map(|known| known.name.clone())
        });
        let detail = Detail {
            verdict: Some(verdict(share.verdict).into()),
            device,
            group,
            mac: share.mac.map(|mac| Mac(mac_bytes(mac)).to_string()),
            ..base.enforcer.clone()
        };
        let reason = Some(share.reason.name().to_owned());
        if share.lost > 0 {
            let enforcer = Detail { frame_reason: reason.clone(), ..detail.clone() };
            self.0.hub.publish(&Event { enforcer, ..base.clone() });
        }
        if share.suppressed > 0 {
            let enforcer = Detail { reason, count: share.suppressed, ..detail };
            let event_type = SUPPRESSED.into();
            self.0.hub.publish(&Event { event_type, enforcer, ..base });
        }
    }

    /// Adds frames to their device's row; its name and group, as far as they are known.
    fn count(&self, share: &SuppressedCounts, names: &Active) -> (Option<String>, Option<String>) {
        let Some(mac) = share.mac else { return (None, None) };
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = row(&mut seen, mac, names) else { return (None, None) };
        let frames = share.suppressed + share.lost;
        match share.verdict {
            Verdict::WouldDrop => row.would_drop += frames,
            Verdict::Drop | Verdict::Pass => row.dropped += frames,
        }
        (row.device.clone(), Some(row.group.clone()).filter(|group| !group.is_empty()))
    }

    /// Adds the devices that the kernel refused, whether or not an event told of it.
    pub(super) fn sighted(&self, sighted: &[Sighted], names: &Active) {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for Sighted { mac, time: at, .. } in sighted {
            let Some(row) = row(&mut seen, *mac, names) else { continue };
            let at = time(*at);
            if row.last_seen.as_ref().is_none_or(|known| *known < at) {
                row.last_seen = Some(at);
            }
        }
    }

    /// Tells the followers what somebody did to us.
    pub(super) fn tamper(
        &self,
        reason: &str,
        interface: Option<&str>,
        message: String,
        active: &Active,
    ) {
        let generation = active.generation.into();
        let mut event = lost(reason, 1, generation, active.revision);
        event.event_type = TAMPER.into();
        event.in_iface = interface.map(Into::into);
        event.enforcer.message = Some(message);
        self.0.hub.publish(&event);
    }

    /// The devices seen in events, by MAC.
    pub(super) fn seen(&self) -> HashMap<u64, DeviceRow> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refused frames that events told of.
    pub(super) fn totals(&self) -> BTreeMap<Row, u64> {
        self.0.totals.rows()
    }

    fn note(&self, record: &Record, names: &Active) {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = row(&mut seen, record.flow.source_mac, names) else { return };
        let (group, mode) = names.group_name(record.decision.group);
        row.device = names.device(record.decision.device, &record.flow).map(Into::into);
        row.ip = address(record.flow.family, record.flow.source).or(row.ip.take());
        row.group = group.into();
        row.mode = mode.to_string();
        match record.decision.verdict {
            Verdict::WouldDrop => row.would_drop += 1,
            Verdict::Drop | Verdict::Pass => row.dropped += 1,
        }
        row.last_seen = Some(time(record.time));
        if let Some(destination) = address(record.flow.family, record.flow.destination) {
            let service = service(record);
            row.last_destination = Some(format!("{destination} {service}").trim_end().into());
        }
    }
}

/// The row of a MAC; a new one for a device that the policy names, and for others while there is room.
fn row<'a>(
    seen: &'a mut HashMap<u64, DeviceRow>,
    mac: u64,
    names: &Active,
) -> Option<&'a mut DeviceRow> {
    if !seen.contains_key(&mac) {
        let own = Mac(mac_bytes(mac));
        let device = names.policy.devices.iter().find(|device| device.mac == Some(own));
        if device.is_none() && seen.len() >= MAX_SEEN {
            return None;
        }
        let device = device.map(|device| device.name.clone());
        let new = DeviceRow { device, mac: Some(own.to_string()), ..DeviceRow::default() };
        seen.insert(mac, new);
    }
    seen.get_mut(&mac)
}

/// Wall-clock time of a moment of the boot clock, which goes on while the machine sleeps. The offset
/// is today's: a step of the wall clock moves what is told after it, and no two events apart.
fn time(boot: u64) -> String {
    let nanoseconds = i128::from(boot) + i128::from(wall_offset());
    let now = jiff::Timestamp::from_nanosecond(nanoseconds).unwrap_or_default();
    timestamp(&now.to_zoned_datetime(TimeZone::system()))
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::WouldDrop => "would-drop",
        Verdict::Drop | Verdict::Pass => "drop",
    }
}

fn protocol_name(number: u8) -> String {
    match number {
        protocol::ICMP => "ICMP".into(),
        protocol::TCP => "TCP".into(),
        protocol::UDP => "UDP".into(),
        protocol::ICMPV6 => "IPv6-ICMP".into(),
        protocol::SCTP => "SCTP".into(),
        number => number.to_string(),
    }
}

/// The service as a policy writes it; empty for frames without an upper layer.
fn service(record: &Record) -> String {
    let flow = &record.flow;
    match flow.protocol {
        protocol::TCP => format!("tcp/{}", flow.destination_port),
        protocol::UDP => format!("udp/{}", flow.destination_port),
        protocol::SCTP => format!("sctp/{}", flow.destination_port),
        protocol::ICMP => "icmp".into(),
        protocol::ICMPV6 => "icmpv6".into(),
        0 if flow.class != Class::Ip => String::new(),
        number => format!("proto/{number}"),
    }
}

fn event(record: &Record, names: &Active) -> Event {
    let (flow, decision) = (&record.flow, &record.decision);
    let ip = flow.family != 0 && flow.class != Class::Arp;
    let ports = matches!(flow.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
        && (flow.source_port, flow.destination_port) != (0, 0);
    let rule = names.rule(decision.rule);
    // Where the parser gave up at a tag, it did not come as far as counting them.
    let read = flow.vlans.iter().take_while(|id| **id != 0).count();
    let tags = read.max(usize::from(flow.tags()));
    Event {
        timestamp: time(record.time),
        event_type: "drop".into(),
        in_iface: names.interface(flow.interface).map(Into::into),
        vlan: flow.vlans.iter().copied().take(tags).collect(),
        ether: Some(Ether {
            src_mac: Mac(mac_bytes(flow.source_mac)).to_string(),
            dest_mac: Mac(mac_bytes(flow.destination_mac)).to_string(),
            ether_type: flow.ether_type,
        }),
        src_ip: address(flow.family, flow.source),
        src_port: ports.then_some(flow.source_port),
        dest_ip: address(flow.family, flow.destination),
        dest_port: ports.then_some(flow.destination_port),
        proto: ip.then(|| protocol_name(flow.protocol)),
        pkt_len: Some(flow.length),
        enforcer: Detail {
            verdict: Some(verdict(decision.verdict).into()),
            reason: Some(decision.reason.name().into()),
            device: names.device(decision.device, flow).map(Into::into),
            group: Some(names.group_name(decision.group).0.into()),
            rule: rule.map(|rule| rule.id.clone()),
            rule_reason: rule.and_then(|rule| rule.reason.clone()),
            generation: record.generation.into(),
            revision: names.revision,
            count: 1,
            suppressed: record.suppressed.into(),
            repeats: record.repeats.into(),
            repeats_since: (record.repeats > 0)
                .then(|| time(record.time.saturating_sub(u64::from(record.since) * 1_000_000))),
            ..Detail::default()
        },
        packet: None,
        packet_info: None,
    }
}
