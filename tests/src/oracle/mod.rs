//! nftables as an independent oracle: the same allowlist, the same frames, the same verdicts.
//!
//! - `allowlist`: random allowlists, and their form as an enforcer policy
//! - `nft`: the same as a ruleset, and real nftables on a wire
//!
//! Enforcer's side is a policy file through the reader, the compiler and the program in the kernel.
//! The two share the text of an address and nothing else.

mod allowlist;
mod nft;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use enforcer::policy::{Host, Severity, compile, read};
use enforcer_common::reason::{Reason as R, Verdict};

use self::allowlist::{Allowlist, Device, Group, PORTS, Rule, Service, To};
use self::nft::Wire;
use crate::harness::skip;
use crate::kernel::Bench;
use enforcer_testkit::corpus;
use enforcer_testkit::frames::{
    Ethernet, Extension, GATEWAY, MORE, Tcp, V4, V6, ether_type, icmp, sctp, udp,
};
use enforcer_testkit::random::{self, Random};

/// Number of allowlists, each with its own seed.
const LISTS: u64 = 40;
/// Frames for each of them.
const FRAMES: u32 = 600;

/// The rows of the corpus for which nftables has a different verdict, and why.
const EXCEPTIONS: [(u16, Verdict, &str); 19] = [
    (36, Verdict::Pass, "it does not look at options: the source route leads somewhere else"),
    (37, Verdict::Pass, "it reads ports behind the end that the IP header states"),
    (43, Verdict::Pass, "it takes the payload of a later fragment for a TCP header"),
    (46, Verdict::Pass, "it reads ports of a first fragment that a second one can overwrite"),
    (54, Verdict::Pass, "it does not look at the data offset"),
    (55, Verdict::Pass, "eight bytes of TCP have ports, and are no segment"),
    (79, Verdict::Pass, "it compares a destination that is not the last one"),
    (96, Verdict::Pass, "it walks any number of extension headers; enforcer four"),
    (117, Verdict::Drop, "essential: its ruleset has allow rules only"),
    (121, Verdict::Drop, "essential"),
    (122, Verdict::Drop, "essential"),
    (125, Verdict::Drop, "essential"),
    (127, Verdict::Drop, "essential"),
    (150, Verdict::Pass, "it does not look at options"),
    (164, Verdict::Pass, "it does not look at options: the source is another one"),
    (165, Verdict::Pass, "it knows nothing of the fragment before"),
    (166, Verdict::Pass, "it does not look at options"),
    (167, Verdict::Pass, "it does not look behind the packet"),
    (168, Verdict::Pass, "it does not look behind the packet"),
];

/// The reasons that well-formed frames meet, each often.
const MET: [R; 7] =
    [R::Allow, R::Deny, R::Default, R::DefaultPass, R::Unknown, R::UnknownPass, R::SourceBinding];

#[test]
fn nftables_agrees_on_random_allowlists() {
    let Some(wire) = wire("nftables_agrees_on_random_allowlists") else { return };
    let mut bench = None;
    let mut met: BTreeMap<(R, bool), u32> = BTreeMap::new();
    for seed in 0..LISTS {
        let mut random = Random::new(seed ^ 0x0f_7ab1e5);
        let list = Allowlist::random(&mut random);
        // Its devices are not interfaces of the gateway, and its addresses do not belong to
        // routers.
        let host = Host { macs: Vec::new(), routers: Vec::new(), ..random::host() };
        in_force("oracle", &mut bench, &wire, &list, &host);
        let frames: Vec<Vec<u8>> =
            (0..FRAMES).map(|number| frame(&mut random, &list, number)).collect();
        for (frame, ours, theirs) in verdicts(bench.as_mut().unwrap(), &wire, &frames) {
            let (verdict, reason) = ours;
            assert!(MET.contains(&reason), "seed {seed}: not well formed: {reason:?} {frame:02x?}");
            assert_eq!(
                verdict,
                theirs,
                "seed {seed}: {reason:?}, and nftables says otherwise: {frame:02x?}\n{}\n{}",
                list.toml(),
                nft::ruleset(&list, &random::host())
            );
            *met.entry((reason, frame[12..14] == [0x86, 0xdd])).or_default() += 1;
        }
    }
    println!("{LISTS} allowlists, seeds 0 to {}, {FRAMES} frames each: {met:?}", LISTS - 1);
    for reason in MET {
        for v6 in [false, true] {
            let frames = met.get(&(reason, v6)).copied().unwrap_or(0);
            assert!(frames >= 50, "too little of {reason:?}, IPv6 {v6}: {met:?}");
        }
    }
}

#[test]
fn nftables_agrees_on_evasions_but_for_named_ones() {
    let Some(wire) = wire("nftables_agrees_on_evasions_but_for_named_ones") else { return };
    let mut bench = None;
    in_force("oracle-corpus", &mut bench, &wire, &corpus_list(), &corpus::host());
    let rows = corpus::rows(GATEWAY);
    let frames: Vec<Vec<u8>> =
        rows.iter().flat_map(|row| &row.frames).map(|frame| frame.bytes.clone()).collect();
    let mut verdicts = verdicts(bench.as_mut().unwrap(), &wire, &frames).into_iter();
    let mut wrong = Vec::new();
    for row in &rows {
        let frames = verdicts.by_ref().take(row.frames.len());
        // Compare the differing frames of the row; no row has differences in both directions.
        let differ = frames.filter(|(_, (ours, _), theirs)| ours != theirs);
        let differ = differ.map(|(_, _, theirs)| theirs).last();
        let named = EXCEPTIONS.iter().find(|(number, ..)| *number == row.number);
        if differ != named.map(|(_, theirs, _)| *theirs) {
            let (number, name) = (row.number, row.name);
            wrong.push(format!("row {number}, {name}: nftables {differ:?}, expected {named:?}"));
        }
    }
    for (number, ..) in EXCEPTIONS {
        assert!(rows.iter().any(|row| row.number == number), "{number} names no row");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Real nftables, or a skipped test.
#[track_caller]
fn wire(test: &str) -> Option<Wire> {
    Wire::build().map_err(|why| skip(test, &why)).ok()
}

/// The allowlist in the kernel and in nftables.
#[track_caller]
fn in_force(test: &str, bench: &mut Option<Bench>, wire: &Wire, list: &Allowlist, host: &Host) {
    let text = list.toml();
    let (policy, problems) = read("oracle.toml", &text, &mut |_| unreachable!("no files"));
    // A group without members causes only a warning, and is a valid case.
    let error = problems.iter().find(|problem| problem.severity == Severity::Error);
    assert_eq!(error, None, "{text}");
    let image = compile(&policy, host).unwrap().image;
    match bench {
        Some(bench) => drop(bench.get().replace(&image).unwrap()),
        none => *none = Some(Bench::open(test, &image)),
    }
    wire.load(&nft::ruleset(list, host));
}

/// For each frame enforcer's verdict and nftables'.
#[track_caller]
fn verdicts<'a>(
    bench: &mut Bench,
    wire: &Wire,
    frames: &'a [Vec<u8>],
) -> Vec<(&'a [u8], (Verdict, R), Verdict)> {
    let unique: HashSet<Vec<u8>> = frames.iter().map(|frame| nft::untagged(frame)).collect();
    assert_eq!(unique.len(), frames.len(), "each frame is known by its bytes");
    let sent: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let accepted = wire.accepted(&sent);
    let verdict = |frame: &'a [u8]| {
        let answer = bench.ask(frame).unwrap();
        let theirs = accepted.contains(&nft::untagged(frame));
        let theirs = if theirs { Verdict::Pass } else { Verdict::Drop };
        (frame, (answer.verdict, answer.reason), theirs)
    };
    sent.into_iter().map(verdict).collect()
}

/// [`corpus::POLICY`] as an allowlist.
fn corpus_list() -> Allowlist {
    let addresses: Vec<IpAddr> = vec![
        std::net::Ipv4Addr::from(corpus::A4).into(),
        std::net::Ipv6Addr::from(corpus::A6).into(),
    ];
    let allow = vec![Rule { to: To::Any, services: vec![Service::Ports("tcp", 443, 443)] }];
    Allowlist {
        devices: vec![Device { mac: corpus::DEVICE, addresses }],
        sets: Vec::new(),
        groups: vec![Group { devices: vec![0], allow, ..Group::default() }],
        unknown_passes: false,
    }
}

/// A well-formed frame that is not essential; the number makes it unique.
fn frame(random: &mut Random, list: &Allowlist, number: u32) -> Vec<u8> {
    let mut sender = random::mac(random).0;
    let mut source = allowlist::host(random);
    if random.once_in(3) && !list.devices.is_empty() {
        let at = random.below(list.devices.len() as u64) as usize;
        let device = &list.devices[at];
        sender = device.mac;
        if !device.addresses.is_empty() {
            source = random.pick(&device.addresses);
        }
    }
    let mut ethernet = Ethernet::new(sender);
    if random.once_in(20) {
        // A priority tag, which both look behind.
        ethernet = ethernet.tag((random.below(8) as u16) << 13);
    }
    let (protocol, mut payload) = transport(random, source.is_ipv4(), number);
    let first = random.once_in(15);
    if first {
        payload.resize(payload.len().next_multiple_of(8), 0);
    }
    match (source, list.destination(random, source.is_ipv4())) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = V4::new(source.into(), destination.into(), protocol);
            packet.id = number as u16;
            packet.fragment = if first { MORE } else { 0 };
            ethernet.frame(ether_type::IPV4, &packet.packet(&payload))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = V6::new(source.into(), destination.into(), protocol);
            if random.once_in(8) {
                packet = packet.extension(Extension::Options { kind: 60, length: 0 });
            }
            if first {
                let fragment = Extension::Fragment { offset: 0, more: true, id: number };
                packet = packet.extension(fragment);
            }
            ethernet.frame(ether_type::IPV6, &packet.packet(&payload))
        }
        both => unreachable!("of one family: {both:?}"),
    }
}

/// A protocol and its header around the number and further bytes.
fn transport(random: &mut Random, v4: bool, number: u32) -> (u8, Vec<u8>) {
    // A rule's end or its neighbour.
    let port = match random.below(4) {
        0 => random.next() as u16,
        1 => random.pick(&PORTS).wrapping_add(random.pick(&[1, u16::MAX])),
        _ => random.pick(&PORTS),
    };
    // DHCP is essential.
    let port = if matches!(port, 67 | 68 | 546 | 547) { 80 } else { port };
    let mut data = number.to_be_bytes().to_vec();
    data.resize(16 + random.below(64) as usize, 0x42);
    match random.below(10) {
        0..=3 => {
            let tcp = Tcp { flags: random.pick(&[2, 0x10, 0x18]), ..Tcp::new(port) };
            (6, Tcp { options: vec![1; random.pick(&[0, 12])], ..tcp }.segment(&data))
        }
        4..=6 => (17, udp(40_000, port, &data)),
        7 if v4 => (1, icmp(8, 0, &data)),
        7 => (58, icmp(128, 0, &data)),
        8 => (132, [sctp(40_000, port), data].concat()),
        _ => (random.pick(&[47, 50, 33, 103]), data),
    }
}
