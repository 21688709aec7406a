//! What changes cost: the benchmark itself is a binary of the `tests` crate, which has the lab.
use anyhow::{Result, ensure};

use crate::{
    build, ebpf, setup,
    sh::{self, Paths},
};

/// Builds everything for release and measures, everything or one thing alone.
pub(crate) fn run(paths: &Paths, what: Option<&str>) -> Result<()> {
    ensure!(
        sh::is_root(),
        "the lab needs root for network namespaces and XDP: run `sudo -E env PATH=$PATH cargo xtask bench`"
    );
    setup::run(paths, &setup::Options::test())?;
    build(paths, true)?;
    sh::run(sh::cargo(paths).args(["build", "--quiet", "--release", "-p", "tests", "--bins"]))?;
    let mut program = sh::clean(paths.target.join("release/bench"));
    program.args(what).current_dir(&paths.root).env("ENFORCER_BIN", paths.enforcer(true));
    sh::run(program.env("ENFORCER_YARDSTICK", ebpf::yardstick(paths)))
}
