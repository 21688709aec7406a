//! What the kernel programs say about themselves, by aya-log: off unless the settings ask for it.

use aya::Ebpf;
use aya_log::{EbpfLogger, Level};
use enforcer_common::abi::map;
use log::{Log, Metadata, Record};

use super::error::Error;

/// What the programs are loaded with: silent ones lose the code itself, the verifier removes it.
pub(super) fn level(talks: bool) -> u8 {
    if talks { Level::Warn as u8 } else { 0 }
}

/// The reader of what they say; `None` when they are silent.
pub(super) struct Diagnostics(Option<EbpfLogger<Ours>>);

impl Diagnostics {
    pub(super) fn open(ebpf: &mut Ebpf, talks: bool) -> Result<Self, Error> {
        if !talks {
            return Ok(Self(None));
        }
        let logger = EbpfLogger::init_with_logger(ebpf, Ours);
        logger.map(|logger| Self(Some(logger))).map_err(|_| Error::Object(map::LOGS))
    }

    /// It ends: the programs speak at powers of two of a counter only.
    pub(super) fn tell(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}

/// The daemon's log, with a word about where it comes from.
struct Ours;

impl Log for Ours {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        log::log!(record.level(), "in the kernel: {}", record.args());
    }

    fn flush(&self) {}
}
