//! Answers of flows that have been judged, without judging them again.

use super::opens;
use super::table::{Judge, answered, find, is_over};
use crate::decide::flow_cache::{self, Ends};
use crate::decide::{Policy, group_entry};

/// The rule that lets a plain frame pass as an answer, because one like it passed before and nothing has changed since;
/// the frame is counted. `key` and `ends` are the frame's, of `length` bytes.
///
/// The stamp of the receiving side says that all was checked: who the device is and where it belongs, what is denied,
/// and the accept rule. All that depends on the key of the flow, the image and the group's entry, and those are in the
/// stamp. What has an end gets no such stamp.
#[inline(always)]
pub fn again<P: Policy, K: flow_cache::Key>(
    policy: &P,
    key: &K,
    ends: Ends,
    length: u32,
) -> Option<u32> {
    if opens(ends.tcp_flags) {
        return None;
    }
    let key = key.answers(ends);
    let place = key.place(policy);
    let line = find(policy, place, &key)?;
    let entries = policy.answers(line.wrapping_add(1))?;
    let [seen, stamp, by, ..] = entries;
    let by = by.get();
    let entry = group_entry(policy, by as u32).ok()?;
    if stamp.get() != Judge::Receiver.stamp(policy, place, entry.0)
        || is_over(seen.get(), key.protocol(), policy.seconds())
    {
        return None;
    }
    answered(entries, ends.tcp_flags, length);
    Some((by >> 32) as u32)
}
