//! An event as Suricata would write it: only fields of its published schema (etc/schema.json and
//! the "Eve JSON index" of its user guide), with their types.

use enforcer::api::Event;
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
    put("proto", event.proto.clone().map(Value::from));
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
    if let Some(rule) = &detail.rule {
        alert.insert("rule".into(), rule.clone().into());
    }
    let mut metadata = Map::new();
    metadata.extend(detail.group.clone().map(|group| ("policy".into(), json!([group]))));
    metadata.extend(detail.device.clone().map(|device| ("tag".into(), json!([device]))));
    alert.insert("metadata".into(), metadata.into());
    alert.into()
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
        event.event_type = "lost".into();
        assert_eq!(line(&event, &words()), None);
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp("2026-11-23T12:03:04.1+01:00"), "2026-11-23T12:03:04.1+0100");
        assert_eq!(timestamp("2026-11-23T12:03:04"), "2026-11-23T12:03:04");
    }
}
