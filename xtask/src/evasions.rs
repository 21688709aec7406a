//! The table of evasions, measured on this kernel: the replay is in the `tests` crate.
use anyhow::Result;
use clap::Args;

use crate::{
    demo,
    sh::{self, Paths},
};

/// What is sent.
#[derive(Args)]
pub(crate) struct Options {
    /// Send random stacks of headers instead, and let tshark judge the frames that come out
    #[arg(long)]
    composed: bool,
    /// Number of frames, over both gateways
    #[arg(long, requires = "composed", default_value_t = 1_000_000)]
    frames: u64,
    /// Seed: the same seed makes the same frames
    #[arg(long, requires = "composed", default_value_t = 1)]
    seed: u64,
}

/// Builds everything, sends every row through every gateway and prints which came out; an error if
/// one got past the enforcer.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    let mut lab = demo::lab_program(paths, "evasions")?;
    if options.composed {
        lab.arg("--composed");
        lab.env("ENFORCER_COMPOSED_FRAMES", options.frames.to_string());
        lab.env("ENFORCER_COMPOSED_SEED", options.seed.to_string());
    }
    sh::run(&mut lab)
}
