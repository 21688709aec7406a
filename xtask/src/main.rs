//! The project's own commands, run as `cargo xtask …`.
//!
//! - `setup`: finds or installs the BPF toolchain and the test tools
//! - `ebpf`: builds and measures the kernel program
//! - `check`, `tidy`: static checks of the source
//! - `test`: every test, with a summary line
//! - `vm`: tests on Debian's kernels, in virtual machines
//! - `bench`: benchmarks; `count`: the same in instructions
//! - `demo`: the main job, live, in a namespace lab
//! - `dist`: static programs and packages
//! - `evasions`: measures what a hostile device gets past the enforcer
//! - `fuzz`: runs each fuzz target for a while
//! - `suite`: the test programs, built once
//! - `sh`: runs other programs
mod bench;
mod check;
mod count;
mod demo;
mod dist;
mod ebpf;
mod evasions;
mod fuzz;
mod setup;
mod sh;
mod suite;
mod test;
mod tidy;
mod vm;

use std::{process::ExitCode, sync::mpsc, thread};

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand};

use crate::sh::Paths;

/// The project's own commands
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install the BPF toolchain; quick when there is nothing to do
    Setup(setup::Options),
    /// Build the kernel program and the enforcer binary that contains it
    Build {
        /// Build the binary with optimisations
        #[arg(long)]
        release: bool,
    },
    /// Build or measure only the kernel program
    Ebpf {
        #[command(subcommand)]
        command: ebpf::Command,
    },
    /// Run fmt, clippy for host and BPF, cargo-deny and tidy
    Check,
    /// Check the rules of the style guide that a program can check
    Tidy,
    /// Run every test, or one part of them
    Test(test::Options),
    /// Run check, then the fuzz targets, then test
    Ci {
        /// Fuzz each target for this many seconds; 0 skips them
        #[arg(long, value_name = "N", default_value_t = fuzz::SECONDS)]
        fuzz_seconds: u32,
    },
    /// Run the main job, live, in a namespace lab
    Demo(demo::Options),
    /// Build static programs, packages, archives, and lists of their contents
    Dist(dist::Options),
    /// Send every known evasion through real gateways and print which came out
    Evasions(evasions::Options),
    /// Capture the screens of docs/top.md from a lab
    Screens,
    /// Measure on this machine
    Bench(bench::Options),
    /// Run every fuzz target, or one of them, for a while; needs a C++ compiler
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything passed: `false` for failed tests, an error for work that could not be
/// done.
fn run(command: Command) -> Result<bool> {
    let paths = Paths::find()?;
    match command {
        Command::Setup(options) => setup::run(&paths, &options)?,
        Command::Build { release } => build(&paths, release)?,
        Command::Ebpf { command } => ebpf::run(&paths, &command)?,
        Command::Check => check::run(&paths)?,
        Command::Tidy => tidy::run(&paths)?,
        Command::Test(options) => return test::run(&paths, &options),
        Command::Ci { fuzz_seconds } => return ci(&paths, fuzz_seconds),
        Command::Demo(options) => demo::run(&paths, &options)?,
        Command::Dist(options) => dist::run(&paths, &options)?,
        Command::Evasions(options) => evasions::run(&paths, &options)?,
        Command::Screens => sh::run(&mut demo::lab_program(&paths, "screens")?)?,
        Command::Bench(options) => return bench::run(&paths, &options),
        Command::Fuzz(options) => return fuzz::run(&paths, &options),
    }
    Ok(true)
}

/// Runs all steps even when the first one fails, and ends with the summary.
fn ci(paths: &Paths, fuzz_seconds: u32) -> Result<bool> {
    sh::timed("setup", || setup::run(paths, &setup::Options::ci()))?;
    thread::scope(|scope| {
        // These use separate directories, so they run beside the other builds: each uses only one
        // CPU at times. The tested binary contains the kernel program: without it, everything would
        // be built twice.
        let kernel = scope.spawn(|| sh::timed("kernel program", || ebpf::build(paths).map(drop)));
        let build = scope.spawn(|| sh::timed("build of the fuzz targets", || fuzz::prepare(paths)));
        let checked = sh::timed("check", || check::run(paths));
        if let Err(error) = &checked {
            eprintln!("error: check: {error:#}");
        }
        // The local tests report its errors.
        drop(kernel.join());
        // Two targets keep both CPUs of a small machine busy. While the last one runs alone, the tests are built;
        // none of them runs beside it.
        let built = build.join().unwrap_or_else(|_| Err(anyhow!("the build panicked")));
        let (free, idle) = mpsc::channel();
        let fuzz = scope.spawn(move || {
            let idle = || {
                // Nobody waits for the second lane's word.
                let _ = free.send(());
            };
            sh::timed("fuzz targets", || built?.run(paths, fuzz_seconds, idle))
        });
        // An error comes when they are through without a word.
        let _ = idle.recv();
        let fuzzed = || fuzz.join().unwrap_or_else(|_| Err(anyhow!("the fuzzing panicked")));
        Ok(test::run_after(paths, &test::Options::default(), fuzzed)? && checked.is_ok())
    })
}

/// The kernel program, then the binary: `enforcer/build.rs` picks the object up from its known place.
fn build(paths: &Paths, release: bool) -> Result<()> {
    ebpf::build(paths)?;
    let mut cargo = sh::cargo(paths);
    cargo.args(["build", "--package", "enforcer"]);
    if release {
        cargo.arg("--release");
    }
    sh::run(&mut cargo)?;
    println!("built {}", paths.enforcer(release).display());
    Ok(())
}
