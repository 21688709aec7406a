//! Fuzzing, with libFuzzer: the targets are in `fuzz/`, which is not part of this workspace.
//!
//! The installed toolchain builds them: libFuzzer only needs LLVM flags, and the one unstable flag,
//! for the sanitizer, is unlocked as for the kernel program.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;

use crate::{
    sh::{self, Paths},
    test::Outcome,
};

/// Which targets to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only this target
    target: Option<String>,
    /// Run each target for this many seconds
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: u32,
}

/// How long a target runs unless told otherwise.
pub(crate) const SECONDS: u32 = 60;
/// Targets that run at the same time.
const AT_ONCE: usize = 2;
/// Coverage in libFuzzer's format; `-Zsanitizer=address` is added if its runtime is installed.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Runs the targets; returns whether none found anything.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<bool> {
    ensure!(sh::which("c++").is_some(), "{NO_COMPILER}");
    let known = targets(paths)?;
    if let Some(target) = &options.target {
        ensure!(known.contains(target), "no target {target}: there are {}", known.join(", "));
    }
    let asked = |name: &String| options.target.as_ref().is_none_or(|one| one == name);
    let asked: Vec<String> = known.into_iter().filter(asked).collect();
    Ok(fuzz(paths, &build(paths)?, &asked, options.seconds, || {})?.failed == 0)
}

/// Built targets, as a part of the tests.
pub(crate) struct Targets {
    names: Vec<String>,
    /// Their directory, or why they were not built.
    binaries: Result<PathBuf, &'static str>,
}

/// Builds all of them, if that is possible here.
pub(crate) fn prepare(paths: &Paths) -> Result<Targets> {
    let binaries = match sh::which("c++") {
        None => Err(NO_COMPILER),
        Some(_) => Ok(build(paths)?),
    };
    Ok(Targets { names: targets(paths)?, binaries })
}

impl Targets {
    /// Runs them; targets that cannot run are reported as skipped. Calls `idle` when a CPU has nothing more to
    /// do.
    pub(crate) fn run(
        &self,
        paths: &Paths,
        seconds: u32,
        idle: impl Fn() + Sync,
    ) -> Result<Outcome> {
        let why = match (seconds, &self.binaries) {
            (0, _) => "no seconds to do it in",
            (_, Err(why)) => why,
            (_, Ok(binaries)) => return fuzz(paths, binaries, &self.names, seconds, idle),
        };
        println!("fuzz: skipped: {why}");
        Ok(Outcome { skipped: self.names.len(), ..Outcome::default() })
    }
}

const NO_COMPILER: &str = "no C++ compiler, for libFuzzer: apt-get install g++";

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

/// Runs targets, two at a time, the next one as soon as one has ended. Calls `idle` when none is left to start.
fn fuzz(
    paths: &Paths,
    binaries: &Path,
    targets: &[String],
    seconds: u32,
    idle: impl Fn() + Sync,
) -> Result<Outcome> {
    let next = AtomicUsize::new(0);
    let lane = || -> Result<Outcome> {
        let mut outcome = Outcome::default();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            if Run::start(paths, binaries, target, seconds)?.finish()? {
                outcome.passed += 1;
            } else {
                outcome.failed += 1;
            }
        }
        idle();
        Ok(outcome)
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(lane)).collect();
        let mut sum = Outcome::default();
        for lane in lanes {
            sum += lane.join().unwrap_or_else(|_| Err(anyhow!("a fuzz target's lane panicked")))?;
        }
        Ok(sum)
    })
}

/// Builds all targets; the directory they are in.
fn build(paths: &Paths) -> Result<PathBuf> {
    let rustc =
        |args: &[&str]| sh::output(Command::new("rustc").current_dir(&paths.root).args(args));
    let version = rustc(&["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc names no host")?;
    let mut flags = FLAGS.join(" ");
    let libraries = rustc(&["--print", "target-libdir"])?;
    let runtime = |name: &str| name.starts_with("librustc") && name.ends_with("rt.asan.a");
    let mut files = fs::read_dir(libraries.trim())?.flatten();
    if files.any(|file| runtime(&file.file_name().to_string_lossy())) {
        flags += " -Zsanitizer=address";
    } else {
        println!("fuzz: without AddressSanitizer: this toolchain has no runtime of it");
    }
    let target = paths.target.join("fuzz");
    let mut cargo = sh::cargo(paths);
    cargo.args(["build", "--quiet", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml"]);
    // With `--target`, build scripts and macros are not instrumented.
    cargo.args(["--target", host]).arg("--target-dir").arg(&target);
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags);
    sh::run(&mut cargo)?;
    Ok(target.join(host).join("release"))
}

/// A target that runs.
struct Run {
    target: String,
    child: Child,
    log: PathBuf,
    crashes: PathBuf,
}

impl Run {
    /// Starts one from its seeds and earlier findings; new findings go into the same directory.
    fn start(paths: &Paths, binaries: &Path, target: &str, seconds: u32) -> Result<Self> {
        let corpus = paths.root.join("fuzz/corpus").join(target);
        let data = paths.root.join("tests/data");
        let crashes = data.join("crashes").join(target);
        // libFuzzer writes new inputs into the first directory, and only reads the others.
        for directory in [&corpus, &crashes] {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        let log = binaries.join(format!("{target}.log"));
        let file = File::create(&log)?;
        let mut command = sh::clean(binaries.join(target));
        command.args([&corpus, &data.join("seeds").join(target), &crashes]);
        command.arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-artifact_prefix={}/", crashes.display()));
        command.args(["-timeout=10", "-print_final_stats=1"]);
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {target}"))?;
        Ok(Self { target: target.to_owned(), child, log, crashes })
    }

    /// Waits for its end; returns whether it found nothing. Otherwise prints the finding, its file,
    /// and how to repeat it.
    fn finish(mut self) -> Result<bool> {
        let status = self.child.wait()?;
        // Removes the directory only if it is empty.
        let _ = fs::remove_dir(&self.crashes);
        let log = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        let target = &self.target;
        if status.success() {
            let units =
                log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
            let units = units.context("libFuzzer printed no sum")?.trim();
            println!("fuzz {target}: ok, {units} inputs");
            return Ok(true);
        }
        let lines: Vec<&str> = log.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        println!("fuzz {target}: failed ({status}); all it said is in {}", self.log.display());
        let found = log.lines().filter_map(|line| line.split_once("Test unit written to "));
        for (_, input) in found {
            println!(
                "fuzz {target}: kept {input}; `cargo test -p enforcer-policy --test crashes` repeats it"
            );
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_run_is_skipped_and_not_passed() {
        let paths = Paths::find().unwrap();
        let all = targets(&paths).unwrap();
        assert!(!all.is_empty());
        let skipped = Outcome { passed: 0, failed: 0, skipped: all.len() };
        for (binaries, seconds) in [(Err(NO_COMPILER), 60), (Ok(PathBuf::new()), 0)] {
            let targets = Targets { names: targets(&paths).unwrap(), binaries };
            assert_eq!(targets.run(&paths, seconds, || {}).unwrap(), skipped);
        }
    }
}
