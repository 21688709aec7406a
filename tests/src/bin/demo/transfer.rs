//! An upload that is under way while the policy changes.
use std::{fs, time::Duration};

use tests::harness::{Lab, Netns, Process, topology::CENTRAL};

use super::cleanup;

const PORT: u16 = 11113;
/// Six MiB at one MiB a second: longer than the change takes.
const BYTES: usize = 6 << 20;

/// The archive at the central station.
pub(crate) struct Archive {
    process: Process,
}

impl Archive {
    pub(crate) fn start(lab: &Lab) -> Self {
        let script = include_str!("archive.py");
        let mut process = lab.central.spawn("python3", &["-c", script, &PORT.to_string()]);
        process.wait_for_stdout("ready");
        Self { process }
    }
}

/// An upload from a device to the archive.
pub(crate) struct Transfer {
    curl: Process,
    digest: String,
}

impl Transfer {
    /// Starts `curl`, and returns when the archive has the first bytes.
    pub(crate) fn start(device: &Netns, archive: &Archive) -> Self {
        let file = cleanup::directory().join("image.dcm");
        // Bytes that do not repeat soon: Knuth's generator, MMIX.
        let mut state = 1u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(BYTES)
        .collect();
        fs::write(&file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let file = file.display().to_string();
        let digest = device.run_ok("sha256sum", &[&file]);
        let digest = digest.split_whitespace().next().unwrap_or_default().to_owned();
        let begun = archive.begun();
        let url = format!("http://{CENTRAL}:{PORT}/image");
        let limits = ["--limit-rate", "1M", "--max-time", "30", "--upload-file", &file, &url];
        let args = [&["-q", "--noproxy", "*", "--silent", "--show-error"][..], &limits].concat();
        let curl = device.spawn("curl", &args);
        tests::harness::wait_until("the upload begins", || (archive.begun() > begun).then_some(()));
        Self { curl, digest }
    }

    /// Whether it is still going on.
    pub(crate) fn is_running(&mut self) -> bool {
        self.curl.is_running()
    }

    /// The checksum of the sent data, and the one reported by the archive.
    pub(crate) fn finish(self) -> (String, String) {
        let ended = self.curl.finish(Duration::from_secs(30));
        (self.digest, ended.stdout.trim().to_owned())
    }
}

impl Archive {
    fn begun(&self) -> usize {
        self.process.stdout().matches("begun").count()
    }
}
