//! The tests on Debian's kernels, each in its own virtual machine.
//!
//! - [`kernel`]: Debian's packages, fetched without touching the machine's own apt
//! - [`guest`]: the guest's file system
//! - [`cpio`]: the archive that a kernel unpacks into its memory
//! - [`report`]: results from the console, and a summary line for each kernel
//! - [`drivers`]: NICs that QEMU emulates, with their real drivers
//!
//! A kernel that cannot be fetched counts as skipped, by name. `arm64` is the other architecture.
mod cpio;
mod drivers;
mod guest;
mod kernel;
mod report;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};

use self::{
    kernel::{Flavour, Kernel},
    report::Report,
};
use crate::{
    dist::{self, Machine},
    ebpf, setup,
    sh::{self, Paths},
    test::Outcome,
};

/// Tests that run if none is named.
const TESTS: [&str; 7] =
    ["verdict::", "agree::", "verifier::", "evasions::", "stacked::", "gateway::", "lifecycle::"];
/// Frames of the agreement test: emulation is fifty times slower than real hardware.
const FRAMES: &str = "20000";
/// Time limit for one kernel, from power on to power off.
const SECONDS: &str = "2400";
/// Most restarts of a machine.
const MAX_RESETS: u32 = 2;
const MEMORY: &str = "1536";
/// The word for the other architecture, and the tests that run there if none is named: emulated, and
/// without the lab's programs.
const ARM: &str = "arm64";
const ARM_TESTS: [&str; 4] = ["verdict::", "agree::", "verifier::", "flow_cache::"];
/// The word for NICs that QEMU emulates, with their drivers.
const DRIVERS: &str = "drivers";

/// Runs tests on kernels; words that begin with a digit name kernels, the others name tests.
pub(crate) fn run(paths: &Paths, words: &[String]) -> Result<Outcome> {
    ensure!(cfg!(target_arch = "x86_64"), "the guests run this machine's programs: x86-64 only");
    if words.iter().any(|word| word == DRIVERS) {
        let others: Vec<String> = words.iter().filter(|word| *word != DRIVERS).cloned().collect();
        return drivers::run(paths, &others);
    }
    let Chosen { machine, kernels, filters } = chosen(words)?;
    match machine {
        Machine::X86 => setup::run(paths, &setup::Options::vm())?,
        Machine::Arm => setup::run(paths, &setup::Options::arm())?,
    }
    ebpf::build(paths)?;
    let programs = build(paths, machine)?;
    let guest = match machine {
        Machine::X86 => guest::archive(paths, &programs, &filters)?,
        Machine::Arm => {
            let root = dir(paths, machine).join(kernel::ARM[0].0).join("root");
            guest::bare(paths, &programs, &filters, &root)?
        }
    };
    // A reset machine repeats everything, so resets are allowed only on request.
    let resets = filters.iter().any(|filter| filter.contains("reboot"));
    let mut sum = Outcome::default();
    let mut table = Vec::new();
    for (name, suite) in kernels {
        let started = Instant::now();
        let (ran, row) = match kernel::find(&dir(paths, machine), name, suite) {
            Ok(kernel) => {
                let report = boot(paths, machine, &kernel, guest.clone(), resets)?;
                let mut ran = report.sum(name);
                if ran.failed == 0 && report.has_loaded() && machine == Machine::X86 {
                    ebpf::loads::record(paths, name, &kernel.release)?;
                }
                if ran.passed == 0 && ran.failed == 0 {
                    println!("{name}: no test has such a name: {}", filters.join(", "));
                    ran.failed = 1;
                }
                (ran, report.row(&kernel.release, ran, started.elapsed().as_secs()))
            }
            Err(error) => {
                let row = format!("{name}: skipped: Debian's {suite} did not give it: {error:#}");
                (Outcome { skipped: 1, ..Outcome::default() }, row)
            }
        };
        println!("{row}\n");
        table.push(row);
        sum += ran;
    }
    println!("{}\n{}\n", report::HEAD, table.join("\n"));
    Ok(sum)
}

/// Fetches missing kernels; kernels that cannot be fetched are reported, but are not an error.
pub(crate) fn set_up(paths: &Paths, machine: Machine, check: bool) -> Vec<String> {
    let small = kernel::of(machine).iter().map(|kernel| (Flavour::Cloud, *kernel));
    let full = kernel::full(machine).iter().map(|kernel| (Flavour::Full, *kernel));
    let mut missing = Vec::new();
    for (flavour, (name, suite)) in small.chain(full) {
        let dir = flavour.dir(&dir(paths, machine));
        let what = match flavour {
            Flavour::Cloud => format!("kernel {name}"),
            Flavour::Full => format!("kernel {name} with drivers"),
        };
        let mut found = kernel::find(&dir, name, suite);
        if found.is_err() && !check {
            println!("fetching {what} from Debian's {suite}");
            found = kernel::fetch(&dir, machine, flavour, name, suite)
                .and_then(|()| kernel::find(&dir, name, suite));
        }
        match found {
            Ok(kernel) => println!("{what}: {}", kernel.release),
            Err(error) if check => missing.push(format!("{what}: {error:#}")),
            Err(error) => println!("{what}: cannot be had: {error:#}"),
        }
    }
    missing
}

/// Where this machine gets Debian from.
pub(crate) fn mirror() -> Option<String> {
    kernel::mirrors().0
}

fn dir(paths: &Paths, machine: Machine) -> PathBuf {
    let vm = paths.target.join("vm");
    if machine == Machine::Arm { vm.join(ARM) } else { vm }
}

struct Chosen {
    machine: Machine,
    kernels: Vec<(&'static str, &'static str)>,
    filters: Vec<String>,
}

fn chosen(words: &[String]) -> Result<Chosen> {
    let is_arm = words.iter().any(|word| word == ARM);
    let (machine, usual): (_, &[&str]) =
        if is_arm { (Machine::Arm, &ARM_TESTS) } else { (Machine::X86, &TESTS) };
    let all = kernel::of(machine);
    let mut kernels = Vec::new();
    let mut filters = Vec::new();
    for word in words.iter().filter(|word| *word != ARM) {
        if !word.starts_with(|first: char| first.is_ascii_digit()) {
            filters.push(word.clone());
        } else if let Some(kernel) = all.iter().find(|kernel| kernel.0 == word) {
            kernels.push(*kernel);
        } else {
            let names: Vec<&str> = all.iter().map(|kernel| kernel.0).collect();
            bail!("no kernel {word}: there are {}", names.join(", "));
        }
    }
    if kernels.is_empty() {
        kernels.extend(all);
    }
    if filters.is_empty() {
        filters.extend(usual.iter().map(|test| (*test).to_owned()));
    }
    Ok(Chosen { machine, kernels, filters })
}

/// The two programs that a guest cannot link against its own libraries.
struct Programs {
    enforcer: PathBuf,
    tests: PathBuf,
}

/// Builds both statically and with optimisations, because emulation is slow.
fn build(paths: &Paths, machine: Machine) -> Result<Programs> {
    let enforcer = build_enforcer(paths, machine)?;
    let mut tests = cargo(paths, machine, &["test", "-p", "tests", "--lib", "--no-run"])?;
    tests.args(["--message-format", "json-render-diagnostics"]);
    let output = tests.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "tests";
        ours.then(|| Some(PathBuf::from(message["executable"].as_str()?))).flatten()
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let tests = text.lines().find_map(executable).context("cargo named no test binary")?;
    Ok(Programs { enforcer, tests })
}

/// Only the program under test.
fn build_enforcer(paths: &Paths, machine: Machine) -> Result<PathBuf> {
    let (_, place) = dist::cross(paths, machine)?;
    sh::run(&mut cargo(paths, machine, &["build", "-p", "enforcer"])?)?;
    Ok(place.join(machine.target()).join("debug/enforcer"))
}

fn cargo(paths: &Paths, machine: Machine, words: &[&str]) -> Result<Command> {
    let (mut cargo, _) = dist::cross(paths, machine)?;
    cargo.args(words).args(["--quiet", "--target", machine.target()]);
    let flags = "-Ctarget-feature=+crt-static\x1f-Cstrip=debuginfo";
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags).env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "false");
    Ok(cargo)
}

/// Starts the guest, shows its output, and adds up the results.
fn boot(
    paths: &Paths,
    machine: Machine,
    kernel: &Kernel,
    mut archive: cpio::Archive,
    resets: bool,
) -> Result<Report> {
    guest::add_modules(&mut archive, kernel, &guest::MODULES)?;
    let own = dir(paths, machine).join(kernel.name);
    let initramfs = own.join("initramfs");
    fs::write(&initramfs, archive.finish())?;
    println!("kernel {}: {} starts", kernel.name, kernel.release);
    let disk = resets.then(|| disk(&own.join("disk"))).transpose()?;
    let mut report = Report::default();
    loop {
        let known = report.resets;
        let mut child = emulator(machine, &kernel.image, &initramfs, disk.as_deref());
        let mut child = child.stdout(Stdio::piped()).spawn()?;
        let console = child.stdout.take().context("the machine has no console")?;
        for line in BufReader::new(console).split(b'\n') {
            let line = line?;
            if let Some(line) = report.read(String::from_utf8_lossy(&line).trim_end()) {
                println!("{line}");
            }
        }
        child.wait()?;
        if report.resets == known || report.resets > MAX_RESETS {
            break;
        }
    }
    for file in [Some(initramfs), disk].into_iter().flatten() {
        let _ = fs::remove_file(file);
    }
    Ok(report)
}

/// An empty disk with a file system.
fn disk(path: &Path) -> Result<PathBuf> {
    fs::File::create(path)?.set_len(64 << 20)?;
    // Without checksums: their module has a different name in every kernel.
    sh::run(sh::clean("mkfs.ext4").args(["-q", "-F", "-O", "^metadata_csum"]).arg(path))?;
    Ok(path.to_owned())
}

/// Without a network: only memory, a serial line, and a disk for tests that reset the machine. Data
/// that the guest has not written to the disk by then is lost.
fn emulator(machine: Machine, kernel: &Path, initramfs: &Path, disk: Option<&Path>) -> Command {
    let mut emulator = sh::clean("timeout");
    // In the foreground, so that it ends if the user interrupts this program.
    emulator.args(["--foreground", "--kill-after=5", SECONDS]);
    // Emulation even if there is KVM, so that it is the same everywhere.
    let console = match machine {
        Machine::X86 => {
            emulator.args(["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max"]);
            "ttyS0"
        }
        Machine::Arm => {
            // A simple CPU: signed pointers, which newer ones check, are slow to emulate.
            emulator.args(["qemu-system-aarch64", "-machine", "virt", "-accel", "tcg"]);
            emulator.args(["-cpu", "cortex-a72"]);
            "ttyAMA0"
        }
    };
    emulator.args(["-m", MEMORY, "-smp", "1", "-nodefaults", "-no-user-config"]);
    emulator.args(["-display", "none", "-serial", "stdio", "-no-reboot"]);
    emulator.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    // A panic ends the machine: -1 reboots at once, and it may not reboot.
    emulator.arg("-append").arg(format!("console={console} loglevel=3 panic=-1 oops=panic"));
    if let Some(disk) = disk {
        emulator.arg("-drive").arg(format!("file={},format=raw,if=virtio", disk.display()));
    }
    emulator.stdin(Stdio::null());
    emulator
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Chosen> {
        chosen(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn kernels_are_told_from_tests() {
        let Chosen { machine, kernels, filters } = words(&["6.1", "verdict"]).unwrap();
        assert_eq!((machine, kernels[0].0, kernels.len()), (Machine::X86, "6.1", 1));
        assert_eq!(filters, ["verdict"]);
        assert_eq!(words(&[]).unwrap().kernels.len(), kernel::KERNELS.len());
        assert!(words(&["4.19"]).err().unwrap().to_string().contains("5.10"));
    }

    #[test]
    fn the_other_machine_has_kernels_and_tests_of_its_own() {
        let Chosen { machine, kernels, filters } = words(&["arm64"]).unwrap();
        assert_eq!((machine, kernels.as_slice()), (Machine::Arm, &kernel::ARM[..]));
        assert_eq!(filters, ARM_TESTS);
        assert!(words(&["arm64", "5.10"]).is_err());
    }
}
