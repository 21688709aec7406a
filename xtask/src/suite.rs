//! What `cargo test` would run: built once for all parts of the tests, and run program by program.
//!
//! The packages that are selected decide which features their dependencies have. With one selection for all of
//! them, the daemon and what it is made of are built once.
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    sh::{self, Paths},
    test::{self, Outcome},
};

/// Programs with tests in them.
pub(crate) struct Suite {
    packages: Vec<String>,
    programs: Vec<Program>,
}

/// The tests of a crate, or of a file in its `tests`.
struct Program {
    /// The name of the package.
    package: String,
    /// Whether it is the package's library.
    is_library: bool,
    /// Where the package is: its tests run there.
    directory: PathBuf,
    executable: PathBuf,
}

impl Suite {
    /// Builds the tests of packages, and the binaries that they start.
    pub(crate) fn build(paths: &Paths, packages: &[&str]) -> Result<Self> {
        let packages: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
        let mut cargo = sh::cargo(paths);
        cargo.args(["test", "--no-run", "--quiet", "--message-format=json-render-diagnostics"]);
        cargo.args(selection(&packages));
        let messages = cargo.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
        let messages = messages.wait_with_output()?;
        ensure!(messages.status.success(), "{} failed ({})", sh::line(&cargo), messages.status);
        let text = String::from_utf8_lossy(&messages.stdout).into_owned();
        let programs = text.lines().filter_map(|line| program(line).transpose());
        let programs: Vec<Program> = programs.collect::<Result<_>>()?;
        for package in &packages {
            let has = programs.iter().any(|program| program.package == *package);
            ensure!(has, "cargo has built no tests of {package}");
        }
        Ok(Self { packages, programs })
    }

    /// Runs all tests of packages, one program after the other, and the examples in their documentation.
    pub(crate) fn run(&self, paths: &Paths, packages: &[&str]) -> Result<Outcome> {
        let mut sum = Outcome::default();
        for program in self.programs.iter().filter(|it| packages.contains(&it.package.as_str())) {
            sum += sum_up(program.command(0), paths, Shown::AsItComes)?;
        }
        let mut cargo = sh::cargo(paths);
        cargo.args(["test", "--quiet", "--doc"]).args(selection(&self.packages));
        sum += sum_up(cargo, paths, Shown::AsItComes)?;
        Ok(sum)
    }

    /// Runs the tests of a package's binaries.
    pub(crate) fn run_binaries(&self, paths: &Paths, package: &str) -> Result<Outcome> {
        let mut sum = Outcome::default();
        for program in self.programs.iter().filter(|it| it.package == package && !it.is_library) {
            sum += sum_up(program.command(0), paths, Shown::AtTheEnd)?;
        }
        Ok(sum)
    }

    /// Names of the tests of a package's library.
    pub(crate) fn names(&self, package: &str) -> Result<Vec<String>> {
        let list =
            self.library(package)?.command(0).args(["--list", "--format", "terse"]).output()?;
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Runs tests of a package's library by their whole names. All of them, or it is an error.
    pub(crate) fn run_tests(
        &self,
        paths: &Paths,
        package: &str,
        names: &[String],
        threads: usize,
        nice: u8,
        shown: Shown,
    ) -> Result<Outcome> {
        let mut command = self.library(package)?.command(nice);
        command.arg(format!("--test-threads={threads}")).arg("--exact").args(names);
        let ran = sum_up(command, paths, shown)?;
        let sum = ran.passed + ran.failed + ran.skipped;
        ensure!(sum >= names.len(), "{sum} of {} tests ran: {}", names.len(), names.join(" "));
        Ok(ran)
    }

    fn library(&self, package: &str) -> Result<&Program> {
        let mut own = self.programs.iter().filter(|it| it.package == package && it.is_library);
        own.next().with_context(|| format!("{package} is no library with tests"))
    }
}

impl Program {
    /// With how much less of a claim to a CPU than usual, see nice(1).
    fn command(&self, nice: u8) -> Command {
        let mut command = Command::new("nice");
        command.args(["-n", &nice.to_string()]).arg(&self.executable);
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        command
    }
}

/// When the output of tests is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Line by line, as it comes.
    AsItComes,
    /// In one piece, not between the lines of what runs at the same time.
    AtTheEnd,
}

fn selection(packages: &[String]) -> impl Iterator<Item = &str> {
    packages.iter().flat_map(|package| ["-p", package])
}

/// The program that a message of cargo is about, if it is one with tests.
fn program(message: &str) -> Result<Option<Program>> {
    let message: Value = serde_json::from_str(message).with_context(|| message.to_owned())?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return Ok(None);
    }
    let Some(executable) = message["executable"].as_str() else { return Ok(None) };
    let manifest = message["manifest_path"].as_str().context("cargo names no manifest")?;
    let directory = Path::new(manifest).parent().context("a manifest is in a directory")?;
    let id = message["package_id"].as_str().context("cargo names no package")?;
    Ok(Some(Program {
        package: name(id).with_context(|| id.to_owned())?.to_owned(),
        is_library: message["target"]["kind"] == serde_json::json!(["lib"]),
        directory: directory.to_owned(),
        executable: executable.into(),
    }))
}

/// The name in a package's id: `path+file:///enforcer#0.1.0`, `path+file:///enforcer/policy#enforcer-policy@0.1.0`.
fn name(id: &str) -> Option<&str> {
    let (place, version) = id.rsplit_once('#')?;
    version.split_once('@').map(|(name, _)| name).or_else(|| place.rsplit('/').next())
}

/// Runs tests, shows their output, and adds up what they say.
pub(crate) fn sum_up(mut command: Command, paths: &Paths, shown: Shown) -> Result<Outcome> {
    // Several may run at the same time.
    static RUNS: AtomicU32 = AtomicU32::new(0);
    // A test that cannot run here says so in this file: the harness of Rust knows no skipping.
    let skips = format!("skipped-tests-{}", RUNS.fetch_add(1, Ordering::Relaxed));
    let skips = paths.target.join(skips);
    fs::create_dir_all(&paths.target)?;
    fs::write(&skips, "")?;
    command.env("ENFORCER_BIN", paths.enforcer(false)).env("ENFORCER_SKIPS", &skips);
    let what = sh::line(&command);
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot start {what}"))?;
    let stdout = child.stdout.take().context("tests have no stdout")?;
    let (mut ran, mut kept) = (Outcome::default(), String::new());
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        ran += test::outcome(&line).unwrap_or_default();
        match shown {
            Shown::AsItComes => println!("{line}"),
            Shown::AtTheEnd => kept += &format!("{line}\n"),
        }
    }
    let status = child.wait()?;
    for line in fs::read_to_string(&skips)?.lines() {
        kept += &format!("skipped {line}\n");
        // It returned early, so it was counted among those that passed.
        ran.passed = ran.passed.saturating_sub(1);
        ran.skipped += 1;
    }
    fs::remove_file(&skips)?;
    print!("{kept}");
    if !status.success() && ran.failed == 0 {
        eprintln!("error: {what}: did not build or run to the end ({status})");
        ran.failed = 1;
    }
    Ok(ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_says_of_a_program() {
        let message = |id: &str, test| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","manifest_path":"/e/policy/Cargo.toml",
                "profile":{{"test":{test}}},"executable":"/e/target/debug/deps/policy-1"}}"#
            )
        };
        let read = |id, test| program(&message(id, test)).unwrap().map(|program| program.package);
        assert_eq!(read("path+file:///e/enforcer#0.1.0", true).unwrap(), "enforcer");
        let other = read("path+file:///e/enforcer/policy#enforcer-policy@0.1.0", true);
        assert_eq!(other.unwrap(), "enforcer-policy");
        assert_eq!(read("path+file:///e/enforcer#0.1.0", false), None);
        assert_eq!(
            program(r#"{"reason":"build-finished","success":true}"#).unwrap().map(|_| ()),
            None
        );
    }
}
