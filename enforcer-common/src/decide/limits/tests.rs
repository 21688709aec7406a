use super::*;
use crate::decide::answers::Answers;
use crate::decide::asked::Question;
use crate::decide::datagrams::Datagram;
use crate::decide::hops::Hop;
use crate::image::clock::Clocks;
use crate::image::{Corrupt, Layout, Line, Lines};
use crate::keyed::Keys;
use crate::reason::Verdict;

const SECOND: u64 = 1_000_000_000;
const FRAME: u64 = 60;

/// The tables of a gateway that has just started.
struct World {
    rates: Line,
    keys: Keys,
    meters: Vec<Shared>,
    known: Vec<Shared>,
}

impl World {
    /// Frames of a kind, bytes, new MACs and new addresses a second.
    fn new(frames: u64, bytes: u64, macs: u64, addresses: u64) -> Self {
        let cost = |rate: u64| SECOND / rate;
        let [f, b, m, a] = [cost(frames), cost(bytes), cost(macs), cost(addresses)];
        let line = |_| Shared::default();
        Self {
            rates: Line([f, f, f, f, f, b, m, a]),
            keys: Keys::OPEN,
            meters: (0..METERS).map(line).collect(),
            known: (0..SETS).map(line).collect(),
        }
    }

    /// A world with the defaults of the policy language.
    fn usual() -> Self {
        let costs = [10, 50, 50, 20, 1, 8_000, 8, 1].map(|rate| SECOND / rate);
        Self { rates: Line(costs), ..Self::new(1, 1, 1, 1) }
    }

    /// Sends a frame; returns the reason if it was refused.
    fn send(&self, now: u64, flow: Flow, named: bool) -> Option<Reason> {
        self.send_as(Reason::Arp, now, Flow { length: FRAME as u32, ..flow }, named)
    }

    /// The same for a kind and a length.
    fn send_as(&self, reason: Reason, now: u64, flow: Flow, named: bool) -> Option<Reason> {
        let mut context = FrameContext::of(Flow { interface: 2, ..flow });
        context.decision.reason = reason;
        context.decision.verdict = Verdict::Pass;
        context.decision.group = 1;
        context.decision.device = if named { 3 } else { NO_DEVICE };
        limit(self, now, &mut context);
        assert_eq!(context.decision.verdict == Verdict::Pass, context.decision.reason.passes());
        (!context.decision.reason.passes()).then_some(context.decision.reason)
    }

    /// How many of these frames pass.
    fn pass(&self, frames: impl IntoIterator<Item = (u64, Flow)>, named: bool) -> u64 {
        let passed =
            frames.into_iter().filter(|(now, flow)| self.send(*now, *flow, named).is_none());
        passed.count() as u64
    }
}

impl Lines for World {
    fn line(&self, number: u32) -> Option<&Line> {
        (number == image::RATES).then_some(&self.rates)
    }
}

impl Policy for World {
    fn layout(&self) -> &Layout {
        &Layout::EMPTY
    }

    fn clocks(&self) -> Result<Clocks, Corrupt> {
        Err(Corrupt)
    }

    fn boot(&self) -> u64 {
        0
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn datagram(&self, _: u32) -> Option<&Datagram> {
        None
    }

    fn nonce(&self) -> u64 {
        unreachable!()
    }

    fn question(&self, _: u32) -> Option<&Question> {
        unreachable!()
    }

    fn answers(&self, _: u32) -> Option<&Answers> {
        unreachable!()
    }

    fn hop(&self, _: &Hop) -> Option<u64> {
        None
    }
}

impl Meters for World {
    fn meter(&self, number: u32) -> Option<&Shared> {
        self.meters.get(number as usize)
    }

    fn known(&self, number: u32) -> Option<&Shared> {
        self.known.get(number as usize)
    }
}

/// An ARP packet of a MAC that claims an address.
fn arp(mac: u64, address: u32) -> Flow {
    let source = Address::v4(address);
    Flow { source_mac: mac, source, class: Class::Arp, family: 4, ..Flow::NEW }
}

/// Frames of one device at a steady rate.
fn flood(a_second: u64, seconds: u64) -> impl Iterator<Item = (u64, Flow)> {
    (0..a_second * seconds).map(move |n| (SECOND * 1000 + n * SECOND / a_second, arp(7, 1)))
}

#[test]
fn frames_of_a_kind_are_limited_and_a_burst_passes() {
    let world = World::new(10, 1_000_000, 1000, 1000);
    let passed = world.pass(flood(1000, 60), true);
    // Ten seconds' worth at once, and then ten a second.
    assert!((700..=702).contains(&passed), "{passed}");
    let other = World::new(10, 1_000_000, 1000, 1000);
    let mut kinds = [Reason::Dhcp, Reason::Arp, Reason::Neighbour, Reason::Eapol, Reason::Stp];
    kinds.reverse();
    for reason in kinds {
        let mut passed = 0;
        for n in 0..1000 {
            let mut context = FrameContext::of(Flow { length: FRAME as u32, ..arp(7, 1) });
            (context.decision.reason, context.decision.group, context.decision.device) =
                (reason, 1, 3);
            limit(&other, SECOND * 1000 + n, &mut context);
            passed += u64::from(context.decision.reason == reason);
        }
        assert_eq!(passed, 101, "{reason:?}: each kind has its own");
    }
}

#[test]
fn bytes_of_all_kinds_are_limited_together() {
    let world = World::new(1_000_000, 8000, 1000, 1000);
    let passed = world.pass(flood(10_000, 60), true) * FRAME;
    assert!((63 * 8000..=64 * 8000 + 2 * FRAME).contains(&passed), "{passed} bytes in 60 s");
}

#[test]
fn after_a_silence_there_is_room_for_a_burst_and_no_more() {
    let world = World::new(10, 1_000_000, 1000, 1000);
    world.pass(flood(1000, 10), true);
    let later = |n| (SECOND * 10_000 + n, arp(7, 1));
    assert_eq!(world.pass((0..1000).map(later), true), 101);
}

#[test]
fn invented_macs_are_limited_and_those_that_are_known_still_pass() {
    let world = World::new(1000, 1_000_000, 8, 1000);
    assert_eq!(world.send(SECOND, arp(1, 0), false), None);
    let flood = (0..5000).map(|n| (SECOND + n, arp(100 + n, 0)));
    let passed = world.pass(flood, false);
    assert!((511..=513).contains(&passed), "{passed}");
    assert_eq!(world.send(2 * SECOND, arp(999_999, 0), false), None, "some come back");
    assert_eq!(world.send(2 * SECOND, arp(1, 0), false), None, "one that was there");
    let late = 2 * SECOND + 9;
    for n in 0..10 {
        world.send(late, arp(200_000 + n, 0), false);
    }
    assert_eq!(world.send(late, arp(5, 0), false), Some(Reason::IdentityRate));
    assert_eq!(world.send(late, arp(5, 0), true), None, "the policy names it");
}

#[test]
fn invented_addresses_of_one_mac_are_limited() {
    let world = World::new(100_000, 10_000_000, 1000, 1);
    let flood = |from: u32| (0..300).map(move |n| (SECOND + u64::from(n), arp(7, from + n)));
    let passed = world.pass(flood(1), true);
    assert!((64..=66).contains(&passed), "{passed}");
    // The first one is known; it does not delay another device.
    assert_eq!(world.send(2 * SECOND, arp(7, 1), true), None);
    assert_eq!(world.send(2 * SECOND, arp(8, 1), true), None);
    // Many devices share the interface's limit.
    let all: u64 = (0..60)
        .map(|mac| {
            let flood = (0..60).map(|n| (3 * SECOND, arp(1000 + mac, n + 1)));
            world.pass(flood, true)
        })
        .sum();
    assert!((1_900..=2_060).contains(&all), "{all}");
}

#[test]
fn who_was_silent_is_new_again_and_who_was_not_is_not() {
    let world = World::new(1000, 1_000_000, 8, 1000);
    for minute in 0..10 {
        assert_eq!(world.send(SECOND + minute * 60 * SECOND, arp(1, 0), false), None);
    }
    let later = SECOND + 9 * 60 * SECOND + FORGOTTEN * SECOND;
    let crowd = (0..5000).map(|n| (later, arp(100 + n, 0)));
    world.pass(crowd, false);
    assert_eq!(world.send(later, arp(1, 0), false), None);
    let crowd = (0..5000).map(|n| (later + 400 * SECOND, arp(10_000 + n, 0)));
    world.pass(crowd, false);
    let reason = world.send(later + 400 * SECOND, arp(1, 0), false);
    assert_eq!(reason, Some(Reason::IdentityRate));
}

#[test]
fn devices_of_no_group_share_a_limit_too() {
    let world = World::new(1_000_000, 8000, 1_000_000, 1000);
    let mut bytes = 0;
    for n in 0..400_000_u64 {
        let now = SECOND * 1000 + n * SECOND / 40_000;
        let mut context = FrameContext::of(Flow { length: FRAME as u32, ..arp(1 + n % 100, 1) });
        context.decision.reason = Reason::Arp;
        limit(&world, now, &mut context);
        bytes += if context.decision.reason == Reason::Arp { FRAME } else { 0 };
    }
    // Ten seconds, and a burst of four, for sixteen devices; a hundred separate ones would have 800,000 a
    // second.
    let most = (14 * 8000) << UNKNOWN_SHIFT;
    assert!((most - 130_000..=most + FRAME).contains(&bytes), "{bytes} of {most}");
}

/// 500 hosts that the policy does not name boot within ten seconds on one interface, each with the frames
/// counted in docs/internals/essential-rates.md and 802.1X with certificates; a central host answers each of
/// them.
#[test]
fn a_ward_that_boots_at_once_is_not_noticed() {
    let world = World::usual();
    let mut refused = Vec::new();
    let mut send = |reason, at: u64, length, flow: Flow, named| {
        refused.extend(world.send_as(reason, SECOND * 1000 + at, Flow { length, ..flow }, named));
    };
    const DEVICES: u64 = 500;
    let step = |n: u64, of: u64| n * 10 * SECOND / of;
    for turn in 0..20 {
        for device in 0..DEVICES {
            let at = step(turn * DEVICES + device, 20 * DEVICES);
            let flow = arp(0x1b_4411_0000 + device, 0x0a14_0100 + device as u32);
            let silent = Flow { class: Class::Eapol, ..flow };
            let v6 = |low| Flow {
                class: Class::Neighbour,
                destination_port: 135 << 8,
                source: Address { high: 0xfe80 << 48 | low, low: device + 1 },
                family: 6,
                ..flow
            };
            send(Reason::Arp, at, 60, flow, false);
            send(Reason::Neighbour, at, 86, v6(turn % 2), false);
            if turn < 12 {
                send(Reason::Eapol, at, 700, silent, false);
            }
            if turn < 8 {
                send(Reason::Dhcp, at, 342, Flow { class: Class::Dhcp, ..flow }, false);
            }
            if turn % 10 == 0 {
                send(Reason::Lldp, at, 300, Flow { class: Class::Lldp, ..flow }, false);
            }
            if turn % 10 == device % 10 {
                send(Reason::Arp, at, 60, arp(0x1b_4411_ffff, 0x0a14_000a), true);
            }
        }
    }
    assert!(refused.is_empty(), "{} refused, first {:?}", refused.len(), refused[0]);
}

#[test]
fn what_is_not_essential_is_let_alone() {
    let world = World::new(1, 1, 1, 1);
    for reason in Reason::ALL.iter().copied().filter(|reason| !reason.is_essential()) {
        let mut context = FrameContext::of(arp(7, 1));
        context.decision.reason = reason;
        for _ in 0..3 {
            limit(&world, SECOND, &mut context);
            assert_eq!(context.decision.reason, reason);
        }
    }
}
