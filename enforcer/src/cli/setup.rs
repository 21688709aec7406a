//! Commands for the time before there is a policy: `init` and `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

/// Options of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Interface that devices are behind; may be given more than once [default: ask]
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Vec<String>,
    /// Do not ask: take the proposal
    #[arg(long)]
    pub(crate) yes: bool,
    /// Write to this directory
    #[arg(long, value_name = "DIR", default_value = "/etc/enforcer")]
    pub(crate) directory: PathBuf,
    /// Print the two files and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Subcommands of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check the settings: needs no root and no daemon; exit with 1 if they have an error
    #[command(after_help = "Examples:\n  \
        enforcer config check\n  \
        enforcer config check ./enforcer.toml")]
    Check {
        /// Settings to check, or - for standard input [default: /etc/enforcer/enforcer.toml]
        file: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
}
