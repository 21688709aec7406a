//! Static checks of the source.
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::{
    ebpf, setup,
    sh::{self, Paths},
    tidy,
};

/// Result of an optional check.
enum Ran {
    Whole,
    /// It did not run, or only in part; why.
    Short(&'static str),
}

/// Runs every check, so that one run shows all problems. A check that did not run is not "ok".
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: Result<Ran>| match result {
        Ok(Ran::Whole) => println!("check {name}: ok"),
        Ok(Ran::Short(why)) => println!("check {name}: NOT RUN: {why}"),
        Err(error) => {
            println!("check {name}: {error:#}");
            failed.push(name);
        }
    };
    let whole = |result: Result<()>| result.map(|()| Ran::Whole);
    check("fmt", whole(sh::run(sh::cargo(paths).args(["fmt", "--all", "--check"]))));
    check("clippy", whole(clippy(paths)));
    check("clippy for bpf", clippy_bpf(paths));
    check("licences", licences(paths));
    check("advisories", advisories(paths));
    check("tidy", whole(tidy::run(paths)));
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn clippy(paths: &Paths) -> Result<()> {
    let args = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-Dwarnings"];
    sh::run(sh::cargo(paths).args(args))
}

fn clippy_bpf(paths: &Paths) -> Result<Ran> {
    Ok(ebpf::clippy(paths)?.map_or(Ran::Whole, Ran::Short))
}

/// Licences, bans and sources need nothing but cargo-deny, which `ci` installs.
fn licences(paths: &Paths) -> Result<Ran> {
    deny(paths, &["bans", "licenses", "sources"])
}

/// Advisories are in a database that has to be fetched.
fn advisories(paths: &Paths) -> Result<Ran> {
    if !reachable("https://github.com/rustsec/advisory-db") {
        return Ok(Ran::Short("their database (github.com) cannot be reached"));
    }
    deny(paths, &["advisories"])
}

fn deny(paths: &Paths, checks: &[&str]) -> Result<Ran> {
    if setup::deny().is_none() {
        return Ok(Ran::Short("cargo-deny is not installed (`cargo xtask setup --ci`)"));
    }
    let mut cargo = sh::cargo(paths);
    cargo.args(["deny", "--log-level", "error", "check", "--hide-inclusion-graph"]).args(checks);
    sh::run(&mut cargo)?;
    Ok(Ran::Whole)
}

fn reachable(url: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--location", "--head", "--max-time", "5", url]);
    curl.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
