//! Recording of the daemon's requests, for tests that replay them to another daemon.

use std::fs::File;
use std::io::Write as _;

use crate::image::Time;
use crate::request::{Recorded, Request};

/// Environment variable with the file's name. For tests only: the file contains whole policies.
const FILE: &str = "ENFORCER_TEST_RECORD";

/// The recording, if there is one.
pub(super) struct Recorder(Option<File>);

impl Recorder {
    /// Opens the file that the environment names.
    pub(super) fn open() -> Self {
        let Some(path) = std::env::var_os(FILE) else { return Self(None) };
        let file = File::options().create(true).append(true).open(&path);
        log::warn!("{FILE} is set: requests are written to {}", path.display());
        Self(file.inspect_err(|e| log::error!("cannot record requests: {e}")).ok())
    }

    /// Appends a request as one line.
    pub(super) fn record(&mut self, now: Time, request: &Request) {
        let Some(file) = &mut self.0 else { return };
        let recorded = Recorded { at: now.earliest, request: request.clone() };
        let line = serde_json::to_string(&recorded).unwrap_or_default() + "\n";
        if let Err(e) = file.write_all(line.as_bytes()) {
            log::error!("cannot record requests: {e}");
            self.0 = None;
        }
    }
}
