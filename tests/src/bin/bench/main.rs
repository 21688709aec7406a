//! Benchmarks on this machine; `cargo xtask bench` builds and runs it.
//!
//! - the cost of a frame, by policy size and flows, compared with others: see `path`
//! - the cost of policies of 10 to 1,000,000 prefixes: applying, starting and memory, compared with
//!   nftables: see `control`
//! - a live `allow` under a million prefixes: from the start of the command to the first TCP
//!   connection through it
//! - frames per second while all are dropped, with and without ten terminals: see `tail`
//! - frames per second over a veth, and latency through a gateway, compared with others: see `wire`
//! - a drop with and without its event: see `events`
//! - frames towards devices, and what answers them: see `transmit`
//! - the verifier's work and the size of the program: see `limits`
//!
//! `bench path`, `control`, `allow`, `tail`, `wire`, `events`, `transmit` or `limits` runs only that part. `ENFORCER_BENCH_DIR`
//! names a directory for the results and charts.
mod allow;
mod control;
mod events;
mod feed;
mod limits;
mod measure;
mod path;
mod picture;
mod report;
mod tail;
mod transmit;
mod wire;

use std::{fmt::Write as _, path::Path, process::ExitCode};

use report::Report;
use tests::harness;

/// Prefixes of the largest policy.
const MILLION: usize = 1_000_000;

fn main() -> ExitCode {
    let missing = harness::missing();
    let binary = std::env::var_os("ENFORCER_BIN").filter(|path| Path::new(path).is_file());
    if !missing.is_empty() || binary.is_none() {
        eprintln!("error: the lab needs a built program and: {}", missing.join(", "));
        eprintln!("hint: run `cargo xtask bench` as root: it installs and builds everything");
        return ExitCode::FAILURE;
    }
    let mut report = Report::default();
    report.line(&machine());
    let only = std::env::args().nth(1);
    let asked = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if asked("path") {
        path::run(&mut report);
    }
    if asked("control") {
        control::run(&mut report);
    }
    if asked("allow") {
        allow::run(&mut report);
    }
    if asked("tail") {
        tail::run(&mut report);
    }
    if asked("transmit") {
        transmit::run(&mut report);
    }
    if asked("wire") {
        wire::run(&mut report);
    }
    if asked("events") {
        events::run(&mut report);
    }
    if asked("limits") {
        limits::run(&mut report);
    }
    report.close();
    let Some(directory) = std::env::var_os("ENFORCER_BENCH_DIR") else { return ExitCode::SUCCESS };
    match report.write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", Path::new(&directory).display());
            ExitCode::FAILURE
        }
    }
}

/// Processor, kernel, CPU mitigations and the date.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let mut text = format!(
        "{}, {} CPUs, Linux {}, {}",
        model.trim_start_matches([' ', '\t', ':']),
        cpus(),
        read("/proc/sys/kernel/osrelease").trim(),
        today()
    );
    for name in ["spec_rstack_overflow", "spectre_v2", "retbleed"] {
        let state = read(&format!("/sys/devices/system/cpu/vulnerabilities/{name}"));
        // A `String` takes everything.
        let _ = write!(text, "; {name}: {}", state.trim());
    }
    text
}

/// The date, as RFC 3339 has it.
fn today() -> String {
    let date = std::process::Command::new("date").args(["-u", "+%F"]).output();
    date.map(|date| String::from_utf8_lossy(&date.stdout).trim().to_owned()).unwrap_or_default()
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}
