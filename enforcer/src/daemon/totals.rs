//! Counts of refused frames by interface, group, reason and verdict, in a table that devices cannot fill.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use enforcer_common::reason::{Reason, Verdict};

use crate::dataplane::SuppressedCounts;
use crate::events::event::{Name, Refusal};

/// Most rows. Rows come from the policy's groups and interfaces, and change with them.
const MAX_ROWS: usize = 4096;
/// Group name for all further groups once the table is full, and for frames of an unknown group without an
/// event.
const OTHERS: &str = "others";

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    /// Name of the interface; empty if it is gone, and for frames without an event.
    pub(super) interface: String,
    /// Name of the group.
    pub(super) group: String,
    /// Name of the reason.
    pub(super) reason: &'static str,
    /// `drop` or `would-drop`.
    pub(super) verdict: &'static str,
}

/// Frames by [`Row`], since the daemon started.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<BTreeMap<Row, u64>>);

impl Totals {
    /// Counts a frame.
    pub(super) fn count(&self, reason: Reason, refusal: &Refusal) {
        let text = |name: Option<&Name>| name.map_or_else(String::new, ToString::to_string);
        let row = Row {
            interface: text(refusal.head.interface.as_ref()),
            group: text(refusal.group.as_ref()),
            reason: reason.name(),
            verdict: refusal.verdict.name(),
        };
        self.add(row, 1);
    }

    /// Counts frames without an event, by group as far as it is known.
    pub(super) fn count_suppressed(&self, share: &SuppressedCounts, group: Option<&str>) {
        let verdict = refused(share.verdict).name();
        let group = group.unwrap_or(OTHERS).to_owned();
        let row = Row { interface: String::new(), group, reason: share.reason.name(), verdict };
        self.add(row, share.suppressed + share.lost);
    }

    fn add(&self, mut row: Row, frames: u64) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= MAX_ROWS && !rows.contains_key(&row) {
            row.interface.clear();
            OTHERS.clone_into(&mut row.group);
        }
        let sum = rows.entry(row).or_default();
        *sum = sum.saturating_add(frames);
    }

    /// All rows.
    pub(super) fn rows(&self) -> BTreeMap<Row, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The verdict of a reported frame: only refused frames are reported.
pub(super) fn refused(verdict: Verdict) -> Verdict {
    if verdict == Verdict::WouldDrop { verdict } else { Verdict::Drop }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_grow_without_bound() {
        let totals = Totals::default();
        let row = |group: usize| Row {
            interface: "lan0".into(),
            group: group.to_string(),
            reason: "deny",
            verdict: "drop",
        };
        for group in 0..MAX_ROWS + 100 {
            totals.add(row(group), 2);
        }
        totals.add(row(7), 1);
        let rows = totals.rows();
        assert_eq!(rows.len(), MAX_ROWS + 1);
        assert_eq!(rows[&row(7)], 3);
        let others = rows.iter().find(|(row, _)| row.group == OTHERS).unwrap();
        assert_eq!((others.0.interface.as_str(), *others.1), ("", 200));
    }
}
