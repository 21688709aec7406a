//! An event as one line of text, and as flat fields: for logs and small screens.

use std::collections::{BTreeMap, HashMap};

use enforcer_common::reason::Verdict;
use serde_json::Value;

use super::event::{Direction, Event, LostFrames, Refusal};
use crate::shown::plain;

/// The reasons in words, by name.
pub type Words = HashMap<String, String>;

/// An event's names and values, without nesting.
pub type Fields = Vec<(String, String)>;

/// The event in one line: `DROP bed-12 202.114.4.119 tcp/515 deny r-1a2b3c4d ICSMA-25-030-01`.
pub fn line(event: &Event) -> String {
    let mut parts = vec![verdict(event)];
    let count = event.count() + event.refusal().map_or(0, |refusal| refusal.repeats);
    if count > 1 {
        parts.push(format!("×{count}"));
    }
    let is_about_a_device =
        matches!(event, Event::Drop(_) | Event::Suppressed(_)) || event.mac().is_some();
    if is_about_a_device || event.device().is_some() {
        parts.push(device(event));
    }
    parts.extend(event.refusal().map(where_to));
    parts.extend(event.reason().map(ToString::to_string));
    match event {
        Event::Drop(refusal) => {
            let rule = refusal.rule.as_ref();
            parts.extend(rule.map(|rule| rule.id.to_string()));
            parts.extend(rule.and_then(|rule| rule.reason.as_ref()).map(ToString::to_string));
            if refusal.suppressed > 0 {
                parts.push(format!("+{} suppressed", refusal.suppressed));
            }
        }
        Event::Lost(lost) => {
            let frames = lost.frames.as_ref();
            parts.extend(
                frames
                    .and_then(|LostFrames { reason, .. }| reason.as_ref())
                    .map(ToString::to_string),
            );
        }
        Event::Tamper(tamper) => parts.push(tamper.message.clone()),
        Event::Suppressed(_) | Event::Other(..) => {}
    }
    plain(&parts.join(" "))
}

/// The human-readable verdict: `DROP`, `would` for a frame that passed because its group is
/// observed, and the type of an event that is not about a single frame.
pub fn verdict(event: &Event) -> String {
    match event.refusal() {
        Some(refusal) => word(refusal.verdict).to_owned(),
        None => plain(&event.kind().to_uppercase()),
    }
}

/// A human-readable verdict.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Drop => "DROP",
        Verdict::WouldDrop => "would",
        Verdict::Pass => "pass",
    }
}

/// The sender of the frames: the name, else the MAC address, else the source address; `others` if
/// unknown.
pub fn device(event: &Event) -> String {
    let source = || event.refusal().and_then(Refusal::device_address);
    let name = event.device().map(ToString::to_string);
    let name = name.or_else(|| event.mac().map(|mac| mac.to_string()));
    let name = name.or_else(|| source().map(|address| address.to_string()));
    match (name, event) {
        (Some(name), _) => plain(&name),
        (None, Event::Suppressed(_)) => "others".to_owned(),
        (None, _) => "-".to_owned(),
    }
}

/// The other end: `202.114.4.119 tcp/515`, `from 10.20.0.9 udp/2000`; MAC address and EtherType if not IP.
pub fn destination(refusal: &Refusal) -> String {
    let from = match refusal.direction {
        Direction::Out => "",
        Direction::In => "from ",
    };
    match (refusal.peer(), refusal.ether) {
        (Some(address), _) => format!("{from}{address} {}", service(refusal)).trim_end().to_owned(),
        (None, Some(ether)) => {
            let peer = match refusal.direction {
                Direction::Out => ether.destination,
                Direction::In => ether.source,
            };
            format!("{from}{peer} type 0x{:04x}", ether.ether_type)
        }
        (None, None) => "-".to_owned(),
    }
}

/// The first port that systems choose for their own end, on Linux (`net.ipv4.ip_local_port_range`).
const CHOSEN: u16 = 32_768;

/// The same, with the source port of a frame that looks like an answer, because that is the port of the service:
/// `10.30.0.10 tcp/50123 from port 22`.
pub fn where_to(refusal: &Refusal) -> String {
    let to = destination(refusal);
    match (refusal.source_port, refusal.destination_port) {
        (Some(from), Some(port))
            if from < CHOSEN && port >= CHOSEN && refusal.direction == Direction::Out =>
        {
            format!("{to} from port {from}")
        }
        _ => to,
    }
}

/// The service as in a policy: `tcp/515`, `icmp`, `proto/47`; empty if not IP.
pub fn service(refusal: &Refusal) -> String {
    let protocol = refusal.protocol;
    protocol.map_or_else(String::new, |protocol| protocol.service(refusal.destination_port))
}

/// All of an event's fields except its time and frame, by their names in JSON; the type first.
pub fn fields(event: &Event) -> Fields {
    let mut fields = BTreeMap::new();
    if let Ok(Value::Object(mut line)) = serde_json::to_value(event) {
        for nested in ["enforcer", "ether"] {
            if let Some(Value::Object(inner)) = line.remove(nested) {
                fields.extend(inner);
            }
        }
        fields.extend(line);
    }
    for absent in ["timestamp", "packet", "packet_info"] {
        fields.remove(absent);
    }
    let first = fields.remove_entry("event_type");
    first.into_iter().chain(fields).map(|(name, value)| (name, field(&value))).collect()
}

/// A value without nesting.
fn field(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return plain(text);
    }
    match value.as_array() {
        Some(values) => values.iter().map(field).collect::<Vec<_>>().join(","),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::{event, refusal};
    use super::super::event::{
        Ether, Lost, Protocol, RING_FULL, ReasonName, Sender, Suppressed, Tamper,
    };
    use super::*;
    use crate::policy::Mac;

    const MAC: Mac = Mac([0, 0x1b, 0x44, 0x11, 0x3a, 0xb7]);

    #[test]
    fn lines() {
        assert_eq!(
            line(&event()),
            "DROP bed-12 202.114.4.119 tcp/515 deny r-1a2b3c4d ICSMA-25-030-01"
        );
        let mut refusal = refusal();
        refusal.verdict = Verdict::WouldDrop;
        refusal.reason = ReasonName::of("default-drop");
        refusal.device = Some("bed\n12".into());
        refusal.rule = None;
        (refusal.repeats, refusal.suppressed) = (2, 7);
        refusal.destination = "2001:db8::1".parse().ok();
        refusal.protocol = Some(Protocol(58));
        refusal.destination_port = None;
        let expected = "would ×3 bed\u{fffd}12 2001:db8::1 icmpv6 default-drop +7 suppressed";
        assert_eq!(line(&Event::Drop(refusal.clone().into())), expected);
        refusal.destination = None;
        let destination_mac = Mac([1, 0x80, 0xc2, 0, 0, 0x0e]);
        refusal.ether =
            Some(Ether { source: MAC, destination: destination_mac, ether_type: 0x88cc });
        assert_eq!(destination(&refusal), "01:80:c2:00:00:0e type 0x88cc");
        refusal.destination = "10.30.0.10".parse().ok();
        refusal.protocol = Some(Protocol(6));
        (refusal.source_port, refusal.destination_port) = (Some(9_100), Some(50_123));
        assert_eq!(where_to(&refusal), "10.30.0.10 tcp/50123 from port 9100");
    }

    #[test]
    fn lines_that_are_about_no_single_frame() {
        let head = refusal().head;
        let frames = |mac| LostFrames {
            sender: Sender { mac, ..Sender::default() },
            verdict: Verdict::Drop,
            reason: Some(ReasonName::of("deny")),
        };
        let lost = |frames| {
            let cause = ReasonName::of(RING_FULL);
            line(&Event::Lost(Lost { head: head.clone(), cause, count: 12, frames }))
        };
        assert_eq!(lost(None), "LOST ×12 ring-full");
        assert_eq!(lost(Some(frames(Some(MAC)))), format!("LOST ×12 {MAC} ring-full deny"));
        let suppressed = |sender| {
            let (verdict, reason) = (Verdict::Drop, ReasonName::of("deny"));
            let head = head.clone();
            line(&Event::Suppressed(Suppressed { head, sender, verdict, reason, count: 9 }))
        };
        assert_eq!(suppressed(Sender::default()), "SUPPRESSED ×9 others deny");
        let mac = Some(MAC);
        assert_eq!(
            suppressed(Sender { mac, ..Sender::default() }),
            format!("SUPPRESSED ×9 {MAC} deny")
        );
        let (reason, message) = (ReasonName::of("unpinned"), "it is back".to_owned());
        let tamper = Event::Tamper(Tamper { head, reason, message });
        assert_eq!(line(&tamper), "TAMPER unpinned it is back");
    }

    #[test]
    fn fields_are_flat_and_complete() {
        let mut refusal = refusal();
        refusal.vlans = vec![20, 30];
        refusal.repeats = 3;
        refusal.repeats_since = Some(refusal.head.time);
        refusal.frame = Some(vec![0, 1].into());
        let fields = fields(&Event::Drop(refusal.into()));
        for (name, value) in [
            ("vlan", "20,30"),
            ("src_mac", "00:1b:44:11:3a:b7"),
            ("repeats", "3"),
            ("repeats_since", "2026-11-23T12:03:04.123456+01:00"),
            ("count", "1"),
        ] {
            assert!(fields.contains(&(name.to_owned(), value.to_owned())), "{name}: {fields:?}");
        }
        assert_eq!(fields[0], ("event_type".to_owned(), "drop".to_owned()));
        assert!(fields.iter().all(|(_, value)| !value.is_empty()), "{fields:?}");
        assert!(!fields.iter().any(|(name, _)| name.contains("packet") || name == "timestamp"));
    }
}
