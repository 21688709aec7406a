//! The kernel programs' own log, through aya-log: off unless the settings enable it.

use aya::Ebpf;
use aya_log::{EbpfLogger, Level};
use enforcer_common::abi::map;
use log::{Log, Metadata, Record};

use super::error::Error;

/// The log level that the programs are loaded with: if it is off, the verifier removes the code.
pub(super) fn level(talks: bool) -> u8 {
    if talks { Level::Warn as u8 } else { 0 }
}

/// The reader of their messages; `None` if logging is off.
pub(super) struct Diagnostics(Option<EbpfLogger<Ours>>);

impl Diagnostics {
    pub(super) fn open(ebpf: &mut Ebpf, talks: bool) -> Result<Self, Error> {
        if !talks {
            return Ok(Self(None));
        }
        let logger = EbpfLogger::init_with_logger(ebpf, Ours);
        logger.map(|logger| Self(Some(logger))).map_err(|_| Error::Object(map::LOGS))
    }

    /// This terminates: the programs log only when a counter reaches a power of two.
    pub(super) fn tell(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}

/// The daemon's log, with a prefix for the kernel programs.
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
