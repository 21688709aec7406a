//! One module per command: its request to the daemon, and the human-readable output.
//!
//! Data goes to standard output, everything else to standard error. Output is formatted by a function from
//! the value and a [`Screen`] to text, so that tests need no terminal.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use enforcer::api::Exit;
use enforcer::config;
use enforcer::control::client::Client;
use enforcer::fault::Failed;
use serde::Serialize;

use crate::cli::{self, Cli, Command};

mod apply;
mod audit;
mod backstop;
mod check;
mod config_check;
mod confirm;
mod detach;
mod devices;
mod doctor;
mod document;
mod explain;
mod flows;
mod history;
mod init;
mod live;
mod machine;
mod man;
mod names;
mod policy;
mod rules;
mod run;
mod session;
mod status;
mod tail;
mod text;
mod top;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<Exit> {
    let socket = cli.socket.as_deref();
    let client = Client::new(socket.unwrap_or(Path::new(config::SOCKET)));
    match cli.command {
        Command::Run(args) => run::run(&args, socket),
        Command::Check { policy, output } => check::run(&policy, output.json),
        Command::Config { command: cli::Config::Check { file, output } } => {
            config_check::run(file.as_deref(), output.json)
        }
        Command::Init(args) => init::run(&args),
        Command::Apply(args) => apply::run(&client, &args),
        Command::Confirm { output } => confirm::confirm(&client, output.json),
        Command::Rollback { revision, force, output } => {
            confirm::rollback(&client, revision, force, output.json)
        }
        Command::Allow(args) => live::allow(&client, &args),
        Command::Deny(args) => live::deny(&client, &args),
        Command::Accept(args) => live::accept(&client, &args),
        Command::Refuse(args) => live::refuse(&client, &args),
        Command::Revoke { id, force, output } => live::revoke(&client, &id, force, output.json),
        Command::Mode(args) => live::mode(&client, &args),
        Command::Status { output } => status::run(&client, output.json),
        Command::Flows { device, output } => flows::run(&client, device.as_deref(), output.json),
        Command::Devices { output } => devices::run(&client, output.json),
        Command::Rules { output } => rules::run(&client, output.json),
        Command::Tail(args) => tail::run(&client, &args),
        Command::Top => top::run(&client),
        Command::Explain(args) => explain::run(&client, &args),
        Command::Policy { command: cli::Policy::Show { revision } } => {
            policy::show(&client, revision)
        }
        Command::History { count, output } => history::run(&client, count, output.json),
        Command::Audit { command } => audit::run(&command),
        Command::Backstop { command } => backstop::run(&command),
        Command::Doctor(args) => doctor::run(&args, socket),
        Command::Detach { config, output } => detach::run(socket, config.as_deref(), output.json),
        Command::Completions { shell } => {
            cli::completions(shell, &mut io::stdout().lock())?;
            Ok(Exit::Fine)
        }
        Command::Man { directory } => man::run(directory.as_deref()),
    }
}

/// Result of a command, or of a part of it.
type Result<T, E = Failed> = std::result::Result<T, E>;

/// Capabilities of standard output.
#[derive(Clone, Copy, Debug, Default)]
struct Screen {
    /// Columns of the terminal; `None` for a file or a pipe, where nothing is cut or wrapped.
    width: Option<usize>,
    colour: bool,
}

impl Screen {
    fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::default();
        }
        let size = terminal_size::terminal_size_of(io::stdout());
        let width = size.map_or(80, |(width, _)| usize::from(width.0));
        Self { width: Some(width.max(40)), colour: colour(true) }
    }

    fn paint(self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const RED: &str = "1;31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";

/// <https://no-color.org>: any non-empty value of `NO_COLOR` disables colour.
fn colour(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Runs a command's requests to the daemon.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().context("cannot start")?.block_on(work)
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints one JSON object per line.
fn print_json<T: Serialize>(values: &[T]) -> Result<()> {
    let mut text = String::new();
    for value in values {
        text.push_str(&serde_json::to_string(value)?);
        text.push('\n');
    }
    print(&text)
}
