//! Every test, with a summary line.
use std::{
    fs,
    io::{BufRead as _, BufReader},
    ops::AddAssign,
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use crate::{
    count,
    dist::trial,
    ebpf, setup,
    sh::{self, Paths},
    vm,
};

/// What to test.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only this part [default: all]
    part: Option<Part>,
    /// Only tests whose name contains one of these; for `vm` also kernels, such as 6.12, and the words
    /// `arm64` and `drivers`
    names: Vec<String>,
}

/// A part of the tests.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Tests that need nothing but a Rust toolchain
    Host,
    /// Tests that need root and this machine's kernel
    Local,
    /// Tests that need a kernel, on Debian's from 5.10 to 7.2; runs only on request
    Vm,
    /// The packages of `cargo xtask dist`, in Debian root file systems; runs only on request
    Dist,
}

/// The result of some tests.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// Passed tests.
    pub(crate) passed: usize,
    /// Tests that failed, or could not be built or started.
    pub(crate) failed: usize,
    /// Tests that could not run here.
    pub(crate) skipped: usize,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs the requested parts; the last line is the summary. Returns whether everything passed.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<bool> {
    run_after(paths, options, Ok(Outcome::default()))
}

/// The same, with an earlier result included in the summary.
pub(crate) fn run_after(paths: &Paths, options: &Options, before: Result<Outcome>) -> Result<bool> {
    let runs = |part| options.part.is_none_or(|asked| asked == part);
    ensure!(
        !(runs(Part::Local) || runs(Part::Dist)) || sh::is_root(),
        "the local tests need root for network namespaces and XDP: run them as root, or \
         `cargo xtask test host` for the rest"
    );
    let mut sum = Outcome::default();
    let mut part = |result: Result<Outcome>| match result {
        Ok(outcome) => sum += outcome,
        Err(error) => {
            // Tests that cannot be built or started must not count as zero failures.
            eprintln!("error: {error:#}");
            sum.failed += 1;
        }
    };
    part(before);
    if runs(Part::Host) {
        let packages: Vec<&str> = HOST.iter().flat_map(|package| ["-p", package]).collect();
        part(sh::timed("host tests", || cargo_test(paths, &packages, options, &[], &[])));
    }
    if runs(Part::Local) {
        part(local(paths, options));
    }
    if options.part == Some(Part::Vm) {
        part(vm::run(paths, &options.names));
    }
    if options.part == Some(Part::Dist) {
        part(trial::run(paths, &options.names));
    }
    println!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    Ok(sum.failed == 0)
}

fn local(paths: &Paths, options: &Options) -> Result<Outcome> {
    setup::run(paths, &setup::Options::test())?;
    ebpf::build(paths)?;
    sh::run(sh::cargo(paths).args(["build", "--quiet", "-p", "enforcer"]))?;
    if !options.names.is_empty() {
        // Tests of packages are a separate part.
        let harness = ["--test-threads=2", "--skip", "packages::"];
        return cargo_test(paths, &["-p", "tests"], options, &harness, &[]);
    }
    // Most tests wait for daemons and frames. Tests that compute, or whose load would disturb the others, run
    // after them, one at a time.
    let skipped = HEAVY.iter().chain(&["packages::"]).flat_map(|name| ["--skip", name]);
    let harness: Vec<&str> = ["--test-threads=4"].into_iter().chain(skipped).collect();
    sh::timed("build of the local tests", || {
        sh::run(sh::cargo(paths).args(["test", "--quiet", "--no-run", "-p", "tests"]))
    })?;
    let mut sum = sh::timed("local tests that wait", || {
        cargo_test(paths, &["-p", "tests"], options, &harness, &[])
    })?;
    let heavy = Options { part: options.part, names: HEAVY.map(str::to_owned).to_vec() };
    let harness = ["--test-threads=2", "--skip", "packages::"];
    sum += sh::timed("local tests that compute", || {
        cargo_test(paths, &["-p", "tests", "--lib"], &heavy, &harness, &[])
    })?;
    sum += sh::timed("counts", || count::compare(paths))?;
    sum += ebpf::loads::compare(paths)?;
    Ok(sum)
}

/// Packages whose tests need nothing but a Rust toolchain.
const HOST: [&str; 6] =
    ["enforcer", "enforcer-api", "enforcer-common", "enforcer-policy", "enforcer-testkit", "xtask"];

/// Tests that keep both CPUs of a small machine busy, by parts of their names.
const HEAVY: [&str; 6] =
    ["agree::", "churn::", "composed::", "events::flood", "evasions::", "oracle::"];

/// The tests of packages, which find them and the roots through these variables.
pub(crate) fn packages(
    paths: &Paths,
    names: &[String],
    places: &[(&str, PathBuf)],
) -> Result<Outcome> {
    let options = Options { part: Some(Part::Dist), names: names.to_vec() };
    // Their output has the measurements.
    let harness = ["--test-threads=1", "--show-output"];
    cargo_test(paths, &["-p", "tests", "--lib"], &options, &harness, places)
}

/// Runs `cargo test`, shows its output live, and adds up the results.
fn cargo_test(
    paths: &Paths,
    packages: &[&str],
    options: &Options,
    harness: &[&str],
    environment: &[(&str, PathBuf)],
) -> Result<Outcome> {
    // A test that cannot run here says so in this file: Rust's harness has no notion of skipping.
    let skips = paths.target.join("skipped-tests");
    fs::create_dir_all(&paths.target)?;
    fs::write(&skips, "")?;
    let mut cargo = sh::cargo(paths);
    cargo.args(["test", "--no-fail-fast"]).args(packages).arg("--").args(harness);
    cargo.args(&options.names);
    cargo.env("ENFORCER_BIN", paths.enforcer(false)).env("ENFORCER_SKIPS", &skips);
    cargo.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no stdout")?;
    let mut ran = Outcome::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        ran += outcome(&line).unwrap_or_default();
    }
    let status = child.wait()?;
    for line in fs::read_to_string(&skips)?.lines() {
        println!("skipped {line}");
        // It returned early, so it was counted among those that passed.
        ran.passed = ran.passed.saturating_sub(1);
        ran.skipped += 1;
    }
    if !status.success() && ran.failed == 0 {
        eprintln!("error: {} did not build or run to the end", packages.join(" "));
        ran.failed = 1;
    }
    Ok(ran)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
pub(crate) fn outcome(line: &str) -> Option<Outcome> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut outcome = Outcome::default();
    for part in counts.split("; ") {
        let (number, what) = part.split_once(' ')?;
        match what {
            "passed" => outcome.passed = number.parse().ok()?,
            "failed" => outcome.failed = number.parse().ok()?,
            "ignored" => outcome.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_result_line() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(outcome(line), Some(Outcome { passed: 3, failed: 2, skipped: 1 }));
        assert_eq!(outcome("test foo ... ok"), None);
    }
}
