//! The table of [`corpus`](enforcer_testkit::corpus) through real gateways: what comes out behind them.
//!
//! - `lab`: a device, a gateway that routes or bridges, and the wire behind it
//! - `table`: the results of every row, for a terminal and for the manual

pub(crate) mod lab;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{Daemon, Sniffer, frames, wait};
use enforcer_testkit::corpus::{self, Due, POLICY, Row};
pub(crate) use lab::Lab;

/// How the gateway forwards frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It routes.
    Routed,
    /// It bridges; the program is on the port of the LAN.
    Bridged,
}

impl Kind {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Bridged => "bridged",
        }
    }
}

/// The result of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A frame of the row came to the gateway's stack.
    pub gateway: bool,
    /// A frame of the row came out behind the gateway.
    pub behind: bool,
}

/// The results of all rows, in order.
#[derive(Clone, Debug)]
pub struct Run {
    /// How the gateway forwards.
    pub kind: Kind,
    /// How the program was attached, or `open` when nothing was enforced.
    pub xdp: &'static str,
    /// Row by row.
    pub seen: Vec<Seen>,
    /// Everything that was wrong.
    pub problems: Vec<String>,
}

/// Every row on every gateway: two runs with nothing enforced, then native and generic.
#[derive(Debug)]
pub struct Replay {
    rows: Vec<Row>,
    runs: Vec<Run>,
}

/// Nothing enforced, then both ways to attach.
const WAYS: [&str; 3] = ["open", "native", "generic"];

impl Replay {
    /// Builds both gateways and sends everything, six times.
    ///
    /// # Panics
    /// When the lab cannot be built, or the daemon does not start.
    #[track_caller]
    pub fn run() -> Self {
        let mut runs = Vec::new();
        for kind in [Kind::Routed, Kind::Bridged] {
            let lab = Lab::build(kind);
            runs.extend(WAYS.map(|xdp| one(&lab, xdp)));
        }
        Self { rows: corpus::rows(enforcer_testkit::frames::GATEWAY), runs }
    }

    /// Descriptions of everything that is wrong.
    pub fn problems(&self) -> Vec<String> {
        let problem = |run: &Run| {
            let place = format!("{}, {}", run.kind.word(), run.xdp);
            let problems = run.problems.iter().map(move |problem| format!("{place}: {problem}"));
            problems.collect::<Vec<_>>()
        };
        self.runs.iter().flat_map(problem).collect()
    }

    /// Rows that must be dropped and came out behind the gateway.
    ///
    /// # Panics
    /// When there is no such run.
    pub fn leaks(&self, kind: Kind, xdp: &str) -> usize {
        let run = self.get(kind, xdp);
        let rows = self.rows.iter().zip(&run.seen);
        rows.filter(|(row, seen)| row.due == Due::Drop && seen.behind).count()
    }

    /// Rows that must pass and did not get far enough.
    ///
    /// # Panics
    /// When there is no such run.
    pub fn lost(&self, kind: Kind, xdp: &str) -> usize {
        let run = self.get(kind, xdp);
        let rows = self.rows.iter().zip(&run.seen);
        rows.filter(|(row, seen)| lost(row, **seen).is_some()).count()
    }

    fn get(&self, kind: Kind, xdp: &str) -> &Run {
        let run = self.runs.iter().find(|run| run.kind == kind && run.xdp == xdp);
        run.expect("every way was run")
    }
}

/// Sends every row once, with the program attached in this way.
#[track_caller]
fn one(lab: &Lab, xdp: &'static str) -> Run {
    let rows = corpus::rows(lab.next_hop());
    let daemon = (xdp != "open").then(|| {
        let mut daemon = Daemon::prepare(&lab.gateway, &["g0"], POLICY);
        daemon.setting(&format!("xdp = {xdp:?}"));
        daemon.run();
        daemon
    });
    let gateway = Sniffer::start(&lab.gateway, "g0");
    let behind = Sniffer::start(&lab.behind, "x0");
    let frames: Vec<&[u8]> =
        rows.iter().flat_map(|row| &row.frames).map(|frame| frame.bytes.as_slice()).collect();
    frames::send_all(&lab.device, "l0", &frames);
    // Frames stay in order: once the allowed frame, sent last, has arrived, no others are still in
    // flight.
    frames::send_all(&lab.device, "l0", &[&rows[0].frames[0].bytes]);
    let mut out = Vec::new();
    let mut first = 0;
    let arrived = wait::wait_for(wait::DEADLINE, || {
        for frame in behind.frames(Duration::ZERO) {
            first += usize::from(rows[0].is_in(&frame));
            out.push(frame);
        }
        (first >= 2).then_some(())
    });
    out.extend(behind.frames(Duration::from_millis(200)));
    let up = gateway.frames(Duration::ZERO);
    let seen = |row: &Row| Seen {
        gateway: up.iter().any(|frame| row.is_in(frame)),
        behind: out.iter().any(|frame| row.is_in(frame)),
    };
    let seen: Vec<Seen> = rows.iter().map(seen).collect();
    let mut problems = Vec::new();
    if arrived.is_none() {
        problems.push("what is allowed did not come out".to_owned());
    }
    if let Some(daemon) = &daemon {
        problems.extend(rows.iter().zip(&seen).filter_map(|(row, seen)| judge(lab, row, *seen)));
        problems.extend(miscounted(daemon, &rows));
        let attached = daemon.attached("g0").map(|(mode, _)| mode);
        if attached != Some(xdp) {
            problems.push(format!("attached: {attached:?}"));
        }
    }
    Run { kind: lab.kind, xdp, seen, problems }
}

/// What is wrong with a row.
fn judge(lab: &Lab, row: &Row, seen: Seen) -> Option<String> {
    let routed = lab.kind == Kind::Routed;
    let what = match row.due {
        Due::Drop if seen.behind => "leaks",
        Due::Drop if seen.gateway => "comes to the gateway's stack",
        // A bridge has to forward it, or the link stops working.
        Due::PassToStack if routed && seen.behind => "is forwarded",
        Due::Drop | Due::PassToStack | Due::Pass => lost(row, seen)?,
    };
    Some(format!("row {} {what}: {}", row.number, row.name))
}

/// How a row that must pass fails to, if it does.
fn lost(row: &Row, seen: Seen) -> Option<&'static str> {
    match row.due {
        Due::PassToStack | Due::Pass if !seen.gateway => {
            Some("does not come to the gateway's stack")
        }
        // Frames that an open gateway's stack refuses are refused here too.
        Due::Pass if row.open == "FF" && !seen.behind => Some("does not come out"),
        Due::Drop | Due::PassToStack | Due::Pass => None,
    }
}

/// Reasons that the kernel did not count as often as their frames were sent.
fn miscounted(daemon: &Daemon<'_>, rows: &[Row]) -> Vec<String> {
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for frame in rows.iter().flat_map(|row| &row.frames) {
        *expected.entry(frame.reason.name()).or_default() += 1;
    }
    // The last frame, see above.
    *expected.entry(rows[0].reason.name()).or_default() += 1;
    let found = counted(daemon);
    let found: BTreeMap<&str, u64> =
        found.iter().map(|(name, frames)| (name.as_str(), *frames)).collect();
    let mut names: Vec<&str> = expected.keys().chain(found.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    let count = |counts: &BTreeMap<&str, u64>, name: &str| counts.get(name).copied().unwrap_or(0);
    let wrong = names.into_iter().filter(|name| count(&expected, name) != count(&found, name));
    wrong
        .map(|name| {
            let (sent, counted) = (count(&expected, name), count(&found, name));
            format!("reason {name}: {sent} frames sent, {counted} counted")
        })
        .collect()
}

/// Frames by reason, as counted by the kernel; without reasons that never occurred.
pub(crate) fn counted(daemon: &Daemon<'_>) -> BTreeMap<String, u64> {
    let status = daemon.status();
    let reasons = status["reasons"].as_array().cloned().unwrap_or_default();
    let pair = |reason: &serde_json::Value| {
        let frames = reason["frames"].as_u64().filter(|frames| *frames > 0)?;
        Some((reason["reason"].as_str()?.to_owned(), frames))
    };
    reasons.iter().filter_map(pair).collect()
}
