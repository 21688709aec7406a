//! The archive that a kernel unpacks into its memory: cpio, `newc` (buffer-format.rst in Linux).
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;

/// An archive under construction; everything in it belongs to root.
#[derive(Clone, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    known: BTreeSet<String>,
}

impl Archive {
    /// Adds a directory and those above it; `/`-separated, without a `/` in front.
    pub(super) fn directory(&mut self, path: &str) {
        if path.is_empty() || self.known.contains(path) {
            return;
        }
        self.parent(path);
        self.entry(path, DIRECTORY, 0, &[]);
    }

    /// Adds a file of this content.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parent(path);
        self.entry(path, FILE | mode, 0, content);
    }

    /// Adds a file of this machine with its mode and time: Python compares the times of its files.
    pub(super) fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let read = || format!("cannot read {}", from.display());
        let meta = fs::metadata(from).with_context(read)?;
        let content = fs::read(from).with_context(read)?;
        self.parent(path);
        let time = u32::try_from(meta.mtime()).unwrap_or(0);
        self.entry(path, FILE | meta.permissions().mode() & 0o777, time, &content);
        Ok(())
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 0, &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, time: u32, content: &[u8]) {
        if !self.known.insert(path.to_owned()) {
            return;
        }
        let number = self.known.len();
        let (size, name) = (content.len(), path.len() + 1);
        // Inode, mode, uid, gid, links, time, size, four device numbers, name size, checksum.
        let mut header = format!("070701{number:08x}{mode:08x}{0:08x}{0:08x}{1:08x}", 0, 1);
        header.push_str(&format!("{time:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}", 0));
        header.push_str(&format!("{name:08x}{:08x}{path}\0", 0));
        self.bytes.extend_from_slice(header.as_bytes());
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("a/b/c", 0o755, b"text!");
        archive.directory("a/b");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let headers: Vec<usize> = text.match_indices("070701").map(|found| found.0).collect();
        assert_eq!(headers.len(), 4);
        assert!(headers.iter().all(|at| at % 4 == 0));
        assert!(text.find("a/b\0").unwrap() < text.find("a/b/c\0").unwrap());
        // Header, name with its zero, padding to 4.
        assert_eq!(text.find("text!").unwrap(), headers[2] + 116);
    }
}
