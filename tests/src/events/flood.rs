//! Two devices, one a thousand times louder, ten terminals, one of them stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{LOUD, POLICY, QUIET, datagram};
use crate::harness::frames::Sender;
use crate::harness::wait::{pause, wait_for};
use crate::harness::{Daemon, Lab, number};

/// Frames that are dropped.
const DROPS: u64 = 5_000_000;
/// Times that one device is louder than the other.
const LOUDER: u64 = 1_000;
/// Destinations that the quiet one tries, one after the other.
const DESTINATIONS: u64 = 100;
/// Frames of the loud one that are sent at a time.
const BATCH: usize = 64;
/// Terminals that follow.
const TAILS: usize = 10;

/// The quiet device's n-th destination.
fn destination(n: u64) -> u32 {
    0xc633_6400 + n as u32
}

/// Frames by device and reason, added up over a terminal's lines.
fn sums(lines: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut sums = BTreeMap::new();
    for line in lines {
        let detail = &line["enforcer"];
        let reason = match line["event_type"].as_str() {
            Some("drop" | "suppressed") => &detail["reason"],
            Some("lost") if detail["reason"] == "ring-full" => &detail["frame_reason"],
            _ => continue,
        };
        assert_eq!(detail["verdict"], "drop", "{line}");
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let key = (text(&detail["device"]), text(reason));
        *sums.entry(key).or_default() += detail["count"].as_u64().expect("a number");
    }
    sums
}

/// Missed lines according to a slow reader's `lost` events.
fn missed(lines: &[Value]) -> u64 {
    let slow = lines.iter().filter(|line| line["enforcer"]["reason"] == "slow-reader");
    slow.map(|line| line["enforcer"]["count"].as_u64().expect("a number")).sum()
}

/// Sends until this many frames were dropped; returns the time that it took.
fn flood(lab: &Lab, daemon: &Daemon<'_>, drops: u64) -> Duration {
    let loud = Sender::open(&lab.dev1, "eth0");
    let quiet = Sender::open(&lab.dev2, "eth0");
    // Every frame of a batch has a different destination, and every batch new ones.
    let batch = |round: u64| -> Vec<Vec<u8>> {
        let to = |n: u64| 0xcb00_7100 + ((round * BATCH as u64 + n) % 4096) as u32;
        (0..BATCH as u64).map(|n| datagram(LOUD, to(n), 9, b"loud")).collect()
    };
    let batches: Vec<_> = (0..64).map(batch).collect();
    let (sent, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in batches.iter().cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
                loud.send(batch);
                sent.fetch_add(BATCH as u64, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            let each = drops / LOUDER / DESTINATIONS;
            for n in 0..drops / LOUDER {
                // After the last destination it continues with that one.
                while sent.load(Ordering::Relaxed) < n * LOUDER {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    pause(Duration::from_millis(1));
                }
                let to = destination((n / each.max(1)).min(DESTINATIONS - 1));
                quiet.send(&[datagram(QUIET, to, 443, b"quiet")]);
            }
        });
        let enough = || (daemon.reason("default-drop", "frames") >= drops).then_some(());
        let done = wait_for(Duration::from_secs(300), enough);
        over.store(true, Ordering::Relaxed);
        done.expect("so many frames are dropped in time");
    });
    begun.elapsed()
}

#[test]
fn events_suppressed_and_lost_add_up() {
    let drops = number("ENFORCER_EVENTS_DROPS", DROPS);
    let lab = Lab::gateway("flood");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let tails: Vec<_> = (0..TAILS).map(|_| daemon.tail(&[])).collect();
    let stopped = tails.last().expect("there are ten").process();
    stopped.signal(libc::SIGSTOP);
    let time = std::thread::scope(|scope| {
        // Long enough to miss lines, but shorter than the time after which a follower is
        // disconnected.
        scope.spawn(|| {
            let enough = || (daemon.reason("default-drop", "frames") >= drops / 5).then_some(());
            let done = wait_for(Duration::from_secs(20), enough);
            stopped.signal(libc::SIGCONT);
            println!("one terminal stood still for a fifth of it: {}", done.is_some());
        });
        flood(&lab, &daemon, drops)
    });

    let reason = |name| daemon.reason(name, "frames");
    // The daemon reads the counts of frames without events once a second.
    let adds_up = |lines: &[Value]| {
        let all: u64 = sums(lines).iter().filter(|(k, _)| k.1 == "default-drop").map(|s| s.1).sum();
        all == reason("default-drop")
    };
    for (at, tail) in tails[..TAILS - 1].iter().enumerate() {
        let whole = wait_for(Duration::from_secs(20), || adds_up(&tail.lines()).then_some(()));
        let lines = tail.lines();
        let (sums, frames) = (sums(&lines), reason("default-drop"));
        assert!(whole.is_some(), "terminal {at}: {sums:?} are not {frames}");
        assert_eq!(missed(&lines), 0, "terminal {at} reads");
    }
    let lines = tails[0].lines();
    let sums = sums(&lines);
    println!("{drops} drops in {time:?}: {} lines, {sums:?}", lines.len());
    for device in ["loud", "quiet"] {
        let row = daemon.devices().into_iter().find(|row| row["device"] == device);
        let own: u64 = sums.iter().filter(|(key, _)| key.0 == device).map(|sum| sum.1).sum();
        assert_eq!(row.expect("it is known")["dropped"], own, "{device}");
    }
    // Each new destination of the quiet one is shown, despite the loud one.
    let of_quiet = |line: &&Value| line["enforcer"]["device"] == "quiet";
    let shown: BTreeSet<&str> =
        lines.iter().filter(of_quiet).filter_map(|line| line["dest_ip"].as_str()).collect();
    assert_eq!(shown.len() as u64, DESTINATIONS, "{shown:?}");

    // The stopped terminal has every line, or knows how many it missed.
    let slow = &tails[TAILS - 1];
    let knows = || {
        let mine = slow.lines();
        let own = mine.iter().filter(|l| l["enforcer"]["reason"] != "slow-reader").count() as u64;
        (own + missed(&mine) >= lines.len() as u64).then_some(())
    };
    let known = wait_for(Duration::from_secs(20), knows);
    assert!(known.is_some(), "{} lines and {} missed", slow.lines().len(), missed(&slow.lines()));
}
