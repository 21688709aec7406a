//! The files of an installation below `/`, the same for every kind of package.
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{Job, Machine};
use crate::sh;

/// Files that are copied unchanged: path in the repository, path below `/`.
const FILES: [(&str, &str); 9] = [
    ("dist/etc/enforcer.toml", "etc/enforcer/enforcer.toml"),
    ("dist/logrotate", "etc/logrotate.d/enforcer"),
    ("dist/systemd/enforcer.service", "usr/lib/systemd/system/enforcer.service"),
    ("dist/systemd/enforcer-backstop.service", "usr/lib/systemd/system/enforcer-backstop.service"),
    ("dist/systemd/enforcer.sysusers", "usr/lib/sysusers.d/enforcer.conf"),
    ("dist/systemd/enforcer.tmpfiles", "usr/lib/tmpfiles.d/enforcer.conf"),
    ("README.md", "usr/share/doc/enforcer/README.md"),
    ("SECURITY.md", "usr/share/doc/enforcer/SECURITY.md"),
    ("contrib/grafana/enforcer.json", "usr/share/doc/enforcer/examples/grafana.json"),
];
/// Directories whose files of one kind are copied.
const DIRECTORIES: [(&str, &str, &str); 2] = [
    ("docs", "md", "usr/share/doc/enforcer"),
    ("policies", "toml", "usr/share/doc/enforcer/examples"),
];
/// Completions: the shell, and its search path.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/enforcer"),
    ("zsh", "usr/share/zsh/vendor-completions/_enforcer"),
    ("fish", "usr/share/fish/vendor_completions.d/enforcer.fish"),
];
/// Directory of the manual pages; each section has a subdirectory.
const PAGES: &str = "usr/share/man";

/// Makes the tree; `own` is the same program for the machine that builds.
pub(super) fn make(
    job: &Job<'_>,
    machine: Machine,
    program: &Path,
    own: &Path,
    boms: &[PathBuf],
) -> Result<PathBuf> {
    let root = &job.paths.root;
    let tree = job.paths.target.join("dist-tree").join(machine.name());
    let _ = fs::remove_dir_all(&tree);
    put(program, &tree.join("usr/sbin/enforcer"), 0o755)?;
    for (from, to) in FILES {
        put(&root.join(from), &tree.join(to), 0o644)?;
    }
    for (from, kind, to) in DIRECTORIES {
        for entry in fs::read_dir(root.join(from))? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == kind) {
                let name = file.file_name().context("a file has a name")?;
                put(&file, &tree.join(to).join(name), 0o644)?;
            }
        }
    }
    for bom in boms {
        let name = bom.file_name().context("a file has a name")?;
        put(bom, &tree.join("usr/share/doc/enforcer/sbom").join(name), 0o644)?;
    }
    let doc = tree.join("usr/share/doc/enforcer");
    zip(&root.join("CHANGELOG.md"), &doc.join("changelog.gz"))?;
    pages(own, &tree.join(PAGES))?;
    for (shell, to) in SHELLS {
        let script = sh::output(sh::clean(own).args(["completions", shell]))?;
        write(&tree.join(to), script.as_bytes(), 0o644)?;
    }
    Ok(tree)
}

/// Puts the manual pages where man looks for their section: `enforcer.1` into `man1`.
fn pages(own: &Path, man: &Path) -> Result<()> {
    let all = man.join("all");
    fs::create_dir_all(&all)?;
    sh::output(sh::clean(own).arg("man").arg(&all))?;
    for entry in fs::read_dir(&all)? {
        let page = entry?.path();
        let name = page.file_name().context("a page has a name")?.to_string_lossy();
        let section = name.rsplit('.').next().unwrap_or_default();
        zip(&page, &man.join(format!("man{section}")).join(format!("{name}.gz")))?;
    }
    fs::remove_dir_all(all)?;
    Ok(())
}

/// Copies a file to a place whose directory may be missing.
pub(super) fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &bytes, mode)
}

/// Writes a file with this mode, and world-readable directories, whatever the umask is.
pub(super) fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Compresses without name and timestamp.
pub(super) fn zip(from: &Path, to: &Path) -> Result<()> {
    let mut gzip = sh::clean("gzip");
    let output = gzip.args(["-9", "--no-name", "--stdout"]).arg(from).output();
    let output = output.context("cannot start gzip")?;
    anyhow::ensure!(output.status.success(), "gzip cannot read {}", from.display());
    write(to, &output.stdout, 0o644)
}

/// Sets all directories to 0755: dpkg-deb and tar keep the modes that they find.
pub(super) fn open_directories(dir: &Path) -> Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            open_directories(&path)?;
        }
    }
    Ok(())
}
