//! Static, reproducible programs.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::Job;
use crate::{
    ebpf,
    sh::{self, Paths},
};

/// Architectures of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Machine {
    /// 64-bit Intel and AMD
    #[value(name = "x86_64")]
    X86,
    /// 64-bit Arm
    #[value(name = "aarch64")]
    Arm,
}

impl Machine {
    pub(crate) const ALL: [Self; 2] = [Self::X86, Self::Arm];

    /// The kernel's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// Debian's name.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// rustc's name.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-gnu",
            Self::Arm => "aarch64-unknown-linux-gnu",
        }
    }

    /// The build machine.
    pub(super) fn host() -> Result<Self> {
        let host = Self::ALL.into_iter().find(|machine| machine.is_host());
        host.with_context(|| format!("this machine is {}: build elsewhere", env::consts::ARCH))
    }

    pub(super) fn is_host(self) -> bool {
        env::consts::ARCH == self.name()
    }

    /// The C compiler that links for it on the other architecture.
    fn linker(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-linux-gnu-gcc",
            Self::Arm => "aarch64-linux-gnu-gcc",
        }
    }
}

/// Builds the kernel program and, for each machine, the program that contains it.
pub(super) fn all(job: &Job<'_>) -> Result<Vec<(Machine, PathBuf)>> {
    strip(job.paths, &ebpf::build(job.paths)?)?;
    let one = |machine: &Machine| Ok((*machine, one(job.paths, &job.epoch, *machine)?));
    job.machines.iter().map(one).collect()
}

/// Builds this machine's release program; returns its path.
pub(crate) fn own(paths: &Paths) -> Result<PathBuf> {
    strip(paths, &ebpf::build(paths)?)?;
    one(paths, &super::epoch(paths)?, Machine::host()?)
}

/// Builds for one machine; returns the path of the program.
pub(super) fn one(paths: &Paths, epoch: &str, machine: Machine) -> Result<PathBuf> {
    let mut cargo = cargo(paths, machine)?;
    cargo.env("SOURCE_DATE_EPOCH", epoch);
    sh::run(&mut cargo)?;
    let program = target(paths).join(machine.target()).join("dist/enforcer");
    ensure!(has_section(&program, ".dep-v0")?, "{} does not list its crates", program.display());
    ensure!(!has_section(&program, ".interp")?, "{} is not static", program.display());
    ensure!(!has_section(&program, ".symtab")?, "{} is not stripped", program.display());
    Ok(program)
}

/// A separate target directory: a compiler other than the developer's would invalidate theirs.
fn target(paths: &Paths) -> PathBuf {
    paths.target.join("dist-build")
}

/// The build itself, with the list of crates inside (cargo-auditable).
fn cargo(paths: &Paths, machine: Machine) -> Result<Command> {
    let (cargo, rustc) = compiler(machine)?;
    let auditable = sh::cargo_installed("cargo-auditable");
    let auditable =
        auditable.context("cargo-auditable not found: run `cargo xtask setup --dist`")?;
    let target = target(paths);
    let mut command = sh::clean(auditable);
    command.current_dir(&paths.root).env("CARGO", cargo).env("RUSTC", rustc);
    command.args(["auditable", "build", "--quiet", "--locked", "--profile", "dist"]);
    command
        .args(["--package", "enforcer", "--target", machine.target(), "--target-dir"])
        .arg(&target);
    links(&mut command, machine);
    command.env("ENFORCER_BPF_OBJECT", stripped(paths));
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Cstrip=symbols".to_owned()];
    flags.extend(sh::remap(paths));
    flags.push(format!("--remap-path-prefix={}=target", target.display()));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(command)
}

/// cargo and rustc: Debian's if it has the machine's standard library, otherwise the default one.
fn compiler(machine: Machine) -> Result<(PathBuf, PathBuf)> {
    let at_hand = || Some((sh::which("cargo")?, sh::which("rustc")?));
    let found = [ebpf::debian_compiler(), at_hand()].into_iter().flatten();
    let mut able = found.filter(|(_, rustc)| knows(rustc, machine));
    able.next().with_context(|| {
        format!(
            "no standard library for {}: run `cargo xtask setup --dist`, or `rustup target add {}`",
            machine.name(),
            machine.target()
        )
    })
}

fn knows(rustc: &Path, machine: Machine) -> bool {
    let args = ["--print", "target-libdir", "--target", machine.target()];
    let libdir = sh::output(sh::clean(rustc).args(args)).unwrap_or_default();
    let files = fs::read_dir(libdir.trim()).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

/// A cargo that builds for a machine, and its target directory: for this machine, the usual one.
pub(crate) fn cross(paths: &Paths, machine: Machine) -> Result<(Command, PathBuf)> {
    if machine.is_host() {
        return Ok((sh::cargo(paths), paths.target.clone()));
    }
    let (cargo, rustc) = compiler(machine)?;
    let place = target(paths);
    let mut command = sh::clean(cargo);
    command.current_dir(&paths.root).env("RUSTC", rustc).env("CARGO_TARGET_DIR", &place);
    links(&mut command, machine);
    command.env("ENFORCER_BPF_OBJECT", paths.object());
    Ok((command, place))
}

/// Tells cargo the linker for the other architecture. For this one it needs none; setting it would
/// rebuild all macros and build scripts, and with them everything, whenever machines alternate.
fn links(cargo: &mut Command, machine: Machine) {
    if machine.is_host() {
        return;
    }
    let name = machine.target().to_uppercase().replace('-', "_");
    cargo.env(format!("CARGO_TARGET_{name}_LINKER"), machine.linker());
}

/// The kernel program without DWARF, which is three quarters of its size; the verifier's log and the
/// daemon need only BTF.
fn stripped(paths: &Paths) -> PathBuf {
    target(paths).join("enforcer.bpf.o")
}

fn strip(paths: &Paths, object: &Path) -> Result<()> {
    let objcopy = ebpf::llvm("llvm-objcopy");
    let objcopy = objcopy.context("no llvm-objcopy found: install the package llvm")?;
    let (to, partial) = (stripped(paths), stripped(paths).with_extension("partial"));
    fs::create_dir_all(target(paths))?;
    sh::output(sh::clean(objcopy).arg("--strip-debug").arg(object).arg(&partial))?;
    // Written only when it differs: the program is rebuilt when this file is newer.
    if fs::read(&to).ok() != Some(fs::read(&partial)?) {
        fs::rename(partial, to)?;
    }
    Ok(())
}

/// The machines that cannot be built for here.
pub(super) fn missing() -> Vec<Machine> {
    Machine::ALL.into_iter().filter(|machine| compiler(*machine).is_err()).collect()
}

fn has_section(program: &Path, name: &str) -> Result<bool> {
    let text = sh::output(sh::clean("readelf").args(["--sections", "--wide"]).arg(program))?;
    Ok(text.split_whitespace().any(|word| word == name))
}
