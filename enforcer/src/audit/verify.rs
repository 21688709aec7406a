//! Whether a trail is whole. Needs no daemon.

use std::io;
use std::path::{Path, PathBuf};

use super::chain::{Fault, Link, Tail, walk};
use super::files::{self, is_packed, rotated};
use super::trail::{FILE, FILES_BEFORE};
use super::{Forgot, Line};

/// Most faults that are kept; a corrupt file may have millions.
const MAX_FAULTS: usize = 100;

/// The result for a trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries in it.
    pub entries: u64,
    /// Number of the first one, if there is one.
    pub first: Option<u64>,
    /// Entries removed before that, according to an entry.
    pub forgot: Option<Forgot>,
    /// Where it ends.
    pub tail: Tail,
    /// File, line from 1, and what is wrong there.
    pub faults: Vec<(PathBuf, usize, Fault)>,
}

/// Files of a trail, oldest first: of a directory, or a single one.
///
/// # Errors
///
/// A file that cannot be read, with its name.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = rotated(path)?;
    let newest = path.join(FILE);
    if newest.exists() || files.is_empty() {
        files.push(newest);
    }
    Ok(files)
}

/// The callback of [`lines`]: a line's file, its number from 1, its bytes, and its fault. A file
/// that cannot be unpacked further ends with an empty line with that fault.
pub type Each<'a> = dyn FnMut(&Path, usize, &[u8], Option<Fault>) + 'a;

/// Walks over all lines of these files of a trail, oldest first, and returns where it ends.
///
/// # Errors
///
/// A file that cannot be read, with its name.
pub fn lines(files: &[PathBuf], each: &mut Each<'_>) -> io::Result<Tail> {
    let mut tail: Option<Tail> = None;
    for file in files {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
        let content = files::read(file).map_err(named)?;
        let walked = walk(&content.text, tail.as_ref(), &mut |number, line, fault| {
            each(file, number, line, fault);
        });
        if let Some(why) = content.damage {
            each(file, walked.lines + 1, &[], Some(Fault::Packed(why)));
        }
        if walked.first.is_some() || tail.is_none() {
            tail = Some(walked.tail);
        }
    }
    Ok(tail.unwrap_or_default())
}

/// Walks over all lines of a trail. `last` is a hash that has to be in it: that of the last line at
/// the time when it was noted.
///
/// # Errors
///
/// A file that cannot be read.
pub fn verify(path: &Path, last: Option<&str>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut seen = last.is_none();
    let mut begins: Option<Link> = None;
    let mut forgotten: Vec<Forgot> = Vec::new();
    let files = files(path)?;
    let tail = lines(&files, &mut |file, number, line, fault| {
        seen |= last.is_some_and(|last| super::digest::sha256(line) == last);
        let torn = matches!(fault, Some(Fault::Torn | Fault::Packed(_)));
        report.entries += u64::from(!torn);
        if begins.is_none() && !torn {
            begins = serde_json::from_slice(line).ok();
        }
        match fault {
            Some(fault) if report.faults.len() < MAX_FAULTS => {
                report.faults.push((file.into(), number, fault));
            }
            Some(_) => {}
            None => forgotten.extend(forgot(line)),
        }
    })?;
    report.tail = tail;
    report.first = begins.as_ref().map(|begins| begins.sequence);
    if let Some(begins) = begins.filter(|begins| begins.sequence > 1 && path.is_dir()) {
        let before =
            |forgot: &&Forgot| forgot.last + 1 == begins.sequence && forgot.hash == begins.previous;
        report.forgot = forgotten.iter().find(before).cloned();
        // Versions before `audit_keep` removed the oldest file without an entry.
        let is_old = forgotten.is_empty()
            && files.len() > FILES_BEFORE
            && !files.iter().any(|file| is_packed(file));
        if report.forgot.is_none() && !is_old {
            report.faults.insert(0, (files[0].clone(), 1, Fault::Begins(begins.sequence)));
        }
    }
    if let (false, Some(hash), Some(file)) = (seen, last, files.last()) {
        let line = report.entries as usize;
        report.faults.push((file.clone(), line, Fault::Gone(hash.into())));
    }
    Ok(report)
}

/// The entries that a line says were removed.
fn forgot(line: &[u8]) -> Option<Forgot> {
    // Few lines need parsing.
    line.windows(8).any(|part| part == b"\"forgot\"").then_some(())?;
    serde_json::from_slice::<Line>(line).ok()?.entry.forgot
}

/// Reads a file that may be in the middle of a write.
///
/// # Errors
///
/// It cannot be read, or not as a whole.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let content = files::read(file)?;
    content.damage.map_or(Ok(content.text), |why| Err(io::Error::other(why)))
}
