//! The README's first drop, word for word, checked against its comments and shown output.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Process, daemon::binary, mount_bpffs};

const README: &str = include_str!("../../README.md");

/// It uses fixed names of namespaces and the usual pin directory, so it gets its own mounts of
/// both.
const BEFORE: &str = "set -u\nmount -t tmpfs tmpfs /run/netns\nmount -t bpf bpf /sys/fs/bpf\n";
/// Prints everything that it should have removed.
const AFTER: &str =
    "wait\necho left: $(ls) $(ip netns list) $(ls -d /sys/fs/bpf/enforcer 2>/dev/null)\n";

/// The blocks of a language in the section.
fn blocks(language: &str) -> Vec<&'static str> {
    let (_, section) = README.split_once("\n## A first drop\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let blocks = section.split("\n```").skip(1).step_by(2);
    let of = |block: &'static str| block.split_once('\n').filter(|(head, _)| *head == language);
    blocks.filter_map(of).map(|(_, text)| text).collect()
}

/// A line without what depends on the terminal's width.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_first_drop_is_as_the_readme_says() {
    mount_bpffs();
    let shell = blocks("sh");
    assert!(shell[0].starts_with("cargo xtask setup"), "what builds comes first");
    let script = shell[1..].join("\n");
    assert!(script.contains("enforcer detach") && script.contains("rm -r lab"), "{script}");

    let dir = tempfile::Builder::new().prefix("enforcer-readme-").tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("target/debug")).expect("it is ours");
    symlink(binary(), dir.path().join("target/debug/enforcer")).expect("it is ours");
    fs::create_dir_all("/run/netns").expect("root makes it");
    let file = dir.path().join(".script");
    fs::write(&file, format!("{BEFORE}{script}\nrm -r target .script\n{AFTER}")).expect("ours");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash"]).arg(&file);
    command.current_dir(dir.path()).env_remove("JOURNAL_STREAM").env("LC_ALL", "C.UTF-8");
    let ended = Process::spawn(command).finish(Duration::from_secs(60));
    let said = format!("{}\n{}", ended.stdout, ended.stderr);

    let promised: Vec<&str> = script
        .lines()
        .filter_map(|line| line.split_once("# ")?.1.strip_suffix(" received"))
        .collect();
    assert_eq!(promised, ["1", "0", "1"], "the comments");
    let pings = ended.stdout.lines().filter(|line| line.contains(" packets transmitted"));
    let received: Vec<&str> =
        pings.filter_map(|line| line.split(", ").nth(1)?.strip_suffix(" received")).collect();
    assert_eq!(received, promised, "{said}");

    let shown = blocks("text").concat();
    let seen: Vec<String> = ended.stdout.lines().map(words).collect();
    let mut lines = 0;
    for line in shown.lines().filter(|line| !line.is_empty() && *line != "...") {
        // Times differ, and so does the number of neighbour solicitations.
        let line = words(line);
        let fixed = match line.split_once(" DROP ") {
            Some((_, rest)) => format!(" DROP {rest}"),
            None if line.contains(" neighbour-discovery ") => "pass neighbour-discovery".to_owned(),
            None => line.split(", since ").next().unwrap_or_default().to_owned(),
        };
        assert!(seen.iter().any(|seen| seen.contains(&fixed)), "{fixed}\n{said}");
        lines += 1;
    }
    assert!(lines >= 10, "{lines} lines of output");
    assert!(ended.stdout.ends_with("left:\n"), "{said}");
    assert!(!Path::new(&dir.path().join("lab")).exists());
}
