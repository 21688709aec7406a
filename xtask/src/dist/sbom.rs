//! What is linked into the program and into the kernel program, as CycloneDX.
use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{Job, copy};
use crate::sh;

/// The packages that end in what is given away, and what each is built for. A list for each machine
/// would say the same: no dependency is for one of them alone.
const PACKAGES: [(&str, &str); 2] =
    [("enforcer", "x86_64-unknown-linux-gnu"), ("enforcer-ebpf", "bpfel-unknown-none")];

/// Writes one document for each; the same bytes wherever this is.
pub(super) fn write(job: &Job<'_>) -> Result<Vec<PathBuf>> {
    let tool = sh::cargo_installed("cargo-cyclonedx");
    let tool = tool.context("cargo-cyclonedx not found: run `cargo xtask setup --dist`")?;
    // It writes beside the manifest of each package of the workspace: so into a copy.
    let there = job.paths.target.join("dist-sbom");
    copy(job.paths, &there)?;
    let mut written = Vec::new();
    for (package, target) in PACKAGES {
        let mut cargo = sh::clean(&tool);
        cargo.current_dir(&there).env("SOURCE_DATE_EPOCH", &job.epoch);
        cargo.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"]);
        cargo.args(["--target", target, "--override-filename", "sbom"]);
        sh::output(&mut cargo)?;
        let from = there.join(package).join("sbom.json");
        let text = fs::read_to_string(&from).with_context(|| format!("no {}", from.display()))?;
        // Names of crates of this workspace are paths.
        let text = text.replace(&there.display().to_string(), "");
        let to = job.out.join(format!("{package}-{}.cdx.json", job.version));
        fs::write(&to, text)?;
        written.push(to);
    }
    fs::remove_dir_all(&there)?;
    Ok(written)
}
