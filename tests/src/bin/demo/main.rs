//! The main job, live, in a namespace lab; `cargo xtask demo` builds and runs it.
//!
//! - `scene`: the hospital, its servers, and the traffic of its devices
//! - `gateway`: the daemon and the commands, as run by an operator
//! - `transfer`: an upload that is under way while the policy changes
//! - `acts`: the acts and their expectations
//! - `cleanup`: nothing stays behind, not even after Ctrl-C
mod acts;
mod cleanup;
mod gateway;
mod scene;
mod transfer;

use std::{path::Path, process::ExitCode};

use tests::harness::{self, report::Report};

use self::{gateway::Gateway, scene::Scene, transfer::Archive};

/// Where the expectations go.
type Screen = Report<std::io::Stdout>;

/// Programs that the demo needs in addition to the lab.
const PROGRAMS: [&str; 10] = [
    "nc",
    "unshare",
    "mount",
    "mount.nfs",
    "showmount",
    "rpcbind",
    "rpcinfo",
    "storescp",
    "echoscu",
    "sha256sum",
];

fn main() -> ExitCode {
    let open_only = std::env::args().skip(1).any(|word| word == "--open");
    let mut missing = harness::missing();
    missing.extend(harness::lacking(&PROGRAMS));
    if !missing.is_empty() {
        eprintln!("error: the demo needs: {}", missing.join(", "));
        eprintln!("hint: run `cargo xtask demo` as root: it installs the programs");
        return ExitCode::FAILURE;
    }
    let binary = std::env::var_os("ENFORCER_BIN").filter(|path| Path::new(path).is_file());
    let Some(binary) = binary else {
        eprintln!("error: the demo does not find the program: ENFORCER_BIN names no file");
        eprintln!("hint: run `cargo xtask demo`, which builds the program and names it");
        return ExitCode::FAILURE;
    };
    cleanup::on_signals();
    harness::mount_bpffs();

    let mut screen = Report::stdout();
    screen.step("A hospital on this machine, made of network namespaces");
    let scene = Scene::set();
    screen.note(scene::MAP);
    acts::open(&scene, &mut screen);
    if open_only {
        return screen.finish();
    }
    let archive = Archive::start(&scene.lab);
    let mut gateway = Gateway::new(&scene.lab.gw, binary);
    if acts::start(&scene, &mut gateway, &mut screen) {
        acts::blocked(&scene, &mut screen);
        acts::untouched(&scene, &mut screen);
        acts::seen(&gateway, &mut screen);
        acts::change(&scene, &gateway, &archive, &mut screen);
        acts::killed(&scene, &mut gateway, &mut screen);
    }
    acts::gone(&scene, gateway, &mut screen);
    screen.finish()
}
