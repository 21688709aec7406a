//! Warnings about parts of a policy that have no effect or are probably not intended.
//!
//! Whether a rule ever decides is exact: the compiler records every rule that some endpoint of the image
//! leads to, whatever the sets, ranges, services and ends.

mod accept;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use enforcer_common::wire::protocol;

use super::{CompiledRule, Section, each_range, on_link};
use crate::address::quoted;
use crate::read::MAX_PROBLEMS;
use crate::{
    Action, DefaultVerdict, Group, Host, Place, Policy, Problem, Range, Rule, Selector, Service,
    Set, Severity, To,
};

/// An entry of half the IPv4 addresses: a set with such an entry probably holds all or nearly all of them.
const HALF: u32 = 1 << 31;
/// 2000::/3, all global unicast addresses.
const GLOBAL: Range = Range::V6(0x2 << 124, (0x4 << 124) - 1);

/// Checks a policy. `decides` says for each rule of `rules`, by number, whether it ever decides. If the
/// machine is not known (`known` is false), only the time in `host` is used.
pub(super) fn lint(
    policy: &Policy,
    host: &Host,
    known: bool,
    rules: &[Option<CompiledRule>],
    decides: &[bool],
) -> Vec<Problem> {
    let mut lint = Lint { policy, host, known, found: Vec::new() };
    for (number, compiled) in rules.iter().enumerate() {
        let Some(compiled) = compiled else { continue };
        let Some((section, rule)) = compiled.rule(policy) else { continue };
        let idle = !decides.get(number).copied().unwrap_or(false);
        match section {
            Section::Group(group) if rule.live || group.device_of.is_some() => {}
            Section::Group(group) => lint.rule((group, rule), compiled.action, idle),
            Section::Interface(interface) => lint.flooded((interface, rule), idle),
        }
    }
    lint.groups();
    lint.sets();
    lint.devices();
    lint.finish()
}

struct Lint<'p> {
    policy: &'p Policy,
    host: &'p Host,
    known: bool,
    found: Vec<Problem>,
}

impl Lint<'_> {
    fn warn(&mut self, place: &Place, message: impl AsRef<str>, hint: impl AsRef<str>) {
        let (message, hint) = (message.as_ref(), Some(hint.as_ref()));
        self.found.push(Problem::new(Severity::Warning, place.clone(), message, hint));
    }

    fn rule(&mut self, (group, rule): (&Group, &Rule), action: Action, idle: bool) {
        if self.has_ended(rule) {
            return;
        }
        if action == Action::Accept {
            return self.accept((group, rule), idle);
        }
        if !action.passes() {
            return;
        }
        let mut first = None;
        let (mut v4, mut v6) = (false, false);
        each_range(&rule.to, self.host, |range| {
            first.get_or_insert(range);
            v4 |= matches!(range, Range::V4(..));
            v6 |= matches!(range, Range::V6(..));
        });
        let Some(first) = first else {
            if self.known && rule.to == To::Local {
                let message =
                    "`local` is nothing on this machine: no protected interface has an address";
                self.warn(&rule.place, message, "write the addresses themselves");
            }
            return;
        };
        if let Some((why, hint)) = self.unreachable(rule, group, v4, v6) {
            return self.warn(&rule.place, format!("this allow rule never matches: {why}"), hint);
        }
        if idle {
            let hint = match winner(group, rule, self.host, first) {
                Some((true, other, _)) => format!(
                    "the allow rule at {} allows all of it already; one of them is enough",
                    other.place
                ),
                Some((false, other, entry)) => format!(
                    "the deny rule at {}{} wins; take one of them out, or narrow what is denied",
                    other.place,
                    entry.map(|range| format!(" ({}: {range})", other.to)).unwrap_or_default()
                ),
                None => "the other rules of its group cover all of it".to_owned(),
            };
            self.warn(&rule.place, "this allow rule never decides anything", hint);
        }
    }

    /// Why no frame reaches this rule, and what to do about it.
    fn unreachable(
        &self,
        rule: &Rule,
        group: &Group,
        v4: bool,
        v6: bool,
    ) -> Option<(String, &'static str)> {
        let only = |protocols: &[u8]| {
            let is = |service: &Service| {
                protocols.iter().any(|&number| {
                    let all = Service::protocol(number);
                    all.first <= service.first && service.last <= all.last
                })
            };
            rule.services.iter().all(is)
        };
        if !v4 && only(&[protocol::ICMP, protocol::IGMP]) {
            let hint = "ICMP of IPv6 is `icmpv6`";
            return Some((format!("IPv6 has no {}", rule.service_text), hint));
        }
        if !v6 && only(&[protocol::ICMPV6]) {
            return Some(("IPv4 has no icmpv6".to_owned(), "ICMP of IPv4 is `icmp`"));
        }
        if let To::Range(range) = rule.to {
            if nobody(range) {
                let why = format!("no frame to {range} is well-formed (`martian-destination`)");
                return Some((why, "write an address that a device can send to"));
            }
            if let Some(name) = self.broadcast(range) {
                let why = format!(
                    "{range} is the broadcast address behind {name}, and every frame to it is \
                     dropped before (`l2-l3-cast`)"
                );
                let hint = "255.255.255.255 and multicast groups can be allowed, a subnet's \
                            broadcast address cannot";
                return Some((why, hint));
            }
        }
        if !v4 && bound_to_v4(self.policy, group) {
            let why = "it leads to IPv6 alone, and every member is bound to IPv4 addresses";
            return Some((why.to_owned(), "add the members' IPv6 addresses to their `ip`"));
        }
        None
    }

    /// The interface whose subnet has this broadcast address.
    fn broadcast(&self, range: Range) -> Option<&str> {
        let Range::V4(first, last) = range else { return None };
        let has = |prefix: &&(IpAddr, u8)| {
            let Range::V4(_, end) = on_link(prefix) else { return false };
            prefix.1 <= 30 && first == last && last == end
        };
        let mut interfaces = self.host.interfaces.iter();
        let found = interfaces.find(|interface| interface.prefixes.iter().any(|p| has(&p)))?;
        Some(&found.name)
    }

    fn groups(&mut self) {
        let bound = bindings(self.policy);
        let policy = self.policy;
        for group in policy.groups.iter().filter(|group| group.device_of.is_none()) {
            let allow = group.allow.iter().find(|rule| !rule.live);
            if let (DefaultVerdict::Pass, Some(rule)) = (group.default, allow) {
                let message = format!(
                    "the allow rules of {} change no verdict: its default is `pass`, and deny \
                     rules win over them",
                    quoted(&group.name)
                );
                self.warn(&rule.place, message, "leave them out, or set `default = \"drop\"`");
            }
            for member in &group.members {
                match &member.selector {
                    Selector::Interface(name) if self.known => {
                        if !self.host.interfaces.iter().any(|known| known.name == *name) {
                            let absent = super::sources::absent(member.place.clone(), name);
                            self.found.push(absent);
                        }
                    }
                    Selector::Addresses(range) => {
                        let owner = bound.get(range).filter(|(owner, _)| *owner != group.name);
                        if let Some((owner, device)) = owner {
                            let message = format!(
                                "{range} never makes a device a member of {}: it is bound to the \
                                 MAC of {}, which is in {}",
                                quoted(&group.name),
                                quoted(device),
                                quoted(owner)
                            );
                            let hint = "a MAC address is more specific than an IP address: name \
                                        the device in one group";
                            self.warn(&member.place, message, hint);
                        }
                    }
                    Selector::Interface(_)
                    | Selector::Device(_)
                    | Selector::Mac(_)
                    | Selector::MacPrefix(..)
                    | Selector::Vlan(_) => {}
                }
            }
        }
    }

    /// Warns about sets whose contents are probably not intended, once for each set.
    fn sets(&mut self) {
        let policy = self.policy;
        let mut seen: HashSet<(*const Set, bool)> = HashSet::new();
        for group in policy.groups.iter().filter(|group| group.device_of.is_none()) {
            let deny = group.deny.iter().map(|rule| (false, rule));
            for (allow, rule) in deny.chain(group.allow.iter().map(|rule| (true, rule))) {
                let To::Set(set) = &rule.to else { continue };
                if !super::ended(rule, self.host) && seen.insert((Arc::as_ptr(set), allow)) {
                    self.set(set, rule, allow);
                }
            }
        }
    }

    fn set(&mut self, set: &Set, rule: &Rule, allow: bool) {
        let verb = if allow { "allows" } else { "denies" };
        if let Some(range) = set.ranges.iter().find(|&range| is_everything(range)) {
            let message = format!(
                "the set {} holds {range}: this rule {verb} nearly every address of its family",
                quoted(&set.name)
            );
            let hint = if allow {
                "take it out of the set, or write `to = \"any\"` if that is meant"
            } else {
                "take it out of the set; what no rule allows is dropped by `default = \"drop\"`"
            };
            return self.warn(&rule.place, message, hint);
        }
        if allow || !self.known {
            return;
        }
        // Published lists include private networks, and any list may include loopback.
        let own: Vec<IpAddr> = self.host.own.iter().copied().filter(|own| is_seen(*own)).collect();
        let holds = |range: Range| own.iter().copied().find(|&own| range.contains(own));
        let found = set.ranges.iter().find_map(|range| Some((range, holds(range)?)));
        if let Some((range, own)) = found {
            let what = match range == Range::single(own) {
                true => {
                    format!("the set {} holds the gateway's own address {own}", quoted(&set.name))
                }
                false => format!(
                    "the set {} holds {range}, and with it the gateway's own address {own}",
                    quoted(&set.name)
                ),
            };
            let hint = "take private networks out of the list, or write a list of your own: an \
                        allow rule for what it holds never decides";
            self.warn(&rule.place, what, hint);
        }
    }

    /// Warns about devices with a MAC or an address of the gateway.
    fn devices(&mut self) {
        let (policy, known) = (self.policy, self.known);
        for device in policy.devices.iter().filter(|_| known) {
            let own = self.host.interfaces.iter().find(|own| Some(own.mac) == device.mac);
            if let Some(own) = own {
                let message = format!(
                    "{} has the MAC of the gateway's own {}",
                    quoted(&device.name),
                    own.name
                );
                let hint = "frames that claim it are dropped (`src-mac-own`): write the device's";
                self.warn(&device.place, message, hint);
            }
            let own =
                self.host.own.iter().find(|own| device.addresses.contains(&Range::single(**own)));
            if let Some(own) = own {
                let message =
                    format!("{} has the gateway's own address {own}", quoted(&device.name));
                let hint = "no device may send from it: write the device's";
                self.warn(&device.place, message, hint);
            }
        }
    }

    /// The warnings in the order of the document, limited in number.
    fn finish(mut self) -> Vec<Problem> {
        self.found.sort_by(|a, b| a.place.cmp(&b.place));
        let more = self.found.len().saturating_sub(MAX_PROBLEMS);
        self.found.truncate(MAX_PROBLEMS);
        if let (1.., Some(place)) = (more, self.found.last().map(|last| last.place.clone())) {
            let s = if more == 1 { "" } else { "s" };
            let message = format!("and {more} more warning{s} about rules, groups and sets");
            self.warn(&place, message, "they are listed when these are gone");
        }
        self.found
    }
}

/// The rule that decides instead of one that never does: whether it allows, the rule, and the deciding
/// entry if it names a set.
fn winner<'g>(
    group: &'g Group,
    idle: &Rule,
    host: &Host,
    first: Range,
) -> Option<(bool, &'g Rule, Option<Range>)> {
    let address: IpAddr = match first {
        Range::V4(first, _) => std::net::Ipv4Addr::from_bits(first).into(),
        Range::V6(first, _) => std::net::Ipv6Addr::from_bits(first).into(),
    };
    let service = idle.services.first()?.first;
    let deny = group.deny.iter().map(|rule| (false, rule));
    let all = deny.chain(group.allow.iter().map(|rule| (true, rule)));
    let before = all.take_while(|(_, rule)| rule.id != idle.id);
    before.filter(|(_, rule)| rule.until.is_none() && !rule.live).find_map(|(allow, rule)| {
        let mut held = None;
        each_range(&rule.to, host, |range| {
            held = held.or(Some(range).filter(|range| range.contains(address)));
        });
        let range = held.filter(|_| rule.services.iter().any(|own| own.contains(service)))?;
        let entry = matches!(rule.to, To::Set(_)).then_some(range);
        Some((allow, rule, entry))
    })
}

/// Addresses bound to a MAC, with the device's group and name.
fn bindings(policy: &Policy) -> HashMap<Range, (&str, &str)> {
    let mut bound = HashMap::new();
    for group in &policy.groups {
        for member in &group.members {
            let Selector::Device(index) = member.selector else { continue };
            let device = policy.devices.get(index).filter(|device| device.mac.is_some());
            let ranges = device.into_iter().flat_map(|device| {
                device.addresses.iter().map(|range| (*range, (&*group.name, &*device.name)))
            });
            bound.extend(ranges);
        }
    }
    bound
}

/// Whether every member is bound to IPv4 addresses.
fn bound_to_v4(policy: &Policy, group: &Group) -> bool {
    let v4 = |range: &Range| matches!(range, Range::V4(..));
    let is = |selector: &Selector| match selector {
        Selector::Addresses(range) => v4(range),
        Selector::Device(index) => policy
            .devices
            .get(*index)
            .is_some_and(|device| !device.addresses.is_empty() && device.addresses.iter().all(v4)),
        Selector::Mac(_) | Selector::MacPrefix(..) | Selector::Vlan(_) | Selector::Interface(_) => {
            false
        }
    };
    !group.members.is_empty() && group.members.iter().all(|member| is(&member.selector))
}

/// Whether no well-formed frame has such a destination; see `addresses_v4` and `addresses_v6` of the
/// parser.
fn nobody(range: Range) -> bool {
    match range {
        Range::V4(first, last) => {
            let (low, high) = (first >> 24, last >> 24);
            low == high && (low == 0 || low == 127) || low >= 240 && last != u32::MAX
        }
        Range::V6(first, last) => {
            let (low, high) = (first >> 112, last >> 112);
            last >> 64 == 0 || low == high && (low == 0xff00 || low == 0xff01)
        }
    }
}

/// Whether a range covers a whole family, or nearly all of it.
fn is_everything(range: Range) -> bool {
    match (range, GLOBAL) {
        (Range::V4(first, last), _) => last - first >= HALF - 1,
        (Range::V6(first, last), Range::V6(low, high)) => first <= low && last >= high,
        (Range::V6(..), Range::V4(..)) => false,
    }
}

/// Whether devices can see this address of the gateway.
fn is_seen(own: IpAddr) -> bool {
    match own {
        IpAddr::V4(own) => !own.is_loopback() && !own.is_link_local(),
        IpAddr::V6(own) => !own.is_loopback() && !own.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
