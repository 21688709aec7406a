//! The main job, live: the demo itself is a binary of the `tests` crate, which has the lab.
use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    ebpf, setup,
    sh::{self, Paths},
};

/// What the demo is asked for.
#[derive(Args)]
pub(crate) struct Options {
    /// Show the lab and the device's programs alone, with nothing enforced
    #[arg(long)]
    open: bool,
}

/// Builds everything and runs the demo.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    ensure!(
        sh::is_root(),
        "the demo needs root for network namespaces and XDP: run `sudo -E env PATH=$PATH cargo xtask demo`"
    );
    setup::run(paths, &setup::Options::test())?;
    ebpf::build(paths)?;
    sh::run(
        sh::cargo(paths).args(["build", "--quiet", "-p", "enforcer", "-p", "tests", "--bins"]),
    )?;
    let mut demo = sh::clean(paths.target.join("debug/demo"));
    demo.current_dir(&paths.root).env("ENFORCER_BIN", paths.enforcer(false));
    if options.open {
        demo.arg("--open");
    }
    sh::run(&mut demo)
}
