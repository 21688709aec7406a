//! NICs that QEMU emulates, with their real drivers, on Debian's full kernels: checks that the policy is
//! enforced, and stays enforced through events on a NIC.
//!
//! One guest per kernel has all of them at once; one daemon protects them, with the backstop installed.
//! Each NIC is a tap in a network namespace of the host. Each of them receives frames of all kinds
//! continuously; the guest forwards the frames that pass through one more NIC, where they are counted.
//! Nothing in the guest judges the result.
//!
//! - [`nics`]: the emulated NICs
//! - [`frames`]: the frames that are sent, and the policy that allows half of them
//! - [`steps`]: the events
//! - [`judge`]: the expected results
//! - [`machine`]: the processes; `wire.py` sends and counts, `init.sh` and `events.sh` run in the guest
//! - [`table`]: the table of docs/kernels.md
//!
//! A step has [`BOUND`] to settle. Leaks until then are reported; later leaks are failures.
mod frames;
mod judge;
mod machine;
mod nics;
mod steps;
mod table;

use std::{collections::HashMap, fs, path::PathBuf, time::Duration, time::Instant};

use anyhow::{Context as _, Result, bail};

use self::{
    judge::{Cell, Look, Seen, Verdict},
    machine::Machine,
    nics::{NICS, Nic},
    steps::Step,
    table::{Column, Tried},
};
use super::{
    build_enforcer,
    cpio::Archive,
    dir, guest, kernel,
    kernel::{Flavour, Kernel},
};
use crate::{
    dist::Machine as Kind,
    ebpf, setup,
    sh::{self, Paths},
    test::Outcome,
};

/// Time for a step until its NICs have settled: the emulated link of e1000 needs 2 s of it. A guest
/// that starts slowly, because the machine is busy, gets more.
const BOUND: Duration = Duration::from_secs(5);
/// Time for which frames are counted after that.
const WATCHED: Duration = Duration::from_millis(1500);
/// For a command in the guest.
const LIMIT: Duration = Duration::from_secs(180);
/// Programs of this machine that the guest has.
const TOOLS: [&str; 4] = ["ip", "ethtool", "nft", "sh"];

/// Runs on the named kernels, or on all.
pub(super) fn run(paths: &Paths, words: &[String]) -> Result<Outcome> {
    let all = kernel::full(Kind::X86);
    let chosen: Vec<_> = all
        .iter()
        .filter(|one| words.is_empty() || words.iter().any(|word| word == one.0))
        .collect();
    if let Some(word) = words.iter().find(|word| !all.iter().any(|one| one.0 == word.as_str())) {
        let names: Vec<&str> = all.iter().map(|kernel| kernel.0).collect();
        bail!("no kernel {word} for drivers: there are {}", names.join(", "));
    }
    setup::run(paths, &setup::Options::vm())?;
    ebpf::build(paths)?;
    let enforcer = build_enforcer(paths, Kind::X86)?;
    let helps = helps();
    let mut sum = Outcome::default();
    let mut columns = Vec::new();
    for (name, suite) in chosen {
        let found = kernel::find(&Flavour::Full.dir(&dir(paths, Kind::X86)), name, suite);
        let kernel = match found {
            Ok(kernel) => kernel,
            Err(error) => {
                println!("{name}: skipped: Debian's {suite} did not give it: {error:#}");
                sum.skipped += 1;
                continue;
            }
        };
        let (column, ran) = try_kernel(&kernel, &enforcer, &helps)?;
        println!("{name}: {} passed, {} failed, {} skipped\n", ran.passed, ran.failed, ran.skipped);
        sum += ran;
        columns.push(column);
    }
    let table = table::table(&columns, &today()?, &version()?);
    println!("{table}");
    if columns.len() == all.len() {
        let document = paths.root.join("docs/kernels.md");
        let text = fs::read_to_string(&document)?;
        fs::write(&document, table::replaced(&text, table.trim_end())?)?;
        println!("written into {}", document.display());
    } else {
        println!("not written into docs/kernels.md: that takes all of {} kernels", all.len());
    }
    Ok(sum)
}

/// One guest, from power on to its end.
fn try_kernel(
    kernel: &Kernel,
    enforcer: &std::path::Path,
    helps: &HashMap<&str, String>,
) -> Result<(Column, Outcome)> {
    let started = Instant::now();
    let lack = |nic: &Nic| nic.lack(helps.get(nic.device).map(String::as_str));
    let nics: Vec<(usize, Nic)> =
        NICS.into_iter().enumerate().filter(|(_, nic)| lack(nic).is_none()).collect();
    let mut cells: HashMap<usize, Vec<Cell>> = HashMap::new();
    let mut ran = Outcome::default();
    println!("kernel {}: {} starts", kernel.name, kernel.release);
    let outcome = steps(kernel, enforcer, &nics, helps, &mut cells);
    if let Err(error) = outcome {
        println!("error: kernel {}: {error:#}", kernel.name);
        ran.failed += 1;
    }
    for cell in cells.values().flatten() {
        match cell.verdict {
            Verdict::Passed => ran.passed += 1,
            Verdict::Failed(_) => ran.failed += 1,
            Verdict::Skipped(_) => ran.skipped += 1,
        }
    }
    let tried = |(index, nic): (usize, Nic)| match lack(&nic) {
        Some(why) => {
            println!("skipped {} on {}: {why}", nic.title, kernel.name);
            (nic, Tried::Lacks(why))
        }
        None => (nic, Tried::Cells(cells.remove(&index).unwrap_or_default())),
    };
    let nics: Vec<(Nic, Tried)> = NICS.into_iter().enumerate().map(tried).collect();
    ran.skipped += nics.iter().filter(|(_, tried)| matches!(tried, Tried::Lacks(_))).count();
    println!("kernel {}: {} s", kernel.name, started.elapsed().as_secs());
    Ok((Column { name: kernel.name, release: kernel.release.clone(), nics }, ran))
}

fn steps(
    kernel: &Kernel,
    enforcer: &std::path::Path,
    nics: &[(usize, Nic)],
    helps: &HashMap<&str, String>,
    cells: &mut HashMap<usize, Vec<Cell>>,
) -> Result<()> {
    let initramfs = initramfs(kernel, enforcer, nics)?;
    let (mut machine, release) = Machine::start(kernel, &initramfs, nics, helps)?;
    println!("Linux {release}; {:.1} times the time of idle cores for each step", machine.slowness);
    let (_, drivers) = machine.ask("drivers", LIMIT)?;
    println!("drivers: {}", drivers.lines().collect::<Vec<_>>().join(", "));
    let mut is_running = false;
    for step in Step::ALL {
        if !is_running && !step.opens() {
            // It ended: that was a failure, and the next step is judged separately.
            println!("{}", machine.ask("start", LIMIT)?.1);
        }
        is_running = take(&mut machine, step, nics, cells)?;
    }
    let (_, complaints) = machine.ask("complaints", LIMIT)?;
    for complaint in complaints.lines() {
        println!("the kernel says: {}", complaint.trim());
    }
    let _ = fs::remove_file(initramfs);
    Ok(())
}

/// Takes a step and judges every NIC; returns whether the daemon still answers.
fn take(
    machine: &mut Machine,
    step: Step,
    nics: &[(usize, Nic)],
    cells: &mut HashMap<usize, Vec<Cell>>,
) -> Result<bool> {
    let before = machine.count()?;
    let (code, said) = machine.ask(step.command(), LIMIT)?;
    if code != 0 && !step.is_event() {
        println!("`{}` ended with {code}: {}", step.command(), said.trim_end());
    }
    pause(BOUND.mul_f32(machine.slowness));
    let settled = machine.count()?;
    let first = Look::read(&machine.ask("received", LIMIT)?.1);
    pause(WATCHED.mul_f32(machine.slowness));
    let last = Look::read(&machine.ask("look", LIMIT)?.1);
    let end = machine.count()?;
    for (index, nic) in nics {
        let said = said.lines().find_map(|line| line.strip_prefix(nic.name)?.strip_prefix(' '));
        let seen = Seen {
            nic: *nic,
            said: said.unwrap_or_default(),
            meanwhile: settled.since(&before, *index),
            then: end.since(&settled, *index),
            looks: [&first, &last],
        };
        let cell = judge::judge(step, &seen);
        println!("{}", line(nic, &cell));
        cells.entry(*index).or_default().push(cell);
    }
    Ok(last.code < 2)
}

/// A cell for the reader of the log.
fn line(nic: &Nic, cell: &Cell) -> String {
    let (word, why) = match &cell.verdict {
        Verdict::Passed => ("ok", ""),
        Verdict::Failed(why) => ("FAILED", why.as_str()),
        Verdict::Skipped(why) => ("skipped", why.as_str()),
    };
    let state = cell.interface.as_ref().map_or("-".to_owned(), |it| {
        let word = if it.enforcing { it.mode.as_str() } else { "shut" };
        format!("{word} {}", it.proof)
    });
    let parts = [why, &cell.remark].into_iter().filter(|part| !part.is_empty());
    let parts = parts.collect::<Vec<_>>().join("; ");
    let line = format!("{:24} {:13} {word:8} {state:13} {parts}", cell.step.title(), nic.name);
    line.trim_end().to_owned()
}

/// The guest's initramfs.
fn initramfs(
    kernel: &Kernel,
    enforcer: &std::path::Path,
    nics: &[(usize, Nic)],
) -> Result<PathBuf> {
    let busybox = sh::which("busybox").context("busybox not found: busybox-static")?;
    let mut archive = guest::shell(&busybox, include_str!("init.sh"), enforcer)?;
    for tool in TOOLS {
        anyhow::ensure!(guest::tool_is_added(&mut archive, tool), "{tool}: not found");
    }
    settings(&mut archive, nics);
    let modules: Vec<&str> = nics::MODULES.into_iter().chain(guest::MODULES).collect();
    guest::add_modules(&mut archive, kernel, &modules)?;
    // Next to its kernel: `DIR/root/boot/vmlinuz-…`, or `DIR/root/usr/lib/modules/…`.
    let own =
        kernel.image.ancestors().find(|dir| dir.ends_with("root")).and_then(|dir| dir.parent());
    let path = own.context("a kernel is below its root")?.join("initramfs");
    fs::write(&path, archive.finish())?;
    Ok(path)
}

fn settings(archive: &mut Archive, nics: &[(usize, Nic)]) {
    let names: Vec<&str> = nics.iter().map(|(_, nic)| nic.name).collect();
    let table: String = nics
        .iter()
        .map(|(index, nic)| format!("{index} {} {}\n", nic.name, nics::written(nics::mac(*index))))
        .collect();
    let hangs = nics.iter().filter(|(_, nic)| nic.hangs).map(|(_, nic)| nic.name);
    let events = format!(
        "WAN_MAC={}\nHANGS='{}'\n{}",
        nics::written(nics::wan_mac()),
        hangs.collect::<Vec<_>>().join(" "),
        include_str!("events.sh")
    );
    archive.file("nics", 0o644, table.as_bytes());
    archive.file("events.sh", 0o644, events.as_bytes());
    let settings = format!("interfaces = {names:?}\npolicy = \"/etc/enforcer/policy.toml\"\n");
    archive.file("etc/enforcer/enforcer.toml", 0o644, settings.as_bytes());
    archive.file("etc/enforcer/policy.toml", 0o644, frames::policy(nics).as_bytes());
}

/// QEMU's help for each device that it supports.
fn helps() -> HashMap<&'static str, String> {
    let mut helps = HashMap::new();
    for nic in NICS {
        let ask = format!("{},help", nic.device);
        let text = sh::output(sh::clean(machine::QEMU).args(["-device", &ask]));
        // For unknown devices it succeeds and prints nothing.
        if let Some(text) = text.ok().filter(|text| text.contains("options:")) {
            helps.insert(nic.device, text);
        }
    }
    helps
}

/// The number in `QEMU emulator version 7.2.22 (Debian …)`.
fn version() -> Result<String> {
    let text = sh::output(sh::clean(machine::QEMU).arg("--version"))?;
    let version = text.split_whitespace().nth(3);
    Ok(version.context("QEMU does not say its version")?.to_owned())
}

fn today() -> Result<String> {
    Ok(sh::output(sh::clean("date").args(["--utc", "+%F"]))?.trim().to_owned())
}

#[expect(clippy::disallowed_methods, reason = "what must not happen has no end to wait for")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
