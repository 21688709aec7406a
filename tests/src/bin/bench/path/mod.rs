//! The cost of a frame, by policy size and flows.
//!
//! Each frame comes from a table: a small program copies it over the frame of the test run and calls
//! the program under test. All programs take turns; the figure is the minimum of all rounds, above an
//! empty program in the same harness.
pub(crate) mod candidates;
pub(crate) mod world;

use aya::programs::ProgramFd;
use enforcer::dataplane::{Dataplane, pins::Pins, programs::Options};
use enforcer_testkit::random::Random;
use tests::harness::{cpu, mount_bpffs};

use self::{
    candidates::{Kind, XdpFilter, Yardstick},
    world::{DEVICES, FEW, World},
};
use crate::{
    MILLION,
    measure::Spread,
    report::{Bound, Curve, Report, Series},
};

/// Prefixes in a policy.
const SIZES: [usize; 5] = [10, 1_000, 10_000, 100_000, MILLION];
/// Frames in the table, at most.
const FRAMES: usize = 1 << 18;
/// Rounds in which each program runs once.
const ROUNDS: usize = 15;
/// Names of xdp-filter's programs: all features, and only MAC addresses.
const XDP_FILTERS: [(&str, &str, u32); 2] =
    [("xdp-filter, all", "xdpfilt_alw_all", 500_000), ("xdp-filter, MAC", "xdpfilt_dny_eth", 0)];

/// What is replayed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flows {
    One,
    Few,
    Even,
    Stray,
}

impl Flows {
    const ALL: [Self; 4] = [Self::One, Self::Few, Self::Even, Self::Stray];

    fn name(self) -> &'static str {
        match self {
            Self::One => "one flow",
            Self::Few => "4,096 flows of 1,000 devices",
            Self::Even => "even, 100,000 devices",
            Self::Stray => "to where no rule points",
        }
    }

    fn frames(self, world: &World) -> Vec<Vec<u8>> {
        let mut random = Random::new(7);
        let (count, devices) = match self {
            Self::One => (1, 1),
            Self::Few => (4_096, FEW),
            Self::Even | Self::Stray => (FRAMES, DEVICES),
        };
        let frame = |_| {
            let device = random.below(u64::from(devices)) as u32;
            match self {
                Self::Stray => world.stray(device, &mut random),
                Self::One | Self::Few | Self::Even => world.frame(device, &mut random),
            }
        };
        (0..count).map(frame).collect()
    }

    /// Whether xdp-filter is measured: it has entries only for a few devices.
    fn is_for_filters(self) -> bool {
        matches!(self, Self::One | Self::Few)
    }

    fn repeat(self) -> u32 {
        match self {
            Self::One | Self::Few => 1 << 17,
            Self::Even | Self::Stray => 1 << 18,
        }
    }
}

/// A program and the times of its rounds, in nanoseconds.
struct Candidate {
    name: &'static str,
    kind: Kind,
    program: ProgramFd,
    rounds: Vec<f64>,
}

impl Candidate {
    fn new(name: &'static str, kind: Kind, program: ProgramFd) -> Self {
        Self { name, kind, program, rounds: Vec::new() }
    }
}

/// A figure: family, size, flows, program, nanoseconds above an empty program.
struct Point {
    v6: bool,
    size: usize,
    flows: Flows,
    program: &'static str,
    net: f64,
}

/// Measures and reports.
pub(crate) fn run(report: &mut Report) {
    let cpus = crate::cpus();
    cpu::keep_on(cpus - 1..cpus);
    mount_bpffs();
    let root = format!("/sys/fs/bpf/enforcer-bench-{}", std::process::id());
    let mut points = Vec::new();
    let filter = |(name, object, first)| Some((name, XdpFilter::load(object, first)?));
    let mut filters: Vec<_> = XDP_FILTERS.into_iter().filter_map(filter).collect();
    let sizes: Vec<usize> = match std::env::var("ENFORCER_BENCH_PREFIXES") {
        Ok(only) => vec![only.parse().expect("a number of prefixes")],
        Err(_) => SIZES.to_vec(),
    };
    for v6 in [false, true] {
        for &size in &sizes {
            let world = World::new(v6, size);
            let pins = Pins::open(root.as_ref()).expect("a directory for pins");
            let mut dataplane =
                Dataplane::open(pins, &world.image(), Options::default()).expect("it loads");
            let mut yardstick = Yardstick::load(FRAMES as u32, Some(&world));
            for flows in Flows::ALL {
                yardstick.lay(&flows.frames(&world));
                let filters = if flows.is_for_filters() { filters.as_mut_slice() } else { &mut [] };
                let at = (v6, size, flows);
                measure(&mut dataplane, &mut yardstick, filters, at, &mut points);
            }
            dataplane.detach().expect("it goes");
        }
    }
    let _ = std::fs::remove_dir(&root);
    cpu::keep_on(0..cpus);
    tables(report, &points, &sizes);
    targets(report, &points);
    curves(report, &points, &sizes);
}

fn measure(
    dataplane: &mut Dataplane,
    yardstick: &mut Yardstick,
    filters: &mut [(&'static str, XdpFilter)],
    (v6, size, flows): (bool, usize, Flows),
    points: &mut Vec<Point>,
) {
    let ours = dataplane.dispatcher().unwrap().fd().unwrap().try_clone().unwrap();
    let mut candidates = vec![
        Candidate::new("empty", Kind::Fragments, yardstick.descriptor("empty")),
        Candidate::new("empty", Kind::Linear, yardstick.descriptor("empty_linear")),
        Candidate::new("enforcer", Kind::Fragments, ours),
        Candidate::new("hash + LPM", Kind::Fragments, yardstick.descriptor("plain")),
    ];
    candidates.extend(
        filters
            .iter_mut()
            .map(|(name, filter)| Candidate::new(name, Kind::Linear, filter.descriptor())),
    );
    for round in 0..=ROUNDS {
        for candidate in &mut candidates {
            yardstick.aim(candidate.kind, &candidate.program);
            let (time, action) = yardstick.run(candidate.kind, flows.repeat());
            dataplane.drain_events().expect("the ring is there");
            expect(candidate.name, flows, action);
            // The first one fills caches.
            if round > 0 {
                candidate.rounds.push(time.as_secs_f64() * 1e9);
            }
        }
    }
    let spread = |candidate: &Candidate| Spread::of(candidate.rounds.clone());
    let empty = [&candidates[0], &candidates[1]].map(|empty| spread(empty).least);
    for candidate in &candidates[2..] {
        let empty = empty[usize::from(candidate.kind == Kind::Linear)];
        let Spread { least, median, most_of: high, .. } = spread(candidate);
        let net = least - empty;
        println!(
            "{} {size:>9} {:<30} {:<16} net {net:>5.0}, gross {least:>5.0}, median {median:>5.0}, 90 % {high:>5.0}",
            family(v6),
            flows.name(),
            candidate.name,
        );
        points.push(Point { v6, size, flows, program: candidate.name, net });
    }
}

/// Checks the verdict: the speed of a wrong program is meaningless.
#[track_caller]
fn expect(name: &str, flows: Flows, action: u32) {
    const DROP: u32 = 1;
    const PASS: u32 = 2;
    let expected = match (name, flows) {
        ("empty", _) | (_, Flows::Stray) => DROP,
        _ => PASS,
    };
    // With real prefixes, a longer one hides a shorter one in a trie, and a stray destination may
    // match.
    if flows.is_for_filters() && name != "hash + LPM" {
        assert_eq!(action, expected, "{name}, {}", flows.name());
    }
}

fn find(points: &[Point], v6: bool, size: usize, flows: Flows, program: &str) -> Option<f64> {
    let is = |point: &&Point| {
        (point.v6, point.size, point.program) == (v6, size, program) && point.flows == flows
    };
    points.iter().find(is).map(|point| point.net)
}

fn family(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

const PROGRAMS: [&str; 4] = ["enforcer", "hash + LPM", XDP_FILTERS[0].0, XDP_FILTERS[1].0];

fn tables(report: &mut Report, points: &[Point], sizes: &[usize]) {
    for v6 in [false, true] {
        let mut rows = Vec::new();
        for flows in Flows::ALL {
            for &size in sizes {
                let mut row = vec![flows.name().to_owned(), size.to_string()];
                row.extend(PROGRAMS.map(|program| {
                    let net = find(points, v6, size, flows, program);
                    net.map_or_else(|| "-".to_owned(), |net| format!("{net:.0}"))
                }));
                rows.push(row);
            }
        }
        let family = family(v6);
        let title = format!("{family}: nanoseconds a frame above an empty program");
        let header: Vec<&str> = ["flows", "prefixes"].into_iter().chain(PROGRAMS).collect();
        report.table(&title, &header, &rows);
    }
}

fn targets(report: &mut Report, points: &[Point]) {
    for v6 in [false, true] {
        let family = family(v6);
        let mut ratio = |what: &str, (size, flows), other: (usize, &str), bound| {
            let ours = find(points, v6, size, flows, "enforcer");
            let theirs = find(points, v6, other.0, flows, other.1);
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                let what = format!("{family}, {what}");
                report.target(&what, ours / theirs, Bound::AtMost(bound), " ×");
            }
        };
        let filter = XDP_FILTERS[0].0;
        ratio("one flow, to xdp-filter", (1_000, Flows::One), (1_000, filter), 0.6);
        let few = (MILLION, Flows::Few);
        ratio("4,096 flows, 1,000,000 prefixes, to xdp-filter", few, (MILLION, filter), 0.8);
        ratio("the same to 1,000 prefixes", few, (1_000, "enforcer"), 2.0);
        let plain = (MILLION, "hash + LPM");
        ratio("even flows, to hash + LPM", (MILLION, Flows::Even), plain, 0.2);
        ratio("no rule, to hash + LPM", (MILLION, Flows::Stray), plain, 0.2);
    }
}

fn curves(report: &mut Report, points: &[Point], sizes: &[usize]) {
    for (file, v6, flows) in [
        ("few-v4", false, Flows::Few),
        ("even-v4", false, Flows::Even),
        ("stray-v4", false, Flows::Stray),
        ("even-v6", true, Flows::Even),
    ] {
        let line = |program: &&str| -> Option<Series> {
            let at = |&size: &usize| Some((size as f64, find(points, v6, size, flows, program)?));
            let line: Vec<_> = sizes.iter().filter_map(at).collect();
            (!line.is_empty()).then(|| ((*program).to_owned(), line))
        };
        report.curve(Curve {
            file,
            title: format!("{}, {}", family(v6), flows.name()),
            abscissa: "prefixes",
            ordinate: "ns a frame above an empty program",
            series: PROGRAMS.iter().filter_map(line).collect(),
        });
    }
}
