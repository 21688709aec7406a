//! Refused requests: one line each up to a daily limit, then one line a day with the sum.
//!
//! A viewer that keeps sending forbidden requests would otherwise fill the trail with identical
//! lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Action, Entry, Who};

/// Lines of one user in a day.
const LINES_A_USER: u32 = 10;
/// Lines of all users in a day.
const LINES: u32 = 100;
/// Users that are told apart in the sum.
const MAX_USERS: usize = 50;
/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests refused since the day began.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// When the first line was written.
    since: Option<Instant>,
    lines: u32,
    users: BTreeMap<String, User>,
}

#[derive(Debug, Default)]
struct User {
    lines: u32,
    /// Requests without a line.
    held: u64,
    /// The last of them.
    last: String,
}

impl Refusals {
    /// Returns the entry if it gets a line; otherwise counts it as `count` requests.
    pub(super) fn take(&mut self, entry: Entry, count: u64, now: Instant) -> Option<Entry> {
        self.since.get_or_insert(now);
        let mut name = match &entry.who {
            Who::Daemon => entry.who.to_string(),
            Who::Peer { uid, user: Some(user), .. } => format!("{user} (uid {uid})"),
            Who::Peer { uid, .. } => format!("uid {uid}"),
        };
        if !self.users.contains_key(&name) && self.users.len() >= MAX_USERS {
            name = "others".into();
        }
        let user = self.users.entry(name).or_default();
        if user.lines < LINES_A_USER && self.lines < LINES {
            user.lines += 1;
            self.lines += 1;
            return Some(entry);
        }
        user.held += count;
        user.last = entry.subject.unwrap_or_default();
        None
    }

    /// The sum of requests without a line, when the day is over or with `end`.
    pub(super) fn sum(&mut self, now: Instant, end: bool) -> Option<Entry> {
        let since = self.since.filter(|since| end || now.duration_since(*since) >= DAY)?;
        let hours = now.duration_since(since).as_secs().div_ceil(60 * 60);
        let Self { users, .. } = std::mem::take(self);
        let held: u64 = users.values().map(|user| user.held).sum();
        if held == 0 {
            return None;
        }
        let difference = users.into_iter().filter(|(_, user)| user.held > 0);
        let difference = difference.map(|(name, user)| {
            let User { held, last, .. } = user;
            format!("{name}: {held}, the last {last}")
        });
        Some(Entry {
            difference: difference.collect(),
            result: format!(
                "refused, {held} more within {hours} h that have no entry of their own"
            ),
            ..Entry::new(Who::Daemon, Action::Refused)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(uid: u32) -> Entry {
        let who = Who::Peer { uid, gid: 1, pid: None, user: None };
        Entry::new(who, Action::Refused).about("PUT /v1/policy")
    }

    #[test]
    fn endless_refusals_make_eleven_lines_a_day() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let mut lines = Vec::new();
        // One a minute for a day and an hour, the rate that the socket allows.
        for minute in 0..25 * 60 {
            let now = start + Duration::from_secs(minute * 60);
            lines.extend(refusals.sum(now, false));
            lines.extend(refusals.take(refused(7), 3, now));
        }
        assert_eq!(lines.len(), 10 + 1 + 10);
        let sum = &lines[10];
        let text = format!("refused, {} more within 24 h", (24 * 60 - 10) * 3);
        assert!(sum.result.starts_with(&text), "{sum:?}");
        assert_eq!(sum.difference, ["uid 7: 4290, the last PUT /v1/policy"]);
        // The rest is reported at the end.
        let end = start + Duration::from_secs(25 * 60 * 60);
        assert_eq!(refusals.sum(end, false), None);
        assert!(
            refusals.sum(end, true).unwrap().result.starts_with("refused, 150 more within 1 h")
        );
        assert_eq!(refusals.sum(end, true), None);
    }

    #[test]
    fn many_users_have_no_more_lines_than_a_day_may_have() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let lines = (0..5_000).filter_map(|uid| refusals.take(refused(uid), 1, now)).count();
        assert!(lines <= LINES as usize, "{lines}");
        let sum = refusals.sum(now, true).unwrap();
        assert!(sum.difference.len() <= MAX_USERS + 1, "{sum:?}");
        let held = 5_000 - lines;
        assert!(sum.result.starts_with(&format!("refused, {held} more")), "{sum:?}");
        // A user who never asked again has nothing to add.
        assert!(refusals.take(refused(1), 1, now).is_some());
        assert_eq!(refusals.sum(now, true), None);
    }
}
