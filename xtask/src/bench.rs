//! What changes cost: the benchmark itself is a binary of the `tests` crate, which has the lab.
use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    build, ebpf, setup,
    sh::{self, Paths},
};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// This alone: `path`, what a frame costs; `control`, what policies cost; `allow`, what a live
    /// change costs; `tail`, what terminals that follow cost; `wire`, frames a second and latency
    #[arg(value_parser = ["path", "control", "allow", "tail", "wire"])]
    what: Option<String>,
    /// Write the results of all of it, with pictures, to docs/performance
    #[arg(long, conflicts_with = "what")]
    write: bool,
}

/// Builds everything for release and measures, everything or one thing alone.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    ensure!(
        sh::is_root(),
        "the lab needs root for network namespaces and XDP: run `sudo -E env PATH=$PATH cargo xtask bench`"
    );
    setup::run(paths, &setup::Options::test())?;
    build(paths, true)?;
    sh::run(sh::cargo(paths).args(["build", "--quiet", "--release", "-p", "tests", "--bins"]))?;
    let mut program = sh::clean(paths.target.join("release/bench"));
    program.args(&options.what).current_dir(&paths.root);
    if options.write {
        program.env("ENFORCER_BENCH_DIR", paths.root.join("docs/performance"));
    }
    program.env("ENFORCER_YARDSTICK", ebpf::yardstick(paths));
    sh::run(program.env("ENFORCER_BIN", paths.enforcer(true)))
}
