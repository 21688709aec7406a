//! Policies of any size, and frames for them.
use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    io::Read as _,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use enforcer::{
    image::Image,
    policy::{Mac, Severity, compile, read},
};
use enforcer_testkit::{
    frames::{Ethernet, Tcp, V4, V6, ether_type},
    random::{self, Random},
};

/// Bytes of a frame: the replay program writes as many.
pub(crate) const FRAME: usize = 80;
/// Devices in every policy.
pub(crate) const DEVICES: u32 = 100_000;
/// Devices whose frames are replayed in the series with few devices.
pub(crate) const FEW: u32 = 1_000;
/// The service of one rule of a group.
pub(crate) const SINGLE: u16 = 443;
/// The services of the other rule.
pub(crate) const SEVERAL: [u16; 3] = [80, 8080, 11112];

/// A prefix: address, left aligned as in its family, and length.
pub(crate) type Prefix = (u128, u32);

/// What a group may reach: every third prefix with several services, the others with one.
pub(crate) struct World {
    /// Whether addresses are IPv6.
    pub(crate) v6: bool,
    /// Prefixes by group.
    pub(crate) groups: Vec<Vec<Prefix>>,
}

/// Whether this prefix of a group has several services.
pub(crate) fn has_several(index: usize) -> bool {
    index % 3 == 2
}

/// A device's MAC.
pub(crate) fn mac(device: u32) -> [u8; 6] {
    let [_, a, b, c] = device.wrapping_mul(0x9e37_79b1).to_be_bytes();
    let [_, _, d, e] = (device >> 8).to_be_bytes();
    [0x02, a, b, c, d, e]
}

impl World {
    /// This many prefixes, in groups with Zipf-distributed sizes as in real policies: few large, many
    /// small.
    pub(crate) fn new(v6: bool, prefixes: usize) -> Self {
        let mut random = Random::new(prefixes as u64);
        let mut all = lists(v6, prefixes, &mut random);
        let count = (prefixes / 10).clamp(1, 1_000);
        let weight: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
        let groups = (1..=count).map(|rank| {
            let share = prefixes as f64 / weight / rank as f64;
            all.split_off(all.len().saturating_sub((share as usize).max(1)))
        });
        let mut groups: Vec<_> = groups.collect();
        // The remainder from rounding.
        groups[0].append(&mut all);
        Self { v6, groups }
    }

    /// The group of a device; all groups have equally many.
    pub(crate) fn group(&self, device: u32) -> usize {
        device as usize % self.groups.len()
    }

    /// The policy, compiled.
    pub(crate) fn image(&self) -> Image {
        let mut members = vec![String::new(); self.groups.len()];
        for device in 0..DEVICES {
            // A `String` takes everything.
            let _ = write!(members[self.group(device)], "\"{}\",", Mac(mac(device)));
        }
        let (mut text, mut sets) = (String::from("schema = 1\n[sets]\n"), HashMap::new());
        for (number, prefixes) in self.groups.iter().enumerate() {
            for (name, several) in [("one", false), ("more", true)] {
                let _ = writeln!(text, "{name}{number} = {{ file = \"{name}{number}\" }}");
                sets.insert(format!("{name}{number}"), self.list(prefixes, several));
            }
        }
        let several = SEVERAL.map(|port| format!("\"tcp/{port}\"")).join(", ");
        for (number, members) in members.iter().enumerate() {
            let _ = write!(
                text,
                "[groups.g{number}]\nmembers = [{members}]\nallow = [\n\
                 {{ to = \"@one{number}\", service = \"tcp/{SINGLE}\" }},\n\
                 {{ to = \"@more{number}\", service = [{several}] }},\n]\n"
            );
        }
        let mut load = |name: &str| Ok(sets.remove(name).expect("a set is read once"));
        let (policy, problems) = read("bench.toml", &text, &mut load);
        assert!(problems.iter().all(|problem| problem.severity != Severity::Error), "{problems:?}");
        compile(&policy, &random::host()).expect("it compiles").image
    }

    fn list(&self, prefixes: &[Prefix], several: bool) -> String {
        let mut text = String::new();
        for (_, (address, length)) in
            prefixes.iter().enumerate().filter(|(index, _)| has_several(*index) == several)
        {
            let _ = match self.v6 {
                true => writeln!(text, "{}/{length}", Ipv6Addr::from(*address)),
                false => writeln!(text, "{}/{length}", Ipv4Addr::from(*address as u32)),
            };
        }
        if text.is_empty() {
            // No frame of the benchmark goes there.
            text.push_str(if self.v6 { "2001:db8:dead::/48\n" } else { "192.0.2.0/24\n" });
        }
        text
    }

    /// A frame of a device to an allowed destination.
    pub(crate) fn frame(&self, device: u32, random: &mut Random) -> Vec<u8> {
        let prefixes = &self.groups[self.group(device)];
        let index = random.below(prefixes.len() as u64) as usize;
        let (address, length) = prefixes[index];
        let bits = if self.v6 { 128 } else { 32 };
        let hosts = if length == 0 { u128::MAX } else { (1 << (bits - length)) - 1 };
        let wide = wide(random);
        let port = if has_several(index) { random.pick(&SEVERAL) } else { SINGLE };
        self.segment(device, address | wide & hosts, port)
    }

    /// A frame of a device to a random destination, which is most probably not allowed.
    pub(crate) fn stray(&self, device: u32, random: &mut Random) -> Vec<u8> {
        let address = anywhere(self.v6, random);
        // 127.0.0.0/8 is refused before any rule is looked at.
        let address = if !self.v6 && address >> 24 == 127 { address + (1 << 24) } else { address };
        self.segment(device, address, SINGLE)
    }

    fn segment(&self, device: u32, destination: u128, port: u16) -> Vec<u8> {
        let ethernet = Ethernet::new(mac(device)).to([2, 0, 0, 0, 0xff, 0]);
        let header = if self.v6 { 40 } else { 20 };
        let segment = Tcp::new(port).segment(&vec![0; FRAME - 14 - header - 20]);
        let frame = if self.v6 {
            let packet = V6::new(0xfd00 << 112 | u128::from(device), destination, 6);
            ethernet.frame(ether_type::IPV6, &packet.packet(&segment))
        } else {
            let packet = V4::new(0x0a40_0000 + device, destination as u32, 6);
            ethernet.frame(ether_type::IPV4, &packet.packet(&segment))
        };
        assert_eq!(frame.len(), FRAME);
        frame
    }
}

/// Prefixes of the internet in random order. Further ones have lengths from the lists and random
/// addresses; without the lists, lengths of /16 to /28, and /32 to /56.
fn lists(v6: bool, count: usize, random: &mut Random) -> Vec<Prefix> {
    let mut all = real(v6);
    if all.is_empty() {
        println!("without ../shared/data/prefixes, prefixes are at random");
        let lengths = if v6 { 32..=56 } else { 16..=28 };
        all.extend(lengths.map(|length| (0, length)));
        all = (0..count).map(|_| shaped(v6, random.pick(&all).1, random)).collect();
    }
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last as u64 + 1) as usize);
    }
    let listed = all.len();
    while all.len() < count {
        let (_, length) = all[random.below(listed as u64) as usize];
        all.push(shaped(v6, length, random));
    }
    all.truncate(count);
    all
}

/// A random prefix of a length.
fn shaped(v6: bool, length: u32, random: &mut Random) -> Prefix {
    let (bits, address) = (if v6 { 128 } else { 32 }, anywhere(v6, random));
    (if length == 0 { 0 } else { address >> (bits - length) << (bits - length) }, length)
}

/// A random unicast address, of IPv4 one of 1.0.0.0 to 221.255.255.255.
fn anywhere(v6: bool, random: &mut Random) -> u128 {
    let wide = wide(random);
    if v6 { 0x2 << 124 | wide >> 4 } else { 0x0100_0000 + wide % 0xdd00_0000 }
}

fn wide(random: &mut Random) -> u128 {
    u128::from(random.next()) << 64 | u128::from(random.next())
}

fn real(v6: bool) -> Vec<Prefix> {
    let name = if v6 { "asn-ipv6.cidr.txt.gz" } else { "asn-ipv4.cidr.txt.gz" };
    let Ok(packed) = fs::File::open(directory().join(name)) else { return Vec::new() };
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("a gzip file");
    let prefix = |line: &str| {
        let (address, length) = line.split_once('/')?;
        let address = match v6 {
            true => u128::from(address.parse::<Ipv6Addr>().ok()?),
            false => u128::from(u32::from(address.parse::<Ipv4Addr>().ok()?)),
        };
        Some((address, length.parse().ok()?))
    };
    text.lines().filter_map(prefix).collect()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/prefixes")
}
