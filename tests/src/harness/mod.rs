//! The lab: real network namespaces, real programs, frames byte by byte. No mocks.
//!
//! - [`topology`]: the hospital: two devices, a gateway, a central station, the internet
//! - [`netns`]: one namespace: interfaces, addresses, sysctls, programs inside it
//! - [`process`]: a program that runs alongside the test, ends with it, and leaves its output
//! - [`programs`]: programs of devices and servers: curl, NFS, portmapper, DICOM, TCP and UDP
//!   servers
//! - [`daemon`]: the enforcer's daemon, its command line and its events
//! - [`dhcp`]: DHCP servers and clients
//! - [`screen`]: a terminal, through tmux
//! - [`seccomp`]: ends a daemon at one of its system calls
//! - [`table`]: tables for a terminal and for a document
//! - [`tail`]: its events as they come
//! - [`bpf`]: foreign programs and links
//! - [`kernel`]: attached and loaded programs, from ip and bpftool
//! - [`live`]: frames by the million, generated in the kernel
//! - [`frames`]: frames that no program sends, and a sniffer that looks for a marker
//! - [`wait`]: conditions with a deadline
//! - [`report`]: the demo's steps on a terminal
//!
//! A part that cannot be set up panics with the command and its message: a test that continues
//! without its lab proves nothing.
pub mod bpf;
pub mod cpu;
pub mod daemon;
pub mod dhcp;
mod filter;
pub mod frames;
pub mod kernel;
pub mod live;
pub mod netns;
pub mod process;
pub mod programs;
pub mod report;
pub mod screen;
pub mod seccomp;
pub mod services;
pub mod table;
pub mod tail;
pub mod topology;
pub mod wait;

#[cfg(test)]
mod tests;

use std::{fs::OpenOptions, io::Write as _, path::Path, process::Command};

pub use self::{
    daemon::Daemon,
    frames::Sniffer,
    netns::Netns,
    process::{Finished, Process},
    topology::Lab,
    wait::wait_until,
};

/// Says why a test does not run here. `cargo xtask test` counts it as skipped; return afterwards.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped {test}: {reason}");
    let Some(file) = std::env::var_os("ENFORCER_SKIPS") else { return };
    let file = OpenOptions::new().create(true).append(true).open(file);
    // One write call: tests of several threads append to this file.
    file.expect("ENFORCER_SKIPS can be written")
        .write_all(format!("{test}: {reason}\n").as_bytes())
        .expect("ENFORCER_SKIPS can be written");
}

/// A number from the environment, or the usual one.
///
/// # Panics
/// When it is no number.
#[track_caller]
pub fn number(variable: &str, usual: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked.map_or(usual, |text| text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")))
}

/// Mounts bpffs at its usual place if it is not mounted.
///
/// # Panics
/// When it cannot be mounted.
#[track_caller]
pub fn mount_bpffs() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if mounts.lines().any(|line| line.contains(" /sys/fs/bpf bpf ")) {
        return;
    }
    run("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"]);
}

/// Which of these programs are neither in the path nor in the sbin directories.
pub fn lacking(programs: &[&str]) -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir| dir.join(name).is_file())
    };
    let lacking = programs.iter().filter(|name| !found(name));
    lacking.map(|name| (*name).to_owned()).collect()
}

/// Missing requirements of the lab: root, and programs by name.
pub fn missing() -> Vec<String> {
    let mut missing = lacking(&["ip", "nsenter", "ethtool", "python3", "curl", "ping"]);
    // SAFETY: it takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        missing.push("root".to_owned());
    }
    if !Path::new("/proc/self/ns/net").exists() {
        missing.push("network namespaces".to_owned());
    }
    missing
}

/// Runs a program to its end outside the lab and returns its stdout.
///
/// # Panics
/// When it fails.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {}", args.join(" "), stderr.trim());
    String::from_utf8_lossy(&output.stdout).into_owned()
}
