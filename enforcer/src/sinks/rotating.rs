//! A file of JSON lines, as `tail --json` prints them. When it is full it becomes `NAME.1`, what was
//! `NAME.1` becomes `NAME.2`, and so on.
//!
//! The crates that rotate files bring chrono, which this project does without; and none of them takes
//! a line back that a full disk has cut.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Out;
use crate::api::Event;

/// The file that is written, and the ones that it was before.
#[derive(Debug)]
pub(super) struct Rotating(Option<Files>);

#[derive(Debug)]
struct Files {
    path: PathBuf,
    /// Bytes that no file exceeds, unless one line does.
    max_bytes: u64,
    /// Old files.
    keep: u32,
    open: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    length: u64,
    /// Device and inode.
    id: (u64, u64),
}

impl Rotating {
    pub(super) fn new(path: PathBuf, max_bytes: u64, keep: u32) -> Self {
        Self(Some(Files { path, max_bytes, keep, open: None }))
    }
}

impl Out for Rotating {
    async fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let Some(mut files) = self.0.take() else {
            return Err(io::Error::other("an earlier write has not come back"));
        };
        // A disk may hang; a thread of its own waits for it.
        let work = tokio::task::spawn_blocking(move || {
            let written = files.append(&line).map_err(|e| {
                let text = format!("cannot write {}: {e}", files.path.display());
                io::Error::new(e.kind(), text)
            });
            (files, written)
        });
        let (files, written) = work.await?;
        self.0 = Some(files);
        written
    }
}

impl Files {
    /// Appends a line, whole or not at all.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let open = self.open.take().filter(|open| open.is_at(&self.path));
        let mut open = open.map_or_else(|| Current::open(&self.path), Ok)?;
        if open.length > 0 && open.length + line.len() as u64 > self.max_bytes {
            self.rotate()?;
            open = Current::open(&self.path)?;
        }
        if let Err(e) = open.file.write_all(line) {
            // A part of it may be there.
            let _ = open.file.set_len(open.length);
            return Err(e);
        }
        open.length += line.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

impl Current {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create(true).mode(0o640).open(path)?;
        let there = file.metadata()?;
        Ok(Self { file, length: there.len(), id: (there.dev(), there.ino()) })
    }

    /// Whether nobody has moved or removed the file.
    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path, max_bytes: u64, keep: u32) -> Files {
        Files { path: dir.join("e.json"), max_bytes, keep, open: None }
    }

    fn read(dir: &Path, name: &str) -> Option<String> {
        fs::read_to_string(dir.join(name)).ok()
    }

    #[test]
    fn it_rotates_and_keeps_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = files(dir.path(), 8, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "a long line\n", "five\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        let at = |name| read(dir.path(), name);
        assert_eq!(at("e.json").unwrap(), "five\n");
        assert_eq!(at("e.json.1").unwrap(), "a long line\n");
        assert_eq!(at("e.json.2").unwrap(), "four\n");
        assert_eq!(at("e.json.3"), None);
        // Begun again, it goes on where it was.
        let mut again = files(dir.path(), 12, 2);
        again.append(b"six\n").unwrap();
        assert_eq!(at("e.json").unwrap(), "five\nsix\n");
        let mut none = files(dir.path(), 12, 0);
        none.append(b"seven\n").unwrap();
        assert_eq!(at("e.json").unwrap(), "seven\n");
        assert_eq!(at("e.json.1").unwrap(), "a long line\n");
    }

    #[test]
    fn what_somebody_moved_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = files(dir.path(), 100, 2);
        log.append(b"one\n").unwrap();
        fs::rename(dir.path().join("e.json"), dir.path().join("moved")).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(read(dir.path(), "e.json").unwrap(), "two\n");
        assert_eq!(read(dir.path(), "moved").unwrap(), "one\n");
    }

    #[test]
    fn a_disk_that_is_full_leaves_no_half_line() {
        // Every write to it fails with ENOSPC.
        let mut full = Files { path: "/dev/full".into(), max_bytes: 100, keep: 0, open: None };
        let error = full.append(b"one\n").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        assert!(full.open.is_none(), "it is opened anew");
    }
}
