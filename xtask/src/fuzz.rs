//! Fuzzing, with libFuzzer on a nightly: the targets are in `fuzz/`, which is no part of this workspace.
use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::sh::{self, Paths};

/// What is fuzzed, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Run this target alone
    target: Option<String>,
    /// Run each target for this many seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

/// Runs the targets one after the other; whether none found anything.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<bool> {
    let known = targets(paths)?;
    if let Some(target) = &options.target {
        ensure!(known.contains(target), "no target {target}: there are {}", known.join(", "));
    }
    let missing = missing();
    ensure!(missing.is_empty(), "fuzzing needs more than is here:\n  {}", missing.join("\n  "));
    let mut failed = Vec::new();
    for target in known.iter().filter(|name| options.target.as_ref().is_none_or(|one| one == *name))
    {
        let crashes = format!("tests/data/crashes/{target}");
        if !fuzz(paths, target, &crashes, options.seconds)? {
            failed.push(format!("{target}: see {crashes}; `cargo test --test crashes` replays it"));
        }
    }
    for found in &failed {
        println!("fuzz {found}");
    }
    Ok(failed.is_empty())
}

/// Names of the files in `fuzz/fuzz_targets`.
fn targets(paths: &Paths) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(paths.root.join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// What is not here, each with how to get it.
fn missing() -> Vec<&'static str> {
    let runs = |command: &mut Command| {
        let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    };
    let mut missing = Vec::new();
    if !runs(sh::clean("rustup").args(["run", "nightly", "cargo", "--version"])) {
        missing.push("a nightly toolchain: rustup toolchain install nightly --profile minimal");
    }
    if !runs(sh::clean("cargo-fuzz").arg("--version")) {
        missing.push("cargo-fuzz: cargo install --locked cargo-fuzz");
    }
    if sh::which("c++").is_none() {
        missing.push("a C++ compiler, for libFuzzer: apt-get install g++");
    }
    missing
}

/// Runs one target from its seeds and everything found before; new inputs go to `crashes`.
fn fuzz(paths: &Paths, target: &str, crashes: &str, seconds: u32) -> Result<bool> {
    let corpus = format!("fuzz/corpus/{target}");
    let seeds = format!("tests/data/seeds/{target}");
    // libFuzzer writes what is new into the first directory, and only reads the others.
    for directory in [&corpus, crashes] {
        fs::create_dir_all(paths.root.join(directory)).with_context(|| directory.to_owned())?;
    }
    let mut cargo = sh::clean("rustup");
    cargo.current_dir(&paths.root).args(["run", "nightly", "cargo", "fuzz", "run"]);
    cargo.arg("--target-dir").arg(paths.target.join("fuzz"));
    cargo.args([target, &corpus, &seeds, crashes, "--"]);
    cargo.arg(format!("-max_total_time={seconds}"));
    cargo.arg(format!("-artifact_prefix={crashes}/"));
    cargo.args(["-timeout=10", "-print_final_stats=1"]);
    let status = cargo.status().with_context(|| format!("cannot start {}", sh::line(&cargo)))?;
    // An empty directory is not worth an entry of its own; one with a file in it stays.
    let _ = fs::remove_dir(paths.root.join(crashes));
    match status.code() {
        Some(0) => Ok(true),
        Some(_) => Ok(false),
        None => bail!("fuzzing {target} was ended ({status})"),
    }
}
