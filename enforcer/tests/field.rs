//! Inputs from the field: checks the output for a user. They are not part of the project; without
//! them each test says so and passes.
#![allow(missing_docs, reason = "a test binary")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The file or directory of an input; `None`, and a line that says so, where there is none.
fn field(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/field");
    let path = root.join(name);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

/// Exit code and both streams of a command.
fn enforcer(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enforcer"));
    let output = command.args(args).stdin(Stdio::null()).output().expect("the program");
    let text = [output.stdout, output.stderr].concat();
    // Long lines are broken.
    let text = String::from_utf8(text).expect("text").replace("\n    ", " ");
    (output.status.code(), text.replace("\n      ", " "))
}

fn check(name: &str) -> Option<(Option<i32>, String)> {
    field(name).map(|path| enforcer(&["check", path.to_str().expect("a path")]))
}

#[test]
fn reports_of_group_membership() {
    let Some(directory) = field("01-igmp-router-alert") else { return };
    let [policy, frames] = ["policy.toml", "frames.pcap"].map(|name| directory.join(name));
    let (policy, frames) = (policy.to_str().expect("a path"), frames.to_str().expect("a path"));
    let (code, text) =
        enforcer(&["explain", "--policy", policy, "--pcap", frames, "--interface", "lan0"]);
    assert_eq!(code, Some(0), "{text}");
    let verdicts: Vec<&str> =
        text.split_whitespace().filter(|word| ["pass", "DROP"].contains(word)).collect();
    assert_eq!(verdicts, ["pass", "pass", "pass", "pass", "DROP"], "{text}");
}

#[test]
fn feeds_that_cover_own_networks() {
    let Some((code, text)) = check("04-feed-covers-own-networks/policy.toml") else { return };
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("this allow rule never decides anything").count(), 2, "{text}");
    assert!(text.contains("(@threat-feed: 10.0.0.0/8) wins"), "{text}");
    let directory = field("04-feed-covers-own-networks").expect("it is there");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("text");
    let own = tempfile::tempdir().expect("a directory");
    std::fs::write(own.path().join("feed.txt"), read("feed-with-default-route.txt")).expect("feed");
    let policy = own.path().join("policy.toml");
    std::fs::write(&policy, read("policy.toml")).expect("policy");
    let (code, text) = enforcer(&["check", policy.to_str().expect("a path")]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the set `threat-feed` holds 0.0.0.0/0"), "{text}");
    assert_eq!(text.matches("this allow rule never decides anything").count(), 2, "{text}");
}

#[test]
fn encodings_of_lists() {
    for (name, code, expected) in [
        ("fine", 0, "fine: 1 group"),
        ("latin1-comment", 0, "fine: 1 group"),
        ("old-mac", 0, "fine: 1 group"),
        ("zero-width", 1, "the invisible character U+200B in front of it"),
        ("json-lines", 1, "jq -r '.cidr // empty'"),
        ("p2p", 1, "write `192.0.2.0-192.0.2.255`"),
        ("zeros", 1, "leave out leading zeros"),
        ("host-bits", 1, "has address bits set behind its first 24"),
        ("columns", 1, "is not an address"),
    ] {
        let Some((found, text)) = check(&format!("05-list-encodings/{name}.toml")) else { return };
        assert_eq!(found, Some(code), "{name}: {text}");
        assert!(text.contains(expected), "{name}: {text}");
    }
}
