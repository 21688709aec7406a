//! An event from the ring.

use std::mem::offset_of;

use enforcer_common::decide::Decision;
use enforcer_common::event::{self, Record};
use enforcer_common::keyed::Keys;

const SIZE: usize = size_of::<Record>();

/// Any bytes are either a valid record or refused. The numbers of a record are those of the bytes, and it
/// can be formatted.
pub fn run(bytes: &[u8]) {
    let at = offset_of!(Record, decision);
    let decision = || Decision::from_bytes(bytes.get(at..at + 16)?.try_into().ok()?);
    let Some(record) = Record::from_bytes(bytes) else {
        // Refused because of the bytes, not by accident.
        assert!(bytes.len() != SIZE || decision().is_none() || flow_is_wrong(bytes));
        return;
    };
    assert!(bytes.len() == SIZE && !flow_is_wrong(bytes));
    let decision = decision().expect("a record holds a decision");
    assert_eq!(Decision { reserved: record.decision.reserved, ..decision }, record.decision);
    let Record { generation, suppressed, repeats, since, captured, reserved, .. } = record;
    let numbers = [generation, suppressed, repeats, since, captured, reserved];
    let numbers = numbers.map(u32::to_ne_bytes).concat();
    assert_eq!(&bytes[..8], &record.time.to_ne_bytes());
    assert_eq!(bytes[at + 16..], [&numbers[..], &record.head].concat());
    assert!(record.head.starts_with(record.frame()));
    assert!(!format!("{record:?}").is_empty());
    // Format it as user space does.
    let _ = (
        event::Refused::new(&record.flow, &record.decision).digest(&Keys::OPEN),
        record.flow.vlan(),
        record.flow.tags(),
    );
    let _ = (record.flow.service(), record.decision.reason.words());
}

/// Whether a number in the flow is not a valid value of its enum.
fn flow_is_wrong(bytes: &[u8]) -> bool {
    use enforcer_common::flow::{Class, Flow, Fragment};
    let at = |field| bytes[offset_of!(Record, flow) + field];
    at(offset_of!(Flow, class)) > Class::OddDhcp as u8
        || at(offset_of!(Flow, fragment)) > Fragment::Last as u8
}
