//! The options of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

/// Subcommands of `audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check that no line was changed, cut or moved; exit with 1 if one was
    #[command(after_help = "Examples:\n  \
        enforcer audit verify\n  \
        enforcer audit verify /srv/copies/audit.jsonl --last 5d0b6a41")]
    Verify {
        #[command(flatten)]
        place: Trail,
        /// Hash that has to be in the trail: an earlier last hash that you noted
        #[arg(long, value_name = "HASH")]
        last: Option<String>,
    },
    /// Print the entries
    #[command(after_help = "Examples:\n  \
        enforcer audit show -n 20\n  \
        enforcer audit show --json | jq -r .who")]
    Show {
        #[command(flatten)]
        place: Trail,
        /// Only the last N entries
        #[arg(short = 'n', value_name = "N")]
        count: Option<usize>,
        #[command(flatten)]
        output: Output,
    },
}

/// Where the trail is.
#[derive(Debug, Args)]
pub(crate) struct Trail {
    /// File or directory of the trail [default: the state directory of the settings]
    pub(crate) path: Option<PathBuf>,
    /// Read the daemon's settings from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
