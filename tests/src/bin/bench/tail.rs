//! Frames per second while all are dropped, with and without following terminals.
//!
//! The sender, and with it the XDP program, runs on CPU 0; the daemon and the terminals have the
//! others, as on a gateway whose receive queues have dedicated CPUs. On shared CPUs this would measure
//! the scheduler.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use enforcer_testkit::frames::{Ethernet, V4, ether_type, udp};
use tests::harness::{
    Daemon, Lab, cpu,
    frames::{Sender, mac},
    tail::Tail,
    topology::{DEV1_MAC, DEV2_MAC, LAN0_MAC},
    wait::pause,
};

use crate::{
    measure::Spread,
    report::{Bound, Report},
};

/// Terminals that follow; the last one is stopped.
const TAILS: usize = 10;
/// Times that each is measured, in turn.
const ROUNDS: usize = 10;
/// How long.
const TIME: Duration = Duration::from_secs(2);
/// Warm-up, so that queues and caches reach their steady state.
const BEFORE: Duration = Duration::from_millis(500);
/// Frames that are sent at a time.
const BATCH: u32 = 64;

/// Measures and prints.
pub(crate) fn run(report: &mut Report) {
    let cpus = crate::cpus();
    if cpus < 2 {
        report.line("Frames dropped a second: not measured, it takes two CPUs.");
        return;
    }
    cpu::keep_on(1..cpus);
    let lab = Lab::gateway("bench-tail");
    let policy = "schema = 1\n[unknown]\ndefault = \"drop\"\n";
    let daemon = Daemon::start(&lab.gw, &["lan0"], policy);
    let (mut none, mut ten) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        none.push(rate(&lab, &daemon));
        let tails: Vec<Tail> = (0..TAILS).map(|_| daemon.tail(&[])).collect();
        tails[TAILS - 1].process().signal(libc::SIGSTOP);
        ten.push(rate(&lab, &daemon));
    }
    let [(none, first), (ten, second)] = [("without terminals", none), ("with ten of them", ten)]
        .map(|(what, rates)| row(what, rates));
    let title = "Frames dropped a second, two devices on CPU 0, every frame to another destination";
    report.table(title, &["frames a second", "median", "least", "most"], &[first, second]);
    let what = "frames a second while every frame is a drop, ten terminals against none";
    report.target(what, ten / none, Bound::AtLeast(0.9), " ×");
    cpu::keep_on(0..cpus);
}

/// Drops a second, as the kernel counts them.
fn rate(lab: &Lab, daemon: &Daemon<'_>) -> f64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (netns, from) in [(&lab.dev1, DEV1_MAC), (&lab.dev2, DEV2_MAC)] {
            let (sender, batches, over) = (Sender::open(netns, "eth0"), batches(from), &over);
            scope.spawn(move || {
                cpu::keep_on(0..1);
                for batch in batches.iter().cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
                    sender.send(batch);
                }
            });
        }
        let dropped = || daemon.reason("unknown-device", "frames");
        pause(BEFORE);
        let (begun, before) = (Instant::now(), dropped());
        pause(TIME);
        let rate = (dropped() - before) as f64 / begun.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        rate
    })
}

fn batches(from: &str) -> Vec<Vec<Vec<u8>>> {
    let ethernet = Ethernet::new(mac(from)).to(mac(LAN0_MAC));
    let frame = |n: u32| {
        let packet = V4::new(0x0a14_000b, 0xcb00_7100 + n, 17).packet(&udp(40_000, 9, b"bench"));
        ethernet.frame(ether_type::IPV4, &packet)
    };
    (0..64).map(|batch| (0..BATCH).map(|n| frame(batch * BATCH + n)).collect()).collect()
}

/// The median, and a row with it.
fn row(what: &str, rates: Vec<f64>) -> (f64, Vec<String>) {
    let Spread { median, least, most, .. } = Spread::of(rates);
    let figures = [median, least, most].map(|rate| format!("{rate:.0}"));
    (median, [vec![what.to_owned()], figures.to_vec()].concat())
}
