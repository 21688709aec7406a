//! The state that survives a restart: the active documents, live changes, counters and the time.
//!
//! Files are replaced atomically: written to a new file, flushed, renamed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::known::Known;
use crate::api::PolicyBundle;
use crate::audit::digest::sha256;
use crate::guard::before::Before;
use crate::policy::live::LiveChange;

/// The policy that was last in force.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) bundle: PolicyBundle,
    pub(super) revision: u64,
    pub(super) since: String,
    /// Digest of the bundle, to detect a truncated or altered file.
    pub(super) digest: String,
    /// Digest of a policy file that was rolled back or not confirmed: it is not applied again until it
    /// changes.
    #[serde(default)]
    pub(super) aside: Option<String>,
}

/// File of the live changes.
const LIVE: &str = "live.json";
/// File of the live changes before the last change.
const LIVE_BEFORE: &str = "live-before.json";

/// File that records the policy of a start in progress.
const BEGUN: &str = "starting.json";

/// A policy that a start is putting in force.
#[derive(Serialize, Deserialize)]
struct Begun {
    digest: String,
    starts: u32,
}

/// The live changes, and their digest.
#[derive(Serialize, Deserialize)]
struct SavedLive {
    changes: Vec<LiveChange>,
    /// The boot on whose clock durations end; without it, no change has a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<Stamp>,
    digest: String,
}

/// A boot, and a reading of its clock in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) boot: String,
    pub(super) at: i64,
}

/// The live changes as they were stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) changes: Vec<LiveChange>,
    pub(super) stamp: Option<Stamp>,
}

/// What is known of the time, and its digest.
#[derive(Serialize, Deserialize)]
struct SavedKnown {
    known: Known,
    digest: String,
}

impl SavedKnown {
    fn of(known: &Known) -> Self {
        // A value parsed from JSON can be serialised again.
        let digest = sha256(&serde_json::to_vec(known).unwrap_or_default());
        Self { known: known.clone(), digest }
    }
}

/// Frames and bytes by rule id.
pub(super) type Counters = BTreeMap<String, (u64, u64)>;

/// The state directory.
#[derive(Clone, Debug)]
pub(super) struct State {
    dir: PathBuf,
}

/// A failed operation on a state file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct Error {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl State {
    /// Opens the directory, and creates it if necessary. If that fails, nothing can be stored and no
    /// earlier state is known; the caller decides how to proceed.
    pub(super) fn open(dir: &Path) -> (Self, Result<(), Error>) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let made = made.map_err(|source| Error { step: "make", path: dir.into(), source });
        (Self { dir: dir.into() }, made)
    }

    /// Records that a start with this policy begins. Returns the number of earlier starts with it that did
    /// not finish, for example because the daemon was killed for lack of memory.
    pub(super) fn begin(&self, digest: &str) -> u32 {
        let begun: Option<Begun> = self.read(&self.dir.join(BEGUN));
        let before = begun.filter(|begun| begun.digest == digest).map_or(0, |begun| begun.starts);
        let begun = Begun { digest: digest.to_owned(), starts: before.saturating_add(1) };
        if let Err(e) = self.write(BEGUN, &begun).and_then(Pending::commit) {
            log::warn!("{e}: a policy that ends the daemon at each start would not be noticed");
        }
        before
    }

    /// The start finished with the policy of this digest. The record of a policy that was skipped because
    /// it ended the daemon is kept.
    pub(super) fn end_of_start(&self, digest: &str) {
        let path = self.dir.join(BEGUN);
        let begun: Option<Begun> = self.read(&path);
        if begun.is_some_and(|begun| begun.digest != digest) {
            return;
        }
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove {}: {e}", path.display());
            }
            _ => {}
        }
    }

    /// The links that were attached when a daemon last checked.
    pub(super) fn protected(&self) -> Before {
        Before::of_this_boot(self.read(&self.dir.join("protected.json")))
    }

    /// Replaces these links.
    pub(super) fn save_protected(&self, before: &Before) -> Result<(), Error> {
        self.write("protected.json", before)?.commit()
    }

    /// The policy that was last in force; `None` if there is none, or if it is damaged, which is logged.
    pub(super) fn policy(&self) -> Option<Saved> {
        self.saved("policy.json")
    }

    /// The policy that was unconfirmed when the daemon ended.
    pub(super) fn unconfirmed(&self) -> Option<Saved> {
        self.saved("unconfirmed.json")
    }

    fn saved(&self, name: &str) -> Option<Saved> {
        let path = self.dir.join(name);
        let saved: Saved = self.read(&path)?;
        if super::active::digest(&saved.bundle) != saved.digest {
            log::error!("{} is damaged: its digest does not match", path.display());
            return None;
        }
        Some(saved)
    }

    /// The live changes, and a message if their file is damaged: they are then those before the last
    /// change, or none if that file is damaged, too.
    pub(super) fn live(&self) -> (Live, Option<String>) {
        let path = self.dir.join(LIVE);
        if !path.exists() {
            return (Live::default(), None);
        }
        if let Some(live) = self.live_in(LIVE) {
            return (live, None);
        }
        let damaged = format!("{} is damaged", path.display());
        match self.live_in(LIVE_BEFORE) {
            Some(live) => {
                (live, Some(format!("{damaged}: the live changes are those before the last one")))
            }
            None => (Live::default(), Some(format!("{damaged}: all live changes are lost"))),
        }
    }

    fn live_in(&self, name: &str) -> Option<Live> {
        let SavedLive { changes, stamp, digest: sum } = self.read(&self.dir.join(name))?;
        (digest(&changes, stamp.as_ref()) == sum).then_some(Live { changes, stamp })
    }

    /// Writes the live changes to a new file, and keeps the old ones in case the file gets damaged.
    pub(super) fn prepare_live(
        &self,
        changes: &[LiveChange],
        stamp: &Stamp,
    ) -> Result<Pending, Error> {
        if self.live_in(LIVE).is_some() {
            let (path, before) = (self.dir.join(LIVE), self.dir.join(LIVE_BEFORE));
            // Whatever fails here, the file itself still exists.
            let _ = fs::remove_file(&before);
            if let Err(e) = fs::hard_link(&path, &before) {
                log::warn!("cannot keep {}: {e}", before.display());
            }
        }
        let stamp = changes.iter().any(|change| change.deadline.is_some()).then(|| stamp.clone());
        let digest = digest(changes, stamp.as_ref());
        let saved = SavedLive { changes: changes.to_vec(), stamp, digest };
        self.write(LIVE, &saved)
    }

    /// Stores an unconfirmed policy.
    pub(super) fn await_confirmation(&self, saved: &Saved) -> Result<(), Error> {
        self.write("unconfirmed.json", saved)?.commit()
    }

    /// Removes the unconfirmed policy.
    pub(super) fn forget_unconfirmed(&self) {
        let path = self.dir.join("unconfirmed.json");
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                log::error!("cannot remove {}: {e}", path.display());
            }
            _ => {}
        }
    }

    /// Counters of rules from removed generations.
    pub(super) fn counters(&self) -> Counters {
        self.read(&self.dir.join("counters.json")).unwrap_or_default()
    }

    /// What was known of the time; `None` if it is damaged, which is logged.
    pub(super) fn known(&self) -> Option<Known> {
        let path = self.known_file();
        let SavedKnown { known, digest } = self.read(&path)?;
        if SavedKnown::of(&known).digest != digest {
            log::error!("{} is damaged: its digest does not match", path.display());
            return None;
        }
        Some(known)
    }

    /// Path of the file with what is known of the time.
    pub(super) fn known_file(&self) -> PathBuf {
        self.dir.join("clock.json")
    }

    /// Replaces what is known of the time.
    pub(super) fn keep_known(&self, known: &Known) -> Result<(), Error> {
        self.write("clock.json", &SavedKnown::of(known))?.commit()
    }

    fn read<T: serde::de::DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => {
                log::error!("cannot read {}: {e}", path.display());
                return None;
            }
        };
        serde_json::from_slice(&text)
            .inspect_err(|e| log::error!("{} is damaged: {e}", path.display()))
            .ok()
    }

    /// Writes a policy to a new file. [`Pending::commit`] makes it replace the old one.
    pub(super) fn prepare(&self, saved: &Saved) -> Result<Pending, Error> {
        self.write("policy.json", saved)
    }

    /// Replaces the counters.
    pub(super) fn save_counters(&self, counters: &Counters) -> Result<(), Error> {
        self.write("counters.json", counters)?.commit()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<Pending, Error> {
        let path = self.dir.join(name);
        let fail = |source| Error { step: "write", path: path.clone(), source };
        let text = serde_json::to_vec(value).map_err(io::Error::from).map_err(fail)?;
        replace(&path, &text)
    }
}

/// Writes a file next to the one that it will replace.
pub(super) fn replace(target: &Path, text: &[u8]) -> Result<Pending, Error> {
    let mut path = target.as_os_str().to_owned();
    path.push(".new");
    let (path, target) = (PathBuf::from(path), target.to_owned());
    let fail = |step| {
        let path = path.clone();
        move |source| Error { step, path, source }
    };
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&path).map_err(fail("create"))?;
    file.write_all(text).map_err(fail("write"))?;
    file.sync_all().map_err(fail("flush"))?;
    Ok(Pending { path, target })
}

/// A value parsed from JSON can be serialised again.
fn digest(changes: &[LiveChange], stamp: Option<&Stamp>) -> String {
    let text = match stamp {
        None => serde_json::to_vec(changes),
        Some(stamp) => serde_json::to_vec(&(changes, stamp)),
    };
    sha256(&text.unwrap_or_default())
}

/// A written file that has not replaced the old one yet.
#[must_use]
pub(super) struct Pending {
    path: PathBuf,
    target: PathBuf,
}

impl Pending {
    /// Replaces the old file.
    pub(super) fn commit(self) -> Result<(), Error> {
        let fail = |source| Error { step: "replace", path: self.target.clone(), source };
        fs::rename(&self.path, &self.target).map_err(fail)?;
        // The rename itself must reach the disk, too.
        let dir = self.target.parent().unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)
    }

    /// Removes the new file and keeps the old one.
    pub(super) fn discard(self) {
        if let Err(e) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {e}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests;
