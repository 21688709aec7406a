//! Whether a trail is whole. Needs no daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::chain::{Fault, Tail, walk};
use super::trail::{FILE, FILES, rotated};

/// Faults that are kept; a file of garbage has millions.
const MAX_FAULTS: usize = 100;

/// What there is to say about a trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries in it.
    pub entries: u64,
    /// Number of the first one, if there is one.
    pub first: Option<u64>,
    /// Where it ends.
    pub tail: Tail,
    /// File, line from 1, and what is wrong there.
    pub faults: Vec<(PathBuf, usize, Fault)>,
}

/// Files of a trail, oldest first: of a directory, or a single one.
///
/// # Errors
///
/// What cannot be read, with its name.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = rotated(path).map_err(io::Error::other)?;
    let newest = path.join(FILE);
    if newest.exists() || files.is_empty() {
        files.push(newest);
    }
    Ok(files)
}

/// Walks over all lines of a trail. `last` is a hash that has to be in it: that of the last line
/// when somebody wrote it down.
///
/// # Errors
///
/// A file that cannot be read.
pub fn verify(path: &Path, last: Option<&str>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut seen = last.is_none();
    let mut tail: Option<Tail> = None;
    let files = files(path)?;
    for file in &files {
        let text = read(file)?;
        let walked = walk(&text, tail.as_ref(), &mut |number, line, fault| {
            seen |= last.is_some_and(|last| super::seal::sha256(line) == last);
            if let (Some(fault), true) = (fault, report.faults.len() < MAX_FAULTS) {
                report.faults.push((file.clone(), number, fault));
            }
        });
        report.entries += walked.lines as u64;
        report.first = report.first.or(walked.first);
        tail = Some(walked.tail);
    }
    report.tail = tail.unwrap_or_default();
    // Rotation removes the oldest file only when there are this many.
    if let Some(first) = report.first.filter(|first| *first > 1 && path.is_dir())
        && files.len() <= FILES
    {
        report.faults.insert(0, (files[0].clone(), 1, Fault::Begins(first)));
    }
    if let (false, Some(hash), Some(file)) = (seen, last, files.last()) {
        let line = report.entries as usize;
        report.faults.push((file.clone(), line, Fault::Gone(hash.into())));
    }
    Ok(report)
}

/// A file that may just be written: what looks torn is read again when it has grown since.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = fs::read(file)?;
    for _ in 0..8 {
        let torn = text.last().is_some_and(|byte| *byte != b'\n');
        if !torn || fs::metadata(file)?.len() == text.len() as u64 {
            break;
        }
        text = fs::read(file)?;
    }
    Ok(text)
}
