//! Times and sizes of programs.
use std::{fs, process::Command, time::Instant};

use tests::harness::{Daemon, Lab, daemon::binary};

/// A command of the enforcer's against a daemon, in the gateway's namespace.
pub(crate) fn enforcer(lab: &Lab, daemon: &Daemon<'_>, words: &[&str]) -> Command {
    let socket = daemon.path("enforcer.sock").display().to_string();
    lab.gw.command(&binary(), &[&["--socket", socket.as_str()], words].concat())
}

/// Milliseconds from the start of a command to its end, and its output.
///
/// # Panics
/// The command fails.
#[track_caller]
pub(crate) fn timed(command: &mut Command) -> (f64, String) {
    let begun = Instant::now();
    let output = command.output().expect("it can be started");
    let time = begun.elapsed().as_secs_f64() * 1e3;
    assert!(output.status.success(), "{command:?}: {output:?}");
    (time, String::from_utf8(output.stdout).expect("UTF-8"))
}

/// Statistics of several measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The minimum.
    pub(crate) least: f64,
    /// The 90th percentile.
    pub(crate) most_of: f64,
    /// The maximum.
    pub(crate) most: f64,
}

impl Spread {
    /// Statistics of at least one figure.
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| figures[(figures.len() - 1) * part / 100];
        let median = figures[figures.len() / 2];
        Self { median, least: at(0), most_of: at(90), most: at(100) }
    }

    /// Median, minimum, 90th percentile, maximum.
    pub(crate) fn cells(&self) -> Vec<String> {
        let figures = [self.median, self.least, self.most_of, self.most];
        figures.map(|figure| format!("{figure:.1}")).to_vec()
    }
}

/// A line of a process's status, in MiB, such as `VmRSS`: proc(5) says kB and means KiB.
///
/// # Panics
/// When there is no such process or line.
#[track_caller]
pub(crate) fn status(pid: u32, name: &str) -> f64 {
    kib(&format!("/proc/{pid}/status"), name) / 1024.0
}

/// Unreclaimable slab memory of the whole machine, in MiB.
pub(crate) fn slabs() -> f64 {
    kib("/proc/meminfo", "SUnreclaim") / 1024.0
}

#[track_caller]
fn kib(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{file} has no number of {name}"))
}

/// Memory of the maps and programs that a process has open, in MiB, as charged by the kernel.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub(crate) fn objects(pid: u32) -> f64 {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{directory}: {e}"));
    // Count each map once, even with several descriptors.
    let mut bytes = std::collections::BTreeMap::new();
    for entry in entries.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        let object = field("map_id:").map(|id| (0, id)).or_else(|| Some((1, field("prog_id:")?)));
        if let (Some(object), Some(size)) = (object, field("memlock:")) {
            bytes.insert(object, size);
        }
    }
    bytes.values().sum::<u64>() as f64 / f64::from(1 << 20)
}
