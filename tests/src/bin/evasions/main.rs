//! The table of evasions, row by row, or random stacks; `cargo xtask evasions` builds and runs it.
use std::{path::Path, process::ExitCode};

use tests::{
    composed::{self, Settings},
    harness,
    replay::Replay,
};

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
    if std::env::args().any(|argument| argument == "--composed") {
        return composed();
    }
    let replay = Replay::run();
    println!("{replay}");
    if replay.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Random stacks, from the numbers that the environment gives.
fn composed() -> ExitCode {
    let runs = composed::enforced(Settings::from_env());
    let mut code = ExitCode::SUCCESS;
    for run in runs {
        println!("{run}");
        for problem in run.problems() {
            eprintln!("{problem}");
            code = ExitCode::FAILURE;
        }
    }
    code
}
