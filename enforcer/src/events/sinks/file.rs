//! A file of JSON lines, as `tail --json` prints them. When it is full it is renamed to `NAME.1`,
//! the old `NAME.1` to `NAME.2`, and so on.
//!
//! The crates that rotate files depend on chrono, which this project avoids, and none of them undoes
//! a line that a full disk has cut.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// The current file and its predecessors.
#[derive(Debug)]
pub(super) struct Rotating(Option<Files>);

#[derive(Debug)]
struct Files {
    path: PathBuf,
    /// Size limit of a file, unless a single line exceeds it.
    max_bytes: u64,
    /// Number of old files to keep.
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

impl Rotating {
    /// Appends whole lines. Returns how many bytes at the end of `chunk` are still to be written, and why.
    ///
    /// # Errors
    ///
    /// The file system's error; the rest must then be written again.
    pub(super) async fn write(&mut self, chunk: Bytes) -> (usize, io::Result<()>) {
        let length = chunk.len();
        let Some(mut files) = self.0.take() else {
            return (length, Err(io::Error::other("an earlier write has not come back")));
        };
        // A disk may hang, so a separate thread waits for it.
        let work = tokio::task::spawn_blocking(move || {
            let (done, written) = files.append(&chunk);
            let written = written.map_err(|e| {
                let text = format!("cannot write {}: {e}", files.path.display());
                io::Error::new(e.kind(), text)
            });
            (files, chunk.len() - done, written)
        });
        match work.await {
            Ok((files, rest, written)) => {
                self.0 = Some(files);
                (rest, written)
            }
            Err(e) => (length, Err(e.into())),
        }
    }
}

impl Files {
    /// Appends lines, each completely or not at all, with one write per file. Returns the number of bytes
    /// written.
    fn append(&mut self, chunk: &[u8]) -> (usize, io::Result<()>) {
        let mut done = 0;
        while let Some(rest) = chunk.get(done..).filter(|rest| !rest.is_empty()) {
            match self.append_some(rest) {
                Ok(length) => done += length,
                Err(e) => return (done, Err(e)),
            }
        }
        (done, Ok(()))
    }

    /// Appends as many lines as fit into one file.
    fn append_some(&mut self, lines: &[u8]) -> io::Result<usize> {
        let open = self.open.take().filter(|open| open.is_at(&self.path));
        let mut open = open.map_or_else(|| Current::open(&self.path), Ok)?;
        let mut fitting = fitting(lines, self.max_bytes.saturating_sub(open.length));
        if fitting.is_empty() && open.length > 0 {
            self.rotate()?;
            open = Current::open(&self.path)?;
            fitting = self::fitting(lines, self.max_bytes.saturating_sub(open.length));
        }
        if fitting.is_empty() {
            fitting = first(lines);
        }
        if let Err(e) = open.file.write_all(fitting) {
            // A part may have been written.
            let _ = open.file.set_len(open.length);
            return Err(e);
        }
        open.length += fitting.len() as u64;
        self.open = Some(open);
        Ok(fitting.len())
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

/// The first lines that fit into `room` bytes; none if the first one is longer.
fn fitting(lines: &[u8], room: u64) -> &[u8] {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines;
    }
    let some = lines.get(..room).unwrap_or(lines);
    let end = some.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    some.get(..end).unwrap_or_default()
}

/// The first line.
fn first(lines: &[u8]) -> &[u8] {
    lines.split_inclusive(|byte| *byte == b'\n').next().unwrap_or(lines)
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

    /// Whether the file has not been moved or removed.
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

    fn append(log: &mut Files, lines: &str) {
        let (done, written) = log.append(lines.as_bytes());
        written.unwrap();
        assert_eq!(done, lines.len());
    }

    fn read(dir: &Path, name: &str) -> Option<String> {
        fs::read_to_string(dir.join(name)).ok()
    }

    #[test]
    fn it_rotates_and_keeps_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = files(dir.path(), 8, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "a long line\n", "five\n"] {
            append(&mut log, line);
        }
        let at = |name| read(dir.path(), name);
        assert_eq!(at("e.json").unwrap(), "five\n");
        assert_eq!(at("e.json.1").unwrap(), "a long line\n");
        assert_eq!(at("e.json.2").unwrap(), "four\n");
        assert_eq!(at("e.json.3"), None);
        // After a restart it continues where it was.
        let mut again = files(dir.path(), 12, 2);
        append(&mut again, "six\n");
        assert_eq!(at("e.json").unwrap(), "five\nsix\n");
        let mut none = files(dir.path(), 12, 0);
        append(&mut none, "seven\n");
        assert_eq!(at("e.json").unwrap(), "seven\n");
        assert_eq!(at("e.json.1").unwrap(), "a long line\n");
    }

    #[test]
    fn a_chunk_is_cut_between_lines_where_a_file_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = files(dir.path(), 8, 9);
        append(&mut log, "one\ntwo\nthree\na long line\nfour\nfive\n");
        let at = |name| read(dir.path(), name);
        let all = ["e.json.4", "e.json.3", "e.json.2", "e.json.1", "e.json"].map(at);
        let expected = ["one\ntwo\n", "three\n", "a long line\n", "four\n", "five\n"];
        assert_eq!(all, expected.map(|text| Some(text.to_owned())));
        // Completed writes stay when the rest cannot be written.
        fs::create_dir(dir.path().join("e.json.10")).unwrap();
        let mut stuck = Files { keep: 10, ..files(dir.path(), 8, 10) };
        for number in [5, 6, 7, 8, 9] {
            fs::write(dir.path().join(format!("e.json.{number}")), "old\n").unwrap();
        }
        let (done, written) = stuck.append(b"6\nseven\n");
        assert!(written.is_err());
        assert_eq!((done, at("e.json")), (2, Some("five\n6\n".to_owned())));
    }

    #[test]
    fn a_moved_file_is_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = files(dir.path(), 100, 2);
        append(&mut log, "one\n");
        fs::rename(dir.path().join("e.json"), dir.path().join("moved")).unwrap();
        append(&mut log, "two\n");
        assert_eq!(read(dir.path(), "e.json").unwrap(), "two\n");
        assert_eq!(read(dir.path(), "moved").unwrap(), "one\n");
    }

    #[test]
    fn a_disk_that_is_full_leaves_no_half_line() {
        // Every write to it fails with ENOSPC.
        let mut full = Files { path: "/dev/full".into(), max_bytes: 100, keep: 0, open: None };
        let (done, written) = full.append(b"one\ntwo\n");
        let error = written.unwrap_err();
        assert_eq!(done, 0);
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        assert!(full.open.is_none(), "it is opened anew");
    }
}
