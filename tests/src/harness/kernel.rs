//! The kernel's attached and loaded programs, from the tools that an operator would use.
use serde_json::Value;

use super::{Netns, run};

/// The XDP program on an interface, from `ip -json -details link`.
///
/// # Panics
/// When there is no such interface.
#[track_caller]
pub fn attached(netns: &Netns, interface: &str) -> Option<(&'static str, u64)> {
    let links = netns.ip(&format!("-json -details link show dev {interface}"));
    let links: Value = serde_json::from_str(&links).expect("ip writes JSON");
    let xdp = &links[0]["xdp"];
    let mode = match xdp["mode"].as_u64()? {
        1 => "native",
        2 => "generic",
        other => panic!("XDP mode {other} on {interface}"),
    };
    Some((mode, xdp["prog"]["id"].as_u64()?))
}

/// The output of `bpftool`, as JSON.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn bpftool(words: &[&str]) -> Value {
    serde_json::from_str(&run("bpftool", &[&["-j"], words].concat())).expect("it writes JSON")
}

/// Why the kernel cannot create an interface of a kind, such as `bond`, or of a kind with options;
/// `None` if it can.
///
/// # Panics
/// When `ip` cannot be started.
#[track_caller]
pub fn lacks(netns: &Netns, kind: &str) -> Option<String> {
    // A lower interface: a VLAN device cannot be on the loopback.
    netns.ip("link add below type veth peer name beside");
    let words = ["-n", netns.name(), "link", "add", "link", "below", "name", "trial", "type"];
    let made = std::process::Command::new("ip").args(words).args(kind.split(' ')).output();
    let made = made.unwrap_or_else(|error| panic!("cannot start ip: {error}"));
    // Interfaces on top are removed with it; a bridge is not.
    let _ = std::process::Command::new("ip")
        .args(["-n", netns.name(), "link", "del", "trial"])
        .output();
    netns.ip("link del below");
    let why = || String::from_utf8_lossy(&made.stderr).trim().replace('\n', " ");
    (!made.status.success()).then(why)
}
