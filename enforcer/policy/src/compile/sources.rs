//! Identifies the sender of a frame: the MAC table, the trees of source addresses, MAC prefixes and VLANs,
//! and the table of interfaces.

use std::collections::HashMap;

use enforcer_common::image::{
    ABSENT, BOUND_PLACE, BOUND_SOURCES, Layout, Line, OWN_MAC, OWNER_GATEWAY, Word, flag,
    interface, kind, place,
};
use enforcer_common::wire;

use super::V4_MAX;
use super::cover::{Claim, most_specific, prefixes};
use super::tree::{Builder, Interval, TooLarge};
use crate::{Device, Host, Mac, Policy, Problem, Range, Selector, Severity};

/// One entry of the MAC table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The address.
    pub mac: Mac,
    /// Index into [`Policy::devices`], if the device has a name.
    pub device: Option<usize>,
}

/// Interface index that no frame has, for an interface that does not exist.
const NOWHERE: u32 = u32::MAX;

/// Builds all tables and trees that identify a device; fills `layout` and returns the slots of the MAC
/// table. `floods` has the descriptors of the rules of the policy's interfaces.
pub(super) fn sources(
    builder: &mut Builder,
    policy: &Policy,
    host: &Host,
    floods: &[Option<Line>],
    layout: &mut Layout,
    warnings: &mut Vec<Problem>,
) -> Result<Vec<Option<Slot>>, TooLarge> {
    let members = Members::of(policy);
    let slots = macs(builder, policy, host, &members, layout, warnings);

    let mut by_device = HashMap::new();
    for (number, slot) in slots.iter().enumerate() {
        if let Some(Slot { device: Some(device), .. }) = slot {
            by_device.insert(*device, number as u32);
        }
    }
    addresses(builder, policy, host, &members, &by_device, layout)?;

    let prefixes = members.mac_prefixes.iter().map(|&(mac, length, group)| {
        let first = u128::from(wire::mac(mac.0));
        let word = Word::new(kind::PASS, group);
        Claim { first, last: first | ((1u128 << (48 - length)) - 1), word }
    });
    let prefixes = most_specific(prefixes.collect(), u128::from(u64::MAX));
    layout.mac_prefixes = builder.tree_64(&prefixes)?.0;

    let vlans = members.vlans.iter().map(|&(vlan, group)| {
        let key = u128::from(vlan);
        Claim { first: key, last: key, word: Word::new(kind::PASS, group) }
    });
    layout.vlans = builder.tree_32(&most_specific(vlans.collect(), V4_MAX))?.0;

    interfaces(builder, policy, (host, floods), &members, layout, warnings);
    Ok(slots)
}

/// Members of all groups by kind; groups are numbered from 1.
#[derive(Default)]
struct Members<'a> {
    devices: HashMap<usize, u32>,
    macs: Vec<(Mac, u32)>,
    mac_prefixes: Vec<(Mac, u8, u32)>,
    addresses: Vec<(Range, u32)>,
    vlans: Vec<(u16, u32)>,
    interfaces: Vec<(&'a str, u32)>,
}

impl<'a> Members<'a> {
    fn of(policy: &'a Policy) -> Self {
        let mut members = Self::default();
        for (number, group) in policy.groups.iter().enumerate() {
            let number = number as u32 + 1;
            for member in &group.members {
                match &member.selector {
                    Selector::Device(device) => {
                        members.devices.insert(*device, number);
                    }
                    Selector::Mac(mac) => members.macs.push((*mac, number)),
                    Selector::MacPrefix(mac, length) => {
                        members.mac_prefixes.push((*mac, *length, number));
                    }
                    Selector::Addresses(range) => members.addresses.push((*range, number)),
                    Selector::Vlan(vlan) => members.vlans.push((*vlan, number)),
                    Selector::Interface(name) => members.interfaces.push((name, number)),
                }
            }
        }
        members
    }
}

/// The MAC table: named devices with a MAC, and bare MAC members.
fn macs(
    builder: &mut Builder,
    policy: &Policy,
    host: &Host,
    members: &Members<'_>,
    layout: &mut Layout,
    warnings: &mut Vec<Problem>,
) -> Vec<Option<Slot>> {
    let mut entries: Vec<(u64, u16)> = Vec::new();
    let mut meanings: Vec<Slot> = Vec::new();
    let mut by_mac: HashMap<Mac, usize> = HashMap::new();
    let by_address = ByAddress::of(members);
    for (index, device) in policy.devices.iter().enumerate() {
        let Some(mac) = device.mac else { continue };
        let group = members.devices.get(&index).copied().or_else(|| {
            // The device is named by its MAC, and its group lists its address. The address is bound, so the
            // group is already known.
            by_address.group_of(device)
        });
        let mut value = group.unwrap_or(0) as u16;
        if !device.addresses.is_empty() {
            value |= BOUND_SOURCES;
        }
        if device.vlan.is_some() || device.interface.is_some() {
            value |= BOUND_PLACE;
        }
        by_mac.insert(mac, entries.len());
        entries.push((wire::mac(mac.0), value));
        meanings.push(Slot { mac, device: Some(index) });
    }
    for &(mac, group) in &members.macs {
        match by_mac.get(&mac).copied() {
            // A named device whose MAC is also listed as a member: one entry for both.
            Some(at) => {
                if let Some(entry) = entries.get_mut(at) {
                    entry.1 = entry.1 & (BOUND_SOURCES | BOUND_PLACE) | group as u16;
                }
            }
            None => {
                entries.push((wire::mac(mac.0), group as u16));
                meanings.push(Slot { mac, device: None });
            }
        }
    }
    // No device may use the gateway's own MACs, whatever the policy says. They are few, so searching them
    // is faster than building a map of all others.
    let own = host.interfaces.iter().map(|known| &known.mac).chain(&host.macs);
    for mac in own.filter(|mac| **mac != Mac::default()) {
        let number = wire::mac(mac.0);
        match entries.iter_mut().find(|(known, _)| *known == number) {
            Some((_, value)) => *value = OWN_MAC as u16,
            None => {
                entries.push((number, OWN_MAC as u16));
                meanings.push(Slot { mac: *mac, device: None });
            }
        }
    }
    if entries.is_empty() {
        return Vec::new();
    }
    let (first, mask, placed) = builder.table(&entries);
    (layout.macs, layout.macs_mask) = (first, mask);
    let mut slots = vec![None; (mask as usize + 1) * 8];
    for (meaning, &slot) in meanings.iter().zip(&placed) {
        if let Some(entry) = slots.get_mut(slot as usize) {
            *entry = Some(meaning.clone());
        }
    }
    if policy.devices.iter().any(|device| device.vlan.is_some() || device.interface.is_some()) {
        let mut lines = vec![Line::default(); mask as usize + 1];
        for (meaning, &slot) in meanings.iter().zip(&placed) {
            let device = meaning.device.and_then(|index| policy.devices.get(index));
            let line = lines.get_mut(slot as usize / 8);
            if let (Some(device), Some(line)) = (device, line)
                && let Some(number) = line.0.get_mut(slot as usize % 8)
            {
                let grouped =
                    meaning.device.is_some_and(|index| members.devices.contains_key(&index));
                *number = place_of(device, host, grouped, warnings);
            }
        }
        layout.places = builder.append(lines);
    }
    slots
}

/// Groups by address, as searchable intervals.
struct ByAddress {
    v4: Vec<Interval>,
    v6: Vec<Interval>,
}

impl ByAddress {
    fn of(members: &Members<'_>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for &(range, group) in &members.addresses {
            claim(&mut v4, &mut v6, range, Word::new(kind::PASS, group));
        }
        Self { v4: most_specific(v4, V4_MAX), v6: most_specific(v6, u128::MAX) }
    }

    /// The group with the longest prefix that contains a device's first address.
    fn group_of(&self, device: &Device) -> Option<u32> {
        let (intervals, address) = match *device.addresses.first()? {
            Range::V4(first, _) => (&self.v4, u128::from(first)),
            Range::V6(first, _) => (&self.v6, first),
        };
        let at = intervals.partition_point(|interval| interval.0 < address);
        let word = intervals.get(at)?.1;
        (word.kind() == kind::PASS).then(|| word.payload())
    }
}

/// Adds a claim for each prefix of a range.
fn claim(v4: &mut Vec<Claim>, v6: &mut Vec<Claim>, range: Range, word: Word) {
    let (claims, first, last) = match range {
        Range::V4(first, last) => (v4, first.into(), last.into()),
        Range::V6(first, last) => (v6, first, last),
    };
    claims.extend(prefixes(first, last).into_iter().map(|(first, last)| Claim {
        first,
        last,
        word,
    }));
}

/// Where a device may appear. Warns about a device with a group whose interface does not exist.
fn place_of(device: &Device, host: &Host, grouped: bool, warnings: &mut Vec<Problem>) -> u64 {
    let mut packed = 0;
    if let Some(vlan) = device.vlan {
        packed |= place::HAS_VLAN | u64::from(vlan) << place::VLAN_SHIFT;
    }
    if let Some(name) = &device.interface {
        let index = host.interfaces.iter().find(|known| known.name == *name);
        if index.is_none() && grouped {
            warnings.push(absent(device.place.clone(), name));
        }
        packed |= u64::from(index.map_or(NOWHERE, |known| known.index));
    }
    packed
}

pub(super) fn absent(place: crate::Place, name: &str) -> Problem {
    Problem {
        severity: Severity::Warning,
        place,
        message: format!("interface `{name}` is not protected on this machine"),
        hint: Some("protect it with `--interface`, or correct the name".into()),
    }
}

/// The trees of source addresses: groups by address, and the owners of bound addresses.
fn addresses(
    builder: &mut Builder,
    policy: &Policy,
    host: &Host,
    members: &Members<'_>,
    by_device: &HashMap<usize, u32>,
    layout: &mut Layout,
) -> Result<(), TooLarge> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let mut add = |range: Range, word: Word| claim(&mut v4, &mut v6, range, word);
    // Of equal prefixes the last one added decides: an owner takes precedence over a group, and the gateway
    // over both.
    for &(range, group) in &members.addresses {
        add(range, Word::new(kind::PASS, group));
    }
    // No device may use a router's address, unless the policy gives it to a device.
    for router in host.routers.iter().filter(|router| router.elsewhere == Some(true)) {
        add(Range::single(router.address), Word::new(kind::DROP, OWNER_GATEWAY));
    }
    for (index, device) in policy.devices.iter().enumerate() {
        let word = match by_device.get(&index) {
            Some(&slot) => Word::new(kind::DROP, slot),
            // A device with addresses but without a MAC to bind them to.
            None => match members.devices.get(&index) {
                Some(&group) => Word::new(kind::PASS, group),
                None => continue,
            },
        };
        for &range in &device.addresses {
            add(range, word);
        }
    }
    for &address in &host.own {
        add(Range::single(address), Word::new(kind::DROP, OWNER_GATEWAY));
    }
    if !v4.is_empty() {
        let mut line = Line::default();
        builder.top_32(&most_specific(v4, V4_MAX), &mut line)?;
        layout.sources_v4 = builder.append([line]);
    }
    if !v6.is_empty() {
        layout.sources_v6 = builder.tree_128(&most_specific(v6, u128::MAX))?.0;
    }
    Ok(())
}

/// The table of interfaces with their declared VLANs.
fn interfaces(
    builder: &mut Builder,
    policy: &Policy,
    (host, floods): (&Host, &[Option<Line>]),
    members: &Members<'_>,
    layout: &mut Layout,
    warnings: &mut Vec<Problem>,
) {
    for declared in &policy.interfaces {
        if !host.interfaces.iter().any(|known| known.name == declared.name) {
            warnings.push(absent(declared.place.clone(), &declared.name));
        }
    }
    let (mut lines, mut descriptors) = (Vec::new(), Vec::new());
    for known in &host.interfaces {
        let mut bitmap = vec![Line::default(); 8];
        let mut any = false;
        let mut declare = |vlan: u16| {
            any = true;
            let line = bitmap.get_mut(usize::from(vlan >> 9) & 7);
            if let Some(bits) = line.and_then(|line| line.0.get_mut(usize::from(vlan >> 6) & 7)) {
                *bits |= 1 << (vlan & 63);
            }
        };
        for declared in policy.interfaces.iter().filter(|other| other.name == known.name) {
            declared.vlans.iter().copied().for_each(&mut declare);
        }
        for device in &policy.devices {
            let here = device.interface.as_ref().is_none_or(|name| *name == known.name);
            if let (true, Some(vlan)) = (here, device.vlan) {
                declare(vlan);
            }
        }
        members.vlans.iter().for_each(|&(vlan, _)| declare(vlan));
        let vlans = if any { builder.append(bitmap) } else { ABSENT };

        let group = members.interfaces.iter().find(|(name, _)| *name == known.name);
        let mut line = Line::default();
        if let Some(own) = line.0.first_mut() {
            *own = wire::mac(known.mac.0);
        }
        if let Some(words) = line.0.get_mut(interface::ABOVE..) {
            let many = known.above.len() > words.len();
            words.fill(interface::NO_MAC);
            for (word, mac) in words.iter_mut().zip(&known.above) {
                // More MACs than fit: every MAC counts as the gateway's.
                *word = if many { u64::MAX } else { wire::mac(mac.0) };
            }
        }
        let place = policy.interfaces.iter().position(|declared| declared.name == known.name);
        let declared = place.and_then(|place| policy.interfaces.get(place));
        let mut word = group.map_or(0, |(_, group)| *group);
        if declared.is_some_and(|declared| declared.binds_next_hops) {
            word |= interface::BOUND_HOPS;
            layout.flags |= flag::BOUND_HOPS;
        }
        if declared.is_some_and(|declared| declared.floods_essentials_only) {
            word |= interface::ESSENTIAL_FLOODS;
        }
        if let Some(descriptor) = place.and_then(|place| *floods.get(place)?) {
            // Behind the lines of all interfaces. No machine has more than 16 bits can count.
            let behind = u16::try_from(host.interfaces.len() + descriptors.len()).unwrap_or(0);
            word |= u32::from(behind) << interface::ACCEPTS_SHIFT;
            descriptors.push(descriptor);
        }
        line.set_word(interface::GROUP, word);
        line.set_word(interface::VLANS, vlans);
        lines.push(line);
    }
    if lines.is_empty() {
        return;
    }
    lines.extend(descriptors);
    layout.interface_lines = builder.append(lines);
    let entries: Vec<(u64, u16)> = host
        .interfaces
        .iter()
        .enumerate()
        .map(|(number, known)| (u64::from(known.index), number as u16))
        .collect();
    let (first, mask, _) = builder.table(&entries);
    (layout.interfaces, layout.interfaces_mask) = (first, mask);
}
