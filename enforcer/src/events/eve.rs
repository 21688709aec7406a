//! An event in Suricata's format: only fields of its published schema (etc/schema.json and the "Eve
//! JSON index" of its user guide), with their types.

use enforcer_common::reason::{Reason, Verdict};
use serde_json::{Map, Value, json};

use super::event::{Direction, Event, Protocol, Refusal};
use super::text::Words;

/// The line of an event about a frame; there is none for the others.
///
/// A dropped frame is a `drop`; a frame that passed because its group is observed is an `alert`
/// with action `allowed`. Device, group and rule are in `alert`, like those of a signature.
pub fn line(event: &Event, words: &Words) -> Option<Value> {
    let refusal = event.refusal()?;
    let dropped = refusal.verdict == Verdict::Drop;
    let reason = refusal.reason.as_str();
    let mut line = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            line.insert(name.to_owned(), value);
        }
    };
    put("timestamp", Some(refusal.head.time.without_colon().into()));
    put("event_type", Some(if dropped { "drop" } else { "alert" }.into()));
    // Suricata has no field for the interface that a frame leaves by.
    let received = refusal.head.interface.as_deref();
    put("in_iface", received.filter(|_| refusal.direction == Direction::Out).map(Value::from));
    put("vlan", (!refusal.vlans.is_empty()).then(|| refusal.vlans.clone().into()));
    put("src_ip", refusal.source.map(|address| address.to_string().into()));
    put("src_port", refusal.source_port.map(Value::from));
    put("dest_ip", refusal.destination.map(|address| address.to_string().into()));
    put("dest_port", refusal.destination_port.map(Value::from));
    put("proto", refusal.protocol.map(|number| protocol(number).into()));
    let macs = refusal.ether.map(|ether| {
        let (source, destination) = (ether.source.to_string(), ether.destination.to_string());
        json!({ "src_mac": source, "dest_mac": destination })
    });
    put("ether", macs);
    if dropped {
        put("drop", Some(json!({ "len": refusal.length, "reason": reason })));
    }
    put("verdict", Some(json!({ "action": if dropped { "drop" } else { "pass" } })));
    put("alert", Some(alert(refusal, dropped, words.get(reason).map_or(reason, String::as_str))));
    Some(line.into())
}

fn alert(refusal: &Refusal, dropped: bool, why: &str) -> Value {
    let rule = refusal.rule.as_ref();
    let signature = match rule.and_then(|rule| rule.reason.as_ref()) {
        Some(reason) => format!("{why}: {reason}"),
        None => why.to_owned(),
    };
    let reason = refusal.reason.as_str();
    let id = rule.map(|rule| &*rule.id);
    let mut alert = Map::new();
    alert.insert("action".into(), if dropped { "blocked" } else { "allowed" }.into());
    alert.insert("category".into(), reason.into());
    alert.insert("signature".into(), signature.into());
    alert.insert("gid".into(), GENERATOR.into());
    alert.insert("signature_id".into(), signature_id(id, reason).into());
    alert.insert("rev".into(), 1.into());
    alert.insert("severity".into(), if dropped { BLOCKED } else { ALLOWED }.into());
    if let Some(id) = id {
        alert.insert("rule".into(), id.into());
    }
    let mut metadata = Map::new();
    metadata.extend(refusal.group.as_deref().map(|group| ("policy".into(), json!([group]))));
    metadata.extend(refusal.device.as_deref().map(|device| ("tag".into(), json!([device]))));
    alert.insert("metadata".into(), metadata.into());
    alert.into()
}

/// The generator of Suricata's own rules; readers of EVE know no other.
const GENERATOR: u32 = 1;
/// Suricata's priorities start at 1, the highest: a blocked frame is not an emergency.
const BLOCKED: u32 = 2;
/// A frame of an observed group.
const ALLOWED: u32 = 3;

/// The number by which EveBox and others group events: of the rule, or of the reason if no rule
/// decided.
///
/// Rule ids are digits of a digest, so they differ within a policy. All numbers are below 2^31,
/// because mappings may use `integer`.
fn signature_id(rule: Option<&str>, reason: &str) -> u32 {
    const POSITIVE: u32 = 0x7fff_ffff;
    const FIRST: u32 = 256;
    let Some(rule) = rule else {
        let known = Reason::ALL.iter().find(|known| known.name() == reason);
        return known.map_or_else(|| hash(reason) & POSITIVE, |known| known.number().into());
    };
    let digits = rule.strip_prefix("r-").filter(|digits| digits.len() == 8);
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let number = number.unwrap_or_else(|| hash(rule)) & POSITIVE;
    // Smaller numbers are for reasons.
    if number < FIRST { number + FIRST } else { number }
}

/// FNV-1a: the same for the same text in every version.
fn hash(text: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step)
}

/// A protocol's name in IANA's registry; the number if it is not a common one.
fn protocol(protocol: Protocol) -> String {
    let name = match protocol.0 {
        2 => "IGMP",
        46 => "RSVP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        103 => "PIM",
        112 => "VRRP",
        136 => "UDPLite",
        _ => return protocol.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::refusal;
    use super::super::event::{Head, Lost, RING_FULL, ReasonName};
    use super::*;

    fn eve(refusal: &Refusal) -> Value {
        line(&Event::Drop(refusal.clone().into()), &Words::new()).unwrap()
    }

    #[test]
    fn a_drop_and_an_alert() {
        let mut refusal = refusal();
        let drop = eve(&refusal);
        assert_eq!(
            drop,
            json!({
                "timestamp": "2026-11-23T12:03:04.123456+0100",
                "event_type": "drop",
                "in_iface": "lan0",
                "vlan": [20],
                "src_ip": "10.20.0.12",
                "src_port": 40000,
                "dest_ip": "202.114.4.119",
                "dest_port": 515,
                "proto": "TCP",
                "ether": { "src_mac": "00:1b:44:11:3a:b7", "dest_mac": "02:00:00:00:00:01" },
                "drop": { "len": 74, "reason": "deny" },
                "verdict": { "action": "drop" },
                "alert": {
                    "action": "blocked",
                    "category": "deny",
                    "signature": "deny: ICSMA-25-030-01",
                    "gid": 1,
                    "signature_id": 0x1a2b_3c4d,
                    "rev": 1,
                    "severity": 2,
                    "rule": "r-1a2b3c4d",
                    "metadata": { "policy": ["patient-monitors"], "tag": ["bed-12"] },
                },
            })
        );
        refusal.verdict = Verdict::WouldDrop;
        let alert = eve(&refusal);
        assert_eq!(
            (&alert["event_type"], &alert["alert"]["action"]),
            (&"alert".into(), &"allowed".into())
        );
        assert!(alert.get("drop").is_none());
        assert_eq!(alert["alert"]["severity"], 3);
        assert_eq!(alert["alert"]["signature_id"], drop["alert"]["signature_id"]);
        let Head { time, .. } = refusal.head;
        let head = Head { time, interface: None, generation: 1, revision: 1 };
        let cause = ReasonName::of(RING_FULL);
        let lost = Event::Lost(Lost { head, cause, count: 1, frames: None });
        assert_eq!(line(&lost, &Words::new()), None);
    }

    #[test]
    fn signatures_have_stable_numbers() {
        assert_eq!(signature_id(Some("r-1a2b3c4d"), "deny"), 0x1a2b_3c4d);
        assert_eq!(signature_id(Some("r-9a2b3c4d"), "deny"), 0x1a2b_3c4d);
        let (longer, live) = (Some("r-1a2b3c4d5e6f"), Some("l-0123456789"));
        let numbers = [longer, live].map(|rule| signature_id(rule, "allow"));
        assert_eq!(numbers, [longer, live].map(|rule| signature_id(rule, "deny")));
        assert!(numbers[0] != numbers[1] && numbers.iter().all(|n| (256..1 << 31).contains(n)));
        for reason in Reason::ALL {
            assert_eq!(signature_id(None, reason.name()), u32::from(reason.number()));
        }
        assert!(signature_id(None, "of-a-later-version") < 1 << 31);
    }

    #[test]
    fn protocols_have_names() {
        for (number, expected) in [(2, "IGMP"), (6, "TCP"), (47, "GRE"), (200, "200")] {
            let refusal = Refusal { protocol: Some(Protocol(number)), ..refusal() };
            assert_eq!(eve(&refusal)["proto"], expected);
        }
    }
}
