//! The kernel program: its toolchain, its build, and its statistics.

mod code;
mod edges;
pub(crate) mod loads;
mod stack;
mod tail_calls;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::sh::{self, Paths};

const PACKAGE: &str = "enforcer-ebpf";
const TARGET: &str = "bpfel-unknown-none";
/// The nightly that `setup` installs, under a dated name, so that a developer's `nightly` is left
/// alone.
pub(crate) const NIGHTLY: &str = "nightly-2026-05-20";
/// Kernels support CPU v3 (32-bit jumps and ALU) since 5.1.
const FLAGS: [&str; 4] =
    ["-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3", "--cfg=enforcer_bpf"];
/// Read words of a frame as words and not byte by byte. The verifier allows it where the processor
/// does; it needs LLVM 22 or later.
const MISALIGNED: &str = "-Clink-arg=--cpu-features=+allows-misaligned-mem-access";

/// Subcommands for the kernel program.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build it
    Build,
    /// Print the sizes of its programs, without loading anything
    Stats,
    /// Print its instructions
    Disasm,
}

/// Runs one of the `ebpf` commands.
pub(crate) fn run(paths: &Paths, command: &Command) -> Result<()> {
    let object = build(paths)?;
    match command {
        Command::Build => println!("built {}", object.display()),
        Command::Stats => stats(&object)?,
        Command::Disasm => {
            let objdump = objdump().context("no llvm-objdump found: install the package llvm")?;
            sh::run(Process::new(objdump).args(["-dr", "--no-show-raw-insn"]).arg(&object))?;
        }
    }
    Ok(())
}

/// A compiler that supports the BPF target.
pub(crate) enum Compiler {
    /// Debian's, with the target's `core` already built.
    Debian { rustc: PathBuf, cargo: PathBuf, clippy: Option<PathBuf> },
    /// A rustup nightly with the library's source.
    Nightly { cargo: PathBuf, rustc: PathBuf },
}

impl Compiler {
    /// The nightly that is known to work, then Debian's, then any nightly that can build `core`, whose
    /// LLVM may be newer than the linker's. `ENFORCER_BPF_TOOLCHAIN` (nightly, debian) selects one
    /// kind.
    pub(crate) fn find() -> Option<Self> {
        let asked = std::env::var("ENFORCER_BPF_TOOLCHAIN").ok();
        let may = |name: &str| asked.as_deref().is_none_or(|asked| asked == name);
        let rustup = |name| if may("nightly") { nightly(name) } else { None };
        let debian = || if may("debian") { debian() } else { None };
        rustup(NIGHTLY).or_else(debian).or_else(|| rustup("nightly"))
    }

    /// The compiler itself.
    pub(crate) fn rustc(&self) -> &Path {
        match self {
            Self::Debian { rustc, .. } | Self::Nightly { rustc, .. } => rustc,
        }
    }

    /// The major version of its LLVM, which the linker has to support.
    pub(crate) fn llvm(&self) -> Result<u32> {
        let text = sh::output(sh::clean(self.rustc()).arg("-vV"))?;
        llvm_major(&text).with_context(|| format!("{} names no LLVM", self.rustc().display()))
    }

    /// A one-line description.
    pub(crate) fn describe(&self) -> String {
        let version = sh::output(sh::clean(self.rustc()).arg("-V")).unwrap_or_default();
        let way = match self {
            Self::Debian { .. } => "Debian, core already built",
            Self::Nightly { .. } => "rustup nightly, core built from rust-src",
        };
        format!("{} ({way})", version.trim())
    }

    fn command(&self, paths: &Paths, program: &Path, linker: &Path) -> Process {
        let mut command = sh::clean(program);
        let mut flags = OsString::from(format!("-Clinker={}", linker.display()));
        let misaligned = self.llvm().is_ok_and(|version| version >= 22).then_some(MISALIGNED);
        let fixed = FLAGS.into_iter().chain(misaligned).map(str::to_owned);
        // BTF names the source of each instruction.
        for flag in fixed.chain(sh::remap(paths)) {
            flags.push("\x1f");
            flags.push(flag);
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", flags).env("RUSTC", self.rustc());
        // cargo-clippy would otherwise use the first cargo in `PATH`.
        command.env("CARGO", self.cargo());
        if matches!(self, Self::Debian { .. }) {
            // bpfel-unknown-none is a tier 3 target: linking for it is unstable.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    fn cargo(&self) -> &Path {
        match self {
            Self::Debian { cargo, .. } | Self::Nightly { cargo, .. } => cargo,
        }
    }
}

fn nightly(name: &str) -> Option<Compiler> {
    let rustup = sh::which("rustup")?;
    let which = |tool| -> Option<PathBuf> {
        let args = ["which", "--toolchain", name, tool];
        Some(sh::output(sh::clean(&rustup).args(args)).ok()?.trim().into())
    };
    let rustc = which("rustc")?;
    let sysroot = rustc.parent()?.parent()?;
    let source = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    source.is_file().then_some(())?;
    Some(Compiler::Nightly { cargo: which("cargo")?, rustc })
}

fn debian() -> Option<Compiler> {
    let rustc = packaged("rustc-web", "/bin/rustc")?;
    let cargo = packaged("cargo-web", "/bin/cargo")?;
    let libdir = ["--print", "target-libdir", "--target", TARGET];
    let libdir = sh::output(sh::clean(&rustc).args(libdir)).ok()?;
    Path::new(libdir.trim()).is_dir().then_some(())?;
    // `cargo clippy` would take rustup's cargo-clippy from CARGO_HOME/bin, whose driver does not
    // support BPF.
    let clippy = packaged("rust-web-clippy", "/bin/cargo-clippy");
    Some(Compiler::Debian { rustc, cargo, clippy })
}

fn packaged(package: &str, suffix: &str) -> Option<PathBuf> {
    let files = sh::output(sh::clean("dpkg").args(["-L", package])).ok()?;
    let file = files.lines().find(|line| line.ends_with(suffix))?;
    Path::new(file).is_file().then(|| file.into())
}

/// The place of bpf-linker.
pub(crate) fn linker() -> Option<PathBuf> {
    sh::cargo_installed("bpf-linker")
}

/// Debian's cargo and rustc, which also support other architectures.
pub(crate) fn debian_compiler() -> Option<(PathBuf, PathBuf)> {
    Some((packaged("cargo-web", "/bin/cargo")?, packaged("rustc-web", "/bin/rustc")?))
}

fn llvm_major(verbose: &str) -> Option<u32> {
    let version = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.trim().parse().ok()
}

fn toolchain() -> Result<(Compiler, PathBuf)> {
    let hint = "run `cargo xtask setup`";
    let compiler =
        Compiler::find().with_context(|| format!("no compiler for BPF found: {hint}"))?;
    let linker = linker().with_context(|| format!("bpf-linker not found: {hint}"))?;
    Ok((compiler, linker))
}

/// Compiler and linker in one line.
pub(crate) fn compiler() -> Result<String> {
    let (compiler, linker) = toolchain()?;
    let version = sh::output(sh::clean(linker).arg("--version"))?;
    Ok(format!("{}, {}", compiler.describe(), version.trim()))
}

/// Builds the kernel program and puts it where `enforcer/build.rs` finds it.
pub(crate) fn build(paths: &Paths) -> Result<PathBuf> {
    let (compiler, linker) = toolchain()?;
    let mut cargo = compiler.command(paths, compiler.cargo(), &linker);
    cargo.current_dir(&paths.root).arg("build");
    arguments(&mut cargo, &compiler, paths);
    sh::run(&mut cargo).context("the kernel program does not build")?;

    let built = paths.bpf_target().join(TARGET).join("release").join(PACKAGE);
    let object = paths.object();
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    check(&bytes)?;
    // Written only when it differs: the daemon is rebuilt when this file is newer.
    if fs::read(&object).ok().as_deref() != Some(&bytes) {
        let partial = object.with_extension("partial");
        fs::write(&partial, &bytes)?;
        fs::rename(&partial, &object)?;
    }
    Ok(object)
}

/// Checks the object against verifiers of older kernels, and for speed, without a kernel.
fn check(bytes: &[u8]) -> Result<()> {
    let object = object::File::parse(bytes).context("the kernel program is no ELF object")?;
    tail_calls::check(&object)?;
    stack::check(&object)?;
    edges::check(&object)?;
    Ok(())
}

/// The yardsticks of `cargo xtask bench`, built beside the kernel program.
pub(crate) fn yardstick(paths: &Paths) -> PathBuf {
    paths.bpf_target().join(TARGET).join("release/yardstick")
}

/// Lints the kernel program for its own target; returns the reason if that is impossible.
pub(crate) fn clippy(paths: &Paths) -> Result<Option<&'static str>> {
    let (compiler, linker) = toolchain()?;
    let program = match &compiler {
        Compiler::Debian { clippy: Some(clippy), .. } => clippy.clone(),
        Compiler::Debian { clippy: None, .. } => {
            return Ok(Some("the package rust-web-clippy is not installed"));
        }
        Compiler::Nightly { cargo, .. } => {
            let driver = cargo.with_file_name("cargo-clippy");
            if !driver.is_file() {
                return Ok(Some("the nightly toolchain has no clippy component"));
            }
            driver
        }
    };
    let mut cargo = compiler.command(paths, &program, &linker);
    cargo.current_dir(&paths.root).arg("clippy");
    arguments(&mut cargo, &compiler, paths);
    cargo.args(["--", "-Dwarnings"]);
    sh::run(&mut cargo)?;
    Ok(None)
}

fn arguments(cargo: &mut Process, compiler: &Compiler, paths: &Paths) {
    cargo.args(["--quiet", "--release", "--package", PACKAGE, "--target", TARGET]);
    cargo.arg("--target-dir").arg(paths.bpf_target());
    if matches!(compiler, Compiler::Nightly { .. }) {
        cargo.args(["-Z", "build-std=core"]);
    }
}

fn objdump() -> Option<PathBuf> {
    llvm("llvm-objdump")
}

/// One of LLVM's programs, in the newest installed version; Debian keeps each version in its own
/// directory.
pub(crate) fn llvm(name: &str) -> Option<PathBuf> {
    let places =
        |version: u32| [format!("{name}-{version}"), format!("/usr/lib/llvm-{version}/bin/{name}")];
    let versions = (15..=30).rev().flat_map(places);
    versions.chain([name.to_owned()]).find_map(|name| sh::which(&name))
}

/// Instructions of each section that has any; `None` without llvm-objdump.
pub(crate) fn instructions(object: &Path) -> Result<Option<Vec<(String, u64)>>> {
    let Some(objdump) = objdump() else { return Ok(None) };
    let sections = sections(&sh::output(Process::new(objdump).arg("-h").arg(object))?);
    let code = sections.into_iter().filter(|(.., text)| *text);
    Ok(Some(code.map(|(name, size, _)| (name, size / 8)).collect()))
}

/// Sections as `llvm-objdump -h` prints them: index, name, size in hex, address, type.
fn stats(object: &Path) -> Result<()> {
    println!("{}: {} bytes", object.display(), fs::metadata(object)?.len());
    let bytes = fs::read(object)?;
    let deepest = stack::check(&object::File::parse(&*bytes)?)?;
    println!("deepest chain of calls: {deepest} of {} bytes of stack", stack::LIMIT);
    let Some(objdump) = objdump() else {
        println!("no llvm-objdump found: install the package llvm for the size of each section");
        return Ok(());
    };
    for (name, size, text) in sections(&sh::output(Process::new(objdump).arg("-h").arg(object))?) {
        if text {
            println!("{name:<24} {:>7} instructions", size / 8);
        } else if name.starts_with('.') && !name.starts_with(".debug") && !name.starts_with(".rel")
        {
            println!("{name:<24} {size:>7} bytes");
        }
    }
    Ok(())
}

fn sections(headers: &str) -> Vec<(String, u64, bool)> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [index, name, size, rest @ ..] = fields.as_slice() else { return None };
        index.parse::<u32>().ok()?;
        let size = u64::from_str_radix(size, 16).ok()?;
        (size > 0).then(|| ((*name).to_owned(), size, rest.contains(&"TEXT")))
    };
    headers.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_llvm_version() {
        assert_eq!(llvm_major("release: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("release: 1.96.0\n"), None);
    }

    #[test]
    fn reads_section_headers() {
        let text =
            "Idx Name  Size     VMA Type\n  0        00000000 0\n  3 xdp   00000010 00 TEXT\n";
        assert_eq!(sections(text), [("xdp".to_owned(), 16, true)]);
    }
}
