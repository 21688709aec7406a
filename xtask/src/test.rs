//! Every test, with a summary line.
use std::{
    ops::AddAssign,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Result, anyhow, ensure};
use clap::{Args, ValueEnum};

use crate::{
    count,
    dist::trial,
    ebpf, setup,
    sh::{self, Paths},
    suite::{self, Shown, Suite},
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

/// Packages whose tests need nothing but a Rust toolchain.
const HOST: [&str; 6] =
    ["enforcer", "enforcer-api", "enforcer-common", "enforcer-policy", "enforcer-testkit", "xtask"];
/// The package whose tests need root.
const LOCAL: &str = "tests";
/// Tests that keep a CPU busy, or that take long: they run one by one, the first of these first. By the
/// beginnings of their names.
const HEAVY: [&str; 13] = [
    "churn::replace",
    "churn::killed",
    "churn::syscalls",
    "lifecycle::start",
    "xdp_filter::",
    "churn::unpinned",
    "churn::versions",
    "events::flood",
    "composed::",
    "agree::",
    "oracle::",
    "evasions::",
    "verifier::",
];

/// Runs the requested parts; the last line is the summary. Returns whether everything passed.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<bool> {
    run_after(paths, options, || Ok(Outcome::default()))
}

/// The same, with another result included in the summary; it is waited for when all is built.
pub(crate) fn run_after(
    paths: &Paths,
    options: &Options,
    before: impl FnOnce() -> Result<Outcome>,
) -> Result<bool> {
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
    match options.part {
        None if options.names.is_empty() => all(paths, before, &mut part),
        None | Some(Part::Host | Part::Local) => {
            part(before());
            if runs(Part::Host) {
                let packages = HOST.iter().flat_map(|package| ["-p", package]).collect::<Vec<_>>();
                part(sh::timed("host tests", || cargo_test(paths, &packages, options, &[], &[])));
            }
            if runs(Part::Local) {
                part(local(paths, options));
            }
        }
        Some(Part::Vm) => part(vm::run(paths, &options.names)),
        Some(Part::Dist) => part(trial::run(paths, &options.names)),
    }
    println!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    Ok(sum.failed == 0)
}

/// Builds everything at once, then runs it. The tests of the host come first, by themselves: some have bounds
/// on time.
fn all(
    paths: &Paths,
    before: impl FnOnce() -> Result<Outcome>,
    part: &mut impl FnMut(Result<Outcome>),
) {
    let prepared = prepare(paths);
    // What needs no kernel is tested all the same.
    let with_local = prepared.is_ok();
    let packages = HOST.into_iter().chain(with_local.then_some(LOCAL)).collect::<Vec<_>>();
    part(prepared.map(|()| Outcome::default()));
    let suite = sh::timed("build of the tests", || Suite::build(paths, &packages));
    part(before());
    match suite {
        Ok(suite) => {
            part(sh::timed("host tests", || suite.run(paths, &HOST)));
            if with_local {
                part(local_tests(paths, &suite));
            }
        }
        Err(error) => part(Err(error)),
    }
}

/// Finds what the local tests need, and builds the kernel program.
fn prepare(paths: &Paths) -> Result<()> {
    setup::run(paths, &setup::Options::test())?;
    ebpf::build(paths).map(drop)
}

fn local(paths: &Paths, options: &Options) -> Result<Outcome> {
    prepare(paths)?;
    sh::run(sh::cargo(paths).args(["build", "--quiet", "-p", "enforcer"]))?;
    if !options.names.is_empty() {
        // Tests of packages are a separate part.
        let harness = ["--test-threads=2", "--skip", "packages::"];
        return cargo_test(paths, &["-p", LOCAL], options, &harness, &[]);
    }
    let suite = sh::timed("build of the local tests", || Suite::build(paths, &[LOCAL]))?;
    local_tests(paths, &suite)
}

/// Runs the local tests on two CPUs: most of them wait for daemons and frames, so four of those run at a time.
/// Beside them runs one after the other of those that compute, with less of a claim to a CPU than the others
/// have; two of them when the others are through, of which the first counts instructions.
fn local_tests(paths: &Paths, suite: &Suite) -> Result<Outcome> {
    let names = suite.names(LOCAL)?.into_iter().filter(|name| !name.contains("packages::"));
    let weight = |name: &String| HEAVY.iter().position(|heavy| name.starts_with(heavy));
    let (mut heavy, waiting): (Vec<String>, Vec<String>) =
        names.partition(|name| weight(name).is_some());
    heavy.sort_by_key(weight);
    ensure!(!heavy.is_empty() && !waiting.is_empty(), "there are no local tests");
    // The last one is taken first.
    heavy.reverse();
    let heavy = Mutex::new(heavy);
    let one_by_one = || -> Result<Outcome> {
        let mut sum = Outcome::default();
        loop {
            let next = heavy.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(name) = next else { return Ok(sum) };
            let what = name.clone();
            let run = || suite.run_tests(paths, LOCAL, &[name], 1, NICE, Shown::AtTheEnd);
            sum += sh::timed(&what, run)?;
        }
    };
    thread::scope(|scope| {
        let computes = scope.spawn(one_by_one);
        let waited = sh::timed("local tests that wait", || {
            suite.run_tests(paths, LOCAL, &waiting, 4, 0, Shown::AsItComes)
        });
        let binaries = suite.run_binaries(paths, LOCAL);
        let counts = sh::timed("counts", || count::compare(paths));
        let rest = one_by_one();
        let computed = computes.join().unwrap_or_else(|_| Err(anyhow!("a lane panicked")));
        let mut sum = waited?;
        sum += binaries?;
        sum += rest?;
        sum += computed?;
        sum += counts?;
        sum += ebpf::loads::compare(paths)?;
        Ok(sum)
    })
}

/// What computes beside tests with bounds on time.
const NICE: u8 = 5;

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
    let mut cargo = sh::cargo(paths);
    cargo.args(["test", "--no-fail-fast"]).args(packages).arg("--").args(harness);
    cargo.args(&options.names);
    cargo.envs(environment.iter().map(|(name, value)| (name, value)));
    suite::sum_up(cargo, paths, Shown::AsItComes)
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
