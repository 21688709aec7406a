//! Runs the bodies of the fuzz targets on inputs that fuzzing found, and on the seeds.
#![allow(missing_docs, reason = "a test binary")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use enforcer_common::event::Record;
use enforcer_common::reason::Reason;
use enforcer_policy::compile;
use enforcer_policy::image::HostImage;
use enforcer_testkit::random::Random;
use enforcer_testkit::{bodies, frames, random};

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 6] = [
    ("parse", bodies::parse::run),
    ("decide", bodies::decide::run),
    ("policy", bodies::policy::run),
    ("image", bodies::image::run),
    ("record", bodies::record::run),
    ("talk", bodies::talk::run),
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

/// The files of a directory; none if it does not exist, because a target without a crash has no directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

#[test]
fn found_inputs_and_seeds() {
    let mut failed = Vec::new();
    for (target, body) in TARGETS {
        let seeds = files(&data().join("seeds").join(target));
        assert!(!seeds.is_empty(), "{target} has no seed");
        for path in seeds.into_iter().chain(files(&data().join("crashes").join(target))) {
            let input = fs::read(&path).expect("input");
            if catch_unwind(AssertUnwindSafe(|| body(&input))).is_err() {
                failed.push(path);
            }
        }
    }
    assert_eq!(failed, [] as [PathBuf; 0]);
}

/// Random mutations of the seeds, as a short substitute for a fuzzer.
#[test]
fn damaged_seeds() {
    let mut random = Random::new(1);
    for (target, body) in TARGETS {
        let seeds = files(&data().join("seeds").join(target));
        let seeds: Vec<Vec<u8>> = seeds.iter().map(|path| fs::read(path).expect("seed")).collect();
        for _ in 0..300 {
            let mut input = random.pick(&seeds);
            for _ in 0..=random.below(4) {
                if input.is_empty() {
                    continue;
                }
                let at = random.below(input.len() as u64) as usize;
                match random.below(6) {
                    0 => input.truncate(at),
                    1 => drop(input.remove(at)),
                    2 => input.insert(at, random.next() as u8),
                    3 => input[at] ^= 1 << random.below(8),
                    4 => input[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                    _ => input[at] = random.next() as u8,
                }
            }
            let held = catch_unwind(AssertUnwindSafe(|| body(&input)));
            assert!(held.is_ok(), "{target}: {:?}", String::from_utf8_lossy(&input));
        }
    }
}

/// The generated seeds are up to date: the shortest frame for each reason. With `ENFORCER_WRITE_SEEDS` in
/// the environment they are written instead of compared.
#[test]
fn seeds_are_as_made() {
    let (_, compiled) = bodies::fixed();
    let mut seen = BTreeMap::new();
    let mut random = Random::new(1);
    for _ in 0..200_000 {
        let frame = frames::compose::frame(&mut random);
        let reference = HostImage::new(&compiled.image, random::NOW);
        let reason = reference.decide(&frame, 1).decision.reason;
        let shortest = seen.entry(reason).or_insert_with(|| frame.clone());
        if frame.len() < shortest.len() {
            *shortest = frame;
        }
    }
    for (reason, frame) in &seen {
        seed("parse", reason.name(), frame);
        seed("decide", reason.name(), &[&[0, 0], &frame[..]].concat());
    }
    // A group membership report: the only frame with a valid IPv4 option.
    let report = {
        let options = vec![148, 4, 0, 0];
        let packet = frames::V4 { ttl: 1, options, ..frames::V4::new(0x0a14_0005, 0xe000_0016, 2) };
        let ethernet = frames::Ethernet::new([2, 0, 0, 0, 0, 1]).to([1, 0, 0x5e, 0, 0, 0x16]);
        ethernet.frame(0x0800, &packet.packet(&[0x22, 0, 0xea, 3, 0, 0, 0, 1]))
    };
    seed("parse", "router-alert", &report);
    seed("decide", "router-alert", &[&[0, 0], &report[..]].concat());
    // The first word of every third line: no tree, one too deep, one far out of range.
    let allowed = &seen[&Reason::Allow];
    for (name, number) in [("zero", 0_u64), ("ones", u64::MAX), ("deep", 0x7000_0001_f000_0001)] {
        let mut input = vec![0, 15];
        for line in (1_u16..).step_by(3).take(15) {
            input.extend(line.to_le_bytes());
            input.push(0);
            input.extend(number.to_le_bytes());
        }
        seed("image", name, &[&input, &allowed[..]].concat());
    }
    seed("image", "unknown-interface", &[&[39, 0], &allowed[..]].concat());
    seed("image", "whole", &[&[0, 0], &allowed[..]].concat());
    seed("record", "zeros", &[0; size_of::<Record>()]);
    seed("record", "ones", &[1; size_of::<Record>()]);
    seed("record", "short", &[0; size_of::<Record>() - 1]);
    for (name, talk) in talks() {
        seed("talk", name, &talk);
    }
    for number in 0..8 {
        let policy = random::policy(&mut Random::new(number));
        assert!(compile(&policy, &random::host()).is_ok());
        seed("policy", &format!("random-{number}"), enforcer_policy::write(&policy).as_bytes());
    }
}

/// Talks between a device and another host: a session that is answered, a datagram with its answer, and an error.
fn talks() -> [(&'static str, Vec<u8>); 3] {
    use frames::{Ethernet, Tcp, V4, icmp, udp};
    const DEVICE: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0xff, 0];
    let (own, peer) = (0x0a14_0005, 0x0a14_0205);
    let out = |protocol, payload: &[u8]| {
        let packet = V4::new(own, peer, protocol).packet(payload);
        (0, Ethernet::new(DEVICE).to(GATEWAY).frame(0x0800, &packet))
    };
    let back = |protocol, payload: &[u8]| {
        let packet = V4::new(peer, own, protocol).packet(payload);
        (1, Ethernet::new(GATEWAY).to(DEVICE).frame(0x0800, &packet))
    };
    let segment =
        |source, destination, flags| Tcp { source, flags, ..Tcp::new(destination) }.segment(b"");
    let quoted = V4::new(own, peer, 17).packet(&udp(3000, 53, b"question"));
    let talk = |frames: &[(u8, Vec<u8>)]| {
        frames.iter().fold(Vec::new(), |mut talk, (direction, frame)| {
            talk.extend([*direction, u8::try_from(frame.len()).expect("a short frame")]);
            talk.extend(frame);
            talk
        })
    };
    [
        ("session", talk(&[back(6, &segment(40_000, 22, 2)), out(6, &segment(22, 40_000, 18))])),
        ("datagram", talk(&[out(17, &udp(3000, 53, b"?")), back(17, &udp(53, 3000, b"!"))])),
        ("error", talk(&[out(17, &udp(3000, 53, b"?")), back(1, &icmp(3, 4, &quoted))])),
    ]
}

#[track_caller]
fn seed(target: &str, name: &str, bytes: &[u8]) {
    let directory = data().join("seeds").join(target);
    let file = directory.join(name);
    if std::env::var_os("ENFORCER_WRITE_SEEDS").is_some() {
        fs::create_dir_all(&directory).expect("directory");
        fs::write(&file, bytes).expect("seed");
    }
    let found = fs::read(&file).unwrap_or_default();
    assert!(found == bytes, "{target}/{name} is another: run this with ENFORCER_WRITE_SEEDS=1");
}
