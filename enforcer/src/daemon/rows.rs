//! Rules as the socket shows them.

use std::collections::HashSet;

use super::active::Active;
use super::state::Counters;
use super::time::{Dates, wall_time};
use crate::api::RuleRow;
use crate::convert;
use crate::policy::explain;

/// The rules with their counters.
pub(super) fn rules(names: &Active, counters: &Counters, dates: Dates) -> Vec<RuleRow> {
    // A device with live rules of its own also has its group's rules: each is listed once.
    let mut known = HashSet::new();
    (0..names.compiled.rules.len() as u32)
        .filter_map(|number| rule_row(names, number, counters, dates))
        .filter(|row| known.insert(row.id.clone()))
        .collect()
}

/// One rule as a row of the API.
pub(super) fn rule_row(
    names: &Active,
    number: u32,
    counters: &Counters,
    dates: Dates,
) -> Option<RuleRow> {
    let compiled = (*names.compiled.rules.get(number as usize)?)?;
    let (_, rule) = compiled.rule(&names.policy)?;
    let row = convert::rule(explain::row(&names.policy, compiled)?);
    let (frames, bytes) = counters.get(&rule.id).copied().unwrap_or_default();
    // Times are shown by this machine's clock.
    let until = rule.until.and_then(|end| wall_time(dates.date(end)));
    let left = rule.until.and_then(|end| dates.left(end));
    Some(RuleRow { until, left, frames, bytes, ..row })
}
