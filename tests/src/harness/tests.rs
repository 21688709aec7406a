//! Tests of the lab itself, which every other test relies on.
use std::{path::Path, process::ExitCode, time::Duration};

use super::{
    Lab, Process, Sniffer, frames, mount_bpffs,
    programs::{self, Server},
    report::Report,
    topology::{
        CENTRAL, CENTRAL_V6, DEV1, DEV1_MAC, DEV2, GATEWAY_V6, HOSTILE, HOSTILE_HL7, LAN0_MAC,
        MONITOR, UPDATES, UPDATES_V6,
    },
};

#[test]
fn everybody_reaches_everybody() {
    let lab = Lab::gateway("reach");
    for address in [DEV2, CENTRAL, UPDATES, HOSTILE, GATEWAY_V6, CENTRAL_V6, UPDATES_V6] {
        assert!(programs::ping(&lab.dev1, address), "{address}");
    }
    assert!(programs::ping(&lab.central, DEV1));
    assert!(!programs::ping(&lab.dev1, "10.30.0.99"));
}

#[test]
fn curl_gets_an_answer_over_ipv4_and_ipv6() {
    let lab = Lab::gateway("curl");
    let server = Server::start(&lab.internet, "updates", &[80, 443], &[53]);
    let body = programs::curl(&lab.dev1, &format!("http://{UPDATES}:443/"));
    assert_eq!(body.stdout, "updates port 443\n", "{body:?}");
    let body = programs::curl(&lab.dev1, &format!("http://[{UPDATES_V6}]/"));
    assert_eq!(body.stdout, "updates port 80\n", "{body:?}");
    assert!(server.heard(&format!("tcp 443 {DEV1}")), "{:?}", server.calls());
    // The answer has to come from the queried address, or nc ignores it.
    assert_eq!(programs::say_udp(&lab.dev1, UPDATES, 53, "hello").stdout, "hello");
    assert_eq!(programs::say(&lab.dev2, UPDATES, 80, "hello").stdout, "hello");
    assert!(programs::connects(&lab.dev1, UPDATES, 443));
    assert!(!programs::connects(&lab.dev1, UPDATES, 444));
}

#[test]
fn lab_is_gone_after_drop() {
    let lab = Lab::gateway("drop");
    let monitor = lab.monitor();
    let server = Server::start(&lab.internet, "x", &[80], &[]);
    let paths = [lab.dev1.path(), lab.gw.path(), lab.internet.path(), monitor.path()];
    assert!(paths.iter().all(|path| path.exists()));
    drop((lab, monitor, server));
    assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");
}

#[test]
fn process_ends_with_its_value() {
    let lab = Lab::gateway("process");
    let process = lab.dev1.spawn("sleep", &["600"]);
    let proc = Path::new("/proc").join(process.pid().to_string());
    assert!(proc.exists());
    drop(process);
    assert!(!proc.exists());
    let ended = lab.dev1.spawn("sleep", &["600"]).terminate(Duration::from_secs(5));
    assert_eq!(ended.code, None);
    let ended =
        lab.dev1.run("sh", &["-c", "echo out; echo err >&2; exit 3"], super::wait::DEADLINE);
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(3), "out\n", "err\n")
    );
}

#[test]
fn what_a_process_started_ends_with_it() {
    let lab = Lab::gateway("group");
    let process = lab.dev1.spawn("sh", &["-c", "sleep 600 & echo $!; wait"]);
    let child = super::wait_until("the child's id", || {
        let id = process.stdout().trim().to_owned();
        (!id.is_empty()).then_some(id)
    });
    drop(process);
    let file = Path::new("/proc").join(child).join("cmdline");
    super::wait_until("the child ends", || {
        // An ended process has no entry, or is a zombie without a command line.
        let line = std::fs::read_to_string(&file).unwrap_or_default();
        (!line.contains("sleep")).then_some(())
    });
}

#[test]
fn monitor_leaks_through_proxy_arp() {
    let lab = Lab::gateway("monitor");
    let monitor = lab.monitor();
    let server = Server::start(&lab.internet, "cms", &[511, 515], &[]);
    assert_eq!(programs::say(&monitor, HOSTILE, 515, "patient").stdout, "patient");
    assert!(programs::connects(&monitor, HOSTILE_HL7, 511));
    assert!(server.heard(&format!("tcp 515 {MONITOR}")), "{:?}", server.calls());
}

#[test]
fn nfs_mount_gets_as_far_as_this_kernel_allows() {
    let lab = Lab::gateway("nfs");
    let monitor = lab.monitor();
    let sniffer = Sniffer::start(&lab.internet, "eth0");
    let server = programs::NfsServer::start(&lab.internet);
    assert!(programs::rpcinfo(&monitor, HOSTILE).stdout.contains("portmapper"));
    assert!(programs::showmount(&monitor, HOSTILE).stdout.contains("/pm"));
    assert!(!server.called_by(MONITOR));
    let mount = programs::mount_nfs(&monitor, HOSTILE, Duration::from_secs(5));
    assert!(server.called_by(MONITOR), "mount.nfs never came to port 2049: {mount:?}");
    // The question to the portmapper: where is program 100003, NFS?
    let asked = sniffer.saw(&100_003_u32.to_be_bytes(), Duration::from_secs(2));
    assert!(asked, "mount.nfs asked nobody for NFS: {mount:?}");
}

#[test]
fn nfs_mount_without_a_server_ends_by_its_deadline() {
    let lab = Lab::gateway("nonfs");
    let mount = programs::mount_nfs(&lab.dev1, HOSTILE, Duration::from_secs(1));
    assert!(!mount.success(), "{mount:?}");
}

#[test]
fn dicom_echo_is_answered() {
    let lab = Lab::gateway("dicom");
    let _server = programs::dicom_server(&lab.central, 11112);
    assert!(programs::dicom_echo(&lab.dev1, CENTRAL, 11112));
    assert!(!programs::dicom_echo(&lab.dev1, CENTRAL, 11113));
}

#[test]
fn raw_frame_crosses_the_gateway() {
    let lab = Lab::gateway("frame");
    let sniffer = Sniffer::start(&lab.internet, "eth0");
    // The gateway has to know the receiver's MAC before a frame without ARP crosses it.
    assert!(programs::ping(&lab.dev1, UPDATES));
    let datagram = frames::udp(40000, 9, b"marker-4711");
    let packet = frames::ipv4([10, 20, 0, 11], [198, 51, 100, 10], 17, &datagram);
    let frame = frames::ethernet(frames::mac(LAN0_MAC), frames::mac(DEV1_MAC), 0x0800, &packet);
    frames::send(&lab.dev1, "eth0", &frame);
    assert!(sniffer.saw(b"marker-4711", Duration::from_secs(2)));
    assert!(!sniffer.saw(b"marker-4712", Duration::from_millis(50)));
}

#[test]
fn bpffs_is_there() {
    mount_bpffs();
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("proc is mounted");
    assert!(mounts.contains(" /sys/fs/bpf bpf "));
}

#[test]
fn spawned_program_sees_bpffs() {
    mount_bpffs();
    let lab = Lab::gateway("bpffs");
    let kind = lab.gw.run_ok("stat", &["-f", "-c", "%T", "/sys/fs/bpf"]);
    assert_eq!(kind.trim(), "bpf_fs");
}

#[test]
fn report_fits_a_terminal_and_fails_when_one_thing_does() {
    let mut out = Vec::new();
    let mut report = Report::new(&mut out, false);
    report.step("a heading");
    report.note(&"x".repeat(200));
    assert!(report.expect("good", true));
    assert!(!report.expect(&"bad ".repeat(40), false));
    assert_eq!(report.finish(), ExitCode::FAILURE);
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("  ✓ good\n") && text.contains("1 as expected, 1 not"), "{text}");
}

#[test]
fn a_program_that_cannot_start_says_so() {
    let process = Process::spawn(std::process::Command::new("false"));
    assert_eq!(process.finish(Duration::from_secs(5)).code, Some(1));
}
