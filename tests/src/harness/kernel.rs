//! What the kernel says is attached and loaded, by the programs that an operator would ask.
use serde_json::Value;

use super::{Netns, run};

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

/// What `bpftool` says, as JSON.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn bpftool(words: &[&str]) -> Value {
    serde_json::from_str(&run("bpftool", &[&["-j"], words].concat())).expect("it writes JSON")
}
