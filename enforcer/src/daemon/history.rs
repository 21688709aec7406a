//! Earlier revisions: their documents, when they came into force, by whom, and why.
//!
//! Each revision is a file `revisions/REVISION.json` in the state directory. Its first line describes the
//! revision and has a digest of itself and of the second line, which has the documents. Files are replaced
//! atomically; the oldest are removed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::known::{Heads, Live, Stamp};
use super::active::read_bundle;
use super::state::{self, replace};
use crate::api::{HistoryRow, PolicyBundle};
use crate::audit::digest::{sha256, verify_digest, with_digest};
use crate::audit::{Who, trail};
use crate::policy::{Change, write};

mod known;

/// Most revisions that are kept.
const MAX_REVISIONS: usize = 50;
/// Most bytes of all revisions together.
const MAX_BYTES: u64 = 64 << 20;
/// Most lines of a difference that are kept.
const MAX_CHANGES: usize = 200;

/// Description of a revision.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) revision: u64,
    /// When the revision came into force, RFC 3339.
    pub(super) since: String,
    pub(super) who: Who,
    /// Why, in the operator's words.
    pub(super) why: Option<String>,
    /// File name as the operator gave it.
    pub(super) file: String,
    /// Digest of the documents, as in `status`.
    pub(super) digest: String,
    /// Number of additions, removals and changes.
    pub(super) counts: (usize, usize, usize),
    /// The first lines of the difference.
    pub(super) changes: Vec<Change>,
}

impl Revision {
    /// The revision with its difference.
    pub(super) fn with(mut self, changes: &[Change]) -> Self {
        let count = |sign| changes.iter().filter(|change| change.sign == sign).count();
        self.counts = (count('+'), count('-'), count('~'));
        self.changes = changes.iter().take(MAX_CHANGES).cloned().collect();
        self
    }
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    revision: Revision,
    /// SHA-256 of the second line.
    documents: String,
}

/// Why a revision is not available.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It does not exist: it never did, or was removed as too old.
    #[error("there is no revision {0}: `enforcer history` lists those that are kept")]
    None(u64),
    /// Its file was truncated or altered.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// Its file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Its file cannot be written.
    #[error(transparent)]
    Write(#[from] state::Error),
}

/// The revisions of a state directory; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct History {
    dir: PathBuf,
    /// What the files contained when last read. Only one thread reads at a time.
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    heads: Heads,
    live: Live,
    /// The document that was requested last; freed as soon as no client uses it.
    shown: Option<(Stamp, Weak<[u8]>)>,
}

impl History {
    /// The history in an existing state directory.
    pub(super) fn open(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("revisions"), known: Arc::default() }
    }

    /// Stores a revision, replacing one with the same number, and removes the oldest.
    pub(super) fn save(&self, revision: Revision, bundle: &PolicyBundle) -> Result<(), Error> {
        let path = self.path(revision.revision);
        let written = |source| Error::Read { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(written)?;
        let documents = serde_json::to_string(bundle).map_err(io::Error::from).map_err(written)?;
        let head = Head { revision, documents: sha256(documents.as_bytes()) };
        let head = with_digest(&head).map_err(io::Error::from).map_err(written)?;
        replace(&path, format!("{head}\n{documents}\n").as_bytes())?.commit()?;
        self.prune(&path);
        Ok(())
    }

    /// A revision and its documents.
    ///
    /// # Errors
    ///
    /// The revision does not exist, or its file is damaged; the error names the file.
    pub(super) fn load(&self, revision: u64) -> Result<(Revision, PolicyBundle), Error> {
        let path = self.path(revision);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Error::None(revision)),
            text => text.map_err(|source| Error::Read { path: path.clone(), source })?,
        };
        let damaged = || Error::Damaged(path.clone());
        let (head, documents) = parts(&text, revision).ok_or_else(damaged)?;
        let bundle = serde_json::from_slice(documents).map_err(|_| damaged())?;
        Ok((head, bundle))
    }

    /// Whether the revision has a file, damaged or not.
    pub(super) fn has(&self, revision: u64) -> bool {
        self.path(revision).exists()
    }

    /// A revision as one document. Concurrent requests for the same revision share one read.
    ///
    /// # Errors
    ///
    /// As [`History::load`].
    pub(super) fn document(&self, revision: u64) -> Result<Bytes, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.path(revision)).ok();
        if let (Some(stamp), Some((shown, text))) = (stamp, &known.shown)
            && stamp == *shown
            && let Some(text) = text.upgrade()
        {
            return Ok(Bytes::from_owner(text));
        }
        let (_, bundle) = self.load(revision)?;
        let text = match bundle.files.is_empty() {
            true => bundle.text,
            false => write(&read_bundle(&bundle).0),
        };
        let text: Arc<[u8]> = text.into_bytes().into();
        known.shown = stamp.map(|stamp| (stamp, Arc::downgrade(&text)));
        Ok(Bytes::from_owner(text))
    }

    /// All revisions, oldest first; for a damaged one, the number and the damage. Reads files that changed
    /// since the last time, so it must not run on the core's thread.
    pub(super) fn list(&self, active: u64) -> Vec<HistoryRow> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { heads, live, .. } = &mut *known;
        let mut rows = heads.rows(&self.numbers(), active);
        rows.extend(live.rows(&self.dir.with_file_name(trail::FILE)));
        // A stable sort: a row without a time stays behind the one before it.
        let mut last = Timestamp::MIN;
        rows.sort_by_cached_key(|row| {
            last = row.since.parse().unwrap_or(last);
            last
        });
        rows
    }

    fn path(&self, revision: u64) -> PathBuf {
        self.dir.join(format!("{revision}.json"))
    }

    /// The numbers of the existing files, oldest first.
    fn numbers(&self) -> Vec<(u64, PathBuf)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut numbers: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let number = name.to_str()?.strip_suffix(".json")?.parse().ok()?;
                Some((number, entry.path()))
            })
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// Removes the oldest files beyond the limits; `newest` stays, whatever its size.
    fn prune(&self, newest: &Path) {
        let (mut files, mut bytes) = (0, 0);
        for (_, path) in self.numbers().into_iter().rev() {
            files += 1;
            bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if path != newest
                && (files > MAX_REVISIONS || bytes > MAX_BYTES)
                && let Err(e) = fs::remove_file(&path)
            {
                log::warn!("cannot remove {}: {e}", path.display());
            }
        }
    }
}

/// The contents of a file; `None` if any byte was altered.
fn parts(text: &[u8], revision: u64) -> Option<(Revision, &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let head = head(&text[..end])?;
    let documents = text[end + 1..].strip_suffix(b"\n")?;
    let whole = head.documents == sha256(documents) && head.revision.revision == revision;
    whole.then_some((head.revision, documents))
}

/// The first line of a file; `None` if any byte was altered.
fn head(line: &[u8]) -> Option<Head> {
    serde_json::from_str(&verify_digest(line)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, Entry, Line};

    fn revision(revision: u64) -> Revision {
        let who = Who::Peer { uid: 0, gid: 0, pid: Some(1), user: Some("root".into()) };
        let since = "2026-11-23T00:00:00Z".to_owned();
        let (file, digest) = ("p.toml".to_owned(), "d".to_owned());
        let (why, counts) = (Some("CHG-4711".to_owned()), (0, 0, 0));
        Revision { revision, since, who, why, file, digest, counts, changes: Vec::new() }
    }

    fn bundle(text: &str) -> PolicyBundle {
        PolicyBundle {
            file: "p.toml".into(),
            text: text.into(),
            files: [("a".to_owned(), "10.0.0.0/8\n".to_owned())].into(),
            ..PolicyBundle::default()
        }
    }

    fn history() -> (tempfile::TempDir, History) {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path());
        (dir, history)
    }

    #[test]
    fn a_revision_comes_back() {
        let (_dir, history) = history();
        assert_eq!(history.list(1), []);
        assert!(matches!(history.load(3), Err(Error::None(3))));
        let change = |sign| Change {
            sign,
            kind: "group".into(),
            subject: None,
            text: String::new(),
            rule: None,
        };
        let third = revision(3).with(&[change('+'), change('+'), change('~')]);
        history.save(third.clone(), &bundle("3")).unwrap();
        history.save(revision(20), &bundle("20")).unwrap();
        assert_eq!(history.load(3).unwrap(), (third, bundle("3")));
        let rows = history.list(20);
        let row = &rows[0];
        assert_eq!((row.added, row.removed, row.changed, row.in_force), (2, 0, 1, false));
        assert_eq!((&*row.who, row.why.as_deref()), ("root", Some("CHG-4711")));
        assert_eq!((rows[1].revision, rows[1].in_force), (20, true));
    }

    #[test]
    fn every_flip_and_every_cut_is_found_and_named() {
        let (_dir, history) = history();
        history.save(revision(3), &bundle("schema = 1\n")).unwrap();
        let path = history.path(3);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << (at % 8);
            for bad in [&flipped[..], &good[..at]] {
                fs::write(&path, bad).unwrap();
                let error = history.load(3).unwrap_err();
                assert!(matches!(error, Error::Damaged(_)), "at {at}: {error:?}");
                assert!(error.to_string().contains("revisions/3.json"), "{error}");
            }
        }
        history.save(revision(4), &bundle("schema = 1\n")).unwrap();
        let rows = history.list(4);
        assert!(rows[0].damaged.as_deref().unwrap().contains("3.json"), "{rows:?}");
        assert_eq!(rows[1].damaged, None);
        // An intact file under another revision's number is damage, too.
        fs::copy(history.path(4), history.path(5)).unwrap();
        assert!(matches!(history.load(5), Err(Error::Damaged(_))));
    }

    #[test]
    fn the_oldest_go() {
        let (_dir, history) = history();
        for n in 1..=MAX_REVISIONS as u64 + 3 {
            history.save(revision(n), &bundle("x")).unwrap();
        }
        let numbers: Vec<u64> = history.numbers().into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, (4..=MAX_REVISIONS as u64 + 3).collect::<Vec<_>>());
        let large = "x".repeat((MAX_BYTES as usize) / 2);
        history.save(revision(100), &bundle(&large)).unwrap();
        history.save(revision(101), &bundle(&large)).unwrap();
        let numbers: Vec<u64> = history.numbers().into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, [101]);
    }

    /// A file is read once, and again only after it changes.
    #[test]
    fn heads_are_kept_and_files_that_change_are_read_again() {
        let (dir, history) = history();
        for n in 1..=3 {
            history.save(revision(n), &bundle("x")).unwrap();
        }
        let line = |id: &str| {
            let who = Who::Peer { uid: 0, gid: 0, pid: Some(1), user: Some("root".into()) };
            let entry = Entry::new(who, Action::Allow).about("allow beds: any to any");
            let entry = Entry { result: format!("ok: {id}"), ..entry };
            let since = "2026-11-23T00:00:01Z".to_owned();
            let line = Line { sequence: 1, time: since, entry, previous: String::new() };
            serde_json::to_string(&line).unwrap() + "\n"
        };
        let trail = dir.path().join(trail::FILE);
        fs::write(&trail, line("l-1") + &line("l-2") + "{\"torn").unwrap();
        let read = |history: &History| history.known.lock().unwrap().heads.read;
        for _ in 0..60 {
            let rows = history.list(3);
            assert_eq!((rows.len(), read(&history)), (5, 3), "{rows:?}");
        }
        history.save(revision(3).with(&[]), &bundle("y")).unwrap();
        history.save(revision(4), &bundle("x")).unwrap();
        fs::remove_file(history.path(1)).unwrap();
        let mut text = fs::read_to_string(&trail).unwrap();
        text.truncate(text.len() - 6);
        fs::write(&trail, text + &line("l-3")).unwrap();
        let rows = history.list(4);
        let live = rows.iter().filter(|row| row.live.is_some()).count();
        assert_eq!((rows.len(), live, read(&history)), (6, 3, 5), "{rows:?}");
        // A trail that was replaced is read from its beginning.
        fs::write(&trail, line("l-9")).unwrap();
        assert_eq!(history.list(4).len(), 4);
    }

    #[test]
    fn a_document_is_read_once_for_all_who_hold_it() {
        let (_dir, history) = history();
        history.save(revision(3), &bundle("schema = 1\n")).unwrap();
        let first = history.document(3).unwrap();
        assert_eq!(history.document(3).unwrap().as_ptr(), first.as_ptr());
        drop(first);
        assert_eq!(history.known.lock().unwrap().shown.as_ref().unwrap().1.strong_count(), 0);
        assert!(matches!(history.document(7), Err(Error::None(7))));
    }
}
