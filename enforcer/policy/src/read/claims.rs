//! The group of a device must be unambiguous: two equally specific claims are an error.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::address::quoted;
use super::super::{Device, Mac, Policy, Range, Selector};
use super::problems::Problems;

/// Most prefixes in the members of all groups together. A range may split into 254 prefixes, so that a
/// document could otherwise need far more memory than its size suggests.
const MAX_PREFIXES: usize = 4 << 20;

/// What a member claims. Equal claims are equally specific.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Claim<'p> {
    Mac(Mac),
    Prefix(IpAddr, u8),
    MacPrefix(Mac, u8),
    Vlan(u16),
    Interface(&'p str),
}

impl Claim<'_> {
    fn text(&self) -> String {
        match self {
            Self::Mac(mac) => mac.to_string(),
            Self::Prefix(address, 32) if address.is_ipv4() => address.to_string(),
            Self::Prefix(address, 128) => address.to_string(),
            Self::Prefix(address, length) => format!("{address}/{length}"),
            Self::MacPrefix(mac, length) => format!("{mac}/{length}"),
            Self::Vlan(id) => format!("vlan:{id}"),
            Self::Interface(name) => format!("interface:{name}"),
        }
    }
}

/// Finds members of different groups with equal claims.
pub(super) fn check(policy: &Policy, problems: &mut Problems) {
    let mut owners: HashMap<Claim<'_>, (usize, usize)> = HashMap::new();
    let mut prefixes = 0;
    for (group, definition) in policy.groups.iter().enumerate() {
        for (member, written) in definition.members.iter().enumerate() {
            let claims = claims(policy, &written.selector);
            prefixes += claims.len();
            if prefixes > MAX_PREFIXES {
                let message = format!("the members stand for more than {MAX_PREFIXES} prefixes");
                let hint = "write CIDRs in the place of ranges".to_owned();
                problems.error(written.place.clone(), message, Some(hint));
                return;
            }
            // Report a range once, not for each of its prefixes.
            let mut reported = false;
            for claim in claims {
                let other = match owners.entry(claim) {
                    Entry::Vacant(entry) => {
                        entry.insert((group, member));
                        continue;
                    }
                    Entry::Occupied(entry) => *entry.get(),
                };
                if other.0 == group || reported {
                    continue;
                }
                reported = true;
                let first = &policy.groups[other.0];
                let message = format!(
                    "the groups {} and {} both claim {}",
                    quoted(&first.name),
                    quoted(&definition.name),
                    claim.text()
                );
                let place = &first.members[other.1].place;
                let hint = format!(
                    "{} claims it at {place}; a device belongs to one group",
                    quoted(&first.name)
                );
                problems.error(written.place.clone(), message, Some(hint));
            }
        }
    }
}

fn claims<'p>(policy: &'p Policy, selector: &'p Selector) -> Vec<Claim<'p>> {
    let prefixes = |range: &Range| {
        range.prefixes().into_iter().map(|(address, length)| Claim::Prefix(address, length))
    };
    match selector {
        Selector::Device(index) => match policy.devices.get(*index) {
            Some(Device { mac: Some(mac), .. }) => vec![Claim::Mac(*mac)],
            Some(device) => device.addresses.iter().flat_map(prefixes).collect(),
            None => Vec::new(),
        },
        Selector::Mac(mac) => vec![Claim::Mac(*mac)],
        Selector::MacPrefix(mac, length) => vec![Claim::MacPrefix(*mac, *length)],
        Selector::Addresses(range) => prefixes(range).collect(),
        Selector::Vlan(id) => vec![Claim::Vlan(*id)],
        Selector::Interface(name) => vec![Claim::Interface(name)],
    }
}

/// Warns about devices in no group, and about devices that cannot be told apart.
pub(super) fn check_devices(policy: &Policy, problems: &mut Problems) {
    let coverage = Coverage::new(policy);
    let mut owners: HashMap<Range, usize> = HashMap::new();
    for (index, device) in policy.devices.iter().enumerate() {
        // A device bound to an interface may need no rules, for example a host behind an unprotected
        // interface.
        let is_placed = device.mac.is_some() && device.interface.is_some();
        if !is_placed && !coverage.covers(index, device) {
            let message = format!("the device {} is in no group", quoted(&device.name));
            let hint = format!("add \"{}\" to the members of a group", device.name);
            problems.warning(device.place.clone(), message, Some(hint));
        }
        if device.mac.is_some() {
            continue;
        }
        for range in &device.addresses {
            let Some(&other) = owners.get(range) else {
                owners.insert(*range, index);
                continue;
            };
            let first = &policy.devices[other];
            if other != index {
                let message = format!(
                    "{} and {} have the same address {range}",
                    quoted(&first.name),
                    quoted(&device.name)
                );
                let hint = format!("give them a `mac`; the other one is at {}", first.place);
                problems.error(device.place.clone(), message, Some(hint));
                break;
            }
        }
    }
}

/// Everything that members of all groups cover, for one look-up per device.
#[derive(Default)]
struct Coverage {
    named: HashSet<usize>,
    macs: HashSet<u64>,
    /// MAC prefixes as length and leading bits.
    mac_prefixes: HashSet<(u8, u64)>,
    /// Merged and ascending.
    addresses: Vec<Range>,
    vlans: HashSet<u16>,
    interfaces: HashSet<String>,
}

impl Coverage {
    fn new(policy: &Policy) -> Self {
        let mut coverage = Self::default();
        let mut ranges = Vec::new();
        for member in policy.groups.iter().flat_map(|group| &group.members) {
            match &member.selector {
                Selector::Device(index) => {
                    coverage.named.insert(*index);
                    let mac = policy.devices.get(*index).and_then(|device| device.mac);
                    coverage.macs.extend(mac.map(number));
                }
                Selector::Mac(mac) => {
                    coverage.macs.insert(number(*mac));
                }
                Selector::MacPrefix(mac, length) => {
                    coverage.mac_prefixes.insert((*length, leading(number(*mac), *length)));
                }
                Selector::Addresses(range) => ranges.push(*range),
                Selector::Vlan(id) => {
                    coverage.vlans.insert(*id);
                }
                Selector::Interface(name) => {
                    coverage.interfaces.insert(name.clone());
                }
            }
        }
        ranges.sort_unstable();
        for range in ranges {
            match (coverage.addresses.last_mut(), range) {
                (Some(Range::V4(_, last)), Range::V4(first, end)) if first <= *last => {
                    *last = end.max(*last);
                }
                (Some(Range::V6(_, last)), Range::V6(first, end)) if first <= *last => {
                    *last = end.max(*last);
                }
                _ => coverage.addresses.push(range),
            }
        }
        coverage
    }

    fn covers(&self, index: usize, device: &Device) -> bool {
        let mac = device.mac.map(number);
        self.named.contains(&index)
            || mac.is_some_and(|mac| {
                self.macs.contains(&mac)
                    || (1..48).any(|length| {
                        self.mac_prefixes.contains(&(length, leading(mac, length)))
                    })
            })
            || device.addresses.iter().any(|range| self.touches(*range))
            // A device without a declared VLAN or interface may be there.
            || match device.vlan {
                Some(id) => self.vlans.contains(&id),
                None => !self.vlans.is_empty(),
            }
            || match &device.interface {
                Some(name) => self.interfaces.contains(name),
                None => !self.interfaces.is_empty(),
            }
    }

    fn touches(&self, range: Range) -> bool {
        let after = self.addresses.partition_point(|known| match (known, &range) {
            (Range::V4(_, last), Range::V4(first, _)) => last < first,
            (Range::V6(_, last), Range::V6(first, _)) => last < first,
            (Range::V4(..), Range::V6(..)) => true,
            (Range::V6(..), Range::V4(..)) => false,
        });
        match (self.addresses.get(after), range) {
            (Some(Range::V4(first, _)), Range::V4(_, last)) => *first <= last,
            (Some(Range::V6(first, _)), Range::V6(_, last)) => *first <= last,
            _ => false,
        }
    }
}

fn number(mac: Mac) -> u64 {
    mac.0.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn leading(mac: u64, length: u8) -> u64 {
    mac >> (48 - u32::from(length.min(48)))
}
