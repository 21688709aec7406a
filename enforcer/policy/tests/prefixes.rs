//! Prefix lists of the internet through reader, compiler and image, compared with sorted intervals.
//!
//! The lists are not part of the project; without them the test says so and passes.
#![allow(missing_docs, reason = "a test binary")]

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Instant;

use enforcer_common::flow::{Address, FAMILY_V4, FAMILY_V6, Flow};
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire;
use enforcer_policy::image::HostImage;
use enforcer_policy::{Host, HostInterface, Mac, Policy, Rule, To, compile, read, report};

use enforcer_testkit::random::Random;

const NOW: i64 = 1_800_000_000;

/// Uses every third entry of a list, so that the sets have holes.
const POLICY: &str = r#"
schema = 1

[sets]
world-v4  = { file = "asn-ipv4.cidr.txt" }
world-v6  = { file = "asn-ipv6.cidr.txt" }
thirds-v4 = { file = "asn-ipv4.cidr.txt thirds" }
thirds-v6 = { file = "asn-ipv6.cidr.txt thirds" }
cn-v4     = { file = "cn-ipv4.cidr.txt" }
cn-v6     = { file = "cn-ipv6.cidr.txt" }
nested    = [
  "0.0.0.0/1", "1.0.0.0/8", "1.0.0.0/9", "1.0.1.0/24", "1.0.1.7", "114.0.0.0/7", "202.114.4.0/24",
  "2000::/3", "2001::/16", "2001:250::/32", "2001:250::/31",
  "2001:250:0:1::/64", "2001:250::5-2001:250::17",
]

[groups.monitors]
members = ["02:00:00:00:00:01"]
allow = [
  { to = "@world-v4", service = "tcp/443" },
  { to = "@world-v6", service = ["tcp/443", "udp/443"] },
  { to = "@nested",   service = "udp/123" },
]
deny = [
  { to = "@cn-v4", reason = "residency" },
  { to = "@cn-v6", reason = "residency" },
]

[groups.pumps]
members = ["02:00:00:00:00:02"]
allow = [
  { to = "@thirds-v4", service = ["tcp/1-1023", "udp/53"] },
  { to = "@thirds-v6", service = "tcp" },
  { to = "@cn-v4",     service = "tcp/8000" },
  { to = "any",        service = "icmp" },
]
deny = [
  { to = "@nested", service = ["tcp/100-500", "icmp"] },
  { to = "@world-v6", service = "tcp/80" },
]

[groups.cameras]
members = ["02:00:00:00:00:03"]
default = "pass"
allow = [{ to = "@nested" }]
deny = [
  { to = "@thirds-v4", service = "udp" },
  { to = "@thirds-v6", service = ["udp", "tcp/443"] },
  { to = "@cn-v6",     service = "tcp/80" },
]
"#;

/// The text of a list, or every third line of it.
fn list(name: &str) -> io::Result<String> {
    let (file, thirds) = match name.split_once(' ') {
        Some((file, _)) => (file, true),
        None => (name, false),
    };
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/prefixes");
    let path = directory.join(file);
    let text = if path.exists() {
        fs::read_to_string(path)?
    } else {
        let mut text = String::new();
        let packed = fs::File::open(directory.join(format!("{file}.gz")))?;
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text)?;
        text
    };
    if !thirds {
        return Ok(text);
    }
    Ok(text.lines().step_by(3).flat_map(|line| [line, "\n"]).collect())
}

/// The same text as numbers, parsed by the standard library instead of the product.
fn numbers(text: &str) -> (bool, u128, u128) {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (first, Some(last)),
        None => (text, None),
    };
    let (address, length) = match first.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().unwrap())),
        None => (first, None),
    };
    let number = |address: &str| match address.parse().unwrap() {
        std::net::IpAddr::V4(address) => (false, u128::from(u32::from(address)), 32),
        std::net::IpAddr::V6(address) => (true, u128::from(address), 128),
    };
    let (v6, first, width) = number(address);
    let hosts = match length {
        Some(0) if width == 128 => u128::MAX,
        Some(length) => (1u128 << (width - length)) - 1,
        None => 0,
    };
    (v6, first, last.map_or(first + hosts, |last| number(last).1))
}

/// A set as disjoint intervals in ascending order, IPv4 and IPv6 apart.
struct Intervals([Vec<(u128, u128)>; 2]);

impl Intervals {
    fn new(entries: &[(bool, u128, u128)]) -> Self {
        Self([false, true].map(|family| {
            let mut all: Vec<_> =
                entries.iter().filter(|e| e.0 == family).map(|e| (e.1, e.2)).collect();
            all.sort_unstable();
            let mut merged: Vec<(u128, u128)> = Vec::new();
            for (first, last) in all {
                match merged.last_mut() {
                    Some(before) if first <= before.1 => before.1 = before.1.max(last),
                    _ => merged.push((first, last)),
                }
            }
            merged
        }))
    }

    fn contains(&self, v6: bool, address: u128) -> bool {
        let intervals = &self.0[usize::from(v6)];
        let at = intervals.partition_point(|&(first, _)| first <= address);
        at > 0 && address <= intervals[at - 1].1
    }
}

/// Verdict, reason and rule of a flow, by checking each rule and searching each set.
fn oracle<'a>(
    policy: &'a Policy,
    sets: &HashMap<String, Intervals>,
    group: usize,
    (v6, address): (bool, u128),
    key: u32,
) -> (Verdict, Reason, Option<&'a str>) {
    let group = &policy.groups[group];
    let find = |rules: &'a [Rule]| {
        rules.iter().find(|rule| {
            let to = match rule.to_text.strip_prefix('@') {
                Some(name) => sets[name].contains(v6, address),
                None => rule.to_text == "any",
            };
            to && rule.services.iter().any(|s| s.first <= key && key <= s.last)
        })
    };
    if let Some(rule) = find(&group.deny) {
        return (Verdict::Drop, Reason::Deny, Some(&rule.id));
    }
    if let Some(rule) = find(&group.allow) {
        return (Verdict::Pass, Reason::Allow, Some(&rule.id));
    }
    match group.name.as_str() {
        "cameras" => (Verdict::Pass, Reason::DefaultPass, None),
        _ => (Verdict::Drop, Reason::Default, None),
    }
}

fn host() -> Host {
    let mac = Mac([2, 0, 0, 0, 0xff, 0]);
    let lan = HostInterface {
        name: "lan0".into(),
        index: 1,
        mac,
        prefixes: Vec::new(),
        ..HostInterface::default()
    };
    Host { interfaces: vec![lan], own: Vec::new(), now: NOW, ..Host::default() }
}

/// Services inside, outside and at the edges of those of the rules.
const KEYS: [u32; 16] = [
    6 << 16 | 443,
    6 << 16 | 443,
    6 << 16 | 80,
    6 << 16,
    6 << 16 | 1,
    6 << 16 | 99,
    6 << 16 | 100,
    6 << 16 | 500,
    6 << 16 | 501,
    6 << 16 | 1023,
    6 << 16 | 1024,
    6 << 16 | 8000,
    17 << 16 | 53,
    17 << 16 | 123,
    17 << 16 | 443,
    1 << 16 | 8 << 8,
];

#[test]
fn prefix_lists_of_the_internet() {
    if let Err(error) = list("cn-ipv4.cidr.txt") {
        eprintln!("skipped: ../shared/data/prefixes cannot be read: {error}");
        return;
    }
    let start = Instant::now();
    let mut texts = HashMap::new();
    let (policy, problems) = read("lists.toml", POLICY, &mut |name| {
        let text = list(name)?;
        texts.insert(name.to_owned(), text.clone());
        Ok(text)
    });
    assert_eq!(problems, [], "{}", report::render(&problems, &|_| Some(POLICY), false));
    let reading = start.elapsed();

    let start = Instant::now();
    let host = host();
    let compiled = compile(&policy, &host).unwrap();
    let compiling = start.elapsed();

    // Parse the sets again from the same text, without the product's code.
    let start = Instant::now();
    let document: toml::Table = POLICY.parse().unwrap();
    let mut sets = HashMap::new();
    let mut entries = Vec::new();
    for (name, value) in document["sets"].as_table().unwrap() {
        let set: Vec<_> = match value.get("file") {
            Some(file) => texts[file.as_str().unwrap()].lines().map(numbers).collect(),
            None => {
                value.as_array().unwrap().iter().map(|e| numbers(e.as_str().unwrap())).collect()
            }
        };
        sets.insert(name.clone(), Intervals::new(&set));
        entries.extend(set);
    }
    let rules = || policy.groups.iter().flat_map(|group| group.allow.iter().chain(&group.deny));
    let mut ranges: HashMap<&str, usize> = HashMap::new();
    for rule in rules() {
        if let To::Set(set) = &rule.to {
            ranges.insert(&set.name, set.ranges.len());
        }
    }
    let ranges: usize = ranges.values().sum();
    assert_eq!(ranges, entries.len(), "every line is an entry");
    let preparing = start.elapsed();

    let start = Instant::now();
    let reference = HostImage::new(&compiled.image, NOW);
    let mut random = Random::new(1);
    let mut met = HashMap::new();
    let mut count = 0;
    let mut check = |address: (bool, u128), random: &mut Random| {
        for group in 0..policy.groups.len() {
            let key = random.pick(&KEYS);
            let mut flow = Flow {
                source_mac: wire::mac([2, 0, 0, 0, 0, group as u8 + 1]),
                interface: 1,
                protocol: (key >> 16) as u8,
                destination_port: key as u16,
                ..Flow::NEW
            };
            (flow.family, flow.destination) = match address {
                (false, number) => (FAMILY_V4, Address::v4(number as u32)),
                (true, number) => (FAMILY_V6, Address::v6(number.to_be_bytes())),
            };
            let decision = reference.judge(flow).decision;
            let rule = (decision.rule != NO_RULE).then(|| {
                let number = compiled.rules[decision.rule as usize].unwrap();
                number.rule(&policy).unwrap().1.id.as_str()
            });
            let expected = oracle(&policy, &sets, group, address, key);
            assert_eq!((decision.verdict, decision.reason, rule), expected, "{flow:?}");
            *met.entry((expected.1, expected.2)).or_insert(0u32) += 1;
            count += 1;
        }
    };
    for _ in 0..40_000 {
        let (v6, first, last) = random.pick(&entries);
        let max = if v6 { u128::MAX } else { u128::from(u32::MAX) };
        let inside = first
            + (u128::from(random.next()) << 64 | u128::from(random.next())) % (last - first + 1);
        for number in
            [first, last, first.saturating_sub(1), last.saturating_add(1).min(max), inside]
        {
            check((v6, number), &mut random);
        }
    }
    for _ in 0..20_000 {
        let next = random.next();
        check((false, u128::from(next as u32)), &mut random);
        // Few random IPv6 addresses are in a list, so stay near the listed ones.
        let low = u128::from(random.next());
        check(
            (
                true,
                (0x2000 | u128::from(next >> 52)) << 112
                    | u128::from(next & 0xffff_ffff) << 80
                    | low,
            ),
            &mut random,
        );
    }
    for (v6, number) in [(false, 0), (false, u128::from(u32::MAX)), (true, 0), (true, u128::MAX)] {
        check((v6, number), &mut random);
    }
    let looking = start.elapsed();
    for rule in rules() {
        let count: u32 = met.iter().filter(|(k, _)| k.1 == Some(&rule.id)).map(|(_, n)| n).sum();
        assert!(count > 100, "{} {} decided {count} times", rule.to_text, rule.service_text);
    }
    eprintln!(
        "{ranges} prefixes: read in {reading:.1?}, compiled in {compiling:.1?} to {} lines, \
         {:.1} MiB; oracle in {preparing:.1?}, {count} look-ups in {looking:.1?}",
        compiled.image.len(),
        size_of_val(&*compiled.image.lines()) as f64 / f64::from(1 << 20),
    );
}

/// Tests the oracle at edges.
#[test]
fn intervals() {
    let set =
        Intervals::new(&["1.0.0.0/8", "1.2.0.0/16", "3.0.0.0-3.0.0.4", "2001::/16"].map(numbers));
    assert_eq!(set.0[0].len(), 2);
    for (number, inside) in [
        (0x00ff_ffff, false),
        (0x0100_0000, true),
        (0x01ff_ffff, true),
        (0x0200_0000, false),
        (0x0300_0004, true),
        (0x0300_0005, false),
    ] {
        assert_eq!(set.contains(false, number), inside, "{number:x}");
        assert!(!set.contains(true, number));
    }
    assert!(set.contains(true, 0x2001 << 112));
}
