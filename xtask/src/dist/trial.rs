//! Tests of the artefacts of `dist`: packages, programs for the other machine, and the whole life
//! cycle of an installation in Debian root file systems.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{Machine, Options, epoch, make};
use crate::{
    setup,
    sh::{self, Paths},
    test::{self, Outcome},
    vm,
};

/// Debian's suites in which packages are installed, upgraded and purged.
const SUITES: [&str; 2] = ["bookworm", "trixie"];
/// Packages of a root besides the essential ones: those of a gateway.
const INCLUDED: &str = "systemd,systemd-sysv,dbus,nftables,iproute2,procps,logrotate,man-db";
/// A policy that comes with the sources.
const POLICY: &str = "policies/contec-cms8000-local-only.toml";

/// Builds packages and tests them; the names select tests in Debian roots.
pub(crate) fn run(paths: &Paths, names: &[String]) -> Result<Outcome> {
    setup::run(paths, &setup::Options::test())?;
    setup::run(paths, &setup::Options::dist())?;
    let out = make(paths, &Options::of(&Machine::ALL), epoch(paths)?)?;
    let mut sum = Outcome::default();
    let mut check = |what: &str, result: Result<()>| match result {
        Ok(()) => {
            println!("check {what}: ok");
            sum.passed += 1;
        }
        Err(error) => {
            println!("check {what}: {error:#}");
            sum.failed += 1;
        }
    };
    for machine in Machine::ALL {
        check(&format!("lintian {}", machine.debian()), lintian(&package(&out, machine)?));
    }
    check("the program for aarch64, in qemu", other_machine(paths, &out));
    for suite in SUITES {
        check(&format!("a root of {suite}"), root(paths, suite));
    }
    let filters = match names {
        [] => vec!["packages::".to_owned()],
        names => names.iter().map(|name| format!("packages::{name}")).collect(),
    };
    let places = [("ENFORCER_DIST", out), ("ENFORCER_ROOTS", roots(paths))];
    sum += test::packages(paths, &filters, &places)?;
    Ok(sum)
}

fn package(out: &Path, machine: Machine) -> Result<PathBuf> {
    let end = format!("_{}.deb", machine.debian());
    let files = fs::read_dir(out)?.flatten().map(|entry| entry.path());
    let mut ours = files.filter(|file| file.to_string_lossy().ends_with(&end));
    ours.next().with_context(|| format!("no package for {}", machine.debian()))
}

fn lintian(package: &Path) -> Result<()> {
    let mut lintian = sh::clean("lintian");
    // Its findings are on stdout, even when it fails because of them.
    sh::run(lintian.args(["--fail-on", "error", "--allow-root", "--no-cfg"]).arg(package))
}

/// Runs what needs no kernel through emulation of the other architecture.
fn other_machine(paths: &Paths, out: &Path) -> Result<()> {
    let enforcer = |words: &[&str]| {
        let mut qemu = sh::clean("qemu-aarch64-static");
        qemu.current_dir(&paths.root).arg(out.join("enforcer-aarch64")).args(words);
        sh::output(&mut qemu)
    };
    ensure!(enforcer(&["--help"])?.contains("Exit codes:"), "--help is not what it is");
    enforcer(&["check", POLICY])?;
    let words = ["explain", "--policy", POLICY, "--from", "02:00:00:00:00:01"];
    let told = enforcer(&[&words[..], &["--to", "202.114.4.119:515"]].concat())?;
    ensure!(told.to_lowercase().contains("drop"), "explain says: {told}");
    Ok(())
}

fn roots(paths: &Paths) -> PathBuf {
    paths.target.join("dist-roots")
}

/// A root of a suite, made once.
fn root(paths: &Paths, suite: &str) -> Result<()> {
    let root = roots(paths).join(suite);
    if root.is_dir() {
        return Ok(());
    }
    ensure!(sh::is_root(), "not root, and debootstrap asks for that");
    let partial = root.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    println!("making a root of {suite} (debootstrap, some minutes)");
    let mut debootstrap = sh::clean("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={INCLUDED}"), suite]);
    debootstrap.arg(&partial).args(vm::mirror());
    sh::output(&mut debootstrap)?;
    fs::rename(partial, root)?;
    Ok(())
}
