//! `tail --eve` and `--since`, and the fields that Suricata's schema has.

use serde_json::Value;

use super::{LOUD, POLICY, datagram};
use crate::harness::frames::send;
use crate::harness::topology::HOSTILE;
use crate::harness::wait::DEADLINE;
use crate::harness::{Daemon, Lab, wait_until};

/// Names and types of the used fields, from Suricata's etc/schema.json and its rendering in
/// doc/userguide/_generated/eve-index.rst (repository OISF/suricata, 8.0 line). The schema allows
/// no other field on any of these levels.
const SCHEMA: [(&str, &str); 29] = [
    ("timestamp", "string"),
    ("event_type", "string"),
    ("in_iface", "string"),
    ("vlan", "array of numbers"),
    ("src_ip", "string"),
    ("src_port", "integer"),
    ("dest_ip", "string"),
    ("dest_port", "integer"),
    ("proto", "string"),
    ("ether", "object"),
    ("ether.src_mac", "string"),
    ("ether.dest_mac", "string"),
    ("drop", "object"),
    ("drop.len", "integer"),
    ("drop.reason", "string"),
    ("verdict", "object"),
    ("verdict.action", "string"),
    ("alert", "object"),
    ("alert.action", "string"),
    ("alert.category", "string"),
    ("alert.signature", "string"),
    ("alert.gid", "integer"),
    ("alert.signature_id", "integer"),
    ("alert.rev", "integer"),
    ("alert.severity", "integer"),
    ("alert.rule", "string"),
    ("alert.metadata", "object"),
    ("alert.metadata.policy", "array of strings"),
    ("alert.metadata.tag", "array of strings"),
];

/// Checks a value and all below it; counts the fields.
#[track_caller]
fn check(path: &str, value: &Value) -> usize {
    let kind = SCHEMA.iter().find(|(name, _)| *name == path).map(|(_, kind)| *kind);
    let all = |is: fn(&Value) -> bool| value.as_array().is_some_and(|all| all.iter().all(is));
    let fits = match kind {
        _ if path.is_empty() => value.is_object(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("object") => value.is_object(),
        Some("array of numbers") => all(Value::is_u64),
        Some("array of strings") => all(Value::is_string),
        _ => false,
    };
    assert!(fits, "{path}: {value} is not {kind:?}");
    let below = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| check(format!("{path}.{name}").trim_start_matches('.'), value));
    1 + below.sum::<usize>()
}

/// `^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d+[+\-]\d+$`, the schema's pattern.
fn is_timestamp(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let rest = shape.strip_prefix("0000-00-00T00:00:00.").map(|rest| rest.replace('0', ""));
    rest.is_some_and(|rest| rest == "+" || rest == "-")
}

#[test]
fn eve_lines_keep_to_the_schema_and_the_past_can_be_asked_for() {
    let lab = Lab::gateway("eve");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let hostile = HOSTILE.parse::<std::net::Ipv4Addr>().expect("an address").to_bits();
    send(&lab.dev1, "eth0", &datagram(LOUD, hostile, 515, b"x"));
    send(&lab.dev1, "eth0", &datagram(LOUD, 0xc633_640a, 443, b"x"));
    wait_until("both are dropped", || {
        (daemon.reason("deny", "frames") + daemon.reason("default-drop", "frames") == 2)
            .then_some(())
    });
    // Events from before the command.
    let past = ["tail", "--since", "10m", "--device", "loud", "-n", "2"];
    let eve = daemon.command(&[&past[..], &["--eve"]].concat()).finish(DEADLINE);
    assert!(eve.success(), "{eve:?}");
    let lines: Vec<Value> =
        eve.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert!(check("", line) > 20, "{line}");
        assert!(is_timestamp(line["timestamp"].as_str().expect("text")), "{line}");
    }
    assert_eq!(lines[0]["dest_ip"], HOSTILE);
    assert_ne!(lines[0]["alert"]["signature_id"], lines[1]["alert"]["signature_id"]);
    assert_eq!(lines[0]["alert"]["signature"], "a rule denies it: ICSMA-25-030-01");
    assert_eq!(lines[1]["alert"]["metadata"]["tag"], serde_json::json!(["loud"]));

    let json = daemon.json(&past);
    assert_eq!(json.len(), 2);
    assert_eq!(
        json[1]["timestamp"].as_str().map(|t| t.replace(':', "")).as_deref(),
        lines[1]["timestamp"].as_str().map(|t| t.replace(':', "")).as_deref()
    );
    // The frame is included on request.
    let socket = daemon.path("enforcer.sock").display().to_string();
    let url = "http://enforcer/v1/events?frame=1&since=2020-01-01T00:00:00Z&service=udp/515";
    let mut events = lab.gw.spawn("curl", &["-q", "-sSN", "--unix-socket", &socket, url]);
    events.wait_for_stdout("\"packet_info\":{\"linktype\":1}}");
    let line: Value =
        serde_json::from_str(events.stdout().lines().next().expect("a line")).expect("JSON");
    // The destination's MAC, base64.
    assert!(line["packet"].as_str().expect("text").starts_with("AgAAIAAB"), "{line}");
}
