//! Compiles the model into an image: a pure function with deterministic output.
//!
//! - `cover`: which claims or rules cover a key
//! - `flooded`: the rules of interfaces
//! - `holder`: whose rule has a number
//! - [`hops`](mod@hops): known next hops on links with bound next hops
//! - `lint`: warnings about parts of a policy without effect
//! - [`live`]: patches for live changes
//! - `tree`: intervals to lines
//! - `sources`: identifies the sender of a frame

mod cover;
mod flooded;
mod holder;
mod hops;
mod lint;
pub mod live;
mod sources;
mod tree;

use std::net::IpAddr;

use enforcer_common::image::{
    ABSENT, GroupEntry, HOST_LOCAL, HOST_OWN, Layout, Line, MAX_GROUPS, Mode as ImageMode, RATES,
    Word, essential, flag, kind, rates, rates::Kind, top,
};

use super::{
    End, Essential, Group, Host, Mode, Place, Policy, Problem, Range, Rates, Rule, Severity, To,
};
use crate::image::Image;
use cover::{Claim, CoverError, Ranked, all_rules, most_specific};
pub(crate) use holder::title;
pub use holder::{CompiledRule, Holder, Section};
pub use hops::hops;
pub use sources::Slot;
use tree::{Builder, TooLarge};

const V4_MAX: u128 = u32::MAX as u128;

/// An image, and the meaning of its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The image for the kernel.
    pub image: Image,
    /// Rules by the number of their counter: each group's deny rules, then its allow, refuse and accept rules, those
    /// of the interfaces, and live rules at the end. `None` for the number of a removed live rule.
    pub rules: Vec<Option<CompiledRule>>,
    /// Entries of the MAC table by slot.
    pub slots: Vec<Option<Slot>>,
    /// Warnings for the operator.
    pub warnings: Vec<Problem>,
}

/// Compiles a policy for a machine.
///
/// Groups are numbered from 1 in the order of the policy; 0 stands for unknown devices.
///
/// # Errors
///
/// The policy does not fit into an image: each problem has its place.
pub fn compile(policy: &Policy, host: &Host) -> Result<Compiled, Vec<Problem>> {
    let mut builder = Builder::behind(0);
    const { assert!(RATES == 1) };
    // Line 0 is the layout, which is filled in last; line 1 has the rate limits.
    builder.append([Line::default(), limits(policy.essential.rates)]);
    let mut problems: Vec<Problem> = too_many_groups(policy).into_iter().collect();
    let mut warnings = Vec::new();
    if !problems.is_empty() {
        return Err(problems);
    }

    let (mut rules, entries) = groups(&mut builder, policy, host, &mut problems);
    let floods = flooded::descriptors(&mut builder, policy, host, &mut rules, &mut problems);
    warnings.extend(lint::lint(policy, host, true, &rules, &builder.decides));
    let groups = builder.append(entries.chunks(8).map(|chunk| {
        let mut line = Line::default();
        for (slot, entry) in line.0.iter_mut().zip(chunk) {
            *slot = entry.0;
        }
        line
    }));
    let expires = policy.every_rule().any(|rule| rule.until.is_some() && !rule.live);
    let mut layout = Layout {
        groups,
        group_count: entries.len() as u32,
        essential: essentials(policy.essential),
        flags: if expires { flag::EXPIRING } else { 0 } | inbound_flags(policy),
        ..Layout::EMPTY
    };
    match host_trees(&mut builder, host) {
        Ok((v4, v6)) => (layout.host_v4, layout.host_v6) = (v4.0, v6.0),
        Err(TooLarge) => problems.push(too_large(first_place(policy), "on-link prefixes")),
    }
    let sources = sources::sources(&mut builder, policy, host, &floods, &mut layout, &mut warnings);
    let slots = match sources {
        Ok(slots) => slots,
        Err(TooLarge) => {
            problems.push(too_large(first_place(policy), "members"));
            Vec::new()
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut lines = builder.lines;
    if let Some(first) = lines.first_mut() {
        *first = layout.to_line();
    }
    let counters = rules.len() as u32 + live::SPARE_RULES;
    let mut image = Image::new(layout, lines, counters, live::SPARE_LINES);
    image.hops = hops(policy, host).into();
    warnings.extend(hops::warnings(policy, host, &image.hops));
    Ok(Compiled { image, rules, slots, warnings })
}

/// Problems of a policy that exist on every machine at `now`, in seconds since 1970-01-01 UTC.
///
/// Problems that depend on the gateway's addresses are reported by [`compile`].
pub fn check(policy: &Policy, now: i64) -> Vec<Problem> {
    let (mut builder, host) = (Builder::behind(0), Host { now, ..Host::default() });
    let mut problems: Vec<Problem> = too_many_groups(policy).into_iter().collect();
    if problems.is_empty() {
        let (mut rules, _) = groups(&mut builder, policy, &host, &mut problems);
        flooded::descriptors(&mut builder, policy, &host, &mut rules, &mut problems);
        problems.extend(lint::lint(policy, &host, false, &rules, &builder.decides));
    }
    problems
}

fn too_many_groups(policy: &Policy) -> Option<Problem> {
    let last = policy.groups.last().filter(|_| policy.groups.len() >= MAX_GROUPS as usize - 1)?;
    Some(Problem {
        severity: Severity::Error,
        place: last.place.clone(),
        message: format!("more than {} groups", MAX_GROUPS - 2),
        hint: Some("merge groups with the same rules".into()),
    })
}

/// Descriptor and entry of every group, and the numbers of the rules.
fn groups(
    builder: &mut Builder,
    policy: &Policy,
    host: &Host,
    problems: &mut Vec<Problem>,
) -> (Vec<Option<CompiledRule>>, Vec<GroupEntry>) {
    let mut numbers = Vec::new();
    let mut descriptors = Vec::new();
    for (index, group) in policy.groups.iter().enumerate() {
        // A device's own group uses the trees of the group that it was made from.
        let shared = group.device_of.and_then(|parent| descriptors.get(parent).copied());
        descriptors.push(match shared {
            Some(written) => written,
            None => written(builder, index, group, host, &mut numbers).unwrap_or_else(|problem| {
                problems.push(problem);
                live::Written::default()
            }),
        });
    }
    let answers = inbound_flags(policy) & flag::ANSWERS != 0;
    let mut entries = vec![live::unknown(builder, policy.unknown, (host, answers))];
    for (index, (group, written)) in policy.groups.iter().zip(descriptors).enumerate() {
        let of = |rule: CompiledRule| {
            numbers.push(Some(rule));
            numbers.len() as u32 - 1
        };
        let entry = live::entry(builder, (index, group), written, (host, answers), of);
        let entry = entry.unwrap_or_else(|problem| {
            problems.push(problem);
            GroupEntry::new(ABSENT, ImageMode::Enforce, false)
        });
        entries.push(entry);
    }
    (numbers, entries)
}

/// The bits of [`flag`] for frames towards devices, live rules included.
fn inbound_flags(policy: &Policy) -> u32 {
    let has_rules = |group: &Group| !group.accept.is_empty() || !group.refuse.is_empty();
    let bit = |on, bit| if on { bit } else { 0 };
    bit(policy.groups.iter().any(has_rules), flag::ANSWERS)
        | bit(refuses_inbound(policy), flag::INBOUND)
}

/// Whether frames towards devices may be refused, by groups or on interfaces.
pub(crate) fn refuses_inbound(policy: &Policy) -> bool {
    policy.groups.iter().any(Group::refuses_inbound)
        || policy.interfaces.iter().any(|interface| interface.floods_essentials_only)
}

/// The descriptors of the policy file's rules of a group.
fn written(
    builder: &mut Builder,
    index: usize,
    group: &Group,
    host: &Host,
    numbers: &mut Vec<Option<CompiledRule>>,
) -> Result<live::Written, Problem> {
    let (mut rules, mut inbound) = (Vec::new(), Vec::new());
    for (compiled, rule) in live::numbered(index, group).filter(|(_, rule)| !rule.live) {
        let action = compiled.action;
        let rules = if action.is_inbound() { &mut inbound } else { &mut rules };
        rules.push((numbers.len() as u32, action.passes(), rule));
        numbers.push(Some(compiled));
    }
    let mut of = |rules: &[_]| match rules {
        [] => Ok(None),
        rules => descriptor(builder, &group.place, rules, host).map(Some),
    };
    Ok(live::Written { rules: of(&rules)?, inbound: of(&inbound)? })
}

/// The descriptor of numbered rules; those that drop come first.
fn descriptor(
    builder: &mut Builder,
    place: &Place,
    rules: &[(u32, bool, &Rule)],
    host: &Host,
) -> Result<Line, Problem> {
    trees(builder, rules, host).map_err(|e| match e {
        CoverError::TooLarge => too_large(place.clone(), "rules"),
        CoverError::Expiring(rank) => Problem {
            severity: Severity::Error,
            place: rules.get(rank).map_or(place, |(.., rule)| &rule.place).clone(),
            message: "more than 8 rules with `until` cover the same endpoint".into(),
            hint: Some("merge rules that end at the same time".into()),
        },
    })
}

fn ended(rule: &Rule, host: &Host) -> bool {
    rule.until.and_then(End::wall).is_some_and(|until| until <= host.now)
}

fn trees(
    builder: &mut Builder,
    rules: &[(u32, bool, &Rule)],
    host: &Host,
) -> Result<Line, CoverError> {
    let mut ranked = Vec::with_capacity(rules.len());
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (rank, &(number, pass, rule)) in rules.iter().enumerate() {
        ranked.push(Ranked { number, pass, until: rule.until, services: &rule.services });
        if ended(rule, host) {
            continue;
        }
        each_range(&rule.to, host, |range| match range {
            Range::V4(first, last) => v4.push((first.into(), last.into(), rank as u32)),
            Range::V6(first, last) => v6.push((first, last, rank as u32)),
        });
    }
    let mut line = no_rules();
    if !v4.is_empty() {
        let intervals = all_rules(builder, &ranked, &v4, V4_MAX)?;
        builder.top_32(&intervals, &mut line)?;
    }
    if !v6.is_empty() {
        let intervals = all_rules(builder, &ranked, &v6, u128::MAX)?;
        line.set_word(top::V6, builder.tree_128(&intervals)?.0);
    }
    Ok(line)
}

/// The ranges of a remote end, in any order.
fn each_range(to: &To, host: &Host, mut add: impl FnMut(Range)) {
    match to {
        To::Any => {
            add(Range::V4(0, u32::MAX));
            add(Range::V6(0, u128::MAX));
        }
        To::Gateway => host.own.iter().for_each(|&address| add(Range::single(address))),
        To::Local => host_prefixes(host).for_each(add),
        To::Range(range) => add(*range),
        To::Set(set) => set.ranges.iter().for_each(add),
    }
}

/// A descriptor without any rule.
fn no_rules() -> Line {
    let mut line = Line::default();
    line.set_word(top::DEPTH, ABSENT);
    line
}

fn image_mode(mode: Mode) -> ImageMode {
    match mode {
        Mode::Enforce => ImageMode::Enforce,
        Mode::Observe => ImageMode::Observe,
        Mode::Quarantine => ImageMode::Quarantine,
    }
}

fn essentials(on: Essential) -> u32 {
    let bit = |on, bit| if on { bit } else { 0 };
    bit(on.arp, essential::ARP)
        | bit(on.neighbour_discovery, essential::NEIGHBOUR)
        | bit(on.dhcp, essential::DHCP)
        | bit(on.eapol, essential::EAPOL)
        | bit(on.lldp, essential::LLDP)
        | bit(on.stp, essential::STP)
}

/// Nanoseconds for each allowed frame, byte or address.
fn limits(rates: Rates) -> Line {
    let cost = |a_second: u32| (1_000_000_000 / u64::from(a_second.max(1))).max(1);
    let mut line = Line::default();
    for (word, rate) in [
        (rates::FRAMES + Kind::Dhcp as usize, rates.dhcp),
        (rates::FRAMES + Kind::Arp as usize, rates.arp),
        (rates::FRAMES + Kind::Neighbour as usize, rates.neighbour_discovery),
        (rates::FRAMES + Kind::Eapol as usize, rates.eapol),
        (rates::FRAMES + Kind::Lldp as usize, rates.lldp),
        (rates::BYTE, rates.bytes),
        (rates::MAC, rates.new_macs),
        (rates::ADDRESS, rates.new_addresses),
    ] {
        if let Some(word) = line.0.get_mut(word) {
            *word = cost(rate);
        }
    }
    line
}

/// The on-link prefixes of the protected interfaces.
pub(super) fn host_prefixes(host: &Host) -> impl Iterator<Item = Range> + '_ {
    host.interfaces.iter().flat_map(|interface| &interface.prefixes).map(on_link)
}

/// The prefix around an interface's address, as a range.
pub fn on_link(&(address, length): &(IpAddr, u8)) -> Range {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            let first = u32::from(address) & mask;
            Range::V4(first, first | !mask)
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            let first = u128::from(address) & mask;
            Range::V6(first, first | !mask)
        }
    }
}

/// Trees of the gateway's own addresses and of on-link addresses.
fn host_trees(builder: &mut Builder, host: &Host) -> Result<(Word, Word), TooLarge> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let own = host.own.iter().map(|&address| (Range::single(address), HOST_OWN));
    let local = (HOST_LOCAL..).zip(&host.interfaces).flat_map(|(number, interface)| {
        interface.prefixes.iter().map(move |prefix| (on_link(prefix), number))
    });
    // Of two equal claims the later one decides, so `own` comes last.
    for (range, what) in local.chain(own) {
        let word = Word::new(kind::PASS, what);
        match range {
            Range::V4(first, last) => {
                v4.push(Claim { first: first.into(), last: last.into(), word });
            }
            Range::V6(first, last) => v6.push(Claim { first, last, word }),
        }
    }
    let v4 = builder.tree_32(&most_specific(v4, V4_MAX))?;
    let v6 = builder.tree_128(&most_specific(v6, u128::MAX))?;
    Ok((v4, v6))
}

fn first_place(policy: &Policy) -> Place {
    let group = policy.groups.first().map(|group| group.place.clone());
    group.unwrap_or(Place { file: "policy".into(), line: 1, column: 1 })
}

fn too_large(place: Place, what: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        place,
        message: format!("too many {what} for one policy image"),
        hint: Some("merge adjacent prefixes and ports, or split the policy".into()),
    }
}
