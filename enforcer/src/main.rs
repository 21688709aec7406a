//! The binary: parses the command line, runs one command, prints its error once.
//!
//! - [`cli`]: the command line; no other module uses clap
//! - [`commands`]: one file for each command; no other module prints

mod cli;
mod commands;

use std::process::ExitCode;

use enforcer::fault::Failed;
use enforcer::shown::escaped_lines;

fn main() -> ExitCode {
    match commands::run(cli::parse()) {
        Ok(exit) => exit.into(),
        Err(failed) if failed.is_closed_pipe() => ExitCode::SUCCESS,
        Err(Failed { error, hint, exit }) => {
            eprintln!("error: {}", escaped_lines(&format!("{error:#}")));
            if let Some(hint) = hint {
                eprintln!("hint: {}", escaped_lines(&hint));
            }
            exit.into()
        }
    }
}
