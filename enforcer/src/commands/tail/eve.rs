//! An event as Suricata would write it: only fields of its published schema (etc/schema.json and
//! the "Eve JSON index" of its user guide), with their types.

use enforcer::api::Event;
use enforcer_common::reason::Reason;
use serde_json::{Map, Value, json};

use super::render::Words;

/// The line of an event about a frame; there is none for the others.
///
/// What was dropped is a `drop`; what passed because its group is observed is an `alert` that
/// allowed it. Device, group and rule are in `alert`, as a signature's would be.
pub(super) fn line(event: &Event, words: &Words) -> Option<Value> {
    let detail = &event.enforcer;
    let dropped = match (event.event_type.as_str(), detail.verdict.as_deref()) {
        ("drop", Some("drop")) => true,
        ("drop", Some("would-drop")) => false,
        _ => return None,
    };
    let reason = detail.reason.as_deref().unwrap_or("unknown");
    let mut line = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            line.insert(name.to_owned(), value);
        }
    };
    put("timestamp", Some(timestamp(&event.timestamp).into()));
    put("event_type", Some(if dropped { "drop" } else { "alert" }.into()));
    put("in_iface", event.in_iface.clone().map(Value::from));
    put("vlan", (!event.vlan.is_empty()).then(|| event.vlan.clone().into()));
    put("src_ip", event.src_ip.clone().map(Value::from));
    put("src_port", event.src_port.map(Value::from));
    put("dest_ip", event.dest_ip.clone().map(Value::from));
    put("dest_port", event.dest_port.map(Value::from));
    put("proto", event.proto.as_deref().map(|proto| protocol(proto).into()));
    let ether = event.ether.as_ref();
    put("ether", ether.map(|e| json!({ "src_mac": e.src_mac, "dest_mac": e.dest_mac })));
    if dropped {
        put("drop", Some(json!({ "len": event.pkt_len.unwrap_or(0), "reason": reason })));
    }
    put("verdict", Some(json!({ "action": if dropped { "drop" } else { "pass" } })));
    put("alert", Some(alert(event, dropped, words.get(reason).map_or(reason, String::as_str))));
    Some(line.into())
}

fn alert(event: &Event, dropped: bool, why: &str) -> Value {
    let detail = &event.enforcer;
    let signature = match &detail.rule_reason {
        Some(reason) => format!("{why}: {reason}"),
        None => why.to_owned(),
    };
    let mut alert = Map::new();
    alert.insert("action".into(), if dropped { "blocked" } else { "allowed" }.into());
    alert.insert("category".into(), detail.reason.clone().into());
    alert.insert("signature".into(), signature.into());
    alert.insert("gid".into(), GENERATOR.into());
    let reason = detail.reason.as_deref().unwrap_or_default();
    alert.insert("signature_id".into(), signature_id(detail.rule.as_deref(), reason).into());
    alert.insert("rev".into(), 1.into());
    alert.insert("severity".into(), if dropped { BLOCKED } else { ALLOWED }.into());
    if let Some(rule) = &detail.rule {
        alert.insert("rule".into(), rule.clone().into());
    }
    let mut metadata = Map::new();
    metadata.extend(detail.group.clone().map(|group| ("policy".into(), json!([group]))));
    metadata.extend(detail.device.clone().map(|device| ("tag".into(), json!([device]))));
    alert.insert("metadata".into(), metadata.into());
    alert.into()
}

/// The generator of Suricata's own rules; what reads EVE knows no other.
const GENERATOR: u32 = 1;
/// Suricata's priorities go from 1, the highest: what was stopped is no emergency.
const BLOCKED: u32 = 2;
/// What an observed group sent.
const ALLOWED: u32 = 3;

/// The number by which EveBox and others group what is alike: of the rule, or of the reason where no
/// rule decided.
///
/// Rule ids are digits of a digest already, which tells rules of a policy apart. All are below 2^31:
/// mappings may say `integer`.
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
    // Smaller ones are of reasons.
    if number < FIRST { number + FIRST } else { number }
}

/// FNV-1a: the same for the same text in every version.
fn hash(text: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step)
}

/// A protocol by its name, as in IANA's registry; events have the numbers of all but five.
fn protocol(proto: &str) -> &str {
    match proto {
        "2" => "IGMP",
        "46" => "RSVP",
        "47" => "GRE",
        "50" => "ESP",
        "51" => "AH",
        "103" => "PIM",
        "112" => "VRRP",
        "136" => "UDPLite",
        known => known,
    }
}

/// The schema wants `+0100` where RFC 3339 has `+01:00`.
fn timestamp(rfc3339: &str) -> String {
    match rfc3339.rsplit_once(':') {
        Some((rest, minutes)) if rest.len() > 19 => format!("{rest}{minutes}"),
        _ => rfc3339.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::{event, words};
    use super::*;

    #[test]
    fn a_drop_and_an_alert() {
        let mut event = event();
        event.enforcer.rule_reason = Some("ICSMA-25-030-01".into());
        let drop = line(&event, &words()).unwrap();
        assert_eq!(
            drop,
            json!({
                "timestamp": "2026-11-23T12:03:04.123456+0100",
                "event_type": "drop",
                "in_iface": "lan0",
                "src_ip": "10.20.0.12",
                "src_port": 40000,
                "dest_ip": "202.114.4.119",
                "dest_port": 515,
                "proto": "TCP",
                "ether": { "src_mac": "00:1b:44:11:3a:b7", "dest_mac": "01:80:c2:00:00:0e" },
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
                    "metadata": { "policy": ["monitors"], "tag": ["bed-12"] },
                },
            })
        );
        event.enforcer.verdict = Some("would-drop".into());
        let alert = line(&event, &words()).unwrap();
        assert_eq!(
            (&alert["event_type"], &alert["alert"]["action"]),
            (&"alert".into(), &"allowed".into())
        );
        assert!(alert.get("drop").is_none());
        assert_eq!(alert["alert"]["severity"], 3);
        assert_eq!(alert["alert"]["signature_id"], drop["alert"]["signature_id"]);
        event.event_type = "lost".into();
        assert_eq!(line(&event, &words()), None);
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
        let mut event = event();
        for (proto, expected) in [("2", "IGMP"), ("TCP", "TCP"), ("47", "GRE"), ("200", "200")] {
            event.proto = Some(proto.into());
            assert_eq!(line(&event, &words()).unwrap()["proto"], expected);
        }
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp("2026-11-23T12:03:04.1+01:00"), "2026-11-23T12:03:04.1+0100");
        assert_eq!(timestamp("2026-11-23T12:03:04"), "2026-11-23T12:03:04");
    }
}
