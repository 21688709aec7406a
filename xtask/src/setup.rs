//! Finds the BPF toolchain and the test tools, and installs what is missing.
use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    dist::{Machine, tools},
    ebpf::{self, Compiler},
    sh::{self, Paths},
    vm,
};

/// The version that is known to link the output of this project's compilers.
const LINKER: &str = "0.13.0";
/// The LLVM versions that version of bpf-linker can be built against.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;
const DENY: &str = "0.20.2";
const COMPILER_PACKAGES: [&str; 4] =
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"];
/// A program or a file, and the package that provides it.
const TOOLS: [(&str, &str); 38] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("curl", "curl"),
    ("nft", "nftables"),
    ("tcpdump", "tcpdump"),
    // An independent parser of frames; the runner of xdp-tests needs it too.
    ("tshark", "tshark"),
    ("iperf3", "iperf3"),
    ("sockperf", "sockperf"),
    ("ethtool", "ethtool"),
    ("bpftool", "bpftool"),
    ("python3", "python3"),
    ("mount.nfs", "nfs-common"),
    ("rpcbind", "rpcbind"),
    ("/etc/services", "netbase"),
    ("echoscu", "dcmtk"),
    ("nc", "netcat-openbsd"),
    ("ping", "iputils-ping"),
    ("xdp-filter", "xdp-tools"),
    ("/usr/libexec/xdp-tools/test_runner.sh", "xdp-tests"),
    ("dnsmasq", "dnsmasq-base"),
    ("busybox", "busybox"),
    ("dhclient", "isc-dhcp-client"),
    ("wpa_supplicant", "wpasupplicant"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("snmpd", "snmpd"),
    ("snmpget", "snmp"),
    ("strace", "strace"),
    ("promtool", "prometheus"),
    ("rsyslogd", "rsyslog"),
    ("tmux", "tmux"),
    ("valgrind", "valgrind"),
    ("/usr/lib/systemd/systemd-journald", "systemd"),
    ("systemd-analyze", "systemd"),
    ("shellcheck", "shellcheck"),
    ("make", "make"),
    ("zsh", "zsh"),
    ("fish", "fish"),
];

/// Programs for the virtual machines.
const VM_TOOLS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("xz", "xz-utils"),
    ("dpkg-deb", "dpkg"),
];

/// Programs for a machine of the other architecture.
const ARM_TOOLS: [(&str, &str); 1] = [("qemu-system-aarch64", "qemu-system-arm")];

/// Services that packages start.
const SERVICES: [(&str, &[&str]); 5] = [
    ("rpcbind", &["rpcbind.socket", "rpcbind"]),
    ("prometheus", &["prometheus"]),
    ("rsyslog", &["syslog.socket", "rsyslog"]),
    ("openssh-server", &["ssh"]),
    ("snmpd", &["snmpd"]),
];

/// Programs for building libFuzzer.
const CI_TOOLS: [(&str, &str); 1] = [("c++", "g++")];

/// Options of `setup`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Also install the programs that the tests and the demo use
    #[arg(long)]
    test: bool,
    /// Also install the programs for tests on other kernels, and fetch those kernels
    #[arg(long)]
    vm: bool,
    /// Also install the programs for tests on a 64-bit Arm kernel, and fetch that kernel
    #[arg(long)]
    arm: bool,
    /// Also install the programs for `cargo xtask dist` and for testing the packages
    #[arg(long)]
    dist: bool,
    /// Also install cargo-deny and a C++ compiler for fuzzing
    #[arg(long)]
    ci: bool,
    /// Only report what is installed and what is missing
    #[arg(long)]
    check: bool,
}

impl Options {
    /// Options for the tests and the demo.
    pub(crate) fn test() -> Self {
        Self { test: true, ..Self::default() }
    }

    /// Options for the whole check of a change.
    pub(crate) fn ci() -> Self {
        Self { test: true, ci: true, ..Self::default() }
    }

    /// Options for building and testing packages.
    pub(crate) fn dist() -> Self {
        Self { dist: true, ..Self::default() }
    }

    /// Options for tests on the other architecture, including its compiler.
    pub(crate) fn arm() -> Self {
        Self { arm: true, dist: true, ..Self::default() }
    }

    /// Options for the tests on other kernels.
    pub(crate) fn vm() -> Self {
        Self { test: true, vm: true, ..Self::default() }
    }
}

/// Finds or installs each item, and prints a line about it.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    let mut missing = Vec::new();
    let packages = missing_packages(options);
    if !packages.is_empty() {
        if options.check {
            missing.push(format!("Debian packages: {}", packages.join(" ")));
        } else {
            install_packages(&packages)?;
        }
    }
    if options.test && packages.is_empty() {
        println!("test tools: all {} found", TOOLS.len());
    }
    let compiler = match Compiler::find() {
        None if !options.check => Some(install_compiler()?),
        found => found,
    };
    match compiler {
        Some(compiler) => {
            println!("compiler: {}", compiler.describe());
            missing.extend(set_up_linker(paths, &compiler, options)?);
        }
        None => missing.push("a compiler for BPF".to_owned()),
    }
    if options.ci {
        missing.extend(set_up_deny(paths, options)?);
    }
    if options.vm {
        missing.extend(vm::set_up(paths, Machine::X86, options.check));
    }
    if options.arm {
        missing.extend(vm::set_up(paths, Machine::Arm, options.check));
    }
    if options.dist {
        missing.extend(tools::set_up(paths, options.check)?);
    }
    for thing in &missing {
        println!("missing: {thing}");
    }
    let test = if options.test { " --test" } else { "" };
    let ci = if options.ci { " --ci" } else { "" };
    let vm = if options.vm { " --vm" } else { "" };
    let arm = if options.arm { " --arm" } else { "" };
    let dist = if options.dist { " --dist" } else { "" };
    ensure!(
        missing.is_empty(),
        "{} missing: run `cargo xtask setup{test}{vm}{arm}{dist}{ci}`",
        missing.len()
    );
    Ok(())
}

/// Debian's packages, otherwise rustup's nightly; says why neither worked, so that the user can
/// continue by hand.
fn install_compiler() -> Result<Compiler> {
    let mut failures = Vec::new();
    if sh::which("apt-get").is_some() {
        match install_packages(&COMPILER_PACKAGES) {
            Err(error) if !sh::is_root() => return Err(error),
            Err(error) => failures.push(format!("{error:#}")),
            Ok(()) => failures.push("Debian's packages bring no core for BPF".to_owned()),
        }
    }
    if let (None, Some(rustup)) = (Compiler::find(), sh::which("rustup")) {
        println!("installing {} with rust-src (rustup)", ebpf::NIGHTLY);
        let mut rustup = sh::clean(rustup);
        // Never `nightly`: that would update the user's installed one.
        rustup.args(["toolchain", "install", ebpf::NIGHTLY, "--profile", "minimal"]);
        rustup.arg("--no-self-update");
        rustup.args(["--component", "rust-src", "--component", "clippy"]);
        if let Err(error) = sh::output(&mut rustup) {
            failures.push(format!("{error:#}"));
        }
    }
    Compiler::find().with_context(|| format!("no way to a BPF compiler: {}", failures.join("; ")))
}

fn missing_packages(options: &Options) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if let Some(Compiler::Debian { clippy: None, .. }) = Compiler::find() {
        packages.push("rust-web-clippy");
    }
    let absent = |tool: &&(&str, &str)| sh::which(tool.0).is_none();
    if options.test {
        packages.extend(TOOLS.iter().filter(absent).map(|tool| tool.1));
    }
    if options.ci {
        packages.extend(CI_TOOLS.iter().filter(absent).map(|tool| tool.1));
    }
    if options.dist {
        packages.extend(tools::packages());
    }
    if options.arm {
        packages.extend(ARM_TOOLS.iter().filter(absent).map(|tool| tool.1));
    }
    if options.vm {
        packages.extend(VM_TOOLS.iter().filter(absent).map(|tool| tool.1));
    }
    packages
}

/// Runs apt-get, which waits if another process holds the lock.
fn install_packages(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let by_hand = format!("apt-get install --no-install-recommends {list}");
    ensure!(sh::which("apt-get").is_some(), "no apt-get here: install by hand: {list}");
    ensure!(sh::is_root(), "not root, and packages are missing: run `sudo {by_hand}`");
    println!("installing Debian packages: {list}");
    if list.contains(":arm64") {
        sh::output(sh::clean("dpkg").args(["--add-architecture", "arm64"]))?;
    }
    let apt = || {
        let mut apt = sh::clean("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt.args(["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
        apt
    };
    sh::output(apt().arg("update"))?;
    sh::output(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("the packages could not be installed (by hand: {by_hand})"))?;
    let installed = |service: &&(&str, &[&str])| packages.contains(&service.0);
    SERVICES.iter().filter(installed).try_for_each(|(_, units)| switch_off(units))
}

/// Debian starts services when it installs them; the lab needs the program, but no open port.
fn switch_off(units: &[&str]) -> Result<()> {
    if Path::new("/run/systemd/system").is_dir() {
        sh::run(sh::clean("systemctl").args(["disable", "--now"]).args(units))?;
        println!("{}: installed for the lab, and switched off", units.join(", "));
    }
    Ok(())
}

/// Finds or installs a bpf-linker that works; with `check`, only reports what is missing.
fn set_up_linker(paths: &Paths, compiler: &Compiler, options: &Options) -> Result<Option<String>> {
    let refused = match ebpf::linker() {
        Some(linker) => match works(paths, compiler, &linker) {
            Ok(version) => {
                println!("linker: {version}");
                return Ok(None);
            }
            Err(error) => format!("{} does not work: {error:#}", linker.display()),
        },
        None => "not found".to_owned(),
    };
    if options.check {
        return Ok(Some(format!("bpf-linker: {refused}")));
    }
    println!("linker: {refused}");
    install_linker(compiler)?;
    let linker = ebpf::linker().context("cargo installed bpf-linker, but it cannot be found")?;
    println!("linker: {}", works(paths, compiler, &linker)?);
    Ok(None)
}

fn install_linker(compiler: &Compiler) -> Result<()> {
    let llvm = compiler.llvm()?;
    ensure!(
        LINKER_LLVM.contains(&llvm),
        "{} uses LLVM {llvm}; bpf-linker {LINKER} can be built for LLVM {} to {}",
        compiler.rustc().display(),
        LINKER_LLVM.start(),
        LINKER_LLVM.end()
    );
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let dev = format!("llvm-{llvm}-dev");
    let mut packages: Vec<&str> = Vec::new();
    if !prefix.join("include/llvm-c/Core.h").is_file() {
        packages.push(&dev);
    }
    if sh::which("c++").is_none() {
        packages.push("g++");
    }
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    println!("installing bpf-linker {LINKER} for LLVM {llvm} (a minute or two)");
    let mut cargo = sh::clean(sh::which("cargo").context("cargo not found")?);
    cargo.env("LLVM_PREFIX", &prefix);
    cargo.env("RUSTFLAGS", format!("-L {}", prefix.join("lib").display()));
    cargo.args(["install", "--quiet", "--locked", "--force", "bpf-linker", "--version", LINKER]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
    sh::run(&mut cargo)
}

const TRIAL: &str = r#"#![no_std]
#![no_main]
#[unsafe(no_mangle)]
pub extern "C" fn trial(x: u32) -> u32 { x ^ 1 }
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
"#;

/// The same without `core`, which a nightly has only as source.
const TRIAL_WITHOUT_CORE: &str = r#"#![feature(no_core, lang_items)]
#![allow(internal_features)]
#![no_core]
#![no_main]
#[lang = "pointee_sized"] pub trait PointeeSized {}
#[lang = "meta_sized"] pub trait MetaSized: PointeeSized {}
#[lang = "sized"] pub trait Sized: MetaSized {}
#[unsafe(no_mangle)] pub extern "C" fn trial() {}
"#;

/// Links a small program once; a stamp of both files' sizes and times avoids repeating it.
fn works(paths: &Paths, compiler: &Compiler, linker: &Path) -> Result<String> {
    let version = sh::output(sh::clean(linker).arg("--version"))?.trim().to_owned();
    let dir = paths.bpf_target();
    let stamp = dir.join("linker-works");
    let now = format!("{version}\n{}\n{}\n", identity(linker)?, identity(compiler.rustc())?);
    if fs::read_to_string(&stamp).is_ok_and(|before| before == now) {
        return Ok(format!("{version} (tried before)"));
    }
    fs::create_dir_all(&dir)?;
    let (source, object) = (dir.join("trial.rs"), dir.join("trial.o"));
    let text = match compiler {
        Compiler::Debian { .. } => TRIAL,
        Compiler::Nightly { .. } => TRIAL_WITHOUT_CORE,
    };
    fs::write(&source, text)?;
    let mut rustc = sh::clean(compiler.rustc());
    rustc.env("RUSTC_BOOTSTRAP", "1").arg(&source).arg("-o").arg(&object);
    rustc.args(["--edition", "2021", "--crate-type", "bin", "--target", "bpfel-unknown-none"]);
    rustc.args(["-Cpanic=abort", "-Clink-arg=--btf", "-Cdebuginfo=2"]);
    rustc.arg(format!("-Clinker={}", linker.display()));
    sh::output(&mut rustc).context("a trial program did not link")?;
    ensure!(object.is_file(), "the linker wrote nothing");
    fs::remove_file(&source)?;
    fs::remove_file(&object)?;
    fs::write(&stamp, now)?;
    Ok(format!("{version} (a trial program linked)"))
}

fn identity(file: &Path) -> Result<String> {
    let meta = fs::metadata(file)?;
    let time = meta.modified()?.duration_since(UNIX_EPOCH)?.as_secs();
    Ok(format!("{} {} {time}", file.display(), meta.len()))
}

fn set_up_deny(paths: &Paths, options: &Options) -> Result<Option<String>> {
    if let Some(version) = deny() {
        println!("licences: {version}");
        return Ok(None);
    }
    if options.check {
        return Ok(Some("cargo-deny".to_owned()));
    }
    println!("installing cargo-deny {DENY} (five minutes on two cores)");
    let args = ["install", "--quiet", "--locked", "cargo-deny", "--version", DENY];
    sh::run(sh::cargo(paths).env_remove("CARGO_TARGET_DIR").args(args))?;
    println!("licences: {}", deny().context("cargo installed cargo-deny, but it does not run")?);
    Ok(None)
}

/// The version of cargo-deny, if there is one.
pub(crate) fn deny() -> Option<String> {
    let version = sh::output(sh::clean("cargo-deny").arg("--version"));
    version.ok().map(|text| text.trim().to_owned())
}
