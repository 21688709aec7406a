//! The processes: QEMU in its own network namespace, and the programs at both ends of its NICs.
use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    frames::{self, KINDS},
    nics::{self, Nic},
};
use crate::{
    sh,
    vm::{guest::MARK, kernel::Kernel},
};

pub(super) const QEMU: &str = "qemu-system-x86_64";
const MEMORY: &str = "1536";
const PROCESSORS: &str = "2";
/// Queue length of the host's taps: frames that a NIC does not take must not arrive seconds later.
const QUEUE: &str = "100";
/// Milliseconds between two rounds of frames.
const PACE: &str = "250";
/// From power on to the first answer: at most, and on two idle cores.
const BOOT: Duration = Duration::from_secs(600);
const IDLE_BOOT: Duration = Duration::from_secs(20);

/// A network namespace, removed when this value is dropped.
struct Namespace(String);

impl Namespace {
    fn create() -> Result<Self> {
        sweep();
        let name = format!("enf-drivers-{}", std::process::id());
        sh::output(sh::clean("ip").args(["netns", "add", &name]))?;
        let namespace = Self(name);
        // Only our frames on the wires.
        let quiet = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
        sh::output(namespace.command("sh").args(["-c", quiet]))?;
        Ok(namespace)
    }

    /// A program in it, which ends when this one does.
    fn command(&self, program: &str) -> Command {
        let mut command = sh::clean("ip");
        command.args(["netns", "exec", &self.0, "setpriv", "--pdeathsig", "KILL", program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = sh::output(sh::clean("ip").args(["netns", "delete", &self.0]));
    }
}

/// Deletes leftovers of killed runs: the process id is in the name.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("enf-drivers-");
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = sh::output(sh::clean("ip").args(["netns", "delete", &name]));
        }
    }
}

/// A process that is killed when this value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A guest that runs commands.
pub(super) struct Machine {
    input: ChildStdin,
    lines: Receiver<String>,
    wire: Wire,
    console: PathBuf,
    /// Factor for the guest's time limits, from 1 on idle cores to 2.
    pub(super) slowness: f32,
    // Dropped in this order.
    _qemu: Running,
    _namespace: Namespace,
}

impl Machine {
    /// Starts a guest and its sender, and waits for its first output, its kernel's release.
    pub(super) fn start(
        kernel: &Kernel,
        initramfs: &Path,
        nics: &[(usize, Nic)],
        helps: &HashMap<&str, String>,
    ) -> Result<(Self, String)> {
        let namespace = Namespace::create()?;
        let console = initramfs.with_file_name("console");
        let mut qemu = emulator(&namespace, kernel, initramfs, &console);
        qemu.args(nics::CONTROLLER);
        for (index, nic) in nics {
            let help = helps.get(nic.device).map_or("", String::as_str);
            qemu.args(nic.arguments(*index, help));
        }
        qemu.args(nics::wan()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut qemu = Running(qemu.spawn().context("cannot start QEMU")?);
        let input = qemu.0.stdin.take().context("the guest has no second serial port")?;
        let output = qemu.0.stdout.take().context("the guest has no second serial port")?;
        let taps: Vec<String> = nics.iter().map(|(index, _)| nics::tap(*index)).collect();
        for tap in taps.iter().map(String::as_str).chain([nics::WAN_TAP]) {
            raise(&namespace, &mut qemu.0, tap)?;
        }
        let wire = Wire::start(&namespace, nics)?;
        let lines = reader(output);
        let (slowness, started) = (1.0, Instant::now());
        let mut machine =
            Self { input, lines, wire, console, slowness, _qemu: qemu, _namespace: namespace };
        let (code, text) = machine.answer(BOOT)?;
        let took = started.elapsed().as_secs_f32();
        machine.slowness = (took / IDLE_BOOT.as_secs_f32()).clamp(1.0, 2.0);
        ensure!(code == 0, "the guest could not be set up: {text}");
        let release = text.lines().last().unwrap_or_default().to_owned();
        Ok((machine, release))
    }

    /// Runs a line of shell in the guest: its exit code and what it printed.
    pub(super) fn ask(&mut self, line: &str, limit: Duration) -> Result<(i32, String)> {
        writeln!(self.input, "{line}").context("the guest has ended")?;
        self.answer(limit).with_context(|| format!("`{line}` in the guest"))
    }

    fn answer(&mut self, limit: Duration) -> Result<(i32, String)> {
        let end = Instant::now() + limit;
        let mut text = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    bail!("no answer within {} s{}", limit.as_secs(), self.last_words())
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    bail!("the guest has ended{}", self.last_words())
                }
            };
            match line.strip_prefix(MARK).and_then(|said| said.strip_prefix("done ")) {
                Some(code) => return Ok((code.parse()?, text)),
                None if line.is_empty() => {}
                None => text += &format!("{line}\n"),
            }
        }
    }

    /// Frames that have come out of the guest.
    pub(super) fn count(&mut self) -> Result<Counts> {
        self.wire.count()
    }

    /// The end of the kernel's log.
    fn last_words(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n");
        format!("; the kernel's last lines:\n{last}")
    }
}

/// q35, emulated even if there is KVM, so that it is the same everywhere. The console goes into a
/// file, the second serial port is this program.
fn emulator(namespace: &Namespace, kernel: &Kernel, initramfs: &Path, console: &Path) -> Command {
    let mut qemu = namespace.command(QEMU);
    qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", MEMORY]);
    qemu.args(["-smp", PROCESSORS, "-nodefaults", "-no-user-config", "-display", "none"]);
    qemu.args(["-no-reboot", "-kernel"]).arg(&kernel.image).arg("-initrd").arg(initramfs);
    // A panic ends the machine: -1 reboots at once, and it may not reboot.
    qemu.args(["-append", "console=ttyS0 loglevel=5 panic=-1 oops=panic net.ifnames=0"]);
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    qemu.args(["-serial", "stdio"]);
    qemu
}

/// Brings a tap up once QEMU has created it.
fn raise(namespace: &Namespace, qemu: &mut Child, tap: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    let set = ["-n", &namespace.0, "link", "set", tap, "txqueuelen", QUEUE, "up"];
    while let Err(error) = sh::output(sh::clean("ip").args(set)) {
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU ended ({status})");
        }
        ensure!(Instant::now() < end, "QEMU makes no {tap}: {error:#}");
        super::pause(Duration::from_millis(100));
    }
    Ok(())
}

fn reader(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Frames that the guest has forwarded, by NIC and kind.
#[derive(Clone, Default, Debug)]
pub(super) struct Counts(HashMap<(usize, usize), u64>);

impl Counts {
    /// Frames of each kind since an earlier count.
    pub(super) fn since(&self, before: &Self, nic: usize) -> [u64; KINDS.len()] {
        let of = |counts: &Self, kind| counts.0.get(&(nic, kind)).copied().unwrap_or(0);
        std::array::from_fn(|kind| of(self, kind).saturating_sub(of(before, kind)))
    }
}

/// The program that sends and counts, in the host's namespace.
struct Wire {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _process: Running,
}

impl Wire {
    fn start(namespace: &Namespace, nics: &[(usize, Nic)]) -> Result<Self> {
        let mut python = namespace.command("python3");
        python.args(["-c", include_str!("wire.py"), frames::MARK, nics::WAN_TAP]);
        let child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = Running(child.context("cannot start python3")?);
        let input = process.0.stdin.take().context("a pipe was asked for")?;
        let output = process.0.stdout.take().context("a pipe was asked for")?;
        let mut wire = Self { input, output: BufReader::new(output), _process: process };
        for (index, _) in nics {
            for kind in 0..KINDS.len() {
                let (frame, segment) = frames::frame(*index, kind);
                let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(wire.input, "frame {} {segment} {hex}", nics::tap(*index))?;
            }
        }
        writeln!(wire.input, "send {PACE}")?;
        wire.count()?;
        Ok(wire)
    }

    fn count(&mut self) -> Result<Counts> {
        writeln!(self.input, "count").context("the sender has ended")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let counts: HashMap<String, u64> =
            serde_json::from_str(&line).context("the sender has ended")?;
        let key = |text: &str| {
            let (nic, kind) = text.split_once(' ')?;
            Some((nic.parse().ok()?, kind.parse().ok()?))
        };
        let counts = counts.iter().filter_map(|(text, count)| Some((key(text)?, *count)));
        Ok(Counts(counts.collect()))
    }
}
