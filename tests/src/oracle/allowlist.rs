//! Random allowlists, and their form as an enforcer policy.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer::policy::Range;

use enforcer_testkit::random::{self, Random};

/// What devices may reach. Names are indices.
#[derive(Debug)]
pub(super) struct Allowlist {
    /// Devices with a MAC, bound to their addresses if they have any.
    pub(super) devices: Vec<Device>,
    /// Sets of destinations.
    pub(super) sets: Vec<Vec<Block>>,
    /// Groups.
    pub(super) groups: Vec<Group>,
    /// Whether devices in no group pass.
    pub(super) unknown_passes: bool,
}

/// A device that is a member of a group.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) mac: [u8; 6],
    /// The only addresses that it may use, and that no other device may use.
    pub(super) addresses: Vec<IpAddr>,
}

/// A group, its members and its rules.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) devices: Vec<usize>,
    pub(super) macs: Vec<[u8; 6]>,
    pub(super) blocks: Vec<Block>,
    /// MAC prefixes with their lengths in bits.
    pub(super) prefixes: Vec<([u8; 6], u8)>,
    pub(super) allow: Vec<Rule>,
    pub(super) deny: Vec<Rule>,
    pub(super) passes: bool,
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) to: To,
    pub(super) services: Vec<Service>,
}

/// A remote end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum To {
    Any,
    /// The gateway's own addresses.
    Gateway,
    /// The prefixes of the protected interfaces.
    Local,
    Set(usize),
    Block(Block),
}

/// The allowed service.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    Any,
    /// An IP protocol by number.
    Protocol(u8),
    /// Destination ports, both ends included.
    Ports(&'static str, u16, u16),
}

/// Addresses, both ends included; written as an address, a CIDR or a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block(pub(super) Range);

impl Block {
    pub(super) fn is_v4(self) -> bool {
        matches!(self.0, Range::V4(..))
    }

    /// Both languages use the same notation.
    pub(super) fn text(self) -> String {
        let (first, last): (IpAddr, IpAddr) = match self.0 {
            Range::V4(first, last) => (Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into()),
            Range::V6(first, last) => (Ipv6Addr::from(first).into(), Ipv6Addr::from(last).into()),
        };
        match self.prefix() {
            _ if first == last => first.to_string(),
            Some(length) => format!("{first}/{length}"),
            None => format!("{first}-{last}"),
        }
    }

    /// The prefix length, if it is one prefix.
    pub(super) fn prefix(self) -> Option<u32> {
        let (first, last, width) = self.numbers();
        let hosts = last - first;
        let one = hosts & hosts.wrapping_add(1) == 0 && first & hosts == 0;
        one.then_some(width - hosts.count_ones())
    }

    /// Whether no address is in both, or both are prefixes of different lengths.
    fn fits(self, other: Self) -> bool {
        let ((a, b, width), (c, d, other_width)) = (self.numbers(), other.numbers());
        let nested = matches!((self.prefix(), other.prefix()), (Some(a), Some(b)) if a != b);
        width != other_width || b < c || d < a || nested
    }

    fn numbers(self) -> (u128, u128, u32) {
        match self.0 {
            Range::V4(first, last) => (first.into(), last.into(), 32),
            Range::V6(first, last) => (first, last, 128),
        }
    }
}

/// A MAC address in its usual notation.
pub(super) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

impl Allowlist {
    /// One without two equally specific claims.
    pub(super) fn random(random: &mut Random) -> Self {
        let (mut macs, mut bound) = (HashSet::new(), HashSet::new());
        let mut devices: Vec<Device> = Vec::new();
        for _ in 0..random.below(5) {
            let mac = random::mac(random).0;
            if macs.insert(mac) {
                let mut addresses = vec![];
                for _ in 0..random.below(3) {
                    addresses.extend(Some(host(random)).filter(|address| bound.insert(*address)));
                }
                devices.push(Device { mac, addresses });
            }
        }
        let sets: Vec<Vec<Block>> =
            (0..2).map(|_| (0..1 + random.below(6)).map(|_| block(random)).collect()).collect();
        let mut groups: Vec<Group> = (0..1 + random.below(4)).map(|_| group(random)).collect();
        for device in 0..devices.len() {
            let at = random.below(groups.len() as u64) as usize;
            groups[at].devices.push(device);
        }
        let mut blocks: Vec<Block> = Vec::new();
        let mut prefixes = HashSet::new();
        for group in &mut groups {
            group.macs.retain(|mac| macs.insert(*mac));
            group.prefixes.retain(|prefix| prefixes.insert(*prefix));
            group.blocks.retain(|block| {
                let fits = blocks.iter().all(|other| block.fits(*other));
                if fits {
                    blocks.push(*block);
                }
                fits
            });
        }
        Self { devices, sets, groups, unknown_passes: random.once_in(3) }
    }

    /// The policy file.
    pub(super) fn toml(&self) -> String {
        let default = |passes| if passes { "pass" } else { "drop" };
        let mut text = format!("schema = 1\n[unknown]\ndefault = \"{}\"\n[sets]\n", {
            default(self.unknown_passes)
        });
        for (number, blocks) in self.sets.iter().enumerate() {
            let blocks = quoted(blocks.iter().map(|block| block.text()));
            text += &format!("set-{number} = {blocks}\n");
        }
        for (number, Device { mac: bytes, addresses }) in self.devices.iter().enumerate() {
            text += &format!("[devices.device-{number}]\nmac = \"{}\"\n", mac(*bytes));
            if !addresses.is_empty() {
                text += &format!("ip = {}\n", quoted(addresses.iter().map(ToString::to_string)));
            }
        }
        for (number, group) in self.groups.iter().enumerate() {
            let devices = group.devices.iter().map(|device| format!("device-{device}"));
            let macs = group.macs.iter().map(|bytes| mac(*bytes));
            let blocks = group.blocks.iter().map(|block| block.text());
            let prefixes =
                group.prefixes.iter().map(|(bytes, length)| format!("{}/{length}", mac(*bytes)));
            let members = quoted(devices.chain(macs).chain(blocks).chain(prefixes));
            text += &format!("[groups.group-{number}]\nmembers = {members}\n");
            text += &format!("default = \"{}\"\n", default(group.passes));
            for (name, rules) in [("allow", &group.allow), ("deny", &group.deny)] {
                let rules: Vec<String> = rules.iter().map(Rule::toml).collect();
                text += &format!("{name} = [\n{}]\n", rules.concat());
            }
        }
        text
    }
}

impl Rule {
    fn toml(&self) -> String {
        let to = match self.to {
            To::Any => "any".to_owned(),
            To::Gateway => "gateway".to_owned(),
            To::Local => "local".to_owned(),
            To::Set(number) => format!("@set-{number}"),
            To::Block(block) => block.text(),
        };
        let service = quoted(self.services.iter().map(|service| match service {
            Service::Any => "any".to_owned(),
            Service::Protocol(1) => "icmp".to_owned(),
            Service::Protocol(6) => "tcp".to_owned(),
            Service::Protocol(17) => "udp".to_owned(),
            Service::Protocol(58) => "icmpv6".to_owned(),
            Service::Protocol(132) => "sctp".to_owned(),
            Service::Protocol(number) => format!("proto/{number}"),
            Service::Ports(name, first, last) if first == last => format!("{name}/{first}"),
            Service::Ports(name, first, last) => format!("{name}/{first}-{last}"),
        }));
        format!("  {{ to = \"{to}\", service = {service} }},\n")
    }
}

fn quoted(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    format!("[{}]", words.join(", "))
}

fn block(random: &mut Random) -> Block {
    Block(random::range(random))
}

fn group(random: &mut Random) -> Group {
    Group {
        devices: Vec::new(),
        macs: (0..random.below(3)).map(|_| random::mac(random).0).collect(),
        blocks: (0..random.below(5)).map(|_| block(random)).collect(),
        prefixes: (0..random.below(2)).map(|_| prefix(random)).collect(),
        allow: rules(random, 6),
        deny: rules(random, 3),
        passes: random.once_in(3),
    }
}

fn prefix(random: &mut Random) -> ([u8; 6], u8) {
    let mut bytes = random::mac(random).0;
    let length = random.pick(&[8u8, 24, 40, 44, 47]);
    let mask = u64::MAX << (48 - length);
    let kept = mask.to_be_bytes();
    bytes.iter_mut().zip(&kept[2..]).for_each(|(byte, mask)| *byte &= mask);
    (bytes, length)
}

/// Fewer than `bound`, each to a different destination: a repeated rule is an error.
fn rules(random: &mut Random, bound: u64) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for _ in 0..random.below(bound) {
        let rule = rule(random);
        if rules.iter().all(|other| other.to != rule.to) {
            rules.push(rule);
        }
    }
    rules
}

fn rule(random: &mut Random) -> Rule {
    let to = match random.below(8) {
        0 => To::Any,
        1 => To::Gateway,
        2 => To::Local,
        3 | 4 => To::Set(random.below(2) as usize),
        _ => To::Block(block(random)),
    };
    let name = random.pick(&["tcp", "tcp", "udp", "udp", "sctp"]);
    Rule { to, services: (0..=random.below(3)).map(|_| service(random, name)).collect() }
}

/// Ports of rules: few, so that they overlap, and some with one port between them.
pub(super) const PORTS: [u16; 7] = [53, 80, 515, 517, 519, 8000, u16::MAX];
/// Protocols of rules and of frames.
pub(super) const PROTOCOLS: [u8; 7] = [1, 6, 17, 47, 50, 58, 132];

fn service(random: &mut Random, name: &'static str) -> Service {
    let (a, b) = (random.pick(&PORTS), random.pick(&PORTS));
    match random.below(20) {
        0 => Service::Any,
        1..=3 => Service::Protocol(random.pick(&PROTOCOLS)),
        4..=6 => Service::Ports(name, a.min(b), a.max(b)),
        _ => Service::Ports(name, a, a),
    }
}

/// An address that a host may have.
pub(super) fn host(random: &mut Random) -> IpAddr {
    if random.once_in(2) {
        routable(random, |random| Ipv4Addr::from(random::v4(random)).into())
    } else {
        routable(random, |random| Ipv6Addr::from(random::v6(random)).into())
    }
}

impl Allowlist {
    /// A destination: half of them at the start or end of a rule's range, or next to it.
    pub(super) fn destination(&self, random: &mut Random, is_v4: bool) -> IpAddr {
        let rules = self.groups.iter().flat_map(|group| group.allow.iter().chain(&group.deny));
        let blocks = rules.filter_map(|rule| match rule.to {
            To::Block(block) => Some(block),
            To::Any | To::Gateway | To::Local | To::Set(_) => None,
        });
        let blocks = blocks.chain(self.sets.iter().flatten().copied());
        let blocks: Vec<Block> = blocks.filter(|block| block.is_v4() == is_v4).collect();
        routable(random, |random| {
            let near = !blocks.is_empty() && random.once_in(2);
            let address = |block: Block, random: &mut Random| {
                let (first, last, _) = block.numbers();
                random.pick(&[first, last]).wrapping_add(random.pick(&[0, 0, 1, u128::MAX]))
            };
            let number = match (near, is_v4) {
                (true, _) => address(random.pick(&blocks), random),
                (false, true) => random::v4(random).into(),
                (false, false) => random::v6(random),
            };
            if is_v4 { Ipv4Addr::from(number as u32).into() } else { Ipv6Addr::from(number).into() }
        })
    }
}

/// The first address that a host may have and a router forwards.
fn routable(random: &mut Random, mut make: impl FnMut(&mut Random) -> IpAddr) -> IpAddr {
    loop {
        let address = make(random);
        let routable = match address {
            IpAddr::V4(v4) => {
                (1..=223).contains(&v4.octets()[0]) && !v4.is_loopback() && !v4.is_link_local()
            }
            // Global unicast, RFC 4291 section 2.4.
            IpAddr::V6(v6) => v6.segments()[0] >> 13 == 1,
        };
        if routable {
            return address;
        }
    }
}
