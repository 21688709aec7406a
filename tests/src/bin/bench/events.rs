//! The cost of a drop with and without its event.
//!
//! The harness of `path`: frames from a table, nanoseconds above an empty program. Budgets cannot be
//! turned off. Before a run whose events are to be sent, the tables of budgets and flows are
//! emptied, so that each frame finds a token. Before other runs, other frames use up the tokens, or
//! the same flows are reported. The counts afterwards must match the row.
use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use aya::maps::{Array, Map, MapData};
use enforcer::{
    dataplane::{Dataplane, events::Reader, pins::Pins, programs::Options},
    policy::{Mac, compile, read},
};
use enforcer_common::{
    abi::{self, Budget, map},
    event,
    keyed::Keys,
    reason::Verdict,
};
use enforcer_testkit::{
    frames::{Ethernet, Tcp, V4, ether_type},
    random,
};
use tests::harness::{cpu, mount_bpffs, wait::pause};

use crate::{
    measure::Spread,
    path::{
        candidates::{Kind, Yardstick},
        world::FRAME,
    },
    report::Report,
};

/// Rounds in which each case is measured once.
const ROUNDS: usize = 21;
/// Frames of a run, each a different flow: as many of each device as it has tokens.
const FLOWS: u32 = DEVICES * abi::BURST;
const DEVICES: u32 = 64;
/// Index of the interface that test runs name.
const LOOPBACK: u32 = 1;
/// Most attempts for a valid run.
const ATTEMPTS: u32 = 20;
/// The share of frames that may have a different fate, because tokens come back meanwhile.
const STRAY: f64 = 0.03;

/// Blocks of [`FLOWS`] frames in the table.
#[derive(Clone, Copy)]
enum Block {
    Allowed,
    Refused,
    /// The same devices, to other addresses.
    Others,
    Observed,
}

/// The expected fate of the events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    None,
    Told,
    Suppressed,
    Lost,
}

/// Preparation of a run, besides emptying the tables.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Send these frames first, this many times.
    Frames(u32, u32),
    /// A thread on another CPU reads, as the daemon does.
    Reader,
    /// The ring is filled.
    Fill,
}

struct FrameContext {
    name: &'static str,
    empty: bool,
    block: Block,
    before: Before,
    fate: Fate,
}

const fn case(name: &'static str, block: Block, before: Before, fate: Fate) -> FrameContext {
    FrameContext { name, empty: false, block, before, fate }
}

const CASES: [FrameContext; 10] = [
    FrameContext {
        empty: true,
        ..case("empty program", Block::Refused, Before::Nothing, Fate::None)
    },
    case("passes by a rule", Block::Allowed, Before::Nothing, Fate::None),
    case(
        "drop, its flow told before",
        Block::Refused,
        Before::Frames(Block::Refused as u32, 1),
        Fate::Suppressed,
    ),
    case(
        "drop, its flow told before and remembered",
        Block::Refused,
        Before::Frames(Block::Refused as u32, 4),
        Fate::Suppressed,
    ),
    case(
        "drop, budget spent",
        Block::Refused,
        Before::Frames(Block::Others as u32, 1),
        Fate::Suppressed,
    ),
    case("drop, event written, nobody reads", Block::Refused, Before::Nothing, Fate::Told),
    case("drop, event written and read", Block::Refused, Before::Reader, Fate::Told),
    case("drop, ring full, event lost", Block::Refused, Before::Fill, Fate::Lost),
    case(
        "would drop, its flow told before",
        Block::Observed,
        Before::Frames(Block::Observed as u32, 1),
        Fate::Suppressed,
    ),
    case("would drop, event written, nobody reads", Block::Observed, Before::Nothing, Fate::Told),
];

/// Measures and prints.
pub(crate) fn run(report: &mut Report) {
    let cpus = crate::cpus();
    cpu::keep_on(cpus - 1..cpus);
    mount_bpffs();
    let root = format!("/sys/fs/bpf/enforcer-events-{}", std::process::id());
    let (empty, _) = read("events.toml", "schema = 1\n", &mut |_| unreachable!("no files"));
    let image = compile(&empty, &random::host()).expect("it compiles").image;
    let pins = Pins::open(root.as_ref()).expect("a directory for pins");
    let mut dataplane = Dataplane::open(pins, &image, Options::default()).expect("it loads");
    // The devices' entries depend on the secret that is made with the tables.
    let keys = dataplane.keys().expect("it has keys");
    let macs = [Verdict::Drop, Verdict::WouldDrop].map(|verdict| apart(&keys, verdict));
    let lists = macs.each_ref().map(|macs| macs.iter().map(|mac| Mac(*mac).to_string()).collect());
    let [beds, watched]: [Vec<String>; 2] = lists;
    let text = format!(
        "schema = 1\n[groups.beds]\nmembers = {beds:?}\nallow = [{{ to = \"10.30.0.0/16\", service = \"tcp/443\" }}]\n\
         [groups.watched]\nmembers = {watched:?}\nmode = \"observe\"\n"
    );
    let (policy, problems) = read("events.toml", &text, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    let image = compile(&policy, &random::host()).expect("it compiles").image;
    dataplane.replace(&image).expect("it is put in force");
    let mut bench = Bench { cpus, dataplane, yardstick: Yardstick::load(4 * FLOWS, None) };
    let [beds, watched] = &macs;
    let blocks = [(beds, 0x0a1e), (beds, 0x0a28), (beds, 0x0a29), (watched, 0x0a28)];
    let frames: Vec<_> = blocks.into_iter().flat_map(|(macs, net)| frames(macs, net)).collect();
    bench.yardstick.lay(&frames);
    let cases: Vec<&FrameContext> =
        CASES.iter().filter(|case| cpus > 1 || case.before != Before::Reader).collect();
    let mut rounds = vec![Vec::new(); cases.len()];
    for round in 0..=ROUNDS {
        for (case, rounds) in cases.iter().zip(&mut rounds) {
            let time = bench.measure(case);
            // The first round fills caches.
            if round > 0 {
                rounds.push(time);
            }
        }
    }
    bench.dataplane.detach().expect("it goes");
    let _ = std::fs::remove_dir(&root);
    cpu::keep_on(0..cpus);
    print(report, &cases, rounds);
}

struct Bench {
    /// Number of CPUs; this thread has the last one.
    cpus: usize,
    dataplane: Dataplane,
    yardstick: Yardstick,
}

impl Bench {
    /// Nanoseconds a frame.
    fn measure(&mut self, case: &FrameContext) -> f64 {
        let mut found = Err(String::new());
        // On a busy machine a run may be interrupted for as long as tokens take to come back.
        for _ in 0..ATTEMPTS {
            found = self.attempt(case);
            if found.is_ok() {
                break;
            }
        }
        found.unwrap_or_else(|why| panic!("{}, {ATTEMPTS} times: {why}", case.name))
    }

    /// The same, or an error if the events had an unexpected fate.
    fn attempt(&mut self, case: &FrameContext) -> Result<f64, String> {
        self.empty_tables();
        let ours = self.dataplane.dispatcher().unwrap().fd().unwrap().try_clone().unwrap();
        self.yardstick.aim(Kind::Fragments, &ours);
        match case.before {
            Before::Nothing | Before::Reader => {}
            Before::Frames(block, times) => {
                for _ in 0..times {
                    self.replay(block);
                }
            }
            Before::Fill => {
                for _ in 0..abi::RING_BYTES / size_of::<event::Record>() as u32 / FLOWS + 1 {
                    self.replay(Block::Refused as u32);
                    self.empty_tables();
                }
            }
        }
        if case.before != Before::Fill {
            self.dataplane.drain_events().expect("the ring is there");
        }
        if case.empty {
            let empty = self.yardstick.descriptor("empty");
            self.yardstick.aim(Kind::Fragments, &empty);
        }
        let before = self.counted();
        let block = case.block as u32;
        let time = match case.before {
            Before::Reader => self.replay_to_reader(block),
            Before::Nothing | Before::Frames(..) | Before::Fill => self.replay(block),
        };
        let after = self.counted();
        let [frames, suppressed, lost] =
            [0, 1, 2].map(|n| (after[n] - before[n]) as f64 / f64::from(FLOWS));
        let told = frames - suppressed - lost;
        let expected = if case.empty { 0.0 } else { 1.0 };
        assert!((frames - expected).abs() < STRAY, "{}: {frames} counted", case.name);
        let share = match case.fate {
            // No event counter tells whether frames passed.
            Fate::None => 1.0 - suppressed - lost,
            Fate::Told => told,
            Fate::Suppressed => suppressed,
            Fate::Lost => lost,
        };
        self.dataplane.drain_events().expect("the ring is there");
        if share > 1.0 - STRAY {
            return Ok(time);
        }
        Err(format!("of all, {told} told, {suppressed} suppressed, {lost} lost"))
    }

    fn replay(&mut self, block: u32) -> f64 {
        self.yardstick.seek(block * FLOWS);
        self.yardstick.run(Kind::Fragments, FLOWS).0.as_secs_f64() * 1e9
    }

    /// The same while a thread on the other CPUs reads.
    fn replay_to_reader(&mut self, block: u32) -> f64 {
        let read = AtomicU64::new(0);
        let (ready, wait) = mpsc::channel();
        let over = tokio::sync::Notify::new();
        let pins = self.dataplane.pins();
        let (yardstick, cpus) = (&mut self.yardstick, self.cpus);
        thread::scope(|scope| {
            scope.spawn(|| {
                cpu::keep_on(0..cpus - 1);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let reader = Reader::open(pins).expect("the ring is there");
                    ready.send(()).expect("it waits");
                    tokio::select! {
                        error = reader.run(|_| { read.fetch_add(1, Ordering::Relaxed); }) => panic!("{error}"),
                        () = over.notified() => {}
                    }
                });
            });
            wait.recv().expect("it opens the ring");
            yardstick.seek(block * FLOWS);
            let time = yardstick.run(Kind::Fragments, FLOWS).0.as_secs_f64() * 1e9;
            // Its timer finds records that did not wake it.
            pause(Duration::from_millis(60));
            over.notify_one();
            let read = read.load(Ordering::Relaxed) as f64 / f64::from(FLOWS);
            assert!(read > 1.0 - STRAY, "{read} of the events were read");
            time
        })
    }

    /// Frames, suppressed and lost events, of all reasons.
    fn counted(&self) -> [u64; 3] {
        let reasons = self.dataplane.reasons();
        let sum = |of: fn(&abi::ReasonCounter) -> u64| reasons.iter().map(|(_, c)| of(c)).sum();
        [sum(|c| c.frames), sum(|c| c.suppressed), sum(|c| c.lost)]
    }

    /// Resets: every device has its whole budget, and no flow is reported.
    fn empty_tables(&self) {
        const WORDS: usize = size_of::<Budget>() / 8;
        let mut budgets: Array<_, [u64; WORDS]> =
            self.open(map::BUDGETS).try_into().expect("an array");
        for entry in 0..budgets.len() {
            budgets.set(entry, [0; WORDS], 0).expect("an entry");
        }
        let mut seen: Array<_, [u64; 8]> = self.open(map::SEEN).try_into().expect("an array");
        for entry in 0..seen.len() {
            seen.set(entry, [0; 8], 0).expect("an entry");
        }
    }

    fn open(&self, name: &str) -> Map {
        let data = MapData::from_pin(self.dataplane.pins().path(name)).expect("it is pinned");
        Map::from_map_data(data).expect("a map")
    }
}

/// MACs whose budgets have entries of their own.
fn apart(keys: &Keys, verdict: Verdict) -> Vec<[u8; 6]> {
    let family = if verdict == Verdict::Drop { 0x70 } else { 0x71 };
    let mut taken = std::collections::HashSet::new();
    let macs = (0_u16..).map(|n| [2, family, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    let free = |mac: &[u8; 6]| {
        let number = mac.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        taken.insert(event::slot(keys, event::holder(number, LOOPBACK, verdict, 0), true))
    };
    macs.filter(free).take(DEVICES as usize).collect()
}

/// A block: each device to as many addresses of a /16.
fn frames(macs: &[[u8; 6]], net: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..FLOWS).map(move |n| {
        let mac = macs[(n % DEVICES) as usize];
        let segment = Tcp::new(443).segment(&[0; FRAME - 54]);
        let packet = V4::new(0x0a14_0064, net << 16 | (n / DEVICES + 1), 6).packet(&segment);
        Ethernet::new(mac).frame(ether_type::IPV4, &packet)
    })
}

fn print(report: &mut Report, cases: &[&FrameContext], rounds: Vec<Vec<f64>>) {
    let spreads: Vec<Spread> = rounds.into_iter().map(Spread::of).collect();
    let (empty, passes) = (spreads[0].least, spreads[1].least);
    let row = |(case, spread): (&&FrameContext, &Spread)| {
        let Spread { least, median, most_of, .. } = spread;
        let above = |base: f64| format!("{:.0}", least - base);
        let figures = [above(empty), above(passes), format!("{least:.0}"), format!("{median:.0}")];
        [vec![case.name.to_owned()], figures.to_vec(), vec![format!("{most_of:.0}")]].concat()
    };
    let rows: Vec<_> = cases.iter().zip(&spreads).map(row).collect();
    let header = ["ns a frame", "above empty", "above a pass", "least", "median", "90 %"];
    let title = format!(
        "A drop with its event and without: {FLOWS} flows of {DEVICES} devices, {ROUNDS} rounds"
    );
    report.table(&title, &header, &rows);
}
