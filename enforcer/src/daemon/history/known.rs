//! Cached contents of the history's files. An unchanged file is not read again, and no file is read into
//! memory whole: revisions have many megabytes.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Revision, head};
use crate::api::HistoryRow;
use crate::audit::digest::hex;
use crate::audit::{Action, Line};
use crate::convert;

/// Most live changes that are listed.
const MAX_LIVE: usize = 200;
/// Longest line that is read. A revision's first line, with up to 200 changes, is the longest.
const MAX_LINE: u64 = 4 << 20;
/// Size of a read, in bytes.
const BUFFER: usize = 64 << 10;

/// Detects whether a file has changed since it was read: replacing it changes the inode, and writing to it
/// changes its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let there = fs::metadata(path)?;
        Ok(Self {
            inode: there.ino(),
            length: there.len(),
            modified: (there.mtime(), there.mtime_nsec()),
            changed: (there.ctime(), there.ctime_nsec()),
        })
    }
}

/// The first lines of revisions.
#[derive(Debug, Default)]
pub(super) struct Heads {
    rows: BTreeMap<u64, (Stamp, HistoryRow)>,
    /// Number of files that were read.
    #[cfg(test)]
    pub(super) read: usize,
}

impl Heads {
    /// The rows of these files.
    pub(super) fn rows(&mut self, files: &[(u64, PathBuf)], active: u64) -> Vec<HistoryRow> {
        self.rows.retain(|number, _| files.binary_search_by_key(number, |(n, _)| *n).is_ok());
        let rows = files.iter().map(|(revision, path)| {
            let row = self.row(*revision, path);
            HistoryRow { in_force: *revision == active, ..row }
        });
        rows.collect()
    }

    fn row(&mut self, revision: u64, path: &Path) -> HistoryRow {
        let stamp = Stamp::of(path);
        if let (Ok(stamp), Some((known, row))) = (&stamp, self.rows.get(&revision))
            && stamp == known
        {
            return row.clone();
        }
        #[cfg(test)]
        {
            self.read += 1;
        }
        let row = match read(path, revision) {
            Ok(Some(revision)) => row(revision),
            Ok(None) => damaged(revision, format!("{} is damaged", path.display())),
            Err(e) => damaged(revision, format!("cannot read {}: {e}", path.display())),
        };
        if let Ok(stamp) = stamp {
            self.rows.insert(revision, (stamp, row.clone()));
        }
        row
    }
}

fn damaged(revision: u64, what: String) -> HistoryRow {
    log::warn!("{what}");
    HistoryRow { revision, damaged: Some(what), ..HistoryRow::default() }
}

fn row(revision: Revision) -> HistoryRow {
    let Revision { revision, since, who, why, file, digest, counts, changes } = revision;
    HistoryRow {
        revision,
        in_force: false,
        since,
        who: who.to_string(),
        why,
        file,
        digest,
        added: counts.0,
        removed: counts.1,
        changed: counts.2,
        changes: changes.into_iter().map(convert::change).collect(),
        live: None,
        damaged: None,
    }
}

/// The description of a revision; `None` if any byte of its file was altered.
fn read(path: &Path, revision: u64) -> io::Result<Option<Revision>> {
    let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
    let mut line = Vec::new();
    file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    let Some(head) = line.strip_suffix(b"\n").and_then(head) else { return Ok(None) };
    let mut digest = Sha256::new();
    // The newline at the end does not belong to the documents.
    let mut ends = false;
    loop {
        let some = file.fill_buf()?;
        let Some((last, rest)) = some.split_last() else { break };
        if ends {
            digest.update(b"\n");
        }
        ends = *last == b'\n';
        digest.update(if ends { rest } else { some });
        let length = some.len();
        file.consume(length);
    }
    let whole =
        ends && head.documents == hex(&digest.finalize()) && head.revision.revision == revision;
    Ok(whole.then_some(head.revision))
}

/// The last live changes, from the audit trail.
#[derive(Debug, Default)]
pub(super) struct Live {
    rows: VecDeque<HistoryRow>,
    inode: u64,
    /// Bytes of the file that were read, up to the end of a line.
    read: u64,
}

impl Live {
    /// The rows, including those appended since the last call.
    pub(super) fn rows(&mut self, trail: &Path) -> Vec<HistoryRow> {
        if let Err(e) = self.read_on(trail) {
            *self = Self::default();
            if e.kind() != io::ErrorKind::NotFound {
                log::warn!("cannot read {}: {e}", trail.display());
            }
        }
        self.rows.iter().cloned().collect()
    }

    fn read_on(&mut self, trail: &Path) -> io::Result<()> {
        let file = File::open(trail)?;
        let there = file.metadata()?;
        if there.ino() != self.inode || there.len() < self.read {
            *self = Self { inode: there.ino(), ..Self::default() };
        }
        let mut file = BufReader::with_capacity(BUFFER, file);
        file.seek(SeekFrom::Start(self.read))?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
            // A line that is being written or was torn has no newline yet.
            if length as u64 != MAX_LINE && line.last() != Some(&b'\n') {
                return Ok(());
            }
            self.read += length as u64;
            let line: Result<Line, _> = serde_json::from_slice(&line);
            self.rows.extend(line.ok().and_then(live_row));
            if self.rows.len() > MAX_LIVE {
                self.rows.pop_front();
            }
        }
    }
}

/// The row of an entry in the trail, if the entry is about a live change that took effect.
fn live_row(line: Line) -> Option<HistoryRow> {
    let Line { time, entry, .. } = line;
    let verbs = [
        (Action::Allow, ""),
        (Action::Deny, ""),
        (Action::Mode, ""),
        (Action::Revoke, "revoked: "),
        (Action::Ended, "ended: "),
    ];
    let (_, verb) = verbs.into_iter().find(|(action, _)| *action == entry.action)?;
    entry.result.starts_with("ok").then(|| HistoryRow {
        revision: entry.new_revision.unwrap_or_default(),
        since: time,
        who: entry.who.to_string(),
        why: entry.reason,
        live: Some(format!("{verb}{}", entry.subject.unwrap_or_default())),
        ..HistoryRow::default()
    })
}
