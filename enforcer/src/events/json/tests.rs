//! The lines that scripts depend on.

use enforcer_common::reason::Reason;

use super::super::event::tests::{event, refusal};
use super::super::event::{RING_FULL, SLOW_READER};
use super::*;

/// Every kind of event, as version 0.1.0 writes it.
const GOLDEN: &str = include_str!("../../../tests/data/api/events.jsonl");

fn read(line: &str) -> Event {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

#[test]
fn golden_lines() {
    for line in GOLDEN.lines() {
        let event = read(line);
        assert_eq!(serde_json::to_string(&event).unwrap(), line, "{event:?}");
    }
    let kinds: Vec<String> = GOLDEN.lines().map(|line| read(line).kind().to_owned()).collect();
    for kind in ["drop", "suppressed", "lost", "tamper"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind}");
    }
}

#[test]
fn the_golden_lines_are_these_values() {
    let golden: Vec<Event> = GOLDEN.lines().map(read).collect();
    assert_eq!(golden[0], event());
    let head = refusal().head;
    let sender = Sender { mac: refusal().ether.map(|ether| ether.source), ..Sender::default() };
    let frames =
        Some(LostFrames { sender, verdict: Verdict::Drop, reason: Some(Reason::Deny.into()) });
    let cause = ReasonName::of(RING_FULL);
    assert_eq!(golden[5], Event::Lost(Lost { head: head.clone(), cause, count: 12, frames }));
    let (head, cause) = (Head { interface: None, ..head }, ReasonName::of(SLOW_READER));
    assert_eq!(golden[6], Event::Lost(Lost { head, cause, count: 101, frames: None }));
}

#[test]
fn a_frame_is_in_the_line_only_if_it_is_wanted() {
    let with = GOLDEN.lines().find(|line| line.contains("packet")).unwrap();
    let event = read(with);
    assert_eq!(event.refusal().unwrap().frame.as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!(event.line(true), format!("{with}\n"));
    let without = read(std::str::from_utf8(&event.line(false)).unwrap());
    assert_eq!(without.refusal().unwrap().frame, None);
}

#[test]
fn kinds_of_later_versions_are_read_and_lines_without_what_they_need_are_not() {
    let other = GOLDEN.lines().next_back().unwrap().replace("\"tamper\"", "\"learned\"");
    assert_eq!(read(&other).kind(), "learned");
    for (old, new) in [
        ("\"verdict\":\"drop\",", ""),
        ("\"verdict\":\"drop\"", "\"verdict\":\"maybe\""),
        ("\"src_ip\":\"10.20.0.12\"", "\"src_ip\":\"bed-12\""),
        ("\"TCP\"", "\"tcp?\""),
        ("00:1b:44", "00:1b"),
        ("2026-11-23T", "yesterday"),
    ] {
        let line = GOLDEN.lines().next().unwrap();
        assert!(line.contains(old), "{old}");
        assert!(serde_json::from_str::<Event>(&line.replace(old, new)).is_err(), "{new}");
    }
}
