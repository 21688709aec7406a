//! The chain: each line has the SHA-256 of the line before it. Pure.

use std::fmt;

use serde::Deserialize;

use super::digest::{HEX, sha256, verify_digest};

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Number of the last entry; 0 when there is none.
    pub sequence: u64,
    /// SHA-256 of the last line without its newline, hexadecimal; zeroes when there is none.
    pub hash: String,
}

impl Default for Tail {
    fn default() -> Self {
        Self { sequence: 0, hash: "0".repeat(HEX) }
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its digest does not match, or it is not an entry.
    Changed,
    /// Its number does not follow.
    Sequence {
        /// The number that follows the line before it.
        expected: u64,
        /// The number in the line.
        found: u64,
    },
    /// It does not have the hash of the line before it.
    Previous,
    /// The file ends within it.
    Torn,
    /// The file cannot be unpacked from here on.
    Packed(String),
    /// The trail begins later than it should.
    Begins(u64),
    /// An entry is missing.
    Gone(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("this line was changed: its digest does not match"),
            Self::Sequence { expected, found } => {
                write!(f, "entry {found} where {expected} was expected: lines are missing or moved")
            }
            Self::Previous => f.write_str("this line does not follow the one before it"),
            Self::Torn => f.write_str("this line is cut off"),
            Self::Packed(why) => write!(f, "the file cannot be unpacked from here on: {why}"),
            Self::Begins(found) => {
                write!(f, "the trail begins with entry {found}: earlier entries are missing")
            }
            Self::Gone(hash) => write!(f, "no line has the hash {hash}: the trail was cut"),
        }
    }
}

/// The fields of an entry that the chain needs.
#[derive(Deserialize)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) previous: String,
}

/// The result of a walk over the lines of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Where the chain ends; the next file begins there.
    pub tail: Tail,
    /// Number of the first entry, if there is one.
    pub first: Option<u64>,
    /// Whole lines.
    pub lines: usize,
    /// Bytes of whole lines; anything after them is a torn line.
    pub whole: usize,
}

/// The callback of a walk, for each line.
pub type Each<'a> = dyn FnMut(usize, &[u8], Option<Fault>) + 'a;

/// Walks over the lines of a file. `from` is where the previous file ended, if known. Each line
/// goes to `each`: its number from 1, its bytes, and what is wrong with it. After a fault the walk
/// continues from that line, so that one fault does not hide the next.
pub fn walk(text: &[u8], from: Option<&Tail>, each: &mut Each<'_>) -> Walk {
    let mut tail = from.cloned();
    let mut walk = Walk { tail: Tail::default(), first: None, lines: 0, whole: 0 };
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let number = walk.lines + 1;
        let Some(line) = line.strip_suffix(b"\n") else {
            each(number, line, Some(Fault::Torn));
            break;
        };
        let (sequence, fault) = judge(line, tail.as_ref());
        each(number, line, fault);
        walk.first = walk.first.or(Some(sequence));
        walk.lines = number;
        walk.whole += line.len() + 1;
        tail = Some(Tail { sequence, hash: sha256(line) });
    }
    walk.tail = tail.unwrap_or_default();
    walk
}

/// The number of a line, and what is wrong with it.
fn judge(line: &[u8], before: Option<&Tail>) -> (u64, Option<Fault>) {
    let link = verify_digest(line).and_then(|json| serde_json::from_str::<Link>(&json).ok());
    let Some(link) = link else {
        return (before.map_or(1, |tail| tail.sequence + 1), Some(Fault::Changed));
    };
    let found = link.sequence;
    let fault = match before {
        Some(tail) if tail.sequence + 1 != found => {
            Some(Fault::Sequence { expected: tail.sequence + 1, found })
        }
        Some(tail) if tail.hash != link.previous => Some(Fault::Previous),
        None if found == 1 && link.previous != Tail::default().hash => Some(Fault::Previous),
        Some(_) | None => None,
    };
    (found, fault)
}
