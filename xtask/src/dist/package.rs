//! The tree as packages.
//!
//! The Debian package is made by dpkg-deb from a directory, not by cargo-deb: the archive uses the
//! same tree, dpkg-deb honours SOURCE_DATE_EPOCH by itself, and the scripts are used as written.
//! Generated scripts would stop the daemon on an upgrade, which these must not do.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    Job, Machine,
    tree::{open_directories, put, write, zip},
};
use crate::sh;

/// Names of the Debian package's scripts.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// Files that belong to the operator once installed.
const CONFFILES: &str = "/etc/enforcer/enforcer.toml\n/etc/logrotate.d/enforcer\n";

/// Makes the Debian package of a tree, which is copied.
pub(super) fn debian(job: &Job<'_>, machine: Machine, tree: &Path) -> Result<()> {
    let from = job.paths.root.join("dist/debian");
    let version = format!("{}-{}", job.version, job.revision);
    let root = copied(tree, &tree.with_extension("deb"))?;
    let doc = root.join("usr/share/doc/enforcer");
    put(&from.join("copyright"), &doc.join("copyright"), 0o644)?;
    let overrides = root.join("usr/share/lintian/overrides/enforcer");
    put(&from.join("lintian-overrides"), &overrides, 0o644)?;
    let changes = root.join("changelog");
    write(&changes, changelog(job, &version)?.as_bytes(), 0o644)?;
    zip(&changes, &doc.join("changelog.Debian.gz"))?;
    fs::remove_file(changes)?;
    open_directories(&root)?;

    let control = root.join("DEBIAN");
    let (sums, size) = contents(&root)?;
    let text = fs::read_to_string(from.join("control.in"))?;
    let text = text.replace("@VERSION@", &version).replace("@ARCHITECTURE@", machine.debian());
    let text = text.replace("@SIZE@", &size.div_ceil(1024).to_string());
    write(&control.join("control"), text.as_bytes(), 0o644)?;
    write(&control.join("conffiles"), CONFFILES.as_bytes(), 0o644)?;
    write(&control.join("md5sums"), sums.as_bytes(), 0o644)?;
    for script in SCRIPTS {
        put(&from.join(script), &control.join(script), 0o755)?;
    }
    open_directories(&control)?;
    let file = format!("enforcer_{version}_{}.deb", machine.debian());
    let mut dpkg = sh::clean("dpkg-deb");
    dpkg.env("SOURCE_DATE_EPOCH", &job.epoch);
    dpkg.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]).arg(&root);
    sh::output(dpkg.arg(job.out.join(file)))?;
    fs::remove_dir_all(root)?;
    Ok(())
}

/// Makes the archive for systems without dpkg: the tree, the init script, and an install script.
pub(super) fn archive(job: &Job<'_>, machine: Machine, tree: &Path) -> Result<()> {
    let from = job.paths.root.join("dist");
    let name = format!("enforcer-{}-linux-{}", job.version, machine.name());
    let place = tree.with_extension("tar");
    let _ = fs::remove_dir_all(&place);
    let root = place.join(&name);
    copied(tree, &root.join("root"))?;
    put(&from.join("install.sh"), &root.join("install.sh"), 0o755)?;
    put(&from.join("init.d/enforcer"), &root.join("init.d/enforcer"), 0o755)?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        put(&job.paths.root.join(licence), &root.join(licence), 0o644)?;
    }
    open_directories(&root)?;
    tar(job, &place, &name)?;
    fs::remove_dir_all(place)?;
    Ok(())
}

/// The recipe for OpenWrt, which packages the programs built here; it contains the checksums of
/// both.
pub(super) fn openwrt(job: &Job<'_>) -> Result<()> {
    let from = job.paths.root.join("dist/openwrt");
    let place = job.paths.target.join("dist-tree/openwrt");
    let _ = fs::remove_dir_all(&place);
    let name = format!("enforcer-{}-openwrt", job.version);
    let root = place.join(&name).join("enforcer");
    let recipe = fs::read_to_string(from.join("enforcer/Makefile"))?;
    let recipe = recipe.replace("@VERSION@", &job.version);
    let recipe = recipe.replace("@REVISION@", &job.revision.to_string());
    write(&root.join("Makefile"), recipe.as_bytes(), 0o644)?;
    put(&from.join("README"), &place.join(&name).join("README"), 0o644)?;
    put(&from.join("enforcer/files/enforcer.init"), &root.join("files/enforcer.init"), 0o755)?;
    put(&job.paths.root.join("dist/etc/enforcer.toml"), &root.join("files/enforcer.toml"), 0o644)?;
    for machine in &job.machines {
        let program = job.out.join(format!("enforcer-{}", machine.name()));
        put(&program, &root.join("files").join(machine.name()).join("enforcer"), 0o755)?;
    }
    open_directories(&place)?;
    tar(job, &place, &name)
}

/// Packs a directory: sorted names, owned by root, with the time of the commit.
fn tar(job: &Job<'_>, place: &Path, name: &str) -> Result<()> {
    let mut tar = sh::clean("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    tar.arg(format!("--mtime=@{}", job.epoch)).arg("--directory").arg(place);
    // One thread: more would split the blocks differently.
    tar.env("XZ_DEFAULTS", "--threads=1").args(["--xz", "--create", "--file"]);
    sh::output(tar.arg(job.out.join(format!("{name}.tar.xz"))).arg(name))?;
    Ok(())
}

fn copied(tree: &Path, to: &Path) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to)?;
    let mut cp = Command::new("cp");
    sh::output(cp.args(["--recursive", "--preserve=mode"]).arg(tree.join(".")).arg(to))?;
    Ok(to.to_owned())
}

/// Debian's changelog has the package's version; the upstream changelog has the changes.
fn changelog(job: &Job<'_>, version: &str) -> Result<String> {
    let mut date = sh::clean("date");
    date.env("LC_ALL", "C").args(["--utc", "--rfc-email", &format!("--date=@{}", job.epoch)]);
    let date = sh::output(&mut date)?;
    let control = fs::read_to_string(job.paths.root.join("dist/debian/control.in"))?;
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    let maintainer = maintainer.context("control.in names no maintainer")?;
    Ok(format!(
        "enforcer ({version}) unstable; urgency=medium\n\n  * What changed is in changelog.gz.\n\n \
         -- {maintainer}  {}\n",
        date.trim()
    ))
}

/// The checksums of all files in dpkg's format, and their total size.
fn contents(root: &Path) -> Result<(String, u64)> {
    let mut find = sh::clean("find");
    let files = sh::output(find.current_dir(root).args([".", "-type", "f", "-printf", "%P\n"]))?;
    let mut files: Vec<&str> = files.lines().collect();
    files.sort_unstable();
    let sums = sh::output(sh::clean("md5sum").current_dir(root).args(&files))?;
    let sizes = files.iter().map(|file| Ok(fs::metadata(root.join(file))?.len()));
    Ok((sums, sizes.sum::<Result<u64>>()?))
}
