//! The audit trail: each change with its user, time and result.
//!
//! JSON lines in `audit.jsonl` of the state directory, only ever appended to. Each line has the
//! SHA-256 of the line before it and of itself, so that a cut, moved or edited line is detected. A
//! process that can write the file can replace the whole trail: keep the last hash elsewhere.
//!
//! - `action`: what an entry is about
//! - [`chain`]: what makes lines a chain; pure
//! - [`digest`]: a line that carries its own digest
//! - [`trail`]: the file: appending, rotation, recovery after a power cut, retention
//! - [`files`]: names, packed files
//! - `forgot`: removed entries
//! - `refusals`: refused requests, one line each up to a daily limit
//! - [`verify`]: whether a trail is whole
//!
//! A full disk stops nothing: entries wait in memory. Entries that do not fit are counted, and the
//! trail says how many as soon as it can be written again.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use log::{error, info, warn};
use serde::{Deserialize, Serialize};

mod action;
pub mod chain;
pub mod digest;
pub mod files;
mod forgot;
mod refusals;
#[cfg(test)]
mod tests;
pub mod trail;
pub mod verify;

pub use action::Action;
pub use forgot::Forgot;
use refusals::Refusals;
use trail::{Limits, Opened, Trail};

/// Entries that wait in memory while they cannot be written.
const MAX_WAITING: usize = 256;
/// Lines of a difference that an entry keeps.
const MAX_DIFFERENCE: usize = 64;
/// Faults of the trail that `status` shows.
const MAX_FOUND: usize = 8;
/// Characters of each text of an entry.
const MAX_TEXT: usize = 512;

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The daemon, by itself or because of a signal.
    Daemon,
    /// The peer of the socket, as the kernel says, or the user who ran the command.
    Peer {
        /// Effective user id.
        uid: u32,
        /// Effective group id.
        gid: u32,
        /// Process id, if the kernel provided it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        /// Name of the user, if `/etc/passwd` has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => f.write_str("the daemon"),
            Self::Peer { user: Some(user), .. } => f.write_str(user),
            Self::Peer { uid, .. } => write!(f, "uid {uid}"),
        }
    }
}

/// One entry: everything about one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The user.
    pub who: Who,
    /// What.
    pub action: Action,
    /// What it is about: a policy file, a group, a rule, a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why, in the words of the user who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Revision that was in force before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_revision: Option<u64>,
    /// Revision in force afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_revision: Option<u64>,
    /// What differs, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub difference: Vec<String>,
    /// `ok`, or what went wrong.
    pub result: String,
    /// Generation in the kernel afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Tag of the program that decides, hexadecimal, as the kernel computes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Which entries were removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgot: Option<Forgot>,
}

impl Entry {
    /// An entry with the result `ok`.
    pub fn new(who: Who, action: Action) -> Self {
        Self {
            who,
            action,
            subject: None,
            reason: None,
            old_revision: None,
            new_revision: None,
            difference: Vec::new(),
            result: "ok".into(),
            generation: None,
            program: None,
            forgot: None,
        }
    }

    /// Sets the subject.
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Cuts the entry to the allowed size.
    fn bounded(mut self) -> Self {
        let more = self.difference.len().saturating_sub(MAX_DIFFERENCE);
        self.difference.truncate(MAX_DIFFERENCE);
        if more > 0 {
            self.difference.push(format!("… and {more} more"));
        }
        let texts = self.difference.iter_mut().chain([&mut self.result]);
        for text in texts.chain(&mut self.subject).chain(&mut self.reason) {
            if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
                text.truncate(at);
                text.push('…');
            }
        }
        self
    }
}

/// A line of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Counts entries, from 1.
    pub sequence: u64,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub entry: Entry,
    /// SHA-256 of the line before, without its newline; zeroes for the first.
    pub previous: String,
}

/// The audit trail of a running daemon.
#[derive(Debug)]
pub struct Audit {
    dir: std::path::PathBuf,
    limits: Limits,
    trail: Option<Trail>,
    /// Entries that could not be written yet, with their times.
    waiting: VecDeque<(String, Entry)>,
    lost: u64,
    /// Lost entries that the trail does not mention yet.
    unsaid: u64,
    /// Why nothing can be written.
    trouble: Option<String>,
    /// Faults found in the trail.
    found: Vec<String>,
    refusals: Refusals,
}

impl Audit {
    /// Opens the trail in this directory, with entries kept for `keep`. If it cannot be opened, the
    /// next entry tries again.
    pub fn open(dir: &Path, keep: SignedDuration) -> Self {
        Self::with(dir, Limits::keep(keep))
    }

    fn with(dir: &Path, limits: Limits) -> Self {
        let mut audit = Self {
            dir: dir.into(),
            limits,
            trail: None,
            waiting: VecDeque::new(),
            lost: 0,
            unsaid: 0,
            trouble: None,
            found: Vec::new(),
            refusals: Refusals::default(),
        };
        audit.retry();
        audit
    }

    /// Writes an entry to the disk, or keeps it until that is possible.
    pub fn record(&mut self, entry: Entry) {
        if matches!(entry.action, Action::Stop | Action::Detach) {
            let sum = self.refusals.sum(Instant::now(), true);
            self.push(sum);
        }
        self.push(Some(entry));
        self.retry();
    }

    /// The same for `count` refused requests: repeated refusals are mostly counted and share one
    /// entry a day.
    pub fn refused(&mut self, entry: Entry, count: u64) {
        let entry = self.refusals.take(entry, count, Instant::now());
        self.push(entry);
        self.retry();
    }

    fn push(&mut self, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        self.waiting.push_back((now(), entry.bounded()));
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            self.lost += 1;
            self.unsaid += 1;
        }
    }

    /// Writes an entry that must be on disk before the change is made; if that fails, the entry is
    /// not queued.
    ///
    /// # Errors
    ///
    /// Why it cannot be written, in words.
    pub fn announce(&mut self, entry: Entry) -> Result<(), String> {
        self.retry();
        if self.trouble.is_none() {
            self.waiting.push_back((now(), entry.bounded()));
            self.retry();
            if self.trouble.is_some() {
                self.waiting.pop_back();
            }
        }
        self.trouble.clone().map_or(Ok(()), Err)
    }

    /// Tries to write the waiting entries. Must be called regularly.
    pub fn retry(&mut self) {
        let sum = self.refusals.sum(Instant::now(), false);
        self.push(sum);
        match self.flush() {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    info!("the audit trail can be written again");
                }
            }
            Err(e) => {
                let mut text = e.to_string();
                if let Some(source) = std::error::Error::source(&e) {
                    text = format!("{text}: {source}");
                }
                if self.trouble.as_ref() != Some(&text) {
                    error!("{text}");
                }
                self.trouble = Some(text);
            }
        }
    }

    fn flush(&mut self) -> Result<(), trail::Error> {
        let between = self.trail.as_ref().is_some_and(Trail::is_between);
        let changed = !between && self.trail.as_ref().is_some_and(|trail| !trail.is_ours());
        if between || changed || self.trail.is_none() {
            let known = self.trail.as_ref().map(|trail| trail.tail().clone());
            let Opened { trail, found, forgot } =
                Trail::open(&self.dir, self.limits, known.as_ref())?;
            self.trail = Some(trail);
            self.waiting.extend(forgot.map(|forgot| (now(), Entry::forgot(forgot))));
            let mut notes = Vec::new();
            if changed {
                let text = "audit.jsonl was removed, replaced or written by another program";
                notes.push((Action::Tamper, text.to_owned()));
            }
            notes.extend(found.into_iter().map(|text| (Action::Recovered, text)));
            self.found_wrong(notes);
        }
        let Some(trail) = &mut self.trail else { return Ok(()) };
        if self.unsaid > 0 {
            let text = format!("{} entries before this one could not be kept", self.unsaid);
            trail.append(&now(), Entry::new(Who::Daemon, Action::Lost).about(text))?;
            self.unsaid = 0;
        }
        while let Some((time, entry)) = self.waiting.front() {
            trail.append(time, entry.clone())?;
            self.waiting.pop_front();
        }
        trail.pack();
        Ok(())
    }

    /// Reports faults found in the trail, also in the trail itself, ahead of the waiting entries.
    fn found_wrong(&mut self, notes: Vec<(Action, String)>) {
        for (action, text) in notes.iter().rev() {
            let entry = Entry::new(Who::Daemon, *action).about(text.clone());
            self.waiting.push_front((now(), entry));
        }
        for (_, text) in notes {
            warn!("the audit trail: {text}");
            self.found.push(text);
        }
        // All are in the log and in the trail; the newest are enough for `status`.
        self.found.drain(..self.found.len().saturating_sub(MAX_FOUND));
    }

    /// Entries that can never be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Entries that wait to be written.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Warnings for the operator.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.found.iter().map(|text| format!("the audit trail: {text}")).collect();
        if let Some(trouble) = &self.trouble {
            let (waiting, lost) = (self.waiting.len(), self.lost);
            warnings.push(format!("{trouble}; {waiting} entries wait in memory, {lost} are lost"));
        } else if self.lost > 0 {
            warnings.push(format!("the audit trail: {} entries are lost", self.lost));
        }
        warnings
    }
}

fn now() -> String {
    format!("{:.6}", Timestamp::now())
}
