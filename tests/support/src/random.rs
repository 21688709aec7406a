//! Random policies, flows and frames from small worlds, so that they match often.
// tidy: long because one generator builds the whole world

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use enforcer_common::flow::{Address, Class, FAMILY_V4, FAMILY_V6, Flow, Fragment};
use enforcer_common::wire;
use enforcer_policy::{
    DefaultVerdict, Device, End, Essential, Group, Host, HostInterface, Interface, Mac, Member,
    Mode, Place, Policy, Range, Rates, Router, Rule, Selector, Service, Set, Timed, To, Unknown,
};

/// Splitmix64: small, seeded, identical on every machine.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

/// A clock reading near which random rules end.
pub const NOW: i64 = 1_800_000_000;

/// A reading of the boot clock near which random changes end; kernels in tests have been up for longer.
pub const BOOT: i64 = 2;

/// The world's host. Its interface 1 is the loopback, so that test runs can name it.
pub fn host() -> Host {
    let interface = |name: &str, index, last| HostInterface {
        name: name.into(),
        index,
        mac: Mac([2, 0, 0, 0, 0xff, last]),
        prefixes: vec![
            (IpAddr::V4(Ipv4Addr::new(10, 20, last, 1)), 24),
            (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, u16::from(last), 0, 0, 0, 0, 1)), 64),
        ],
        above: vec![Mac([2, 0, 0, 0, 0xfe, last])],
        neighbours: (0..12).step_by(2).flat_map(neighbours).collect(),
        next_hops: vec![ROUTER],
        ..HostInterface::default()
    };
    Host {
        interfaces: vec![interface("lan0", 1, 0), interface("lan1", 7, 1)],
        own: vec![
            IpAddr::V4(Ipv4Addr::new(10, 20, 0, 1)),
            IpAddr::V4(Ipv4Addr::new(10, 20, 1, 1)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
            IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        ],
        macs: vec![Mac([2, 0, 0, 0, 0, 11]), Mac([2, 0, 0, 0, 0xff, 9])],
        routers: vec![
            Router { address: IpAddr::V4(Ipv4Addr::new(10, 20, 0, 7)), elsewhere: Some(true) },
            Router { address: IpAddr::V4(Ipv4Addr::new(10, 20, 1, 7)), elsewhere: Some(false) },
            Router {
                address: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
                elsewhere: Some(true),
            },
        ],
        now: NOW,
    }
}

/// A host on the link.
const HOST: Mac = Mac([2, 0, 0, 0, 0, 5]);
/// A router on the link.
const ROUTER: Mac = Mac([2, 0, 0, 0, 0xfd, 0]);

/// Two addresses of the host.
fn neighbours(last: u8) -> [(IpAddr, Mac); 2] {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into());
    [(IpAddr::V4(Ipv4Addr::new(10, 20, 0, last)), HOST), (IpAddr::V6(v6), HOST)]
}

/// Rates for essentials that no test reaches: before Linux 5.14 each frame counts.
pub fn unlimited() -> Rates {
    let mut rates = Rates::default();
    rates.named_mut().into_iter().for_each(|(_, rate)| *rate = *Rates::RANGE.end());
    rates
}

/// A MAC of the world, which has only a few.
pub fn mac(random: &mut Random) -> Mac {
    Mac([2, 0, random.below(2) as u8, 0, random.below(2) as u8, random.below(12) as u8])
}

/// An IPv4 address of the world.
pub fn v4(random: &mut Random) -> u32 {
    match random.below(12) {
        0 => random.next() as u32,
        1 => u32::MAX,
        2 => 0,
        _ => {
            let host = random.below(40) as u32;
            0x0a14_0000 | (random.below(3) as u32) << 8 | host
        }
    }
}

/// An IPv6 address of the world.
pub fn v6(random: &mut Random) -> u128 {
    let low = u128::from(random.below(24));
    match random.below(10) {
        0 => u128::from(random.next()) << 64 | u128::from(random.next()),
        1 => 0xfe80 << 112 | low,
        2 => 0xff02 << 112 | low,
        3 => 0,
        4 => 0x2001_0db8 << 96 | u128::from(random.below(4)) << 64 | low << 60,
        _ => 0x2001_0db8 << 96 | u128::from(random.below(3)) << 80 | low,
    }
}

/// A range: an address, a prefix or an arbitrary one.
pub fn range(random: &mut Random) -> Range {
    if random.once_in(2) {
        let address = v4(random);
        match random.below(3) {
            0 => Range::V4(address, address),
            1 => {
                let host = (1u64 << random.below(20)).wrapping_sub(1) as u32;
                Range::V4(address & !host, address | host)
            }
            _ => {
                let other = v4(random);
                Range::V4(address.min(other), address.max(other))
            }
        }
    } else {
        let address = v6(random);
        match random.below(3) {
            0 => Range::V6(address, address),
            1 => {
                let host = (1u128 << random.below(100)) - 1;
                Range::V6(address & !host, address | host)
            }
            _ => {
                let other = v6(random);
                Range::V6(address.min(other), address.max(other))
            }
        }
    }
}

const PORTS: [u16; 8] = [0, 53, 67, 80, 443, 515, 8000, u16::MAX];
const PROTOCOLS: [u8; 6] = [1, 6, 17, 47, 58, 132];

fn service(random: &mut Random) -> Service {
    match random.below(5) {
        0 => Service::ANY,
        1 => Service::protocol(random.pick(&PROTOCOLS)),
        2 => {
            let (a, b) = (random.pick(&PORTS), random.pick(&PORTS));
            Service::ports(random.pick(&[6, 17]), a.min(b), a.max(b))
        }
        _ => {
            let port = random.pick(&PORTS);
            Service::ports(random.pick(&[6, 17]), port, port)
        }
    }
}

fn place() -> Place {
    Place { file: "random".into(), line: 1, column: 1 }
}

fn rule(random: &mut Random, sets: &[Arc<Set>], number: &mut u32) -> Rule {
    *number += 1;
    let to = match random.below(8) {
        0 => To::Any,
        1 => To::Gateway,
        2 => To::Local,
        3 | 4 => To::Set(random.pick(sets)),
        _ => To::Range(range(random)),
    };
    let mut rule = Rule {
        id: format!("r-{number}"),
        to,
        to_text: String::new(),
        services: (0..=random.below(3)).map(|_| service(random)).collect(),
        service_text: String::new(),
        reason: None,
        owner: None,
        until: None,
        live: random.once_in(6),
        place: place(),
    };
    rule.until = random.once_in(5).then(|| end(random, rule.live));
    rule
}

/// An end near [`NOW`]; for a live rule also one on the boot clock, near [`BOOT`] or far in the future.
fn end(random: &mut Random, live: bool) -> End {
    if live && random.once_in(2) {
        return End::Boot(random.pick(&[BOOT - 1, BOOT, BOOT + 1, 4_000_000_000]));
    }
    End::Wall(NOW - 2 + random.below(5) as i64)
}

fn timed(random: &mut Random) -> Option<Timed> {
    let until = end(random, true);
    random.once_in(4).then(|| Timed { until, afterwards: mode(random) })
}

/// The policy with different live rules and modes in some of its groups.
pub fn with_other_live(random: &mut Random, policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    let mut number = 1_000_000 + random.next() as u32 / 2;
    let sets: Vec<_> = policy
        .groups
        .iter()
        .flat_map(Group::every_rule)
        .filter_map(|rule| if let To::Set(set) = &rule.to { Some(set.clone()) } else { None })
        .collect();
    if random.once_in(3) {
        (policy.unknown.mode, policy.unknown.timed) = (mode(random), timed(random));
    }
    for group in &mut policy.groups {
        if random.once_in(2) {
            continue;
        }
        (group.mode, group.timed) = (mode(random), timed(random));
        for rules in [&mut group.deny, &mut group.allow, &mut group.refuse, &mut group.accept] {
            // Some rules are removed, some stay, some are added.
            rules.retain(|rule| !rule.live || random.once_in(2));
            for _ in 0..random.below(4) {
                let sets = if sets.is_empty() { continue } else { &sets };
                rules.push(Rule { live: true, ..rule(random, sets, &mut number) });
            }
        }
    }
    policy
}

fn mode(random: &mut Random) -> Mode {
    random.pick(&[Mode::Enforce, Mode::Enforce, Mode::Enforce, Mode::Observe, Mode::Quarantine])
}

fn verdict(random: &mut Random) -> DefaultVerdict {
    random.pick(&[DefaultVerdict::Drop, DefaultVerdict::Drop, DefaultVerdict::Pass])
}

/// A policy without two equally specific claims, as the reader would accept it.
pub fn policy(random: &mut Random) -> Policy {
    let mut macs = HashSet::new();
    let mut bound: Vec<Range> = Vec::new();
    let mut devices = Vec::new();
    for number in 0..random.below(5) {
        let mac = Some(mac(random)).filter(|_| !random.once_in(4));
        if mac.is_some_and(|mac| !macs.insert(mac)) {
            continue;
        }
        let mut addresses = Vec::new();
        for _ in 0..random.below(3) {
            let range = range(random);
            if bound.iter().all(|other| apart(other, &range)) {
                bound.push(range);
                addresses.push(range);
            }
        }
        if mac.is_none() && addresses.is_empty() {
            continue;
        }
        devices.push(Device {
            name: format!("d{number}"),
            mac,
            addresses,
            vlan: (mac.is_some() && random.once_in(4)).then(|| 10 + random.below(3) as u16),
            interface: (mac.is_some() && random.once_in(4))
                .then(|| random.pick(&["lan0", "lan1", "gone"]).to_string()),
            place: place(),
        });
    }
    let sets: Vec<Arc<Set>> = (0..2)
        .map(|number| {
            let ranges = (0..random.below(6)).map(|_| range(random)).collect();
            Arc::new(Set { name: format!("s{number}"), ranges })
        })
        .collect();

    let mut number = 0;
    let mut free: Vec<usize> = (0..devices.len()).collect();
    let (mut prefixes, mut vlans, mut interfaces) =
        (HashSet::new(), HashSet::new(), HashSet::new());
    let mut claimed: Vec<Range> = bound.clone();
    let mut groups = Vec::new();
    for index in 0..random.below(4) {
        let mut members = Vec::new();
        for _ in 0..random.below(5) {
            let selector = match random.below(6) {
                0 if !free.is_empty() => {
                    let at = random.below(free.len() as u64) as usize;
                    Selector::Device(free.swap_remove(at))
                }
                1 => {
                    let mac = mac(random);
                    if !macs.insert(mac) {
                        continue;
                    }
                    Selector::Mac(mac)
                }
                2 => {
                    let length = random.pick(&[8u8, 24, 40, 44, 47]);
                    let value = wire::mac(mac(random).0) >> (48 - length) << (48 - length);
                    if !prefixes.insert((value, length)) {
                        continue;
                    }
                    Selector::MacPrefix(Mac(wire::mac_bytes(value)), length)
                }
                3 => {
                    let vlan = 10 + random.below(4) as u16;
                    if !vlans.insert(vlan) {
                        continue;
                    }
                    Selector::Vlan(vlan)
                }
                4 => {
                    let name = random.pick(&["lan0", "lan1"]);
                    if !interfaces.insert(name) {
                        continue;
                    }
                    Selector::Interface(name.into())
                }
                _ => {
                    let range = range(random);
                    // Nested prefixes are allowed, equal ones are not. Ranges that are not prefixes must be
                    // disjoint from all others.
                    let fits = |other: &Range| apart(other, &range) || nested(other, &range);
                    if !claimed.iter().all(fits) {
                        continue;
                    }
                    claimed.push(range);
                    Selector::Addresses(range)
                }
            };
            members.push(Member { selector, place: place() });
        }
        let mut group = Group {
            name: format!("g{index}"),
            members,
            mode: mode(random),
            default: verdict(random),
            allow: (0..random.below(5)).map(|_| rule(random, &sets, &mut number)).collect(),
            deny: (0..random.below(4)).map(|_| rule(random, &sets, &mut number)).collect(),
            accept: (0..random.below(3)).map(|_| rule(random, &sets, &mut number)).collect(),
            refuse: (0..random.below(3) / 2).map(|_| rule(random, &sets, &mut number)).collect(),
            inbound: random.pick(&[DefaultVerdict::Pass, DefaultVerdict::Drop]),
            timed: timed(random),
            device_of: None,
            place: place(),
        };
        // Live rules come last.
        group.allow.sort_by_key(|rule| rule.live);
        group.deny.sort_by_key(|rule| rule.live);
        group.accept.sort_by_key(|rule| rule.live);
        group.refuse.sort_by_key(|rule| rule.live);
        groups.push(group);
    }
    let on = |random: &mut Random| !random.once_in(6);
    // From numbers of their own: what else is made of a seed does not depend on them.
    let apart = &mut Random::new(!random.0);
    let mut accept: Vec<Rule> =
        (0..apart.below(4)).map(|_| rule(apart, &sets, &mut number)).collect();
    // Interfaces have no live rules.
    accept.retain(|rule| !rule.live);
    Policy {
        devices,
        groups,
        interfaces: vec![Interface {
            name: "lan0".into(),
            vlans: (0..random.below(3)).map(|_| 10 + random.below(6) as u16).collect(),
            binds_next_hops: random.once_in(3),
            floods_essentials_only: random.once_in(3),
            accept,
            place: place(),
        }],
        unknown: Unknown { default: verdict(random), mode: mode(random), timed: timed(random) },
        essential: Essential {
            arp: on(random),
            neighbour_discovery: on(random),
            dhcp: on(random),
            eapol: on(random),
            lldp: on(random),
            stp: random.once_in(2),
            rates: unlimited(),
        },
    }
}

fn numbers(range: &Range) -> (u8, u128, u128) {
    match *range {
        Range::V4(first, last) => (4, first.into(), last.into()),
        Range::V6(first, last) => (6, first, last),
    }
}

fn apart(a: &Range, b: &Range) -> bool {
    let ((fa, a_first, a_last), (fb, b_first, b_last)) = (numbers(a), numbers(b));
    fa != fb || a_last < b_first || b_last < a_first
}

/// Whether both are prefixes of different length, one inside the other.
fn nested(a: &Range, b: &Range) -> bool {
    let prefix = |range: &Range| {
        let (_, first, last) = numbers(range);
        let size = last - first;
        (size & size.wrapping_add(1) == 0 && first & size == 0).then_some(size)
    };
    matches!((prefix(a), prefix(b)), (Some(a), Some(b)) if a != b)
}

/// A flow of the world, as the parser could return it.
pub fn flow(random: &mut Random) -> Flow {
    let mut flow = Flow {
        source_mac: wire::mac(mac(random).0),
        destination_mac: wire::mac([2, 0, 0, 0, 0xff, 0]),
        interface: random.pick(&[1, 1, 1, 7, 9]),
        length: 60 + random.below(1400) as u32,
        vlans: [random.pick(&[0, 0, 0, 10, 11, 12, 13, 14]), 0],
        ..Flow::NEW
    };
    if random.once_in(60) {
        flow.source_mac = wire::mac([2, 0, 0, 0, 0xff, 0]);
    }
    flow.protocol = random.pick(&PROTOCOLS);
    flow.destination_port = match random.below(3) {
        0 => random.next() as u16,
        _ => random.pick(&PORTS),
    };
    if random.once_in(2) {
        flow.family = FAMILY_V4;
        flow.source = Address::v4(v4(random));
        flow.destination = Address::v4(v4(random));
    } else {
        flow.family = FAMILY_V6;
        flow.source = Address::v6(v6(random).to_be_bytes());
        flow.destination = Address::v6(v6(random).to_be_bytes());
    }
    match random.below(14) {
        0 => {
            flow.class = Class::Arp;
            let [source, target] = [v4(random), v4(random)];
            (flow.source, flow.destination) = (Address::v4(source), Address::v4(target));
            (flow.family, flow.claim) = (FAMILY_V4, flow.source);
            if source == 0 {
                (flow.family, flow.claim) = (0, flow.destination);
            }
        }
        1 if flow.family == FAMILY_V6 => {
            flow.class = random.pick(&[Class::Neighbour, Class::Multicast]);
            flow.protocol = 58;
            flow.destination_port = random.pick(&[133u16, 135, 136, 143]) << 8;
            flow.claim = Address::v6(v6(random).to_be_bytes());
        }
        2 => {
            flow.class = random.pick(&[Class::Dhcp, Class::Dhcp, Class::OddDhcp]);
            if random.once_in(2) {
                flow.family = FAMILY_V4;
                flow.destination = Address::v4(u32::MAX);
            }
        }
        3 => {
            flow.class = random.pick(&[Class::Eapol, Class::Lldp, Class::Stp]);
            flow.family = 0;
            flow.source = Address::default();
        }
        4 => flow.fault = random.pick(&[48u8, 52, 61]),
        5 => flow.fragment = random.pick(&[Fragment::Later, Fragment::Last]),
        _ => {}
    }
    // Mostly the right MAC for a group or broadcast address; sometimes another host's.
    flow.destination_mac = match flow.destination.low.to_be_bytes() {
        _ if random.once_in(6) => wire::mac(HOST.0),
        [.., a, b, c, d] if flow.destination.high >> 56 == 0xff => {
            wire::mac([0x33, 0x33, a, b, c, d])
        }
        _ if flow.destination == Address::v4(u32::MAX) => wire::BROADCAST_MAC,
        _ => wire::mac([2, 0, 0, 0, random.pick(&[0xff, 0xfe, 0xfd]), 0]),
    };
    flow
}
