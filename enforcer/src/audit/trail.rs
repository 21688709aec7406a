//! The file of the trail: appending, rotation, and what a power cut leaves.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::chain::{Tail, walk};
use super::seal::seal;
use super::{Entry, Line};

/// The file that entries are appended to.
pub const FILE: &str = "audit.jsonl";
/// Where the beginnings of lines go that were cut off.
const TORN: &str = "audit.torn";

/// How much a trail may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of a file, from which on a new one is begun.
    pub(super) file: u64,
    /// Files that are kept beside the one that is written.
    pub(super) files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file: 8 << 20, files: FILES }
    }
}

/// Files that are kept beside the one that is written.
pub(super) const FILES: usize = 8;

/// A step on a file of the trail that failed.
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
}

impl Trail {
    /// Opens the trail, cuts off a line that a power cut left half, and says what it found.
    /// `known` is where the trail ended when it was ours last.
    pub(super) fn open(
        dir: &Path,
        limits: Limits,
        known: Option<&Tail>,
    ) -> Result<(Self, Vec<String>), Error> {
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
        // One line is enough of what may be thousands.
        if found.len() > 3 {
            let more = found.len() - 2;
            found.truncate(2);
            found.push(format!("and {more} more faults: see `enforcer audit verify`"));
        }
        let length = walk.whole as u64;
        let dir = dir.into();
        Ok((Self { dir, limits, file, length, tail, renamed: false }, found))
    }

    /// Where the trail ends.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Whether there is no file to append to, by our own doing.
    pub(super) fn is_between(&self) -> bool {
        self.renamed
    }

    /// Whether the file is the one that we wrote, as long as we left it.
    pub(super) fn is_ours(&self) -> bool {
        let (Ok(there), Ok(ours)) = (fs::metadata(self.dir.join(FILE)), self.file.metadata())
        else {
            return false;
        };
        (there.dev(), there.ino(), there.len()) == (ours.dev(), ours.ino(), self.length)
    }

    /// Appends an entry and flushes it to the disk. When that fails, the file is as it was.
    pub(super) fn append(&mut self, time: &str, entry: Entry) -> Result<(), Error> {
        let path = self.dir.join(FILE);
        let line = Line {
            sequence: self.tail.sequence + 1,
            time: time.into(),
            entry,
            previous: self.tail.hash.clone(),
        };
        let mut line = seal(&line).map_err(io::Error::from).map_err(fail("write", &path))?;
        let hash = super::seal::sha256(line.as_bytes());
        line.push('\n');
        if self.length > 0 && self.length + line.len() as u64 > self.limits.file {
            self.rotate()?;
        }
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(e) = written {
            // Should this fail too, the length tells it with the next entry.
            let _ = self.file.set_len(self.length);
            return Err(fail("write", &path)(e));
        }
        self.length += line.len() as u64;
        self.tail = Tail { sequence: self.tail.sequence + 1, hash };
        Ok(())
    }

    /// Begins a new file. The old one is named after its last entry, so that names sort as they
    /// follow each other.
    fn rotate(&mut self) -> Result<(), Error> {
        let path = self.dir.join(FILE);
        let old = self.dir.join(format!("audit-{:012}.jsonl", self.tail.sequence));
        fs::rename(&path, &old).map_err(fail("rename", &path))?;
        self.renamed = true;
        let mut options = File::options();
        options.read(true).append(true).create_new(true).mode(0o600);
        self.file = options.open(&path).map_err(fail("create", &path))?;
        self.length = 0;
        self.renamed = false;
        sync_dir(&self.dir)?;
        let rotated = rotated(&self.dir)?;
        for old in rotated.iter().take(rotated.len().saturating_sub(self.limits.files)) {
            fs::remove_file(old).map_err(fail("remove", old))?;
        }
        Ok(())
    }
}

/// The files of a trail that are not written any more, oldest first.
pub(super) fn rotated(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail("read", dir))? {
        let path = entry.map_err(fail("read", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_prefix("audit-").and_then(|rest| rest.strip_suffix(".jsonl"));
        if number.is_some_and(|n| n.len() >= 12 && n.bytes().all(|b| b.is_ascii_digit())) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn last_of_rotated(dir: &Path) -> Result<Tail, Error> {
    let Some(path) = rotated(dir)?.pop() else { return Ok(Tail::default()) };
    let text = fs::read(&path).map_err(fail("read", &path))?;
    Ok(walk(&text, None, &mut |_, _, _| ()).tail)
}

fn set_aside(dir: &Path, torn: &[u8]) -> Result<(), Error> {
    let path = dir.join(TORN);
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(fail("open", &path))?;
    let length = file.metadata().map_err(fail("read", &path))?.len();
    // What tears lines all day must not fill the disk with them.
    let place = if length > 1 << 20 { 0 } else { length };
    file.write_all_at(&[torn, b"\n"].concat(), place).map_err(fail("write", &path))?;
    file.sync_all().map_err(fail("flush", &path))
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail("flush", dir))
}
