//! The table of evasions, measured on this kernel: the replay is in the `tests` crate.
use anyhow::Result;

use crate::{
    demo,
    sh::{self, Paths},
};

/// Builds everything, sends every row through every gateway and prints what came out; an error
/// when one got past the enforcer.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    sh::run(&mut demo::lab_program(paths, "evasions")?)
}
