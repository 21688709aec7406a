//! The cost of frames towards devices on the transmit side, and of the answers to them.
//!
//! Each figure is the minimum of several runs of the kernel's test runner over one frame, above an empty program in the
//! same harness: the dispatcher of the transmit side without a generation.
use std::time::Duration;

use aya::programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use enforcer::{
    dataplane::{Dataplane, pins::Pins, programs::Options},
    policy::{compile, read},
};
use enforcer_testkit::{
    frames::{Ethernet, GATEWAY, Tcp, V4, ether_type, icmp, udp},
    random,
};
use tests::harness::{cpu, mount_bpffs};

use crate::{
    path::{
        candidates::{Kind, Yardstick},
        world::FRAME,
    },
    report::{Bound, Report},
};

const POLICY: &str = r#"schema = 1
[groups.accepting]
members = ["00:1b:44:11:3a:b7", "00:1b:44:12:00:00/40"]
accept = [{ from = "10.30.0.0/24", service = "tcp/22" }]
[groups.shut]
members = ["00:1b:44:11:3a:b8"]
inbound = "drop"
allow = [{ to = "10.30.0.0/24", service = ["tcp/443", "udp/514"] }]
refuse = [{ from = "any", service = "udp/2000-2100" }]
"#;

const ACCEPTING: [u8; 6] = [0, 0x1b, 0x44, 0x11, 0x3a, 0xb7];
const SHUT: [u8; 6] = [0, 0x1b, 0x44, 0x11, 0x3a, 0xb8];
const STRANGER: [u8; 6] = [0, 0x1b, 0x44, 0x11, 0x3a, 0xb9];
const OWN: u32 = 0x0a14_000c;
const PEER: u32 = 0x0a1e_000a;
/// Runs of a frame in one measurement, and measurements.
const REPEAT: u32 = 1 << 18;
const ROUNDS: usize = 15;

/// Measures and reports.
pub(crate) fn run(report: &mut Report) {
    let cpus = crate::cpus();
    cpu::keep_on(cpus - 1..cpus);
    mount_bpffs();
    let root = format!("/sys/fs/bpf/enforcer-transmit-{}", std::process::id());
    let (policy, problems) = read("transmit.toml", POLICY, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    let image = compile(&policy, &random::host()).expect("it compiles").image;
    let pins = Pins::open(root.as_ref()).expect("a directory for pins");
    let mut dataplane = Dataplane::open(pins, &image, Options::default()).expect("it loads");
    let dir = dataplane.pins().generation(dataplane.current().number);
    let send = SchedClassifier::from_pin(dir.join("send")).expect("it is pinned");
    let receive = dataplane.dispatcher().expect("it is loaded");
    let receiver = receive.fd().expect("it is loaded").try_clone().expect("a descriptor");

    let towards = |device, protocol, payload: &[u8]| {
        let packet = V4::new(PEER, OWN, protocol).packet(payload);
        Ethernet::new(GATEWAY).to(device).frame(ether_type::IPV4, &packet)
    };
    let from = |device, protocol, payload: &[u8]| {
        let packet = V4::new(OWN, PEER, protocol).packet(payload);
        Ethernet::new(device).to(GATEWAY).frame(ether_type::IPV4, &packet)
    };
    let segment = |source, to, flags| Tcp { source, flags, ..Tcp::new(to) }.segment(&[0; 64]);
    let question = towards(ACCEPTING, 6, &segment(40_000, 22, 2));
    let data = towards(ACCEPTING, 6, &segment(40_000, 22, 16));
    let asks = from(SHUT, 17, &udp(3_000, 514, &[0; 64]));
    let sent = [
        ("to a device of no group", towards(STRANGER, 6, &segment(443, 40_000, 16))),
        ("of a session that is known", data),
        ("asked for, TCP", towards(SHUT, 6, &segment(443, 40_000, 16))),
        ("asked for, UDP", towards(SHUT, 17, &udp(514, 3_000, &[0; 64]))),
        ("refused by a rule", towards(SHUT, 17, &udp(9, 2_000, &[0; 64]))),
        ("dropped by `inbound`", towards(SHUT, 1, &icmp(8, 0, &[0; 64]))),
    ];
    let received = [
        ("an allowed segment, cached", from(SHUT, 6, &segment(40_000, 443, 16))),
        ("an answer", from(ACCEPTING, 6, &segment(22, 40_000, 16))),
        ("a datagram that asks, noted", asks.clone()),
    ];
    // So that there is something to answer.
    let _ = time(&send, &question, 1);
    let _ = time(receive, &asks, 1);
    let empty = least(&send, &towards([0xff; 6], 6, &segment(9, 9, 16)));
    let row = |side: &str, (what, net): (&str, f64)| {
        vec![side.to_owned(), what.to_owned(), format!("{net:.0}")]
    };
    let mut rows = Vec::new();
    let mut figures = Vec::new();
    for (what, frame) in &sent {
        let gross = least(&send, frame);
        figures.push((*what, gross));
        rows.push(row("transmit", (what, gross)));
    }
    for (what, frame) in &received {
        let gross = least(receive, frame);
        figures.push((*what, gross));
        rows.push(row("receive", (what, gross)));
    }
    let title =
        "Frames towards devices, and what answers them: nanoseconds, one flow, harness included";
    report.table(title, &["side", "frame", "ns"], &rows);
    let of = |what: &str| {
        let found = figures.iter().find(|(known, _)| *known == what);
        found.map_or(f64::NAN, |(_, gross)| *gross)
    };
    let net = of("of a session that is known") - empty.min(of("to a device of no group"));
    report.line(&format!("A broadcast frame, of which nothing is judged: {empty:.0} ns."));
    let target =
        "ns for a frame of a known session on the transmit side, above one that is not judged";
    report.target(target, net, Bound::AtMost(80.0), " ns");
    let target = "ns for an answer, one session";
    report.target(target, of("an answer"), Bound::AtMost(30.0), " ns");
    let net = many(&send, &receiver);
    let target = "ns for an answer of 4,096 sessions, above an empty program";
    report.target(target, net, Bound::AtMost(60.0), " ns");
    dataplane.detach().expect("it goes");
    let _ = std::fs::remove_dir(&root);
    cpu::keep_on(0..cpus);
}

/// Devices with sessions, and sessions of each: half of what one device has room for.
const DEVICES: u8 = 16;
const SESSIONS: u16 = 256;

/// The least time of an answer of many sessions, in nanoseconds above an empty program.
fn many(send: &SchedClassifier, receiver: &ProgramFd) -> f64 {
    let mut frames = Vec::new();
    for device in 0..DEVICES {
        let (mac, own) = ([0, 0x1b, 0x44, 0x12, 0, device], OWN + 1 + u32::from(device));
        for port in 40_000..40_000 + SESSIONS {
            let segment = Tcp { source: port, flags: 2, ..Tcp::new(22) }.segment(&[]);
            let packet = V4::new(PEER, own, 6).packet(&segment);
            let _ = time(send, &Ethernet::new(GATEWAY).to(mac).frame(ether_type::IPV4, &packet), 1);
            let payload = [0; FRAME - 14 - 20 - 20];
            let segment = Tcp { source: 22, flags: 16, ..Tcp::new(port) }.segment(&payload);
            let packet = V4::new(own, PEER, 6).packet(&segment);
            frames.push(Ethernet::new(mac).to(GATEWAY).frame(ether_type::IPV4, &packet));
        }
    }
    let mut yardstick = Yardstick::load(frames.len() as u32, None);
    yardstick.lay(&frames);
    let empty = yardstick.descriptor("empty");
    let mut least = |program, action| {
        yardstick.aim(Kind::Fragments, program);
        let rounds = (0..=ROUNDS).map(|_| {
            let (time, last) = yardstick.run(Kind::Fragments, REPEAT);
            assert_eq!(last, action, "the verdict on the last frame");
            time.as_nanos() as f64
        });
        rounds.fold(f64::INFINITY, f64::min)
    };
    let (pass, drop) = (2, 1);
    least(receiver, pass) - least(&empty, drop)
}

/// The least time of a run, in nanoseconds.
fn least<P: Runs>(program: &P, frame: &[u8]) -> f64 {
    let rounds = (0..ROUNDS).map(|_| time(program, frame, REPEAT));
    rounds.map(|time| time.as_nanos() as f64).fold(f64::INFINITY, f64::min)
}

fn time<P: Runs>(program: &P, frame: &[u8], repeat: u32) -> Duration {
    program.run(TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() })
}

/// A program that the kernel can run on a frame.
trait Runs {
    /// The mean time of a run.
    fn run(&self, options: TestRunOptions<'_>) -> Duration;
}

impl Runs for SchedClassifier {
    fn run(&self, options: TestRunOptions<'_>) -> Duration {
        self.test_run(options).expect("it runs").duration
    }
}

impl Runs for Xdp {
    fn run(&self, options: TestRunOptions<'_>) -> Duration {
        self.test_run(options).expect("it runs").duration
    }
}
