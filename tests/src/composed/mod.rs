//! Random stacks of headers through a real gateway, and a second opinion on what comes out.
//!
//! - `stack`, `network`: the frames; each carries a marker with its number
//! - `tshark`: tshark's dissection of the frames that arrived behind the gateway
//! - `oracle`: whether the policy allows that
//!
//! Every frame that arrives is judged, with its marker or without: the marker names the frame that
//! was sent. `docs/evasions.md` has the criterion.

mod network;
mod oracle;
mod stack;
#[cfg(test)]
mod tests;
mod tshark;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use enforcer_common::reason::Reason;

use crate::harness::frames::Sender;
use crate::harness::{Daemon, Process, number, wait};
use crate::replay::{Kind, Lab, counted};
pub(crate) use enforcer_testkit::corpus::{A4, A6, D6, DEVICE};
use oracle::Oracle;

/// The only VLAN that the policy declares.
const VLAN: u16 = 20;
/// Frames that are made before they are sent.
const BATCH: usize = 256;
/// Longer than any frame here; the ring has a slot of this size for each.
const SNAP: &str = "2048";
/// The ring between kernel and tcpdump, in KiB.
const RING: &str = "131072";
/// Most leaks that are shown.
const SHOWN: usize = 20;

/// The policy; the oracle has the same list in its own form.
const POLICY: &str = r#"
schema = 1
[sets]
servers = ["10.88.0.2", "fd88::2"]
[unknown]
default = "drop"
mode = "MODE"
[interfaces.g0]
vlans = [20]
[devices.pump]
mac = "02:00:00:00:00:02"
ip = ["10.77.0.2", "fd77::2"]
[groups.pumps]
members = ["pump"]
mode = "MODE"
deny = [{ to = "@servers", service = "udp/5005" }]
allow = [
  { to = "@servers", service = ["tcp/443", "udp/5000-5010"] },
  { to = "10.88.0.2", service = "icmp" },
]
"#;

/// Reasons that the frames reach: all except quarantine, bindings to a place, a passing default,
/// allowed spanning tree, and faults of enforcer itself.
const REACHED: [Reason; 49] = [
    Reason::Allow,
    Reason::Arp,
    Reason::Neighbour,
    Reason::Dhcp,
    Reason::Eapol,
    Reason::Lldp,
    Reason::FragmentOfPassed,
    Reason::Deny,
    Reason::Default,
    Reason::Unknown,
    Reason::SourceBinding,
    Reason::EssentialOff,
    Reason::ArpSpoof,
    Reason::NeighbourSpoof,
    Reason::RogueRouter,
    Reason::RogueDhcp,
    Reason::Redirect,
    Reason::TruncatedEthernet,
    Reason::TruncatedNetwork,
    Reason::TruncatedTransport,
    Reason::TruncatedExtension,
    Reason::EtherType,
    Reason::Llc,
    Reason::VlanDepth,
    Reason::VlanUndeclared,
    Reason::IpVersion,
    Reason::HeaderLength,
    Reason::Options,
    Reason::SourceRoute,
    Reason::Length,
    Reason::FragmentOrphan,
    Reason::FragmentTiny,
    Reason::FragmentOverlap,
    Reason::ExtensionHeader,
    Reason::ExtensionOrder,
    Reason::ExtensionDepth,
    Reason::ExtensionLength,
    Reason::RoutingHeader,
    Reason::NoNextHeader,
    Reason::Jumbogram,
    Reason::DataOffset,
    Reason::MartianSource,
    Reason::MartianDestination,
    Reason::CastMismatch,
    Reason::SourceMacMulticast,
    Reason::SourceMacOwn,
    Reason::EapolDestination,
    Reason::ArpMalformed,
    Reason::NeighbourMalformed,
];

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Seed: the same seed makes the same frames.
    pub seed: u64,
    /// How many frames, over both gateways.
    pub frames: u64,
}

impl Settings {
    /// From `ENFORCER_COMPOSED_FRAMES` and `ENFORCER_COMPOSED_SEED`, or a million from seed 1.
    pub fn from_env() -> Self {
        let seed = number("ENFORCER_COMPOSED_SEED", 1);
        Self { seed, frames: number("ENFORCER_COMPOSED_FRAMES", 1_000_000) }
    }
}

/// The results at one gateway.
#[derive(Debug)]
pub struct Run {
    kind: Kind,
    mode: &'static str,
    seed: u64,
    /// Frames that were sent.
    pub sent: u64,
    /// Frames of the device that came out behind the gateway.
    pub arrived: u64,
    /// Those that carry a marker.
    marked: u64,
    /// Frames that the oracle allows, by kind.
    pub allowed: BTreeMap<&'static str, u64>,
    /// Frames that it does not allow, by fault.
    pub leaks: BTreeMap<&'static str, u64>,
    /// Some of the leaks, byte by byte.
    shown: Vec<String>,
    /// How often the kernel counted each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Problems during the run.
    pub problems: Vec<String>,
}

impl Run {
    /// Whether the gateway bridges.
    pub fn bridged(&self) -> bool {
        self.kind == Kind::Bridged
    }

    /// Leaks of all kinds.
    pub fn leaked(&self) -> u64 {
        self.leaks.values().sum()
    }

    /// Everything that is wrong while the policy is enforced.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        problems.extend(self.shown.iter().map(|leak| format!("leak: {leak}")));
        if self.arrived * 20 < self.sent {
            problems.push(format!("only {} of {} arrived", self.arrived, self.sent));
        }
        let passed: u64 = [Reason::Allow, Reason::FragmentOfPassed, Reason::Arp, Reason::Dhcp]
            .iter()
            .chain(&[Reason::Neighbour])
            .filter_map(|reason| self.reasons.get(reason.name()))
            .sum();
        let undecided = self.allowed.get(oracle::UNDECIDED).copied().unwrap_or(0);
        if undecided * 100 > self.arrived {
            problems.push(format!("{undecided} fragments could not be judged"));
        }
        // Enough frames for every reason that the generator can reach.
        if self.sent >= 100_000 {
            let unmet = REACHED.iter().filter(|reason| !self.reasons.contains_key(reason.name()));
            problems.extend(unmet.map(|reason| format!("no frame was {}", reason.name())));
        }
        // A router refuses some allowed frames, and keeps those addressed to itself.
        let expected = match self.kind {
            Kind::Bridged => passed == self.arrived,
            Kind::Routed => passed >= self.arrived,
        };
        if !expected {
            problems.push(format!("{passed} passed, {} arrived", self.arrived));
        }
        let here = format!("{}, {}", self.kind.word(), self.mode);
        problems.into_iter().map(|problem| format!("{here}: {problem}")).collect()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed: u64 = self.allowed.values().sum();
        writeln!(
            f,
            "{}, {}: {} sent, {} arrived ({} with their marker), {allowed} judged allowed, \
             {} leaks, seed {}",
            self.kind.word(),
            self.mode,
            self.sent,
            self.arrived,
            self.marked,
            self.leaked(),
            self.seed
        )?;
        writeln!(f, "  allowed: {:?}", self.allowed)?;
        if !self.leaks.is_empty() {
            writeln!(f, "  leaks: {:?}", self.leaks)?;
        }
        write!(f, "  {} reasons: {:?}", self.reasons.len(), self.reasons)
    }
}

/// Half of the frames through a bridging gateway, half through a routing one.
///
/// # Panics
/// When the lab cannot be built, or the daemon does not start.
#[track_caller]
pub fn enforced(settings: Settings) -> [Run; 2] {
    let half = Settings { frames: settings.frames.div_ceil(2), ..settings };
    [Kind::Bridged, Kind::Routed].map(|kind| run(kind, "enforce", half))
}

/// The same through a gateway that only observes: shows that the oracle detects leaks.
///
/// # Panics
/// As [`enforced`].
#[track_caller]
pub fn observed(kind: Kind, settings: Settings) -> Run {
    run(kind, "observe", settings)
}

#[track_caller]
fn run(kind: Kind, mode: &'static str, settings: Settings) -> Run {
    let Settings { seed, frames } = settings;
    let lab = Lab::build(kind);
    if kind == Kind::Bridged {
        // No learning: a device that claims the address of the host behind the bridge would end the
        // run.
        lab.gateway.ip("link set g0 type bridge_slave learning off");
        lab.gateway.ip("link set br0 type bridge mcast_snooping 0");
    }
    let daemon = Daemon::start(&lab.gateway, &["g0"], &POLICY.replace("MODE", mode));
    let capture = daemon.path("far.pcap");
    let tcpdump = listen(&lab, &capture);
    let sent = send(&lab, seed, frames);
    let mut run = Run {
        kind,
        mode,
        seed,
        sent,
        arrived: 0,
        marked: 0,
        allowed: BTreeMap::new(),
        leaks: BTreeMap::new(),
        shown: Vec::new(),
        reasons: BTreeMap::new(),
        problems: Vec::new(),
    };
    let all = wait::wait_for(wait::DEADLINE, || {
        run.reasons = counted(&daemon);
        (run.reasons.values().sum::<u64>() == sent).then_some(())
    });
    if all.is_none() {
        let judged: u64 = run.reasons.values().sum();
        run.problems.push(format!("{sent} frames sent, {judged} judged"));
    }
    settle(&capture);
    let ended = tcpdump.terminate(wait::DEADLINE);
    if !ended.stderr.contains("\n0 packets dropped by kernel") {
        run.problems.push(format!("tcpdump lost frames: {}", ended.stderr));
    }
    judge(&mut run, &capture, lab.next_hop());
    run
}

/// Starts capturing the frames that arrive behind the gateway.
#[track_caller]
fn listen(lab: &Lab, capture: &Path) -> Process {
    let file = capture.display().to_string();
    let fixed = ["-i", "x0", "-n", "-s", SNAP, "-B", RING, "--immediate-mode", "-U", "-Z", "root"];
    let tcpdump = lab.behind.spawn("tcpdump", &[&fixed[..], &["-w", &file]].concat());
    wait::wait_until("tcpdump listens", || {
        tcpdump.stderr().contains("listening on x0").then_some(())
    });
    tcpdump
}

/// Waits until the capture stops growing.
fn settle(capture: &Path) {
    let length = || std::fs::metadata(capture).map_or(0, |file| file.len());
    let mut before = u64::MAX;
    wait::wait_for(wait::DEADLINE, || {
        wait::pause(Duration::from_millis(300));
        let now = length();
        std::mem::replace(&mut before, now).eq(&now).then_some(())
    });
}

/// Sends at least this many frames; returns their number.
#[track_caller]
fn send(lab: &Lab, seed: u64, frames: u64) -> u64 {
    let sender = Sender::open(&lab.device, "l0");
    let mut sent = 0;
    let mut batch = Vec::new();
    for case in 0.. {
        batch.extend(stack::case(seed, case, lab.next_hop()));
        let last = sent + batch.len() as u64 >= frames;
        if batch.len() >= BATCH || last {
            sender.send(&batch);
            sent += batch.len() as u64;
            batch.clear();
        }
        if last {
            break;
        }
    }
    sent
}

/// Asks the oracle about every frame that arrived.
#[track_caller]
fn judge(run: &mut Run, capture: &Path, to: [u8; 6]) {
    let text = tshark::read(capture);
    let bytes = std::fs::read(capture).expect("tcpdump wrote it");
    let frames = pcap_parser::PcapCapture::from_file(&bytes).expect("tcpdump wrote it").blocks;
    assert_eq!(text.lines().count(), frames.len(), "tshark has a line for each frame");
    let mut oracle = Oracle::new(run.bridged());
    for (line, frame) in text.lines().zip(&frames) {
        let number = mark(frame.data);
        if number.is_none() && oracle::is_of_gateway(line) {
            continue;
        }
        run.arrived += 1;
        run.marked += u64::from(number.is_some());
        match oracle.judge(line) {
            Ok(what) => *run.allowed.entry(what).or_default() += 1,
            Err(what) => {
                *run.leaks.entry(what).or_default() += 1;
                if run.shown.len() < SHOWN {
                    let sent = number.map(|number| stack::case(run.seed, number >> 8, to));
                    run.shown
                        .push(format!("{what}: {line}\n{:02x?}\nsent: {sent:02x?}", frame.data));
                }
            }
        }
    }
}

/// The number of a frame, if it has a marker.
fn mark(frame: &[u8]) -> Option<u64> {
    let magic = stack::MAGIC.len();
    let at = frame.windows(magic).position(|window| window == stack::MAGIC)? + magic;
    Some(u64::from_be_bytes(frame.get(at..at + 8)?.try_into().ok()?))
}
