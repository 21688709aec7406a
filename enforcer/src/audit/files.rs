//! The files of a trail: their names, how old ones are packed, and how all of them are read.
//!
//! A full file is renamed after the number of its last entry: `audit-NUMBER.jsonl`. A thread packs
//! it to `audit-NUMBER.jsonl.gz`, which `zcat` can read. The plain file is removed only after the
//! packed one has been read back, so one of the two is always complete.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// How the name of a packed file ends.
const PACKED: &str = ".gz";
/// Most bytes that one file may unpack to: many times what a file holds, and less than memory.
const MOST: u64 = 256 << 20;

/// The contents of a file.
#[derive(Debug, Default)]
pub struct Content {
    /// The readable lines.
    pub text: Vec<u8>,
    /// Why reading stopped, if it did.
    pub damage: Option<String>,
}

/// Whether a file is packed.
pub(super) fn is_packed(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(PACKED.as_bytes())
}

/// The files of a trail that are no longer written, oldest first. If a file exists both packed and
/// plain, a daemon is about to remove the plain one: the plain one is used.
pub(super) fn rotated(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<(u64, bool, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let plain = name.strip_suffix(PACKED).unwrap_or(&name);
        let number = plain.strip_prefix("audit-").and_then(|rest| rest.strip_suffix(".jsonl"));
        let digits = |n: &&str| n.len() >= 12 && n.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(Ok(number)) = number.filter(digits).map(str::parse) {
            files.push((number, is_packed(&path), path));
        }
    }
    files.sort();
    files.dedup_by_key(|(number, ..)| *number);
    Ok(files.into_iter().map(|(.., path)| path).collect())
}

/// The name that a plain file gets when it is packed.
fn packed(plain: &Path) -> PathBuf {
    let mut name = plain.as_os_str().to_owned();
    name.push(PACKED);
    name.into()
}

/// Reads a file, packed or not.
///
/// # Errors
///
/// It cannot be read at all. A partly readable file is not an error.
pub fn read(path: &Path) -> io::Result<Content> {
    if !is_packed(path) {
        return match plain(path) {
            // Packed since it was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound && packed(path).exists() => {
                read(&packed(path))
            }
            text => Ok(Content { text: text?, damage: None }),
        };
    }
    let mut content = Content::default();
    let unpacked = unpack(path)?.take(MOST).read_to_end(&mut content.text);
    content.damage = match unpacked {
        Err(e) => Some(e.to_string()),
        Ok(n) if n as u64 == MOST => Some(format!("it has more than {} MiB", MOST >> 20)),
        Ok(_) => None,
    };
    Ok(content)
}

fn unpack(path: &Path) -> io::Result<MultiGzDecoder<BufReader<File>>> {
    Ok(MultiGzDecoder::new(BufReader::new(File::open(path)?)))
}

/// Reads a file that may be in the middle of a write: if its end looks torn, it is read again once
/// it has grown.
fn plain(file: &Path) -> io::Result<Vec<u8>> {
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

/// Packs every plain file that is no longer written.
///
/// # Errors
///
/// The step that failed; the plain file still exists then.
pub(super) fn pack_all(dir: &Path) -> io::Result<()> {
    for plain in rotated(dir)? {
        if !is_packed(&plain) {
            pack(&plain)?;
        }
    }
    Ok(())
}

fn pack(plain: &Path) -> io::Result<()> {
    let whole = packed(plain);
    let mut part = whole.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = BufWriter::new(options.open(&part)?);
    let mut encoder = GzEncoder::new(file, Compression::default());
    io::copy(&mut File::open(plain)?, &mut encoder)?;
    let mut file = encoder.finish()?;
    file.flush()?;
    file.get_ref().sync_all()?;
    if digest(&mut unpack(&part)?)? != digest(&mut File::open(plain)?)? {
        return Err(io::Error::other("the packed file does not read back correctly"));
    }
    let dir = File::open(plain.parent().unwrap_or(Path::new(".")))?;
    fs::rename(&part, &whole)?;
    dir.sync_all()?;
    fs::remove_file(plain)?;
    dir.sync_all()
}

fn digest(from: &mut dyn Read) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(digest.finalize().into()),
            n => digest.update(piece.get(..n).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_file_goes_when_the_packed_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let text = "{\"a\":1}\n".repeat(10_000);
        fs::write(path("audit-000000000007.jsonl"), &text).unwrap();
        fs::write(path("audit-1000000000000.jsonl"), &text).unwrap();
        fs::write(path("audit-000000000008.jsonl.gz.part"), "left by a crash").unwrap();
        fs::write(path("audit.jsonl"), "the one that is written").unwrap();
        fs::write(path("audit-7.jsonl"), "another program's").unwrap();
        let before = rotated(dir.path()).unwrap();
        assert_eq!(before, ["audit-000000000007.jsonl", "audit-1000000000000.jsonl"].map(path));
        pack_all(dir.path()).unwrap();
        let after = rotated(dir.path()).unwrap();
        let names = ["audit-000000000007.jsonl.gz", "audit-1000000000000.jsonl.gz"];
        assert_eq!(after, names.map(path));
        assert!(!before[0].exists() && fs::metadata(&after[0]).unwrap().len() < 1_000);
        // Also by the name under which it was listed before.
        for file in [&before[0], &after[0]] {
            let content = read(file).unwrap();
            assert_eq!((content.text, content.damage), (text.clone().into_bytes(), None));
        }
        // A crash between the last two steps.
        fs::write(&before[0], &text).unwrap();
        assert_eq!(rotated(dir.path()).unwrap()[0], before[0]);
        pack_all(dir.path()).unwrap();
        assert_eq!(rotated(dir.path()).unwrap(), after);
        // Cut: what is whole is read.
        let bytes = fs::read(&after[0]).unwrap();
        fs::write(&after[0], &bytes[..bytes.len() - 9]).unwrap();
        assert!(read(&after[0]).unwrap().damage.is_some());
    }
}
