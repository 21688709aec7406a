//! Captures as tcpdump reads them: pcap of every byte order, and pcapng, both also packed by gzip.
//!
//! Complete frames are read, and a fault after them is reported.

mod pcap;
mod pcapng;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use enforcer::policy::explain::link;
use flate2::read::MultiGzDecoder;

use super::super::text::{clean, number};

/// Most bytes of a capture that are read, unpacked.
const MAX_BYTES: u64 = 256 << 20;
/// Most frames of a capture that are kept.
pub(super) const MAX_FRAMES: usize = 10_000;
/// Bytes of a frame that are sent to the daemon: no header reaches further.
const HEADERS: usize = 544;
/// Longest that a frame can be in any capture: `MAXIMUM_SNAPLEN` of libpcap is half of it.
const MAX_FRAME: usize = 512 << 10;

/// A frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its first bytes.
    pub(super) bytes: Vec<u8>,
    /// Its length in bytes, without FCS.
    pub(super) length: u32,
    /// Type of its header.
    pub(super) link: u32,
    /// The interface that the capture names.
    pub(super) interface: Option<String>,
    /// Whether it arrived at the capturing interface or was sent from it, if the capture says so.
    pub(super) arrived: Option<bool>,
}

/// The frames of a capture from a given number on.
#[derive(Debug, Default)]
pub(super) struct Capture {
    /// Number of the first one that is kept, from 0.
    first: usize,
    /// The kept frames.
    pub(super) frames: Vec<Frame>,
    /// All of them.
    pub(super) count: usize,
    /// The fault after the last one, if any.
    pub(super) end: Option<String>,
}

impl Capture {
    /// Adds a frame. Its last `fcs` bytes are a checksum, which no program sees.
    fn add(&mut self, data: &[u8], length: u32, fcs: usize, frame: Frame) {
        self.count += 1;
        if self.count <= self.first || self.frames.len() >= MAX_FRAMES {
            return;
        }
        let length = (length as usize).max(data.len()).saturating_sub(fcs);
        let known = data.len().min(length).min(HEADERS);
        let bytes = data.get(..known).unwrap_or(data).to_vec();
        self.frames.push(Frame {
            bytes,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            ..frame
        });
    }

    /// Reading ends here.
    fn ends(&mut self, why: &str) {
        self.end = Some(format!("{why} behind frame {}", self.count));
    }
}

/// Reads a capture; keeps frames from number `first` on, from 0.
///
/// # Errors
///
/// The file is not a capture, has no complete frame, or none that can be judged.
pub(super) fn read(path: &Path, first: usize) -> Result<Capture> {
    let name = clean(&path.display().to_string());
    let (bytes, torn) = bytes(path).with_context(|| format!("cannot read {name}"))?;
    let mut capture = Capture { first, ..Capture::default() };
    let outcome = if bytes.starts_with(&pcapng::MAGIC) {
        pcapng::read(&bytes, &mut capture)
    } else {
        pcap::read(&bytes, &mut capture)
    };
    outcome.with_context(|| format!("cannot read {name} as pcap or pcapng"))?;
    if let Some(torn) = torn {
        capture.ends(&torn);
    }
    if capture.count == 0 {
        match &capture.end {
            Some(_) => bail!("{name} has no whole frame: it is cut off or damaged"),
            None => bail!("{name} has no frame"),
        }
    }
    let is_known = |frame: &Frame| link::is_known(frame.link);
    if let Some(frame) = capture.frames.first()
        && !capture.frames.iter().any(is_known)
    {
        bail!(
            "{name}: its frames are of link type {}; Ethernet (1), Linux cooked (113, 276) and IP \
             (101, 228, 229) can be judged",
            frame.link
        );
    }
    if let Some(end) = &capture.end {
        eprintln!("note: {name} is {end}: only the frames before that are judged");
    }
    if capture.count > first + capture.frames.len() && first == 0 {
        let (all, most) = (number(capture.count as u64), number(MAX_FRAMES as u64));
        eprintln!("note: {name} has {all} frames; only the first {most} are asked about");
    }
    Ok(capture)
}

/// The unpacked bytes of a file, and why reading stopped, if it did.
fn bytes(path: &Path) -> std::io::Result<(Vec<u8>, Option<String>)> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(2).read_to_end(&mut head)?;
    let packed = head == [0x1f, 0x8b];
    let whole = head.as_slice().chain(file);
    let mut bytes = Vec::new();
    let mut torn = None;
    if packed {
        if let Err(e) = MultiGzDecoder::new(whole).take(MAX_BYTES).read_to_end(&mut bytes) {
            torn = Some(format!("not unpacked to its end ({e})"));
        }
    } else {
        whole.take(MAX_BYTES).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 == MAX_BYTES {
        torn = Some(format!("larger than {} MiB, and not read", MAX_BYTES >> 20));
    }
    Ok((bytes, torn))
}

/// Numbers of either byte order.
#[derive(Clone, Copy, Debug)]
struct Order {
    big: bool,
}

impl Order {
    fn half(self, bytes: &[u8], at: usize) -> Option<u16> {
        let part = *bytes.get(at..at + 2)?.first_chunk()?;
        Some(if self.big { u16::from_be_bytes(part) } else { u16::from_le_bytes(part) })
    }

    fn word(self, bytes: &[u8], at: usize) -> Option<u32> {
        let part = *bytes.get(at..at + 4)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(part) } else { u32::from_le_bytes(part) })
    }
}
