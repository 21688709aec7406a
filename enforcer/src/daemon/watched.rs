//! State of the watch over what can change without the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use log::warn;

use super::{Error, failure};
use crate::backstop::{self, Change, Guard};
use crate::config::{Backstop, Settings};

/// State of the reconciliation.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The backstop, unless the settings or a missing `nft` switch it off.
    pub(super) guard: Option<Guard>,
    /// What happened to the backstop's tables before the daemon started.
    pub(super) at_start: Change,
    /// The backstop's tables may have changed.
    pub(super) tables_changed: bool,
    /// Number of checks so far.
    pub(super) looks: u32,
    /// Number of times that a program was attached again.
    pub(super) reattached: u64,
    /// Tamper events, by reason.
    pub(super) tampered: BTreeMap<&'static str, u64>,
    /// Until when, on the boot clock, runs of the program are checked often.
    pub(super) often_until: Duration,
    /// Whether the transmit side may be attached somewhere.
    pub(super) transmits: bool,
    /// Interfaces to whose transmit side this daemon has attached its program.
    pub(super) noted: BTreeSet<u32>,
    /// Frames at the last check that were dropped because no generation was in force.
    pub(super) unjudged: Option<u64>,
    /// Sessions that had found no room at the last message about it, and when that was, boot clock, in seconds.
    pub(super) full: Option<(u64, u64)>,
    /// When runs of the program were last checked, on the boot clock.
    pub(super) runs_looked_at: Duration,
}

impl Watched {
    /// Opens the backstop.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Error> {
        let opened = match settings.backstop {
            Backstop::Off => return Ok(Self { transmits: true, ..Self::default() }),
            Backstop::Auto | Backstop::Required => Guard::open(&settings.state_dir).await,
        };
        let required = settings.backstop == Backstop::Required;
        let mut at_start = Change::None;
        let guard = match opened {
            Ok((guard, _)) if required && !guard.is_installed() => {
                return Err(backstop::Error::Absent.into());
            }
            Ok((guard, change)) => {
                at_start = change;
                Some(guard)
            }
            Err(e) if required => return Err(e.into()),
            Err(backstop::Error::NoNft) => None,
            Err(e) => {
                warn!("no backstop: {}", failure(&e.into()).error);
                None
            }
        };
        // An earlier daemon may have left something.
        Ok(Self { guard, at_start, transmits: true, ..Self::default() })
    }
}
