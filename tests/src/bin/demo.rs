//! The main job, live, in a namespace lab; `cargo xtask demo` builds and runs it.
//!
//! The scene (the lab, its servers, what the device does) is separate from the acts (what is expected):
//! the first act has nothing enforced and shows what leaks.
use std::{process::ExitCode, time::Duration};

use tests::harness::{
    self, Lab, Netns, Process,
    programs::{self, NfsServer, Server},
    report::Report,
    topology::{CENTRAL, HOSTILE, HOSTILE_HL7, MONITOR, UPDATES},
};

type Screen = Report<std::io::Stdout>;

fn main() -> ExitCode {
    let missing = harness::missing();
    if !missing.is_empty() {
        eprintln!("error: the demo needs: {}", missing.join(", "));
        eprintln!("hint: run `cargo xtask setup --test`, and the demo as root");
        return ExitCode::FAILURE;
    }
    let mut screen = Report::stdout();
    screen.step("A hospital on this machine: two devices, a gateway, a central station");
    let scene = Scene::set();
    screen.note("CMS8000 202.114.4.20 ── lan0 gateway wan0 ── 202.114.4.119, .120");
    open(&scene, &mut screen);
    screen.finish()
}

/// The lab with everybody at work.
struct Scene {
    monitor: Netns,
    internet: Server,
    central: Server,
    nfs: NfsServer,
    _dicom: Process,
    lab: Lab,
}

impl Scene {
    fn set() -> Self {
        let lab = Lab::gateway("demo");
        let monitor = lab.monitor();
        let vendor = [80, 443, 511, 515, 516, 517, 518, 519, 520];
        let internet = Server::start(&lab.internet, "internet", &vendor, &[53]);
        let central = Server::start(&lab.central, "central", &[515, 8000], &[]);
        let nfs = NfsServer::start(&lab.internet);
        let dicom = programs::dicom_server(&lab.central, 11112);
        Self { monitor, internet, central, nfs, _dicom: dicom, lab }
    }
}

/// What the devices do for the patient, and what they must go on doing under any policy.
fn good(scene: &Scene, screen: &mut Screen) {
    let lab = &scene.lab;
    let answer = programs::say(&lab.dev1, CENTRAL, 515, "heart rate 72").stdout;
    screen.expect("vital signs reach the central station (tcp/515)", answer == "heart rate 72");
    let heard = scene.central.heard("tcp 515 10.20.0.11");
    screen.expect("the central station knows them by the device's address", heard);
    let echo = programs::dicom_echo(&lab.dev1, CENTRAL, 11112);
    screen.expect("a DICOM C-ECHO is answered (echoscu)", echo);
    let update = programs::curl(&lab.dev2, &format!("http://{UPDATES}:443/"));
    screen.expect("the vendor's update server answers (curl, tcp/443)", update.success());
}

/// What the monitor does by itself; one line for each way out, true when it got out.
fn bad(scene: &Scene) -> [(&'static str, bool); 4] {
    let monitor = &scene.monitor;
    // Without an NFS client in the kernel it fails after the server's answers; what counts is the call.
    programs::mount_nfs(monitor, HOSTILE, Duration::from_secs(4));
    let mounts = scene.nfs.called_by(MONITOR);
    let exports = programs::showmount(monitor, HOSTILE).stdout.contains("/pm");
    let patient = programs::say(monitor, HOSTILE, 515, "name, birth date, doctor");
    [
        ("its NFS exports are listed (showmount -e 202.114.4.119)", exports),
        ("mount -o nolock,vers=3 -t nfs 202.114.4.119:/pm calls the NFS server", mounts),
        ("patient data goes to 202.114.4.119 (tcp/515)", !patient.stdout.is_empty()),
        ("HL7 goes to 202.114.4.120 (tcp/511)", programs::connects(monitor, HOSTILE_HL7, 511)),
    ]
}

/// The first act: nothing is enforced.
fn open(scene: &Scene, screen: &mut Screen) {
    screen.step("Without enforcer: the hospital works");
    good(scene, screen);
    screen.step("Without enforcer: the monitor talks to its hard-coded addresses");
    for (what, leaks) in bad(scene) {
        screen.expect(what, leaks);
    }
    let calls = scene.internet.calls();
    let seen = calls.iter().filter(|call| call.contains(" 202.114.4.20")).count();
    screen.expect("the servers outside saw the monitor's own address", seen > 0);
}
