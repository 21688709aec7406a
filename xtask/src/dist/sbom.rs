//! The crates linked into the program and the kernel program, as CycloneDX.
use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{Job, copy};
use crate::sh;

/// The packages in the release, and what each is built for. Lists for each machine would be
/// identical: no dependency is specific to one.
const PACKAGES: [(&str, &str); 2] =
    [("enforcer", "x86_64-unknown-linux-gnu"), ("enforcer-ebpf", "bpfel-unknown-none")];

/// Prefix of a name that is a path.
const SCHEME: &str = "path+file://";

/// Writes one document for each, independent of the directory.
pub(super) fn write(job: &Job<'_>) -> Result<Vec<PathBuf>> {
    let tool = sh::cargo_installed("cargo-cyclonedx");
    let tool = tool.context("cargo-cyclonedx not found: run `cargo xtask setup --dist`")?;
    // It writes next to the manifest of each package of the workspace, so use a copy.
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
        let text = without_place(&text, package).with_context(|| format!("{}", from.display()))?;
        let to = job.out.join(format!("{package}-{}.cdx.json", job.version));
        fs::write(&to, text)?;
        written.push(to);
    }
    fs::remove_dir_all(&there)?;
    Ok(written)
}

/// Names of this workspace's crates contain its path, with `%20` for a space. How the document
/// encodes the path is taken from the name of its main package.
fn without_place(text: &str, package: &str) -> Result<String> {
    let bom: serde_json::Value = serde_json::from_str(text)?;
    let name = bom["metadata"]["component"]["bom-ref"].as_str().context("it names no package")?;
    let place = name.strip_prefix(SCHEME).and_then(|name| name.split_once(&format!("/{package}#")));
    let (place, _) = place.with_context(|| format!("{name}: not a path to {package}"))?;
    Ok(text.replace(&format!("{SCHEME}{place}/"), &format!("{SCHEME}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_crates_are_the_same_everywhere() {
        let bom = |place: &str| {
            format!(
                "{{\"metadata\": {{\"component\": {{\"bom-ref\": \"path+file://{place}/enforcer#0.1.0\"}}}}, \
                 \"components\": [{{\"bom-ref\": \"path+file://{place}/enforcer-common#0.1.0\"}}]}}"
            )
        };
        for place in ["", "/src", "/a%20directory/deeper"] {
            assert_eq!(without_place(&bom(place), "enforcer").unwrap(), bom(""), "{place}");
        }
        assert!(without_place(&bom("/src"), "another").is_err());
    }
}
