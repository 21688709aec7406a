//! Paths, and running other programs.
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};

/// The two directories that everything else is relative to.
pub(crate) struct Paths {
    /// The workspace root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory of the workspace.
    pub(crate) target: PathBuf,
}

impl Paths {
    /// Finds both; `CARGO_TARGET_DIR` and cargo's configuration are honoured.
    pub(crate) fn find() -> Result<Self> {
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask is not in a workspace")?.to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => target_directory(&root)?,
        };
        Ok(Self { root, target })
    }

    /// Where `ebpf build` leaves the kernel program and `enforcer/build.rs` looks for it.
    pub(crate) fn object(&self) -> PathBuf {
        self.bpf_target().join("enforcer.bpf.o")
    }

    /// The target directory of the BPF build, separate from the host's so that neither invalidates
    /// the other.
    pub(crate) fn bpf_target(&self) -> PathBuf {
        self.target.join("bpf")
    }

    /// The daemon's binary.
    pub(crate) fn enforcer(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" }).join("enforcer")
    }
}

fn target_directory(root: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&output(&mut cargo)?)?;
    let dir = metadata["target_directory"].as_str().context("cargo metadata names no target")?;
    Ok(dir.into())
}

/// The cargo that runs this program, at the workspace root.
pub(crate) fn cargo(paths: &Paths) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&paths.root).env("CARGO_TARGET_DIR", &paths.target);
    // Cargo sets these for this program; if inherited, they make build scripts run again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// A command that inherits no cargo, rustup or flag variables of this program.
pub(crate) fn clean(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let keep = ["CARGO_HOME", "CARGO_TERM_", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        let cargo = text == "CARGO" || text.starts_with("CARGO_") || text.starts_with("CLIPPY_");
        let rust = ["RUSTC", "RUSTFLAGS", "RUSTDOC", "RUSTUP_TOOLCHAIN"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if (cargo && !keep) || rust || text == "LD_LIBRARY_PATH" {
            command.env_remove(text);
        }
    }
    command
}

/// Runs some work, and prints how long it took.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    println!("{what}: {} s", begun.elapsed().as_secs());
    result
}

/// Runs a command whose output the user sees.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    ensure!(status.success(), "{} failed ({status})", line(command));
    Ok(())
}

/// Runs a command and returns its stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", line(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Finds a program in `PATH`, and in the system directories that a user's `PATH` leaves out.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// A program installed by `cargo install`: cargo's install root first, then `PATH`.
pub(crate) fn cargo_installed(name: &str) -> Option<PathBuf> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    [env::var_os("CARGO_INSTALL_ROOT"), env::var_os("CARGO_HOME")]
        .into_iter()
        .flatten()
        .map(PathBuf::from)
        .chain(home)
        .map(|root| root.join("bin").join(name))
        .find(|file| file.is_file())
        .or_else(|| which(name))
}

/// Flags that keep this machine's directories out of the build: compilers write paths into panic
/// messages and BTF.
pub(crate) fn remap(paths: &Paths) -> Vec<String> {
    let home = |name: &str, usual: &str| {
        let usual = || Some(PathBuf::from(env::var_os("HOME")?).join(usual));
        env::var_os(name).map(PathBuf::from).or_else(usual)
    };
    let places = [
        (home("RUSTUP_HOME", ".rustup"), "rustup"),
        (home("CARGO_HOME", ".cargo"), "cargo"),
        (Some(paths.root.clone()), "enforcer"),
    ];
    let flag = |(place, name): (Option<PathBuf>, &str)| {
        Some(format!("--remap-path-prefix={}={name}", place?.display()))
    };
    places.into_iter().filter_map(flag).collect()
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // The owner of /proc/self is the effective user; it saves a dependency on libc.
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// A command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_reads_as_typed() {
        let mut command = Command::new("cargo");
        command.args(["build", "--release"]);
        assert_eq!(line(&command), "cargo build --release");
    }

    #[test]
    fn failure_names_the_command_and_its_message() {
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sh -c") && text.contains("broken"), "{text}");
    }

    #[test]
    fn which_finds_a_shell_and_nothing_else() {
        assert!(which("sh").is_some());
        assert!(which("no-such-program-anywhere").is_none());
    }
}
