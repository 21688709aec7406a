//! Frames a second over a native veth, and the latency of a request through a gateway.
//!
//! - `policy`: one policy for enforcer, nftables and xdp-filter, and frames for it
//! - `latency`: the latency of a request
//!
//! Live test runs generate the frames (see `harness::live`), and the receiver runs in the softirq of the
//! generating CPU: times include both.
mod latency;
mod policy;

use std::os::fd::OwnedFd;

use tests::harness::{
    Daemon, Netns, Process, bpf, cpu, live::Generator, programs::settle, topology,
};

use self::policy::{Frame, Policy};
use crate::{
    measure::Spread,
    report::{Bound, Report},
};

/// Times that each is measured, in turn.
const ROUNDS: usize = 11;
/// Frames of one measurement; a whole number of tables.
const COUNT: u32 = 1 << 19;
/// The share of frames that may deviate from the expectation.
const STRAY: f64 = 0.01;

/// Kinds of frames, and the share of them that has to pass.
const LOADS: [(&str, &[Frame], f64); 4] = [
    ("all pass", &[Frame::Allowed], 1.0),
    ("all dropped, by destination", &[Frame::Elsewhere], 0.0),
    ("all dropped, by device", &[Frame::Stranger], 0.0),
    ("half of them dropped, by device", &[Frame::Allowed, Frame::Stranger], 0.5),
];
const BY_DESTINATION: usize = 1;
/// Receivers, and the loads that they support.
const RECEIVERS: [(&str, [bool; 4]); 6] = [
    ("none: made and dropped, no veth", [true, false, false, false]),
    ("empty XDP_PASS", [true, false, false, false]),
    ("empty XDP_DROP", [false, true, false, false]),
    ("enforcer", [true; 4]),
    // It does not support prefixes.
    ("xdp-filter (MACs alone)", [true, false, true, true]),
    ("nftables, netdev ingress", [true; 4]),
];
/// Indices in that list.
const NONE: usize = 0;
const PASS: usize = 1;
const DROP: usize = 2;
const ENFORCER: usize = 3;
const XDP_FILTER: usize = 4;
const NFTABLES: usize = 5;

/// Results of a pair of load and receiver.
#[derive(Clone, Default)]
struct Found {
    /// Nanoseconds for each frame that has arrived.
    times: Vec<f64>,
    /// The share of frames that have arrived.
    arrived: Vec<f64>,
}

/// Measures and prints.
pub(crate) fn run(report: &mut Report) {
    let cpus = crate::cpus();
    if cpus > 1 {
        // Keep the daemon's work off the receiver's CPU.
        cpu::keep_on(1..cpus);
    }
    frames(report);
    cpu::keep_on(0..cpus);
    latency::run(report);
}

fn frames(report: &mut Report) {
    let prefix = topology::prefix("wire");
    let source = Netns::create(&format!("{prefix}-source"));
    source.sysctl("ipv6/conf/all/disable_ipv6", "1");
    let pairs: Vec<(usize, usize)> = (0..LOADS.len())
        .flat_map(|load| (0..RECEIVERS.len()).map(move |receiver| (load, receiver)))
        .filter(|&(load, receiver)| RECEIVERS[receiver].1[load])
        .collect();
    // Each load has its own gateways, so that caches and budgets of another load do not interfere.
    let receivers: Vec<Netns> = (0..pairs.len()).map(|n| receiver(&prefix, &source, n)).collect();
    let policy = Policy::with("02:64:00:00:ff:ff", 0xc633_640a);
    let places = pairs.iter().zip(&receivers);
    let _judges: Vec<_> =
        places.map(|(&(_, receiver), netns)| Judge::start(&policy, netns, receiver)).collect();
    let generators = pairs.iter().enumerate().map(|(n, &(load, receiver))| {
        let index = (receiver != NONE).then(|| source.index(&format!("to{n}")));
        Generator::load(&policy.frames(LOADS[load].1), index)
    });
    let generators: Vec<_> = generators.collect();
    let mut found = vec![Found::default(); pairs.len()];
    for _ in 0..ROUNDS {
        let places = pairs.iter().zip(&receivers).zip(&generators);
        for (((&(load, receiver), netns), generator), found) in places.zip(&mut found) {
            let before = counted(netns);
            let seconds = send(&source, generator);
            let after = counted(netns);
            let [arrived, passed] = [0, 1].map(|n| after[n] - before[n]);
            let (name, share) = (RECEIVERS[receiver].0, LOADS[load].2);
            let right = receiver == NONE || (passed / arrived - share).abs() < STRAY;
            assert!(right, "{name}: {passed} of {arrived} frames passed, {share} of them should");
            let arrived = if receiver == NONE { f64::from(COUNT) } else { arrived };
            found.arrived.push(arrived / f64::from(COUNT));
            found.times.push(seconds * 1e9 / arrived);
        }
    }
    print(report, &pairs, &found);
}

/// The filter of one gateway, active while it is not dropped.
enum Judge<'a> {
    Nobody,
    Empty { _link: OwnedFd },
    Enforcer { _daemon: Daemon<'a> },
    XdpFilter { _process: Process },
}

impl<'a> Judge<'a> {
    fn start(policy: &Policy, netns: &'a Netns, receiver: usize) -> Self {
        match receiver {
            PASS => Self::Empty { _link: empty(netns, 2) },
            DROP => Self::Empty { _link: empty(netns, 1) },
            ENFORCER => Self::Enforcer { _daemon: policy.enforcer(netns) },
            XDP_FILTER => Self::XdpFilter { _process: policy.xdp_filter(netns) },
            NFTABLES => {
                policy.nftables(netns);
                // Without XDP, a veth accepts frames only with GRO; XDP turns it on by itself.
                netns.run_ok("ethtool", &["-K", "lan0", "gro", "on"]);
                Self::Nobody
            }
            _ => Self::Nobody,
        }
    }
}

/// A namespace with an interface `lan0`, and `to…` of the source at its other end. For all receivers,
/// frames that pass are counted and dropped in the last hook of netdev ingress.
fn receiver(prefix: &str, source: &Netns, number: usize) -> Netns {
    let netns = Netns::create(&format!("{prefix}-{number}"));
    // No frames of its own.
    netns.sysctl("ipv6/conf/all/disable_ipv6", "1");
    let near = format!("to{number}");
    source.veth((&near, "02:00:00:20:ff:01"), &netns, ("lan0", topology::LAN0_MAC));
    policy::nft(
        &netns,
        "table netdev after { counter passed { }\n\
         chain last { type filter hook ingress device \"lan0\" priority 500; counter name passed drop\n}\n}\n",
    );
    netns
}

/// Attaches a program that returns a verdict and does nothing.
fn empty(netns: &Netns, verdict: u32) -> OwnedFd {
    let program = bpf::load_code(bpf::XDP, "empty", bpf::ATTACH_XDP, &bpf::returns(verdict));
    let index = netns.index("lan0");
    netns.enter(|| bpf::link(&program, index, bpf::ATTACH_XDP))
}

/// Sends all frames from CPU 0; seconds.
fn send(source: &Netns, generator: &Generator) -> f64 {
    let time = source.enter(|| {
        cpu::keep_on(0..1);
        generator.send(COUNT)
    });
    settle();
    time.as_secs_f64()
}

/// Frames that its veth accepted, and those of them that passed the filter.
fn counted(netns: &Netns) -> [f64; 2] {
    let number = |text: &str| text.trim().parse::<f64>().expect("a number");
    let taken = netns.run_ok("ethtool", &["-S", "lan0"]);
    let taken = taken.lines().filter_map(|line| line.trim().strip_prefix("rx_queue_"));
    let taken = taken.filter_map(|line| line.split_once("_xdp_packets:")).map(|(_, n)| number(n));
    let passed = netns.run_ok("nft", &["list", "counter", "netdev", "after", "passed"]);
    let passed = passed.split_once("packets ").and_then(|(_, rest)| rest.split_once(' '));
    [taken.sum(), passed.map_or(0.0, |(n, _)| number(n))]
}

/// One row per pair, and the targets.
fn print(report: &mut Report, pairs: &[(usize, usize)], found: &[Found]) {
    let at = |load, receiver| {
        let place = pairs.iter().position(|&pair| pair == (load, receiver));
        &found[place.expect("it was measured")]
    };
    let row = |(&(load, receiver), found): (&(usize, usize), &Found)| {
        // Loads that drop everything are compared with the empty dropping program, all others with
        // the passing one.
        let empty = if LOADS[load].2 == 0.0 { at(BY_DESTINATION, DROP) } else { at(0, PASS) };
        let Spread { median, least, most, .. } = Spread::of(found.times.clone());
        let above = match receiver {
            ENFORCER | XDP_FILTER | NFTABLES if LOADS[load].2 != 0.5 => {
                format!("{:+.1}", least - Spread::of(empty.times.clone()).least)
            }
            _ => String::new(),
        };
        let lost = 1.0 - found.arrived.iter().sum::<f64>() / found.arrived.len() as f64;
        vec![
            format!("{}: {}", LOADS[load].0, RECEIVERS[receiver].0),
            format!("{least:.1}"),
            format!("{median:.1}"),
            format!("{:.0} %", (most - least) / median * 100.0),
            format!("{:.2}", 1e3 / median),
            above,
            format!("{:.1} %", lost * 100.0),
        ]
    };
    let rows: Vec<_> = pairs.iter().zip(found).map(row).collect();
    let header = [
        "load: receiver",
        "ns a frame, least",
        "median",
        "spread",
        "million a second, median",
        "ns above the empty program, least",
        "lost",
    ];
    let title = format!(
        "Frames over a native veth, made and received on one CPU: {} flows of 1,000 MACs, {ROUNDS} rounds \
         of {COUNT} frames",
        policy::FLOWS
    );
    report.table(&title, &header, &rows);
    let enforcer = at(BY_DESTINATION, ENFORCER);
    for (against, bound, name) in [
        (DROP, 0.9, "an empty XDP_DROP"),
        (NFTABLES, 4.0, "nftables in netdev ingress with 1,000 MACs and 100,000 prefixes"),
    ] {
        let what = format!("frames a second over a native veth, all dropped, against {name}");
        let rounds = at(BY_DESTINATION, against).times.iter().zip(&enforcer.times);
        let ratios = Spread::of(rounds.map(|(other, own)| other / own).collect());
        report.target(&what, ratios.median, Bound::AtLeast(bound), " ×");
    }
}
