//! The file of the trail: appending, rotation, and recovery after a power cut.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::chain::{Link, Tail, walk};
use super::digest::with_digest;
use super::files::{self, rotated};
use super::{Entry, Forgot, Line};

/// The file that entries are appended to.
pub const FILE: &str = "audit.jsonl";
/// The file for incomplete lines that were cut off.
const TORN: &str = "audit.torn";

/// Limits of a trail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Size in bytes at which a new file is started.
    pub(super) file: u64,
    /// How long entries are kept.
    pub(super) keep: SignedDuration,
}

impl Limits {
    /// With the retention of the settings.
    pub(super) fn keep(keep: SignedDuration) -> Self {
        Self { file: 8 << 20, keep }
    }
}

/// Plain files that versions before `audit_keep` kept besides the current one. They removed older
/// ones without an entry.
pub(super) const FILES_BEFORE: usize = 8;

/// A failed operation on a file of the trail.
#[derive(Debug, thiserror::Error)]
#[error("the audit trail cannot be written: cannot {step} {}", path.display())]
pub struct Error {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn fail(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { step, path: path.into(), source }
}

/// A trail that is open for appending.
#[derive(Debug)]
pub(super) struct Trail {
    dir: PathBuf,
    limits: Limits,
    file: File,
    length: u64,
    tail: Tail,
    /// The file was renamed, and the next one could not be made.
    renamed: bool,
    /// There may be full files that are not packed yet.
    unpacked: bool,
    /// The thread that packs them.
    packer: Option<JoinHandle<()>>,
}

/// An opened trail, and what was found.
pub(super) struct Opened {
    pub(super) trail: Trail,
    /// What is wrong with it.
    pub(super) found: Vec<String>,
    /// Entries that an earlier version removed silently.
    pub(super) forgot: Option<Forgot>,
}

impl Trail {
    /// Opens the trail, cuts off a line that a power cut left incomplete, and reports what it
    /// found. `known` is where this process last saw the trail end.
    pub(super) fn open(dir: &Path, limits: Limits, known: Option<&Tail>) -> Result<Opened, Error> {
        let path = dir.join(FILE);
        let mut options = File::options();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(&path).map_err(fail("open", &path))?;
        sync_dir(dir)?;
        let text = fs::read(&path).map_err(fail("read", &path))?;
        let mut found = Vec::new();
        let walk = walk(&text, None, &mut |number, _, fault| {
            found.extend(fault.map(|fault| format!("{}:{number}: {fault}", path.display())));
        });
        if let Some(torn) = text.get(walk.whole..).filter(|torn| !torn.is_empty()) {
            set_aside(dir, torn)?;
            file.set_len(walk.whole as u64).map_err(fail("cut", &path))?;
            file.sync_all().map_err(fail("flush", &path))?;
            found.push(format!("its {} bytes were moved to {TORN}", torn.len()));
        }
        let tail = match (walk.first, known) {
            (Some(_), _) => walk.tail,
            (None, Some(known)) => known.clone(),
            (None, None) => last_of_rotated(dir)?,
        };
        // One line is enough for possibly thousands.
        if found.len() > 3 {
            let more = found.len() - 2;
            found.truncate(2);
            found.push(format!("and {more} more faults: see `enforcer audit verify`"));
        }
        let length = walk.whole as u64;
        let forgot = before_keep(dir)?;
        let dir = dir.into();
        let (renamed, unpacked, packer) = (false, true, None);
        let trail = Self { dir, limits, file, length, tail, renamed, unpacked, packer };
        Ok(Opened { trail, found, forgot })
    }

    /// Where the trail ends.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Whether there is currently no file because of our own rotation.
    pub(super) fn is_between(&self) -> bool {
        self.renamed
    }

    /// Whether the file is still the one that we wrote, with the length that we left.
    pub(super) fn is_ours(&self) -> bool {
        let (Ok(there), Ok(ours)) = (fs::metadata(self.dir.join(FILE)), self.file.metadata())
        else {
            return false;
        };
        (there.dev(), there.ino(), there.len()) == (ours.dev(), ours.ino(), self.length)
    }

    /// Appends an entry and flushes it to the disk. On failure the file is restored.
    pub(super) fn append(&mut self, time: &str, entry: Entry) -> Result<(), Error> {
        let line = self.line(time, &entry)?;
        if self.length == 0 || self.length + line.len() as u64 <= self.limits.file {
            return self.write(&line);
        }
        let old = self.rotate()?;
        if let Some((forgot, files)) = self.overdue(&old)? {
            let line = self.line(time, &Entry::forgot(forgot))?;
            self.write(&line)?;
            for file in files {
                if let Err(e) = fs::remove_file(&file) {
                    log::warn!("cannot remove {}, which is forgotten: {e}", file.display());
                }
            }
            sync_dir(&self.dir)?;
        }
        let line = self.line(time, &entry)?;
        self.write(&line)
    }

    /// The next line, with its newline.
    fn line(&self, time: &str, entry: &Entry) -> Result<String, Error> {
        let line = Line {
            sequence: self.tail.sequence + 1,
            time: time.into(),
            entry: entry.clone(),
            previous: self.tail.hash.clone(),
        };
        let path = self.dir.join(FILE);
        let mut line = with_digest(&line).map_err(io::Error::from).map_err(fail("write", &path))?;
        line.push('\n');
        Ok(line)
    }

    fn write(&mut self, line: &str) -> Result<(), Error> {
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(e) = written {
            // If this fails too, the next entry notices it by the length.
            let _ = self.file.set_len(self.length);
            return Err(fail("write", &self.dir.join(FILE))(e));
        }
        self.length += line.len() as u64;
        let hash = super::digest::sha256(line.trim_end_matches('\n').as_bytes());
        self.tail = Tail { sequence: self.tail.sequence + 1, hash };
        Ok(())
    }

    /// Starts a new file, and returns the old one, which is named after its last entry: names sort
    /// in the order of the files.
    fn rotate(&mut self) -> Result<PathBuf, Error> {
        let path = self.dir.join(FILE);
        let old = self.dir.join(format!("audit-{:012}.jsonl", self.tail.sequence));
        fs::rename(&path, &old).map_err(fail("rename", &path))?;
        self.renamed = true;
        let mut options = File::options();
        options.read(true).append(true).create_new(true).mode(0o600);
        self.file = options.open(&path).map_err(fail("create", &path))?;
        self.length = 0;
        (self.renamed, self.unpacked) = (false, true);
        sync_dir(&self.dir)?;
        Ok(old)
    }

    /// Entries beyond the retention, and the files that hold them.
    ///
    /// A file is old if all of it was written that long before all of the file that was just
    /// filled. A clock that is wrong by years now, or was wrong for some of the entries, therefore
    /// removes nothing.
    fn overdue(&self, filled: &Path) -> Result<Option<(Forgot, Vec<PathBuf>)>, Error> {
        let span = |path: &Path| Span::of(path).map_err(fail("read", path));
        let Some(newest) = span(filled)? else { return Ok(None) };
        let Ok(limit) = newest.earliest.checked_sub(self.limits.keep) else { return Ok(None) };
        let mut overdue: Option<(Forgot, Vec<PathBuf>)> = None;
        for file in rotated(&self.dir).map_err(fail("read", &self.dir))? {
            if file == filled {
                break;
            }
            // An unreadable file stays; `audit verify` reports it.
            let Some(span) = span(&file)?.filter(|span| span.latest < limit) else { break };
            let (forgot, files) = overdue.get_or_insert_with(|| {
                let Stamp { sequence, time } = span.first;
                (Forgot { first: sequence, from: Some(time), ..Forgot::default() }, Vec::new())
            });
            (forgot.last, forgot.to) = (span.last.sequence, Some(span.last.time));
            forgot.hash = span.hash;
            files.push(file);
        }
        Ok(overdue)
    }

    /// Packs the full files on a separate thread.
    pub(super) fn pack(&mut self) {
        let busy = self.packer.as_ref().is_some_and(|packer| !packer.is_finished());
        if busy || !self.unpacked {
            return;
        }
        self.unpacked = false;
        let plain = |file: &PathBuf| !files::is_packed(file);
        if !rotated(&self.dir).is_ok_and(|files| files.iter().any(plain)) {
            return;
        }
        let dir = self.dir.clone();
        let work = move || {
            if let Err(e) = files::pack_all(&dir) {
                log::warn!("the audit trail: old files in {} stay unpacked: {e}", dir.display());
            }
        };
        let packer = std::thread::Builder::new().name("audit-pack".into()).spawn(work);
        self.packer = packer.inspect_err(|e| log::warn!("cannot pack the audit trail: {e}")).ok();
    }

    /// Waits until all full files are packed, as far as possible.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        for _ in 0..2 {
            self.packer.take().map(JoinHandle::join);
            self.unpacked = true;
            self.pack();
        }
        self.packer.take().map(JoinHandle::join);
    }
}

/// Number and time of an entry.
#[derive(Deserialize)]
struct Stamp {
    sequence: u64,
    time: String,
}

/// The period that a file covers.
struct Span {
    first: Stamp,
    last: Stamp,
    /// Of the last line.
    hash: String,
    earliest: Timestamp,
    latest: Timestamp,
}

impl Span {
    /// `None` if not every line can be read.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let files::Content { text, damage } = files::read(path)?;
        if damage.is_some() {
            return Ok(None);
        }
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut span: Option<Self> = None;
        for line in lines {
            let stamp = || -> Option<(Stamp, Timestamp)> {
                let stamp: Stamp = serde_json::from_slice(line).ok()?;
                let time = stamp.time.parse().ok()?;
                Some((stamp, time))
            };
            let Some((stamp, time)) = stamp() else { return Ok(None) };
            let hash = String::new();
            span = Some(match span {
                None => {
                    let first = Stamp { sequence: stamp.sequence, time: stamp.time.clone() };
                    Self { first, last: stamp, hash, earliest: time, latest: time }
                }
                Some(Self { first, earliest, latest, .. }) => {
                    let (earliest, latest) = (earliest.min(time), latest.max(time));
                    Self { first, last: stamp, hash, earliest, latest }
                }
            });
        }
        let last = text.strip_suffix(b"\n").unwrap_or(&text);
        let last = last.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(span.map(|span| Self { hash: super::digest::sha256(last), ..span }))
    }
}

/// The entries that a version before `audit_keep` removed: its files are all plain, and there are
/// as many as it kept. Once a file is packed, missing entries before it have an entry, or should
/// not be missing.
fn before_keep(dir: &Path) -> Result<Option<Forgot>, Error> {
    let files = rotated(dir).map_err(fail("read", dir))?;
    let [oldest, ..] = files.as_slice() else { return Ok(None) };
    if files.len() < FILES_BEFORE || files.iter().any(|file| files::is_packed(file)) {
        return Ok(None);
    }
    let text = files::read(oldest).map_err(fail("read", oldest))?.text;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(Link { sequence, previous }) = serde_json::from_slice(line) else { return Ok(None) };
    let forgot =
        Forgot { first: 1, last: sequence.saturating_sub(1), hash: previous, ..Forgot::default() };
    Ok((sequence > 1).then_some(forgot))
}

fn last_of_rotated(dir: &Path) -> Result<Tail, Error> {
    let Some(path) = rotated(dir).map_err(fail("read", dir))?.pop() else {
        return Ok(Tail::default());
    };
    let text = files::read(&path).map_err(fail("read", &path))?.text;
    Ok(walk(&text, None, &mut |_, _, _| ()).tail)
}

fn set_aside(dir: &Path, torn: &[u8]) -> Result<(), Error> {
    let path = dir.join(TORN);
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(fail("open", &path))?;
    let length = file.metadata().map_err(fail("read", &path))?.len();
    // Repeatedly torn lines must not fill the disk.
    let place = if length > 1 << 20 { 0 } else { length };
    file.write_all_at(&[torn, b"\n"].concat(), place).map_err(fail("write", &path))?;
    file.sync_all().map_err(fail("flush", &path))
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail("flush", dir))
}
