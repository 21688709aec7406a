//! The main job, live: the demo itself is a binary of the `tests` crate, which has the lab.
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    ebpf, setup,
    sh::{self, Paths},
};

/// Options of the demo.
#[derive(Args)]
pub(crate) struct Options {
    /// Show only the lab and the device's programs, with nothing enforced
    #[arg(long)]
    open: bool,
}

/// Builds everything and runs the demo.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    let mut demo = lab_program(paths, "demo")?;
    if options.open {
        demo.arg("--open");
    }
    sh::run(&mut demo)
}

/// Builds everything; a command for a binary of the `tests` crate, by its name.
pub(crate) fn lab_program(paths: &Paths, name: &str) -> Result<Command> {
    ensure!(
        sh::is_root(),
        "the lab needs root for network namespaces and XDP: run `sudo -E env PATH=$PATH cargo xtask {name}`"
    );
    setup::run(paths, &setup::Options::test())?;
    ebpf::build(paths)?;
    sh::run(
        sh::cargo(paths).args(["build", "--quiet", "-p", "enforcer", "-p", "tests", "--bins"]),
    )?;
    let mut program = sh::clean(paths.target.join("debug").join(name));
    program.current_dir(&paths.root).env("ENFORCER_BIN", paths.enforcer(false));
    Ok(program)
}
