//! What changes cost, measured on this machine; `cargo xtask bench` builds and runs it.
//!
//! - a live `allow` under a million prefixes: from the start of the command to the first TCP
//!   connection through it
//! - frames a second while every one is a drop, with and without ten terminals: see `tail`
//!
//! `bench tail` or `bench allow` measures that alone. `ENFORCER_BENCH_DIR` names a directory for the
//! results as a document, and for its pictures.
mod picture;
mod report;
mod tail;

use std::{
    fmt::Write as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use report::Report;
use tests::{
    harness::{
        self, Daemon, Lab,
        programs::{self, Server},
        topology::UPDATES,
    },
    random::Random,
};

/// Prefixes in the group's set.
const PREFIXES: u32 = 1_000_000;
/// Times that the change is made and taken back.
const ROUNDS: usize = 51;

fn main() -> ExitCode {
    let missing = harness::missing();
    let binary = std::env::var_os("ENFORCER_BIN").filter(|path| Path::new(path).is_file());
    if !missing.is_empty() || binary.is_none() {
        eprintln!("error: the lab needs a built program and: {}", missing.join(", "));
        eprintln!("hint: run `cargo xtask bench` as root: it installs and builds everything");
        return ExitCode::FAILURE;
    }
    let mut report = Report::default();
    report.line(&machine());
    let only = std::env::args().nth(1);
    let asked = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if asked("allow") {
        allow();
    }
    if asked("tail") {
        tail::run(&mut report);
    }
    report.close();
    let Some(directory) = std::env::var_os("ENFORCER_BENCH_DIR") else { return ExitCode::SUCCESS };
    match report.write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", Path::new(&directory).display());
            ExitCode::FAILURE
        }
    }
}

/// Processor, kernel, what it does against leaks of the processor, and the date.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let mut text = format!(
        "{}, {} CPUs, Linux {}, {}",
        model.trim_start_matches([' ', '\t', ':']),
        cpus(),
        read("/proc/sys/kernel/osrelease").trim(),
        today()
    );
    for name in ["spec_rstack_overflow", "spectre_v2", "retbleed"] {
        let state = read(&format!("/sys/devices/system/cpu/vulnerabilities/{name}"));
        // A `String` takes everything.
        let _ = write!(text, "; {name}: {}", state.trim());
    }
    text
}

/// The date, as RFC 3339 has it.
fn today() -> String {
    let date = std::process::Command::new("date").args(["-u", "+%F"]).output();
    date.map(|date| String::from_utf8_lossy(&date.stdout).trim().to_owned()).unwrap_or_default()
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// `enforcer allow`, then a connection that it lets through.
fn allow() {
    let lab = Lab::gateway("bench-allow");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let policy = "schema = 1\n[sets]\nfeed = { file = \"feed.txt\" }\n[groups.beds]\n\
                  members = [\"00:1b:44/24\"]\nallow = [{ to = \"@feed\", service = \"tcp/443\" }]\n";
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], policy);
    daemon.write("feed.txt", &feed());
    daemon.run();
    let (mut command, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        assert!(!programs::connects(&lab.dev1, UPDATES, 81), "the rule is not there yet");
        let begun = Instant::now();
        let answer = daemon.json(&["allow", "beds", UPDATES, "tcp/81"]);
        command.push(begun.elapsed());
        assert!(programs::connects(&lab.dev1, UPDATES, 81), "it is in force on return");
        whole.push(begun.elapsed());
        let id = answer[0]["change"]["id"].as_str().expect("an id").to_owned();
        daemon.json(&["revoke", &id]);
    }
    println!("allow under {PREFIXES} prefixes, {ROUNDS} rounds");
    report("  the command, its start and end included", &mut command);
    report("  to the first connection, nc's start included", &mut whole);
}

/// Random prefixes of a public look: a few short ones, most of them /24 and longer.
fn feed() -> String {
    let mut random = Random::new(1);
    let mut text = String::new();
    for _ in 0..PREFIXES {
        let length = 18 + random.below(15);
        let address = (random.next() as u32 | 0x0100_0000) >> (32 - length) << (32 - length);
        // A `String` takes everything.
        let _ = writeln!(text, "{}/{length}", std::net::Ipv4Addr::from(address));
    }
    text
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "{what}: median {:.1} ms, least {:.1}, 90 % {:.1}, most {:.1}",
        at(50),
        at(0),
        at(90),
        at(100)
    );
}
