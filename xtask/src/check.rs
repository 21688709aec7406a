//! What can be said about the source without running it.
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::{
    ebpf, setup,
    sh::{self, Paths},
    tidy,
};

/// Runs every check, so that one run shows all that is wrong.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: Result<()>| match result {
        Ok(()) => println!("check {name}: ok"),
        Err(error) => {
            println!("check {name}: {error:#}");
            failed.push(name);
        }
    };
    check("fmt", sh::run(sh::cargo(paths).args(["fmt", "--all", "--check"])));
    check("clippy", clippy(paths));
    check("clippy for bpf", clippy_bpf(paths));
    check("deny", deny(paths));
    check("tidy", tidy::run(paths));
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn clippy(paths: &Paths) -> Result<()> {
    let args = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-Dwarnings"];
    sh::run(sh::cargo(paths).args(args))
}

fn clippy_bpf(paths: &Paths) -> Result<()> {
    if let Some(reason) = ebpf::clippy(paths)? {
        println!("clippy for bpf: not run: {reason}");
    }
    Ok(())
}

/// Licences, bans and sources always; advisories where their database can be fetched.
fn deny(paths: &Paths) -> Result<()> {
    if setup::deny().is_none() {
        println!("deny: not run: cargo-deny is not installed (`cargo xtask setup --ci`)");
        return Ok(());
    }
    let deny = |checks: &[&str]| {
        let mut cargo = sh::cargo(paths);
        cargo
            .args(["deny", "--log-level", "error", "check", "--hide-inclusion-graph"])
            .args(checks);
        cargo
    };
    sh::run(&mut deny(&["bans", "licenses", "sources"]))?;
    if reachable("https://github.com/rustsec/advisory-db") {
        return sh::run(&mut deny(&["advisories"]));
    }
    println!("deny: advisories were not checked: their database (github.com) cannot be reached");
    Ok(())
}

fn reachable(url: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--location", "--head", "--max-time", "5", url]);
    curl.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
