//! Benchmarks: the benchmark itself is a binary of the `tests` crate, which has the lab.
use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::{
    count, dist, ebpf, setup,
    sh::{self, Paths},
};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this part: `path`, the cost of a frame; `control`, of policies; `allow`, of a live
    /// change; `tail`, of following terminals; `wire`, frames per second and latency; `events`, the
    /// cost of a drop with and without its event; `limits`, the verifier's work and the size of the
    /// binary; and, separately, `count`, instructions compared with the recorded ones
    #[arg(value_parser = ["path", "control", "allow", "tail", "wire", "events", "transmit", "limits", "count"])]
    what: Option<String>,
    /// Write the results of all parts, with charts, to docs/performance; for `count`, the record
    #[arg(long)]
    write: bool,
}

/// Builds the release program and measures everything or one part; returns whether the count, if requested,
/// equals the recorded one.
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
