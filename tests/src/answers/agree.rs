//! Host and kernel judge the same frames alike in both directions, and note the same flows and questions.

use std::collections::BTreeMap;

use aya::maps::{Array, Map, MapData, ProgramArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use enforcer::image::{HostImage, Time};
use enforcer::policy::compile::live;
use enforcer::policy::{Policy, compile, read};
use enforcer_common::abi::{STAGE_JUDGE, map};
use enforcer_common::decide::Policy as _;
use enforcer_common::decide::answers::{Size, state};
use enforcer_common::decide::asked;
use enforcer_common::decide::flooded::is_flood;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_testkit::frames::{Ethernet, GATEWAY, MORE, Tcp, V4, V6, ether_type, icmp, udp};
use enforcer_testkit::random::{self, Random};

use crate::harness;
use crate::kernel::{Bench, INTERFACE};

const POLICIES: u64 = 50;
/// Frames in both directions, over all policies; `ENFORCER_ANSWERS_FRAMES` overrides it.
const FRAMES: u64 = 1_000_000;

/// The group of mDNS.
const MDNS_V6: u128 = 0xff02 << 112 | 0xfb;

/// Two ends that talk: the device's first.
#[derive(Clone)]
struct Talk {
    device: [u8; 6],
    v4: [u32; 2],
    v6: Option<[u128; 2]>,
    ports: [u16; 2],
    protocol: u8,
}

impl Talk {
    fn new(random: &mut Random) -> Self {
        let ports = [22, 80, 443, 50_001];
        let mut v6 = random.once_in(3).then(|| [random::v6(random), random::v6(random)]);
        let mut v4 = [random::v4(random), random::v4(random)];
        // To a group of receivers.
        if random.once_in(10) {
            v4[0] = random.pick(&[u32::MAX, 0xe000_00fb]);
            v6 = v6.map(|[_, far]| [MDNS_V6, far]);
        }
        Self {
            device: random::mac(random).0,
            v4,
            v6,
            ports: [random.pick(&ports), random.pick(&ports)],
            protocol: random.pick(&[6, 6, 6, 17, 17, if v6.is_some() { 58 } else { 1 }, 47]),
        }
    }

    /// Whether others say it to a group of receivers.
    fn is_flood(&self) -> bool {
        match self.v6 {
            Some([near, _]) => near == MDNS_V6,
            None => self.v4[0] == u32::MAX || self.v4[0] >> 28 == 0xe,
        }
    }

    /// One of its frames: one in eight is an error about one that went the other way.
    fn frame(&self, random: &mut Random, outwards: bool) -> Vec<u8> {
        let packet = if random.once_in(8) {
            let quoted = self.packet(random, !outwards, None);
            let kind = match self.v6 {
                Some(_) => random.pick(&[1, 2, 3, 4]),
                None => random.pick(&[3, 3, 11, 12]),
            };
            self.packet(random, outwards, Some(icmp(kind, 0, &quoted)))
        } else {
            self.packet(random, outwards, None)
        };
        let kind = if self.v6.is_some() { ether_type::IPV6 } else { ether_type::IPV4 };
        let ether = if outwards {
            Ethernet::new(self.device).to(GATEWAY)
        } else if self.is_flood() || random.once_in(20) {
            Ethernet::new(GATEWAY).to([0xff; 6])
        } else {
            Ethernet::new(GATEWAY).to(self.device)
        };
        ether.frame(kind, &packet)
    }

    /// A packet of it: `error` in place of its own payload.
    fn packet(&self, random: &mut Random, outwards: bool, error: Option<Vec<u8>>) -> Vec<u8> {
        let in_order = |[near, far]: [u16; 2]| if outwards { [near, far] } else { [far, near] };
        let [from, to] = in_order(self.ports);
        let is_error = error.is_some();
        let payload = error.unwrap_or_else(|| self.payload(random, [from, to]));
        if let Some([near, far]) = self.v6 {
            let [source, destination] = if outwards { [near, far] } else { [far, near] };
            let protocol = if is_error { 58 } else { self.protocol };
            return V6::new(source, destination, protocol).packet(&payload);
        }
        let [near, far] = self.v4;
        let [source, destination] = if outwards { [near, far] } else { [far, near] };
        let protocol = if is_error { 1 } else { self.protocol };
        let header = V4::new(source, destination, protocol);
        // Fragments of few datagrams, so that most belong together.
        if random.once_in(6) && !is_error {
            let (at, more) = random.pick(&[(0, MORE), (3, MORE), (6, 0)]);
            let id = random.below(3) as u16;
            let mut payload = payload;
            payload.resize(24, 0);
            return V4 { id, fragment: at | more, ..header }.packet(&payload);
        }
        header.packet(&payload)
    }

    fn payload(&self, random: &mut Random, [from, to]: [u16; 2]) -> Vec<u8> {
        match self.protocol {
            6 => {
                let flags = random.pick(&[2, 2, 16, 16, 16, 18, 17, 4, 20]);
                Tcp { source: from, flags, ..Tcp::new(to) }.segment(b"data")
            }
            17 => udp(from, to, b"data"),
            1 => icmp(random.pick(&[8, 0, 3]), 0, b"data"),
            58 => icmp(random.pick(&[128, 129, 1]), 0, b"data"),
            _ => b"payload".to_vec(),
        }
    }
}

/// The flows of the table, without what depends on the time: key, flags, rule and group, and counts.
fn table(line: impl Fn(u32) -> [u64; 8]) -> BTreeMap<[u64; 8], [u64; 6]> {
    let lines = (0..Size::USUAL.flows()).map(|flow| Size::USUAL.key_line(flow));
    let flows = lines.map(|key| (line(key), line(key + 1)));
    let held = flows.filter(|(_, words)| words[0] & state::HELD != 0);
    held.map(|(key, [seen, _, by, a, b, c, d, _])| (key, [seen & 0xffff_ffff, by, a, b, c, d]))
        .collect()
}

/// Takes away what has an end: with it, nothing is known again.
fn endless(policy: &mut Policy) {
    policy.interfaces.iter_mut().for_each(|interface| interface.binds_next_hops = false);
    policy.groups.iter_mut().for_each(|group| group.timed = None);
    policy.every_rule_mut().for_each(|rule| rule.until = None);
}

#[test]
fn host_and_kernel_note_and_answer_alike() {
    let frames = harness::number("ENFORCER_ANSWERS_FRAMES", FRAMES);
    let seed = harness::number("ENFORCER_ANSWERS_SEED", 0xa9);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let policies: Vec<_> = (0..POLICIES)
        .map(|number| {
            let mut policy = random::policy(&mut Random::new(seed ^ number));
            if number % 2 == 0 {
                endless(&mut policy);
            }
            let compiled = compile(&policy, &random::host()).unwrap();
            (policy, compiled)
        })
        .filter(|(_, compiled)| compiled.image.judges_inbound())
        .collect();
    let (_, first) = &policies[0];
    let mut bench = Bench::open("answers", &first.image);
    let now = 1_000_000_000i64;
    bench.get().set_clock(now * 1_000_000_000, now * 1_000_000_000);
    let keys = bench.get().keys().unwrap();
    let time = |boot| Time { earliest: now, latest: now, boot };
    let mut reference = HostImage::at(&first.image, time(random::BOOT + 1)).with_keys(keys);
    let mut met: BTreeMap<Reason, u64> = BTreeMap::new();
    let mut talks: Vec<Talk> = Vec::new();
    let mut talk = Talk::new(&mut random);
    let (mut changes, mut again, mut floods_accepted) = (0u64, 0u64, 0u64);
    // After half of the frames of a policy, a live change.
    let changed: Vec<_> = policies
        .iter()
        .map(|(policy, compiled)| {
            let mut next = random::with_other_live(&mut random, policy);
            if random.once_in(2) {
                endless(&mut next);
            }
            live::patch(compiled, policy, &next, &random::host())
        })
        .collect();
    for (nonce, ((_, compiled), changed)) in (2u64..).zip(policies.iter().zip(&changed)) {
        if nonce > 2 {
            bench.get().replace(&compiled.image).unwrap();
            reference = reference.replaced(&compiled.image, nonce);
        }
        let number = bench.get().current().number;
        let dir = bench.get().pins().generation(number);
        let send = SchedClassifier::from_pin(dir.join("send")).unwrap();
        let before = bench.get().reasons();
        let mut expected: BTreeMap<Reason, u64> = BTreeMap::new();
        let rounds = frames / policies.len() as u64;
        for round in 0..rounds {
            if round == rounds / 2
                && let Some((changed, patch)) = changed
            {
                bench.get().patch(patch).unwrap();
                reference = reference.replaced(&changed.image, nonce);
                changes += 1;
            }
            if talks.len() < 200 || random.once_in(20) {
                let next = Talk::new(&mut random);
                let at = random.below(200) as usize;
                if at < talks.len() { talks[at] = next } else { talks.push(next) }
            }
            // Several frames of one, so that some of them are known.
            if round == 0 || random.once_in(6) {
                talk = random.pick(&talks);
            }
            let outwards = random.once_in(2);
            let frame = talk.frame(&mut random, outwards);
            if !outwards {
                let case = reference.send(&frame, INTERFACE);
                let floods = case.as_ref().is_some_and(|case| is_flood(&case.flow));
                let decision = case.map(|case| case.decision);
                floods_accepted +=
                    u64::from(floods && decision.is_some_and(|it| it.reason == Reason::Accept));
                let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
                let action = send.test_run(options).unwrap().return_value;
                let drops = decision.is_some_and(|decision| decision.verdict == Verdict::Drop);
                // TC_ACT_SHOT; or TC_ACT_UNSPEC, so that others have their turn.
                let wanted = if drops { 2 } else { u32::MAX };
                assert_eq!(action, wanted, "{decision:?} {frame:02x?}");
                if let Some(decision) = decision {
                    *expected.entry(decision.reason).or_default() += 1;
                }
                continue;
            }
            // The kernel need not judge it. As the host does: an error would show in what both have counted.
            if random.once_in(2)
                && let Some(rule) = reference.answers_again(&frame, INTERFACE)
            {
                assert!(bench.run(&frame, 1), "rule {rule}: {frame:02x?}");
                *expected.entry(Reason::Answer).or_default() += 1;
                again += 1;
                continue;
            }
            let decision = reference.decide(&frame, INTERFACE).decision;
            let passes = bench.run(&frame, 1);
            assert_eq!(passes, decision.verdict != Verdict::Drop, "{decision:?} {frame:02x?}");
            *expected.entry(decision.reason).or_default() += 1;
        }
        let counted: BTreeMap<Reason, u64> = bench
            .get()
            .reasons()
            .into_iter()
            .zip(before)
            .map(|((reason, after), (_, before))| (reason, after.frames - before.frames))
            .filter(|(_, frames)| *frames > 0)
            .collect();
        assert_eq!(counted, expected);
        let pin = bench.get().pins().path(map::ANSWERS);
        let lines = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
        let mut lines: Array<_, [u64; 8]> = lines.try_into().unwrap();
        let kernel = table(|line| lines.get(&line, 0).unwrap());
        let host = table(|line| reference.answers(line).unwrap().each_ref().map(|word| word.get()));
        let differs: Vec<_> = kernel
            .iter()
            .filter(|(key, state)| host.get(*key) != Some(state))
            .map(|(key, state)| (key, state, host.get(key)))
            .collect();
        assert!(differs.is_empty() && kernel.len() == host.len(), "{differs:x?}");
        // In a full set the second decides who makes room, and only the kernel's clock goes on.
        if nonce % 4 == 0 {
            for line in 0..Size::USUAL.lines() {
                lines.set(line, [0; 8], 0).unwrap();
                reference.answers(line).unwrap().iter().for_each(|word| word.set(0));
            }
        }
        let pin = bench.get().pins().path(map::ASKED);
        let entries = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
        let entries: Array<_, [u64; 2]> = entries.try_into().unwrap();
        // Without the times: only which of them were ever written.
        let kernel = (0..asked::ENTRIES).filter(|at| entries.get(at, 0).unwrap()[1] != 0);
        let is_used = |at: &u32| reference.question(*at).unwrap()[1].get() != 0;
        assert!(kernel.eq((0..asked::ENTRIES).filter(is_used)));
        for (reason, frames) in expected {
            *met.entry(reason).or_default() += frames;
        }
    }
    println!(
        "{} policies, {changes} live changes, {again} answers known again: {met:?}",
        policies.len()
    );
    assert!(changes > 10 && again > frames / 50_000, "{changes} and {again}");
    assert!(floods_accepted > frames / 20_000, "{floods_accepted} floods");
    let inwards = [Reason::Accept, Reason::Asked, Reason::Refuse, Reason::InboundDrop];
    let others = [Reason::Answer, Reason::Related, Reason::InboundMalformed, Reason::Flooded];
    for reason in inwards.into_iter().chain(others) {
        let least = frames / 20_000;
        assert!(met.get(&reason).is_some_and(|met| *met > least), "{reason:?}: {met:?}");
    }
}

/// Accepts one session of a device.
const SESSION: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44:11:3a:b7"]
accept = [{ from = "10.30.0.0/24", service = "tcp/22" }]
"#;

#[test]
fn the_first_stage_knows_an_answer() {
    let (policy, problems) = read("p.toml", SESSION, &mut |_| unreachable!());
    assert_eq!(problems, []);
    let image = compile(&policy, &random::host()).unwrap().image;
    let mut bench = Bench::open("first-stage", &image);
    let number = bench.get().current().number;
    let dir = bench.get().pins().generation(number);
    let send = SchedClassifier::from_pin(dir.join("send")).unwrap();
    let device = [0, 0x1b, 0x44, 0x11, 0x3a, 0xb7];
    let (own, peer) = (0x0a14_000c, 0x0a1e_000a);
    let segment = |source, to, flags| Tcp { source, flags, ..Tcp::new(to) }.segment(b"data");
    let frame = |ether: Ethernet, [from, to]: [u32; 2], segment: &[u8]| {
        ether.frame(ether_type::IPV4, &V4::new(from, to, 6).packet(segment))
    };
    let opens = frame(Ethernet::new(GATEWAY).to(device), [peer, own], &segment(40_000, 22, 2));
    let answers = |source| {
        frame(Ethernet::new(device).to(GATEWAY), [own, peer], &segment(source, 40_000, 16))
    };
    let options = TestRunOptions { data_in: Some(&opens), ..TestRunOptions::new() };
    send.test_run(options).unwrap();
    assert!(bench.run(&answers(22), 1), "it is judged");
    // Nobody is there who could judge it.
    let stages = Map::from_map_data(MapData::from_pin(dir.join(map::STAGES)).unwrap()).unwrap();
    let mut stages = ProgramArray::try_from(stages).unwrap();
    stages.clear_index(&STAGE_JUDGE).unwrap();
    assert!(bench.run(&answers(22), 1));
    assert!(!bench.run(&answers(23), 1));
    let frames = |reason| {
        let counts = bench.get().reasons();
        counts.iter().find(|(known, _)| *known == reason).unwrap().1.frames
    };
    let [answered, unjudged] = [Reason::Answer, Reason::NoPolicy].map(frames);
    assert_eq!((answered, unjudged), (2, 1));
}
