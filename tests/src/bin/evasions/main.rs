//! The table of evasions, row by row; `cargo xtask evasions` builds and runs it.
use std::{path::Path, process::ExitCode};

use tests::{harness, replay::Replay};

fn main() -> ExitCode {
    let missing = harness::missing();
    if !missing.is_empty() {
        eprintln!("error: the lab needs: {}", missing.join(", "));
        eprintln!("hint: run `cargo xtask evasions` as root: it installs the programs");
        return ExitCode::FAILURE;
    }
    let binary = std::env::var_os("ENFORCER_BIN").filter(|path| Path::new(path).is_file());
    if binary.is_none() {
        eprintln!("error: ENFORCER_BIN names no program");
        eprintln!("hint: run `cargo xtask evasions`, which builds the program and names it");
        return ExitCode::FAILURE;
    }
    let replay = Replay::run();
    println!("{replay}");
    if replay.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
