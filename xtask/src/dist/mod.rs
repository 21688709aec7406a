//! Release artefacts: static programs, packages, archives, and lists of their contents.
//!
//! - [`build`]: a static program for each machine
//! - [`tree`]: the files of an installation, the same for every kind of package
//! - [`package`]: the tree as a Debian package and as an archive with an install script
//! - [`sbom`]: the linked crates, as CycloneDX
//! - [`tools`]: the programs that this needs
//! - [`trial`]: tests of the artefacts: `cargo xtask test dist`
//!
//! Builds are reproducible in any directory; `--verify` builds twice and compares.
mod build;
mod package;
mod sbom;
pub(crate) mod tools;
mod tree;
pub(crate) mod trial;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

pub(crate) use self::build::{Machine, cross, own};
use crate::{
    setup,
    sh::{self, Paths},
};

/// Size limit of a static program.
const MOST: u64 = 10 << 20;

/// What to build.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Build only for this machine; may be given more than once [default: all]
    #[arg(long = "arch", value_name = "ARCH")]
    machines: Vec<Machine>,
    /// Build once more in another directory, and compare
    #[arg(long)]
    verify: bool,
    /// Number of the packages of this version
    #[arg(long, value_name = "N", default_value_t = 1)]
    revision: u32,
}

impl Options {
    /// The first packages of the version, for these machines.
    fn of(machines: &[Machine]) -> Self {
        Self { machines: machines.to_vec(), verify: false, revision: 1 }
    }
}

/// One run: source, destination and machine.
struct Job<'a> {
    paths: &'a Paths,
    /// The output directory.
    out: PathBuf,
    machines: Vec<Machine>,
    version: String,
    revision: u32,
    /// The timestamp of everything in the packages: that of the commit.
    epoch: String,
}

/// Builds everything requested; prints the results.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    setup::run(paths, &setup::Options::dist())?;
    let epoch = epoch(paths)?;
    let out = make(paths, options, epoch.clone())?;
    let sums = sums(&out)?;
    for (file, sum) in &sums {
        println!("{sum}  {file}");
    }
    if options.verify {
        let other = elsewhere(paths)?;
        let again = make(&other, options, epoch)?;
        same(&sums, &self::sums(&again)?)?;
        println!(
            "built twice, in {} and {}: equal bytes",
            paths.root.display(),
            other.root.display()
        );
        fs::remove_dir_all(&other.root)?;
    }
    println!("everything is in {}", out.display());
    Ok(())
}

/// Builds into `dist` in the target directory, and returns its path.
fn make(paths: &Paths, options: &Options, epoch: String) -> Result<PathBuf> {
    let machines = match options.machines.as_slice() {
        [] => Machine::ALL.to_vec(),
        asked => asked.to_vec(),
    };
    let job = Job {
        paths,
        out: paths.target.join("dist"),
        machines,
        version: version(paths)?,
        revision: options.revision,
        epoch,
    };
    let _ = fs::remove_dir_all(&job.out);
    fs::create_dir_all(&job.out)?;
    let programs = build::all(&job)?;
    for (machine, program) in &programs {
        let size = fs::metadata(program)?.len();
        println!("{}: {} bytes, static, stripped", machine.name(), size);
        ensure!(size <= MOST, "{} is larger than {MOST} bytes", program.display());
    }
    let boms = sbom::write(&job)?;
    // Pages and completions come from the build machine's program.
    let own = match programs.iter().find(|(machine, _)| machine.is_host()) {
        Some((_, program)) => program.clone(),
        None => build::one(paths, &job.epoch, Machine::host()?)?,
    };
    for (machine, program) in &programs {
        let tree = tree::make(&job, *machine, program, &own, &boms)?;
        package::debian(&job, *machine, &tree)?;
        package::archive(&job, *machine, &tree)?;
        fs::copy(program, job.out.join(format!("enforcer-{}", machine.name())))?;
    }
    package::openwrt(&job)?;
    let sums: String =
        sums(&job.out)?.iter().map(|(file, sum)| format!("{sum}  {file}\n")).collect();
    fs::write(job.out.join("SHA256SUMS"), sums)?;
    Ok(job.out)
}

fn version(paths: &Paths) -> Result<String> {
    let mut cargo = sh::cargo(paths);
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&sh::output(&mut cargo)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let own = packages.iter().find(|package| package["name"] == "enforcer");
    own.and_then(|own| Some(own["version"].as_str()?.to_owned())).context("no package enforcer")
}

/// SOURCE_DATE_EPOCH if set, otherwise the time of the last commit.
fn epoch(paths: &Paths) -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let mut git = sh::clean("git");
    git.current_dir(&paths.root).args(["log", "-1", "--format=%ct"]);
    let epoch =
        sh::output(&mut git).context("no commit to take the time from: set SOURCE_DATE_EPOCH")?;
    Ok(epoch.trim().to_owned())
}

/// The checksum of every file, by name, except the list of checksums itself.
fn sums(out: &Path) -> Result<BTreeMap<String, String>> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(out)? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.is_file() && name != "SHA256SUMS" {
            let sum = sh::output(sh::clean("sha256sum").arg(&file))?;
            sums.insert(name, sum.split_whitespace().next().unwrap_or_default().to_owned());
        }
    }
    Ok(sums)
}

/// A copy in a directory with another name and another depth.
fn elsewhere(paths: &Paths) -> Result<Paths> {
    let root = paths.target.join("dist-again/a directory/deeper");
    copy(paths, &root)?;
    // Git lists the source files there too.
    for words in [&["init", "--quiet"][..], &["add", "--all"]] {
        sh::output(sh::clean("git").current_dir(&root).args(words))?;
    }
    let target = root.join("target");
    Ok(Paths { root, target })
}

/// Copies the files that git does not ignore.
fn copy(paths: &Paths, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    let mut git = sh::clean("git");
    git.current_dir(&paths.root).args(["ls-files", "-z", "--cached", "--others"]);
    git.arg("--exclude-standard");
    for name in sh::output(&mut git)?.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (paths.root.join(name), to.join(name));
        fs::create_dir_all(to.parent().context("a file has a directory")?)?;
        // A deleted file whose deletion is not committed does not exist.
        if from.is_file() {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn same(first: &BTreeMap<String, String>, again: &BTreeMap<String, String>) -> Result<()> {
    let names = first.keys().chain(again.keys());
    let mut differ: Vec<&str> =
        names.filter(|name| first.get(*name) != again.get(*name)).map(String::as_str).collect();
    differ.sort_unstable();
    differ.dedup();
    ensure!(differ.is_empty(), "built twice, and these differ: {}", differ.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let sums = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, sum)| ((*name).to_owned(), (*sum).to_owned())).collect()
        };
        let first: BTreeMap<String, String> = sums(&[("a", "1"), ("b", "2")]);
        assert!(same(&first, &first).is_ok());
        let again = sums(&[("a", "1"), ("b", "3"), ("c", "4")]);
        let error = same(&first, &again).unwrap_err().to_string();
        assert!(error.ends_with("b, c"), "{error}");
    }
}
