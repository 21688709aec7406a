//! The policy language, decided in the slow and obvious way: by searching lists one by one.
//!
//! It shares the model and the reader with the product, but not the compiler, the image or the decision.
// tidy: long because the whole language belongs in one file

use std::net::IpAddr;

use enforcer_common::flow::{Address, Class, FAMILY_V4, FAMILY_V6, Flow, Fragment};
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire;
use enforcer_policy::image::Time;
use enforcer_policy::{
    DefaultVerdict, Device, End, Host, HostInterface, Mac, Mode, Policy, Range, Rule, Selector,
    Timed, To,
};

/// The naive decision.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The verdict, mode applied.
    pub verdict: Verdict,
    /// Reason of the verdict.
    pub reason: Reason,
    /// Id of the deciding rule.
    pub rule: Option<String>,
    /// Group number, from 1; 0 for unknown devices.
    pub group: u32,
}

/// A reading of the clocks.
pub struct Now(pub Time);

impl From<i64> for Now {
    fn from(now: i64) -> Self {
        Self(Time::wall(now))
    }
}

/// Whether an end has been reached. For a `held` end this must be certain; for any other end it is enough
/// that it is possible.
fn is_over(until: End, held: bool, now: Time) -> bool {
    match (until, held) {
        (End::Boot(until), _) => now.boot >= until,
        (End::Wall(until), true) => now.earliest >= until,
        (End::Wall(until), false) => now.latest >= until,
    }
}

/// The mode at this time. A temporary mode that is less strict than the next must not last too long; one
/// that is stricter must not end too soon.
fn mode_at(mode: Mode, timed: Option<Timed>, now: Time) -> Mode {
    let Some(Timed { until, afterwards }) = timed else { return mode };
    let held = match mode {
        Mode::Quarantine => afterwards != Mode::Quarantine,
        Mode::Enforce => afterwards == Mode::Observe,
        Mode::Observe => false,
    };
    if is_over(until, held, now) { afterwards } else { mode }
}

/// Decides a parsed flow by a correct wall clock, without state of earlier fragments.
pub fn decide(policy: &Policy, host: &Host, flow: &Flow, now: impl Into<Now>) -> Answer {
    let Now(now) = now.into();
    let sender = Sender::of(policy, host, flow);
    let mut rule = None;
    let mut reason = reason(policy, host, flow, &sender, now, &mut rule);
    if !goes_well(policy, host, flow) && BY_RULES.contains(&reason) {
        (reason, rule) = (Reason::DestinationBinding, None);
    }
    let mode = match sender.group {
        0 => mode_at(policy.unknown.mode, policy.unknown.timed, now),
        group => {
            let group = &policy.groups[group as usize - 1];
            mode_at(group.mode, group.timed, now)
        }
    };
    let verdict = if reason.passes() {
        Verdict::Pass
    } else if mode == Mode::Observe && reason != Reason::InterfaceUnknown {
        Verdict::WouldDrop
    } else {
        Verdict::Drop
    };
    Answer { verdict, reason, rule, group: sender.group }
}

struct Sender<'a> {
    device: Option<(usize, &'a Device)>,
    group: u32,
}

fn covers(range: &Range, family: u8, address: Address) -> bool {
    match *range {
        Range::V4(first, last) => family == FAMILY_V4 && (first..=last).contains(&address.to_v4()),
        Range::V6(first, last) => family == FAMILY_V6 && (first..=last).contains(&address.to_v6()),
    }
}

/// Length of the longest of the prefixes that make up `range` and contain the address.
fn specificity(range: &Range, family: u8, address: Address) -> Option<u32> {
    if !covers(range, family, address) {
        return None;
    }
    let (width, first, last, key) = match *range {
        Range::V4(first, last) => (32, first.into(), last.into(), u128::from(address.to_v4())),
        Range::V6(first, last) => (128, first, last, address.to_v6()),
    };
    // The shortest prefix of the address that lies completely inside the range.
    (0..=width).find(|&length| {
        let host =
            if length == 0 && width == 128 { u128::MAX } else { (1u128 << (width - length)) - 1 };
        let start = key & !host;
        start >= first && (start | host) <= last
    })
}

/// The owner of an address: the gateway, or the device with the most specific binding.
enum Owner {
    Nobody,
    Gateway,
    Device(usize),
}

fn owner(policy: &Policy, host: &Host, family: u8, address: Address) -> Owner {
    let own = host.own.iter().any(|own| match own {
        IpAddr::V4(own) => family == FAMILY_V4 && u32::from(*own) == address.to_v4(),
        IpAddr::V6(own) => family == FAMILY_V6 && u128::from(*own) == address.to_v6(),
    });
    if own {
        return Owner::Gateway;
    }
    let mut best: Option<(u32, Owner)> = None;
    let mut claim = |length: u32, owner: Owner, wins_ties: bool| {
        let better = match &best {
            None => true,
            Some((other, _)) => length > *other || (wins_ties && length == *other),
        };
        if better {
            best = Some((length, owner));
        }
    };
    // A more specific group hides a less specific owner, as in the language.
    for group in &policy.groups {
        for member in &group.members {
            if let Selector::Addresses(range) = &member.selector
                && let Some(length) = specificity(range, family, address)
            {
                claim(length, Owner::Nobody, false);
            }
        }
    }
    for (index, device) in policy.devices.iter().enumerate() {
        let in_group = group_of_device(policy, index).is_some();
        for range in &device.addresses {
            if let Some(length) = specificity(range, family, address) {
                if device.mac.is_some() {
                    claim(length, Owner::Device(index), true);
                } else if in_group {
                    claim(length, Owner::Nobody, true);
                }
            }
        }
    }
    let router =
        host.routers.iter().filter(|router| router.elsewhere == Some(true)).any(|router| {
            match router.address {
                IpAddr::V4(own) => family == FAMILY_V4 && u32::from(own) == address.to_v4(),
                IpAddr::V6(own) => family == FAMILY_V6 && u128::from(own) == address.to_v6(),
            }
        });
    // Unless the policy assigns exactly this address to a device.
    let whole = if family == FAMILY_V4 { 32 } else { 128 };
    let given = policy.devices.iter().enumerate().any(|(index, device)| {
        (device.mac.is_some() || group_of_device(policy, index).is_some())
            && device.addresses.iter().any(|r| specificity(r, family, address) == Some(whole))
    });
    if router && !given {
        return Owner::Gateway;
    }
    best.map_or(Owner::Nobody, |(_, owner)| owner)
}

/// Whether a MAC is one of the gateway's, which no device may use.
fn is_nobodys(host: &Host, mac: u64) -> bool {
    let own =
        host.interfaces.iter().map(|interface| interface.mac).chain(host.macs.iter().copied());
    own.into_iter().any(|own| wire::mac(own.0) == mac)
}

fn group_of_device(policy: &Policy, index: usize) -> Option<u32> {
    policy
        .groups
        .iter()
        .position(|group| {
            group.members.iter().any(|member| member.selector == Selector::Device(index))
        })
        .map(|at| at as u32 + 1)
}

/// The group by the longest prefix that contains an address. Named addresses without a MAC count as members
/// of their group.
fn group_by_address(policy: &Policy, family: u8, address: Address, named: bool) -> Option<u32> {
    let mut best: Option<(u32, u32)> = None;
    for (number, group) in policy.groups.iter().enumerate() {
        for member in &group.members {
            let ranges: &[Range] = match &member.selector {
                Selector::Addresses(range) => std::slice::from_ref(range),
                Selector::Device(index) if named && policy.devices[*index].mac.is_none() => {
                    &policy.devices[*index].addresses
                }
                Selector::Device(_)
                | Selector::Mac(_)
                | Selector::MacPrefix(..)
                | Selector::Vlan(_)
                | Selector::Interface(_) => &[],
            };
            for range in ranges {
                if let Some(length) = specificity(range, family, address)
                    && best.is_none_or(|(other, _)| length > other)
                {
                    best = Some((length, number as u32 + 1));
                }
            }
        }
    }
    best.map(|(_, group)| group)
}

impl<'a> Sender<'a> {
    fn of(policy: &'a Policy, host: &Host, flow: &Flow) -> Self {
        let mac = Mac(wire::mac_bytes(flow.source_mac));
        let nobodys = is_nobodys(host, flow.source_mac);
        let device =
            policy.devices.iter().enumerate().find(|(_, d)| d.mac == Some(mac) && !nobodys);
        let find = |test: &dyn Fn(&Selector) -> bool| {
            policy
                .groups
                .iter()
                .position(|group| group.members.iter().any(|m| test(&m.selector)))
                .map(|at| at as u32 + 1)
        };
        let exact = find(&|selector| *selector == Selector::Mac(mac) && !nobodys)
            .or_else(|| device.and_then(|(index, _)| group_of_device(policy, index)))
            .or_else(|| {
                // In a group because of its bound address.
                device.and_then(|(_, device)| match *device.addresses.first()? {
                    Range::V4(first, _) => {
                        group_by_address(policy, FAMILY_V4, Address::v4(first), false)
                    }
                    Range::V6(first, _) => {
                        let address = Address::v6(first.to_be_bytes());
                        group_by_address(policy, FAMILY_V6, address, false)
                    }
                })
            });
        let by_address = || {
            if flow.family == 0 {
                return None;
            }
            match owner(policy, host, flow.family, flow.source) {
                Owner::Nobody => group_by_address(policy, flow.family, flow.source, true),
                Owner::Gateway | Owner::Device(_) => None,
            }
        };
        let by_prefix = || {
            (1..48u8).rev().find_map(|length| {
                find(&|selector| match selector {
                    Selector::MacPrefix(prefix, bits) => {
                        let differ = wire::mac(prefix.0) ^ flow.source_mac;
                        *bits == length && differ >> (48 - length) == 0
                    }
                    Selector::Device(_)
                    | Selector::Mac(_)
                    | Selector::Addresses(_)
                    | Selector::Vlan(_)
                    | Selector::Interface(_) => false,
                })
            })
        };
        let by_vlan = || {
            let vlan = flow.vlan();
            if vlan == 0 { None } else { find(&|selector| *selector == Selector::Vlan(vlan)) }
        };
        let by_interface = || {
            let name = &host.interfaces.iter().find(|i| i.index == flow.interface)?.name;
            find(&|selector| *selector == Selector::Interface(name.clone()))
        };
        let known = host.interfaces.iter().any(|i| i.index == flow.interface);
        let group = if known {
            exact.or_else(by_address).or_else(by_prefix).or_else(by_vlan).or_else(by_interface)
        } else {
            None
        };
        Self { device: device.filter(|_| known), group: group.unwrap_or(0) }
    }

    fn may_use(&self, policy: &Policy, host: &Host, family: u8, address: Address) -> bool {
        if family == 0 {
            return self.device.is_none_or(|(_, device)| device.addresses.is_empty());
        }
        match owner(policy, host, family, address) {
            Owner::Gateway => false,
            Owner::Device(index) => self.device.is_some_and(|(own, _)| own == index),
            Owner::Nobody => self.device.is_none_or(|(_, device)| device.addresses.is_empty()),
        }
    }
}

fn link_local(address: Address) -> bool {
    address.high >> 54 == 0x3fa
}

/// Whether a link-local address is derived from another MAC: RFC 4291 appendix A.
fn of_another_mac(address: Address, mac: u64) -> bool {
    let [a, b, c, d, e, f] = wire::mac_bytes(mac);
    let bytes = address.low.to_be_bytes();
    link_local(address)
        && bytes[3..5] == [0xff, 0xfe]
        && bytes != [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

fn is_gateways(interface: &HostInterface, mac: u64) -> bool {
    interface.above.iter().chain([&interface.mac]).any(|own| wire::mac(own.0) == mac)
}

fn is_own(host: &Host, flow: &Flow) -> bool {
    host.own.iter().any(|own| match own {
        IpAddr::V4(own) => flow.family == FAMILY_V4 && u32::from(*own) == flow.destination.to_v4(),
        IpAddr::V6(own) => flow.family == FAMILY_V6 && u128::from(*own) == flow.destination.to_v6(),
    })
}

/// The host with only this interface.
fn only(host: &Host, index: u32) -> Host {
    let mut host = host.clone();
    host.interfaces.retain(|interface| interface.index == index);
    host
}

fn is_local(host: &Host, flow: &Flow) -> bool {
    host.interfaces.iter().flat_map(|i| &i.prefixes).any(|&(prefix, length)| match prefix {
        IpAddr::V4(prefix) => {
            let shift = 32 - u32::from(length);
            let differ = u32::from(prefix) ^ flow.destination.to_v4();
            flow.family == FAMILY_V4 && differ.checked_shr(shift).unwrap_or(0) == 0
        }
        IpAddr::V6(prefix) => {
            let shift = 128 - u32::from(length);
            let differ = u128::from(prefix) ^ flow.destination.to_v6();
            flow.family == FAMILY_V6 && differ.checked_shr(shift).unwrap_or(0) == 0
        }
    })
}

fn reason(
    policy: &Policy,
    host: &Host,
    flow: &Flow,
    sender: &Sender<'_>,
    now: Time,
    rule: &mut Option<String>,
) -> Reason {
    let Some(interface) = host.interfaces.iter().find(|i| i.index == flow.interface) else {
        return Reason::InterfaceUnknown;
    };
    if let Some(fault) = Reason::from_fault(flow.fault) {
        return fault;
    }
    if is_nobodys(host, flow.source_mac) {
        return Reason::SourceMacOwn;
    }
    if flow.vlan() != 0 && !declared(policy, &interface.name, flow.vlan()) {
        return Reason::VlanUndeclared;
    }
    if let Some((_, device)) = sender.device {
        if device.vlan.is_some_and(|vlan| vlan != flow.vlan()) {
            return Reason::VlanBinding;
        }
        if device.interface.as_ref().is_some_and(|name| *name != interface.name) {
            return Reason::InterfaceBinding;
        }
    }
    if let Some(reason) = essential(policy, host, interface, flow, sender) {
        return reason;
    }
    if !sender.may_use(policy, host, flow.family, flow.source) {
        return Reason::SourceBinding;
    }
    let (mode, default) = match sender.group {
        0 => (mode_at(policy.unknown.mode, policy.unknown.timed, now), policy.unknown.default),
        group => {
            let group = &policy.groups[group as usize - 1];
            (mode_at(group.mode, group.timed, now), group.default)
        }
    };
    if mode == Mode::Quarantine {
        return Reason::Quarantine;
    }
    if matches!(flow.fragment, Fragment::Later | Fragment::Last) {
        return Reason::FragmentOrphan;
    }
    if sender.group > 0 {
        let group = &policy.groups[sender.group as usize - 1];
        let matches = |held| move |rule: &&Rule| matches(host, flow, rule, held, now);
        if let Some(found) = group.deny.iter().find(matches(true)) {
            *rule = Some(found.id.clone());
            return Reason::Deny;
        }
        if let Some(found) = group.allow.iter().find(matches(false)) {
            *rule = Some(found.id.clone());
            return Reason::Allow;
        }
    }
    match (default, sender.group) {
        (DefaultVerdict::Pass, 0) => Reason::UnknownPass,
        (DefaultVerdict::Pass, _) => Reason::DefaultPass,
        (DefaultVerdict::Drop, 0) => Reason::Unknown,
        (DefaultVerdict::Drop, _) => Reason::Default,
    }
}

/// Reasons for which frames other than essentials pass.
const BY_RULES: [Reason; 3] = [Reason::Allow, Reason::DefaultPass, Reason::UnknownPass];

/// Whether a frame is addressed to the next hop of its destination, on interfaces with bound next hops.
fn goes_well(policy: &Policy, host: &Host, flow: &Flow) -> bool {
    let Some(on) = host.interfaces.iter().find(|known| known.index == flow.interface) else {
        return true;
    };
    let mut declared = policy.interfaces.iter().filter(|declared| declared.name == on.name);
    if !declared.any(|declared| declared.binds_next_hops) {
        return true;
    }
    let destination: IpAddr = if flow.family == FAMILY_V4 {
        std::net::Ipv4Addr::from(flow.destination.to_v4()).into()
    } else {
        std::net::Ipv6Addr::from(flow.destination.to_v6()).into()
    };
    let mac = wire::mac_bytes(flow.destination_mac);
    match destination {
        IpAddr::V4(address) if address.is_broadcast() => return mac == [0xff; 6],
        IpAddr::V4(address) if address.is_multicast() => {
            let [_, b, c, d] = address.octets();
            return mac == [1, 0, 0x5e, b & 127, c, d];
        }
        IpAddr::V6(address) if address.is_multicast() => {
            return mac[..2] == [0x33; 2] && mac[2..] == address.octets()[12..];
        }
        IpAddr::V4(_) | IpAddr::V6(_) if is_gateways(on, flow.destination_mac) => return true,
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let is_its = |device: &&Device| {
        let single = |range: &Range| {
            let few = match *range {
                Range::V4(first, last) => last - first < 16,
                Range::V6(first, last) => last - first < 16,
            };
            few && covers(range, flow.family, flow.destination)
        };
        device.mac.is_some() && device.addresses.iter().any(single)
    };
    // If devices share an address, the last one counts; the policy takes precedence over neighbours.
    let device = policy.devices.iter().rev().find(is_its).and_then(|device| device.mac);
    let neighbour = on.neighbours.iter().find(|(address, _)| *address == destination);
    match device.or(neighbour.map(|(_, mac)| *mac)) {
        Some(known) => known.0 == mac,
        None => on.next_hops.iter().any(|router| router.0 == mac),
    }
}

fn declared(policy: &Policy, interface: &str, vlan: u16) -> bool {
    policy.interfaces.iter().any(|i| i.name == interface && i.vlans.contains(&vlan))
        || policy.devices.iter().any(|device| {
            device.vlan == Some(vlan)
                && device.interface.as_ref().is_none_or(|name| name == interface)
        })
        || policy
            .groups
            .iter()
            .flat_map(|group| &group.members)
            .any(|member| member.selector == Selector::Vlan(vlan))
}

fn essential(
    policy: &Policy,
    host: &Host,
    interface: &HostInterface,
    flow: &Flow,
    sender: &Sender<'_>,
) -> Option<Reason> {
    let on = policy.essential;
    let or_off = |on: bool, reason| Some(if on { reason } else { Reason::EssentialOff });
    let anothers = |family, address| match owner(policy, host, family, address) {
        Owner::Gateway => true,
        Owner::Device(index) => sender.device.is_none_or(|(own, _)| own != index),
        Owner::Nobody => false,
    };
    match flow.class {
        Class::Ip => None,
        Class::Arp => {
            let spoofs = if flow.family == 0 {
                anothers(FAMILY_V4, flow.destination)
            } else {
                !sender.may_use(policy, host, flow.family, flow.source)
            };
            if spoofs { Some(Reason::ArpSpoof) } else { or_off(on.arp, Reason::Arp) }
        }
        Class::Neighbour | Class::Multicast => {
            let group = flow.destination.high >> 56 == 0xff;
            let on_link = flow.destination.high >> 48 == 0xff02
                || link_local(flow.destination)
                || (!group && !is_gateways(interface, flow.destination_mac))
                || is_own(host, flow)
                || is_local(&only(host, flow.interface), flow);
            if !on.neighbour_discovery || !on_link {
                return None;
            }
            if !casts_fit(flow) {
                return Some(Reason::CastMismatch);
            }
            let kind = flow.destination_port >> 8;
            let claim = flow.claim;
            let detects = kind == 135 && flow.source == Address::default();
            let own = match kind {
                136 if !link_local(claim) => sender.may_use(policy, host, flow.family, claim),
                135 | 136 if detects || kind == 136 => {
                    !anothers(flow.family, claim) && !of_another_mac(claim, flow.source_mac)
                }
                _ => true,
            };
            let own = own && own_source(policy, host, flow, sender);
            Some(if own { Reason::Neighbour } else { Reason::NeighbourSpoof })
        }
        Class::Dhcp | Class::OddDhcp => {
            let everybody = match flow.family {
                FAMILY_V4 => flow.destination.to_v4() == u32::MAX,
                _ => flow.destination.high >> 48 == 0xff02,
            };
            let gateway = is_own(host, flow) && is_gateways(interface, flow.destination_mac);
            let asks = own_source(policy, host, flow, sender) && (everybody || gateway);
            if !on.dhcp || !asks {
                return None;
            }
            Some(if flow.class == Class::OddDhcp {
                Reason::EssentialShape
            } else if casts_fit(flow) {
                Reason::Dhcp
            } else {
                Reason::CastMismatch
            })
        }
        Class::Eapol => or_off(on.eapol, Reason::Eapol),
        Class::Lldp => or_off(on.lldp, Reason::Lldp),
        Class::Stp => or_off(on.stp, Reason::Stp),
    }
}

/// Whether a multicast or broadcast frame has the destination MAC of its address.
fn casts_fit(flow: &Flow) -> bool {
    match flow.family {
        FAMILY_V4 if flow.destination.to_v4() == u32::MAX => {
            flow.destination_mac == wire::BROADCAST_MAC
        }
        FAMILY_V6 if flow.destination.high >> 56 == 0xff => {
            let [.., a, b, c, d] = flow.destination.low.to_be_bytes();
            flow.destination_mac == wire::mac([0x33, 0x33, a, b, c, d])
        }
        _ => true,
    }
}

fn own_source(policy: &Policy, host: &Host, flow: &Flow, sender: &Sender<'_>) -> bool {
    let address = flow.source;
    let nobodys = matches!(owner(policy, host, flow.family, address), Owner::Nobody);
    let unbound = link_local(address) || address == Address::default();
    if of_another_mac(address, flow.source_mac) {
        return false;
    }
    (unbound && nobodys) || sender.may_use(policy, host, flow.family, address)
}

fn matches(host: &Host, flow: &Flow, rule: &Rule, held: bool, now: Time) -> bool {
    if rule.until.is_some_and(|until| is_over(until, held, now)) {
        return false;
    }
    let destination = match &rule.to {
        To::Any => true,
        To::Gateway => is_own(host, flow),
        To::Local => is_local(host, flow),
        To::Range(range) => covers(range, flow.family, flow.destination),
        To::Set(set) => {
            set.ranges.iter().any(|range| covers(&range, flow.family, flow.destination))
        }
    };
    let key = u32::from(flow.protocol) << 16 | u32::from(flow.destination_port);
    destination && rule.services.iter().any(|s| (s.first..=s.last).contains(&key))
}
