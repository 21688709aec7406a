//! Marked, numbered frames from several devices, and those that arrive behind the gateway.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::world::{Class, DEV3, TO};
use crate::harness::frames::{Sender, mac};
use crate::harness::topology::{DEV1, DEV1_MAC, DEV1_V6, DEV2, DEV2_MAC, DEV2_V6, LAN0_MAC};
use crate::harness::wait::{pause, wait_for};
use crate::harness::{Lab, Netns, Sniffer, wait_until};
use enforcer_testkit::frames::{Ethernet, V4, V6, ether_type, udp};

/// Devices that send.
pub(super) const DEVICES: usize = 3;
/// Frames of a round: each class, as IPv6 and as IPv4. The last one passes under every policy, and
/// shows that those before it were judged.
pub(super) const ROUND: u64 = 2 * Class::ALL.len() as u64;
/// Rounds of a device in flight: all of them fit into the 256 slots of a veth's queue.
const WINDOW: u64 = 8;
/// How long a device waits for a round to arrive before it continues anyway.
const PATIENCE: Duration = Duration::from_millis(200);
/// Rounds of a device without a pause: the stream must leave the machine time for the changes.
const BURST: u64 = 1;
/// Prefix of a payload; the device and the number, big endian, follow.
const MARK: &[u8; 7] = b"churn: ";
/// Bytes of a payload.
const PAYLOAD: usize = MARK.len() + 1 + 8;

/// A number for each device.
pub(super) type Marks = [u64; DEVICES];

/// The class of the frame with this number.
pub(super) fn class(number: u64) -> Class {
    Class::ALL[(number % ROUND / 2) as usize]
}

/// Frames that one device has sent, and those of them that have arrived.
#[derive(Debug, Default)]
struct Line {
    /// Frames sent, or about to be.
    sent: AtomicU64,
    /// The last one that arrived: those before it were judged.
    judged: AtomicU64,
    /// Which have arrived, by number.
    arrived: Mutex<Vec<bool>>,
}

/// Devices that send until this value is dropped.
pub(super) struct Stream {
    lines: Arc<[Line; DEVICES]>,
    senders: Threads,
    sniffer: Threads,
    _third: Netns,
}

/// Threads that run until they are stopped, or this value is dropped.
#[derive(Default)]
struct Threads {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    fn spawn(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || work(&stop)));
    }

    #[track_caller]
    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            // If the test has already failed, that message is enough.
            assert!(ended.is_ok() || std::thread::panicking(), "a thread of the stream panicked");
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}

impl Stream {
    /// Starts sending.
    #[track_caller]
    pub(super) fn start(lab: &Lab) -> Self {
        let third = lab.device("dev3", DEV3.0);
        // Fixed neighbours: no hop waits for an answer, and no host answers.
        lab.gw.ip("neigh replace 203.0.113.1 lladdr 02:00:00:03:00:01 dev wan0 nud permanent");
        lab.gw.ip("neigh replace 2001:db8:ffff::1 lladdr 02:00:00:03:00:01 dev wan0 nud permanent");
        let lines = Arc::<[Line; DEVICES]>::default();
        let (mut senders, mut listener) = (Threads::default(), Threads::default());
        let (sniffer, seen) = (Sniffer::start(&lab.internet, "eth0"), Arc::clone(&lines));
        listener.spawn(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                sniffer.find(Duration::from_millis(100), |frame| {
                    record(&seen, frame);
                    stop.load(Ordering::Relaxed)
                });
            }
        });
        for (device, netns) in [&lab.dev1, &lab.dev2, &third].into_iter().enumerate() {
            let (sender, lines) = (Sender::open(netns, "eth0"), Arc::clone(&lines));
            senders.spawn(move |stop| {
                // Frames of one device must not overtake each other on their way to the gateway.
                stay(device);
                send(&sender, device, &lines[device], stop);
            });
        }
        let stream = Self { lines, senders, sniffer: listener, _third: third };
        stream.go_on();
        stream
    }

    /// Frames before these numbers are judged by now.
    pub(super) fn judged(&self) -> Marks {
        self.lines.each_ref().map(|line| line.judged.load(Ordering::Acquire))
    }

    /// Frames that may have been sent by now; later ones were not.
    pub(super) fn sent(&self) -> Marks {
        self.lines.each_ref().map(|line| line.sent.load(Ordering::SeqCst))
    }

    /// Waits until each device has sent a new round, and it was judged.
    #[track_caller]
    pub(super) fn go_on(&self) {
        let sent = self.sent();
        wait_until("the stream goes on", || self.is_past(sent).then_some(()));
    }

    /// Whether a new round of each device arrives within this time.
    pub(super) fn goes_on_within(&self, time: Duration) -> bool {
        let sent = self.sent();
        wait_for(time, || self.is_past(sent).then_some(())).is_some()
    }

    fn is_past(&self, sent: Marks) -> bool {
        self.judged().iter().zip(sent).all(|(judged, sent)| *judged + 1 >= sent + ROUND)
    }

    /// Stops sending, waits for frames in flight, and returns which frames of each device arrived.
    #[track_caller]
    pub(super) fn end(mut self) -> [Vec<bool>; DEVICES] {
        self.senders.end();
        let sent = self.sent();
        // Frames that have not arrived by then are lost.
        wait_for(Duration::from_secs(2), || {
            self.judged().iter().zip(sent).all(|(judged, sent)| judged + 1 >= sent).then_some(())
        });
        self.sniffer.end();
        std::array::from_fn(|device| {
            let line = &self.lines[device];
            let mut arrived = std::mem::take(&mut *line.arrived.lock().expect("no test panicked"));
            arrived.resize(sent[device] as usize, false);
            arrived
        })
    }
}

/// Sends round after round.
fn send(sender: &Sender, device: usize, line: &Line, stop: &AtomicBool) {
    let mut round = frames(device);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let behind = || line.judged.load(Ordering::Acquire) + WINDOW * ROUND > number;
        wait_for(PATIENCE, || behind().then_some(()));
        line.sent.store(number + ROUND, Ordering::SeqCst);
        for frame in &mut round {
            let at = frame.len() - 8;
            frame[at..].copy_from_slice(&number.to_be_bytes());
            number += 1;
        }
        sender.send(&round);
        if number % (BURST * ROUND) == 0 {
            pause(Duration::from_millis(1));
        }
    }
}

/// The frames of a round, without their numbers.
fn frames(device: usize) -> Vec<Vec<u8>> {
    let addresses = [(DEV1_MAC, DEV1, DEV1_V6), (DEV2_MAC, DEV2, DEV2_V6), DEV3];
    let (source, own_v4, own_v6) = addresses[device];
    let v4 = |text: &str| text.parse::<Ipv4Addr>().expect("an address").to_bits();
    let v6 = |text: &str| text.parse::<Ipv6Addr>().expect("an address").to_bits();
    let ethernet = Ethernet::new(mac(source)).to(mac(LAN0_MAC));
    let mut payload = MARK.to_vec();
    payload.push(device as u8);
    payload.resize(PAYLOAD, 0);
    Class::ALL
        .into_iter()
        .flat_map(|class| {
            let datagram = udp(40_000, class.port(device), &payload);
            let four = V4::new(v4(own_v4), v4(TO[0]), 17).packet(&datagram);
            let six = V6::new(v6(own_v6), v6(TO[1]), 17).packet(&datagram);
            [ethernet.frame(ether_type::IPV6, &six), ethernet.frame(ether_type::IPV4, &four)]
        })
        .collect()
}

/// Records a frame that arrived, if it is one of ours.
fn record(lines: &[Line; DEVICES], frame: &[u8]) {
    let Some((rest, number)) = frame.split_last_chunk::<8>() else { return };
    let Some((rest, [device])) = rest.split_last_chunk::<1>() else { return };
    if !rest.ends_with(MARK) {
        return;
    }
    let (line, number) = (&lines[usize::from(*device)], u64::from_be_bytes(*number));
    let mut arrived = line.arrived.lock().expect("no test panicked");
    let at = number as usize;
    if arrived.len() <= at {
        arrived.resize(at + 1, false);
    }
    assert!(!arrived[at], "frame {number} of device {device} arrived twice");
    arrived[at] = true;
    // Frames of one device do not overtake each other on their way to the gateway.
    line.judged.fetch_max(number, Ordering::Release);
}

/// Keeps the calling thread on one CPU.
fn stay(number: usize) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: a set of CPUs is plain numbers, for which zero is valid; the number is in it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(number % cpus, &mut set);
        // If it is refused, at worst a frame overtakes another one.
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}
