//! What changes cost: the benchmark itself is a binary of the `tests` crate, which has the lab.
use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::{
    count, dist, ebpf, setup,
    sh::{self, Paths},
};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// This alone: `path`, what a frame costs; `control`, what policies cost; `allow`, what a live
    /// change costs; `tail`, what terminals that follow cost; `wire`, frames a second and latency;
    /// `events`, what a drop costs with its event and without; `limits`, the verifier's work and the
    /// size of the binary; and apart from all of these `count`, instructions against those on record
    #[arg(value_parser = ["path", "control", "allow", "tail", "wire", "events", "limits", "count"])]
    what: Option<String>,
    /// Write the results of all of it, with pictures, to docs/performance; of `count`, the record
    #[arg(long)]
    write: bool,
}

/// Builds the program that is given away and measures, everything or one thing alone; whether the count, if
/// asked for, is the one on record.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<bool> {
    match options.what.as_deref() {
        Some("count") => return count::run(paths, options.write),
        Some(part) if options.write => {
            bail!("--write is for all of it, or for `count`, not for `{part}`")
        }
        _ => {}
    }
    ensure!(
        sh::is_root(),
        "the lab needs root for network namespaces and XDP: run `sudo -E env PATH=$PATH cargo xtask bench`"
    );
    setup::run(paths, &setup::Options::test())?;
    setup::run(paths, &setup::Options::dist())?;
    let enforcer = dist::own(paths)?;
    sh::run(sh::cargo(paths).args(["build", "--quiet", "--release", "-p", "tests", "--bins"]))?;
    let mut program = sh::clean(paths.target.join("release/bench"));
    program.args(&options.what).current_dir(&paths.root);
    if options.write {
        program.env("ENFORCER_BENCH_DIR", paths.root.join("docs/performance"));
    }
    program.env("ENFORCER_YARDSTICK", ebpf::yardstick(paths));
    sh::run(program.env("ENFORCER_BIN", enforcer))?;
    Ok(true)
}
