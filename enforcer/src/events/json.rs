//! Events as JSON: a flat object, named after Suricata's EVE.
//!
//! Field names are a contract: scripts read them. Additions are fine, renames are not. The golden files
//! in `enforcer/tests/data/api` check it.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use enforcer_common::reason::Verdict;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::event;
use super::event::{
    Direction, Event, Head, Lost, LostFrames, Name, Protocol, ReasonName, Refusal, Rule, Sender,
    Suppressed, Tamper,
};
use super::time::Time;
use crate::policy::Mac;

/// `LINKTYPE_ETHERNET` of the pcap formats.
const ETHERNET: u32 = 1;

/// The event line.
#[derive(Serialize, Deserialize)]
struct Line {
    /// RFC 3339 with microseconds and offset.
    #[serde(with = "text")]
    timestamp: Time,
    /// `drop`, `suppressed`, `lost` or `tamper`.
    event_type: Name,
    /// Interface that received the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_iface: Option<Name>,
    /// Interface that was about to send the frame to a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    out_iface: Option<Name>,
    /// VLAN ids, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vlan: Vec<u16>,
    /// The Ethernet header.
    #[serde(skip_serializing_if = "Option::is_none")]
    ether: Option<Ether>,
    /// Source address, if the frame has a readable one.
    #[serde(skip_serializing_if = "Option::is_none")]
    src_ip: Option<IpAddr>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    /// Destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_ip: Option<IpAddr>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_port: Option<u16>,
    /// `TCP`, `UDP`, `ICMP`, `IPv6-ICMP`, `SCTP`, or the number.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    proto: Option<Protocol>,
    /// Length of the frame in bytes, without FCS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pkt_len: Option<u32>,
    /// enforcer's own fields.
    enforcer: Detail,
    /// The first bytes of the frame, base64 (RFC 4648, section 4); only if the follower asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_text")]
    packet: Option<Bytes>,
    /// The type of these bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packet_info: Option<PacketInfo>,
}

/// Describes `packet`.
#[derive(Serialize, Deserialize)]
struct PacketInfo {
    /// `LINKTYPE_` number of the pcap formats.
    linktype: u32,
}

/// The Ethernet header.
#[derive(Serialize, Deserialize)]
struct Ether {
    /// Source MAC, lower case, colons.
    #[serde(with = "text")]
    src_mac: Mac,
    /// Destination MAC.
    #[serde(with = "text")]
    dest_mac: Mac,
    /// EtherType behind the VLAN tags, host order.
    ether_type: u16,
}

/// The `enforcer` object.
#[derive(Default, Serialize, Deserialize)]
struct Detail {
    /// `drop` or `would-drop`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "verdict")]
    verdict: Option<Verdict>,
    /// `in` for frames towards a device; absent for those of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    direction: Option<Name>,
    /// Why: one of the names in docs/reasons.md.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    reason: Option<ReasonName>,
    /// Name of the device, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Name>,
    /// Name of the group; `unknown` for devices that are in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Name>,
    /// Stable id of the deciding rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Name>,
    /// The operator's reason for that rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_reason: Option<Name>,
    /// Generation in the kernel that decided.
    generation: u64,
    /// Revision of the policy that decided.
    revision: u64,
    /// Frames that this line stands for: one; for a `suppressed` or `lost` event, the frames without
    /// an event of their own.
    count: u64,
    /// Frames of the same flow that were suppressed since the last line about it.
    #[serde(default, skip_serializing_if = "is_zero")]
    repeats: u64,
    /// When that last line was, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    repeats_since: Option<Time>,
    /// Events of this device suppressed by its budget since its last line.
    suppressed: u64,
    /// In a `suppressed` event and a `lost` one about the ring: MAC address of the device; absent for
    /// devices without a table entry of their own.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    mac: Option<Mac>,
    /// In a `lost` event about the ring: why the frames were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    frame_reason: Option<ReasonName>,
    /// In a `tamper` event: what happened, and what was done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// With its frame, if it has one.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line::of(self, true).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Line::deserialize(deserializer)?.event().map_err(de::Error::missing_field)
    }
}

impl Event {
    /// One line of JSON with its newline; the first bytes of the frame only if they are wanted.
    pub fn line(&self, frame: bool) -> Bytes {
        let mut line = serde_json::to_vec(&Line::of(self, frame)).unwrap_or_default();
        line.push(b'\n');
        line.into()
    }
}

impl Line {
    fn of(event: &Event, frame: bool) -> Self {
        let Head { time, interface, generation, revision } = event.head();
        let inwards = event.direction() == Direction::In;
        let (in_iface, out_iface) = match interface.clone() {
            interface if inwards => (None, interface),
            interface => (interface, None),
        };
        let detail = Detail {
            verdict: event.verdict(),
            direction: inwards.then(|| Direction::In.name().into()),
            reason: event.reason().cloned(),
            device: event.device().cloned(),
            group: event.group().cloned(),
            generation: *generation,
            revision: *revision,
            count: event.count(),
            ..Detail::default()
        };
        let line = Self {
            timestamp: *time,
            event_type: event.kind().into(),
            in_iface,
            out_iface,
            vlan: Vec::new(),
            ether: None,
            src_ip: None,
            src_port: None,
            dest_ip: None,
            dest_port: None,
            proto: None,
            pkt_len: None,
            enforcer: detail,
            packet: None,
            packet_info: None,
        };
        match event {
            Event::Drop(refusal) => line.with_frame(refusal, frame),
            Event::Suppressed(Suppressed { sender, .. }) => {
                Self { enforcer: Detail { mac: sender.mac, ..line.enforcer }, ..line }
            }
            Event::Lost(Lost { frames: Some(LostFrames { sender, reason, .. }), .. }) => {
                let (mac, frame_reason) = (sender.mac, reason.clone());
                Self { enforcer: Detail { mac, frame_reason, ..line.enforcer }, ..line }
            }
            Event::Tamper(Tamper { message, .. }) => {
                let message = Some(message.clone());
                Self { enforcer: Detail { message, ..line.enforcer }, ..line }
            }
            Event::Lost(_) | Event::Other(..) => line,
        }
    }

    fn with_frame(self, refusal: &Refusal, frame: bool) -> Self {
        let rule = refusal.rule.as_ref();
        let packet = refusal.frame.clone().filter(|_| frame);
        Self {
            vlan: refusal.vlans.clone(),
            ether: refusal.ether.map(|event::Ether { source, destination, ether_type }| Ether {
                src_mac: source,
                dest_mac: destination,
                ether_type,
            }),
            src_ip: refusal.source,
            src_port: refusal.source_port,
            dest_ip: refusal.destination,
            dest_port: refusal.destination_port,
            proto: refusal.protocol,
            pkt_len: Some(refusal.length),
            enforcer: Detail {
                rule: rule.map(|rule| rule.id.clone()),
                rule_reason: rule.and_then(|rule| rule.reason.clone()),
                repeats: refusal.repeats,
                repeats_since: refusal.repeats_since,
                suppressed: refusal.suppressed,
                ..self.enforcer
            },
            packet_info: packet.is_some().then_some(PacketInfo { linktype: ETHERNET }),
            packet,
            ..self
        }
    }

    /// The event, or the name of the field that is missing.
    fn event(self) -> Result<Event, &'static str> {
        let detail = self.enforcer;
        let head = Head {
            time: self.timestamp,
            interface: self.in_iface.or(self.out_iface),
            generation: detail.generation,
            revision: detail.revision,
        };
        let count = detail.count;
        let direction = Direction::named(detail.direction.as_deref());
        let (mac, device, group) = (detail.mac, detail.device, detail.group);
        let sender = Sender { direction, mac, device, group };
        let reason = detail.reason.ok_or("reason");
        Ok(match &*self.event_type {
            "drop" => Event::Drop(Box::new(Refusal {
                head,
                direction,
                vlans: self.vlan,
                ether: self.ether.map(|Ether { src_mac, dest_mac, ether_type }| event::Ether {
                    source: src_mac,
                    destination: dest_mac,
                    ether_type,
                }),
                source: self.src_ip,
                source_port: self.src_port,
                destination: self.dest_ip,
                destination_port: self.dest_port,
                protocol: self.proto,
                length: self.pkt_len.unwrap_or(0),
                verdict: detail.verdict.ok_or("verdict")?,
                reason: reason?,
                device: sender.device,
                group: sender.group,
                rule: detail.rule.map(|id| Rule { id, reason: detail.rule_reason }),
                repeats: detail.repeats,
                repeats_since: detail.repeats_since,
                suppressed: detail.suppressed,
                frame: self.packet,
            })),
            "suppressed" => {
                let verdict = detail.verdict.ok_or("verdict")?;
                Event::Suppressed(Suppressed { head, sender, verdict, reason: reason?, count })
            }
            "lost" => {
                let reason_of_frames = detail.frame_reason;
                let frames = detail.verdict.map(|verdict| LostFrames {
                    sender,
                    verdict,
                    reason: reason_of_frames,
                });
                Event::Lost(Lost { head, cause: reason?, count, frames })
            }
            "tamper" => {
                let message = detail.message.unwrap_or_default();
                Event::Tamper(Tamper { head, reason: reason?, message })
            }
            _ => Event::Other(head, self.event_type),
        })
    }
}

/// A value by its text.
mod text {
    use super::*;

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The same for an optional value.
mod optional {
    use super::*;

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

mod verdict {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        verdict: &Option<Verdict>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        verdict.map(Verdict::name).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Verdict>, D::Error> {
        let Some(name) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let unknown = || de::Error::unknown_variant(&name, &["drop", "would-drop"]);
        Verdict::named(&name).map(Some).ok_or_else(unknown)
    }
}

mod base64_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Bytes>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| STANDARD.encode(bytes)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Bytes>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        STANDARD.decode(text).map(|bytes| Some(bytes.into())).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
