//! What the kernel says is attached and loaded, by the programs that an operator would ask.
use std::process::Command;

use serde_json::Value;

use super::Netns;

/// The XDP program on an interface, as `ip -json -details link` says.
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

/// What `bpftool` lists of a kind (`prog`, `map`, `link`).
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn bpftool(kind: &str) -> Vec<Value> {
    let output = Command::new("bpftool").args(["-j", kind, "list"]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start bpftool: {error}"));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}
