//! Differences between two policies, in words.

mod pairs;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use pairs::{Pair, pairs};

use super::compile::title;
use super::{
    Action, DefaultVerdict, Device, End, Group, Interface, Policy, Range, Ranges, Rule, Set, To,
};

/// One difference. The history stores them.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Change {
    /// `+` added, `-` removed, `~` changed.
    pub sign: char,
    /// `group`, `device`, `member`, `allow`, `deny`, `refuse`, `accept`, `mode`, `default`, `inbound`,
    /// `interface`, `unknown`, `essential`.
    pub kind: String,
    /// The group, device or interface concerned, if any: of an interface's rule `interface lan2`.
    pub subject: Option<String>,
    /// The difference in words, e.g. `tcp/443 to @update-servers (CHG-4711)`.
    pub text: String,
    /// Stable id of the rule, if the difference concerns one.
    pub rule: Option<String>,
}

/// The differences when `new` replaces `old`: unknown devices and essentials, interfaces, sets, devices,
/// then each group with its rules. Empty if nothing differs that affects or explains a decision; the order
/// of groups and rules does not.
pub fn diff(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    changes.unknown(old, new);
    changes.essential(old, new);
    changes.interfaces(old, new);
    changes.sets(old, new);
    changes.devices(old, new);
    changes.groups(old, new);
    changes.0
}

struct Changes(Vec<Change>);

impl Changes {
    fn push(&mut self, sign: char, kind: &str, subject: Option<&str>, text: String) {
        let (kind, subject) = (kind.to_owned(), subject.map(str::to_owned));
        self.0.push(Change { sign, kind, subject, text, rule: None });
    }

    fn push_rule(&mut self, sign: char, kind: &str, group: &str, text: String, rule: &Rule) {
        self.push(sign, kind, Some(group), text);
        if let Some(change) = self.0.last_mut() {
            change.rule = Some(rule.id.clone());
        }
    }

    fn unknown(&mut self, old: &Policy, new: &Policy) {
        let (old, new) = (old.unknown, new.unknown);
        if old.default != new.default {
            self.push('~', "unknown", None, format!("default {} → {}", old.default, new.default));
        }
        if old.mode != new.mode {
            self.push('~', "unknown", None, format!("mode {} → {}", old.mode, new.mode));
        }
    }

    fn essential(&mut self, old: &Policy, new: &Policy) {
        let (old, new) = (&old.essential, &new.essential);
        for (name, before, after) in [
            ("arp", old.arp, new.arp),
            ("neighbour-discovery", old.neighbour_discovery, new.neighbour_discovery),
            ("dhcp", old.dhcp, new.dhcp),
            ("eapol", old.eapol, new.eapol),
            ("lldp", old.lldp, new.lldp),
            ("stp", old.stp, new.stp),
        ] {
            if before != after {
                let word = |on| if on { "on" } else { "off" };
                let text = format!("{name} {} → {}", word(before), word(after));
                self.push('~', "essential", None, text);
            }
        }
        for ((name, before), (_, after)) in old.rates.named().into_iter().zip(new.rates.named()) {
            if before != after {
                let text = format!("{name} {before} → {after} a second");
                self.push('~', "essential", None, text);
            }
        }
    }

    fn interfaces<'p>(&mut self, old: &'p Policy, new: &'p Policy) {
        let words = |interface: &Interface| {
            let mut ids = interface.vlans.clone();
            ids.sort_unstable();
            let vlans = match ids.as_slice() {
                [] => "no VLANs".to_owned(),
                [id] => format!("VLAN {id}"),
                _ => format!("VLANs {}", join(ids.iter())),
            };
            let hops = if interface.binds_next_hops { ", next hops bound" } else { "" };
            let floods =
                if interface.floods_essentials_only { ", floods essentials only" } else { "" };
            vlans + hops + floods
        };
        let pairs = pairs(&old.interfaces, &new.interfaces, |interface| &interface.name);
        for (name, pair) in pairs {
            let (before, after) = pair.sides();
            let text = match (before.map(words), after.map(words)) {
                (Some(before), Some(after)) if before == after => None,
                (Some(before), Some(after)) => Some(format!("{name}: {before} → {after}")),
                (before, after) => before.or(after).map(|words| format!("{name}: {words}")),
            };
            if let Some(text) = text {
                self.push(pair.sign(), "interface", None, text);
            }
            let rules = |side: Option<&'p Interface>| side.map_or(&[][..], |side| &side.accept);
            self.rules_of(&title(name), Action::Accept, rules(before), rules(after));
        }
    }

    /// Compares sets that rules use. A set that was added or removed is covered by its rules.
    fn sets(&mut self, old: &Policy, new: &Policy) {
        let (before, after) = (used_sets(old), used_sets(new));
        for (name, new) in after {
            let Some(old) = before.get(name) else { continue };
            if old.ranges == new.ranges {
                continue;
            }
            let (removed, added) = differing(&old.ranges, &new.ranges);
            if removed + added > 0 {
                let text = format!(
                    "@{name}: {added} added, {removed} removed, {} now",
                    count(new.ranges.len(), "range")
                );
                self.push('~', "set", None, text);
            }
        }
    }

    fn devices(&mut self, old: &Policy, new: &Policy) {
        for (name, pair) in pairs(&old.devices, &new.devices, |device| &device.name) {
            let text = match pair {
                Pair::Added(device) | Pair::Removed(device) => describe(device),
                Pair::Both(before, after) => {
                    let (before, after) = (describe(before), describe(after));
                    if before == after {
                        continue;
                    }
                    format!("{before} → {after}")
                }
            };
            self.push(pair.sign(), "device", Some(name), text);
        }
    }

    fn groups(&mut self, old: &Policy, new: &Policy) {
        for (name, pair) in pairs(&old.groups, &new.groups, |group| &group.name) {
            match pair {
                Pair::Added(group) => {
                    self.push('+', "group", Some(name), summary(group));
                    let empty = bare(group);
                    self.members(name, (&empty, old), (group, new));
                    self.rules(name, &empty, group);
                }
                Pair::Removed(group) => self.push('-', "group", Some(name), summary(group)),
                Pair::Both(before, after) => {
                    if before.mode != after.mode {
                        let text = format!("{} → {}", before.mode, after.mode);
                        self.push('~', "mode", Some(name), text);
                    }
                    if before.default != after.default {
                        let text = format!("{} → {}", before.default, after.default);
                        self.push('~', "default", Some(name), text);
                    }
                    if before.inbound != after.inbound {
                        let text = format!("{} → {}", before.inbound, after.inbound);
                        self.push('~', "inbound", Some(name), text);
                    }
                    self.members(name, (before, old), (after, new));
                    self.rules(name, before, after);
                }
            }
        }
    }

    fn members(&mut self, name: &str, old: (&Group, &Policy), new: (&Group, &Policy)) {
        let texts = |(group, policy): (&Group, &Policy)| -> Vec<String> {
            group.members.iter().map(|member| member.selector.text(policy)).collect()
        };
        let (before, after) = (texts(old), texts(new));
        for (sign, these, those) in [('-', &before, &after), ('+', &after, &before)] {
            let known: HashSet<&String> = those.iter().collect();
            for text in these.iter().filter(|text| !known.contains(text)) {
                self.push(sign, "member", Some(name), text.clone());
            }
        }
    }

    fn rules(&mut self, name: &str, old: &Group, new: &Group) {
        for action in Action::ALL {
            self.rules_of(name, action, old.rules(action), new.rules(action));
        }
    }

    /// Compares the rules of one kind; `holder` is the group, or [`Interface::title`].
    fn rules_of(&mut self, holder: &str, action: Action, before: &[Rule], after: &[Rule]) {
        let kind = action.name();
        let known: HashMap<&str, &Rule> =
            before.iter().map(|rule| (rule.id.as_str(), rule)).collect();
        let kept: HashSet<&str> = after.iter().map(|rule| rule.id.as_str()).collect();
        for rule in before.iter().filter(|rule| !kept.contains(rule.id.as_str())) {
            self.push_rule('-', kind, holder, sentence(action, rule), rule);
        }
        for rule in after {
            match known.get(rule.id.as_str()) {
                None => self.push_rule('+', kind, holder, sentence(action, rule), rule),
                Some(before) => self.rule(action, holder, before, rule),
            }
        }
    }

    /// Compares rules with the same id: only their remarks and their end can differ.
    fn rule(&mut self, action: Action, group: &str, before: &Rule, after: &Rule) {
        let mut parts = Vec::new();
        let until = |rule: &Rule| rule.until.and_then(End::wall).map(time);
        for (what, before, after) in [
            ("until", until(before), until(after)),
            ("reason", before.reason.clone(), after.reason.clone()),
            ("owner", before.owner.clone(), after.owner.clone()),
        ] {
            if before != after {
                let word = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
                parts.push(format!("{what} {} → {}", word(before), word(after)));
            }
        }
        if !parts.is_empty() {
            let text = format!("{}: {}", core(action, after), parts.join(", "));
            self.push_rule('~', action.name(), group, text, after);
        }
    }
}

fn used_sets(policy: &Policy) -> BTreeMap<&str, &Set> {
    let sets = policy.every_rule().filter_map(|rule| match &rule.to {
        To::Set(set) => Some((set.name.as_str(), &**set)),
        To::Any | To::Gateway | To::Local | To::Range(_) => None,
    });
    sets.collect()
}

/// Number of distinct ranges that are only in the first list, and only in the second. Sorted, because hash
/// sets of a million ranges take a second.
fn differing(before: &Ranges, after: &Ranges) -> (usize, usize) {
    let sorted = |ranges: &Ranges| {
        let mut ranges: Vec<Range> = ranges.iter().collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    };
    let (before, after) = (sorted(before), sorted(after));
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    let (mut removed, mut added) = (0, 0);
    while let (Some(one), Some(other)) = (old.peek(), new.peek()) {
        let order = one.cmp(other);
        removed += usize::from(order.is_lt());
        added += usize::from(order.is_gt());
        if order.is_le() {
            old.next();
        }
        if order.is_ge() {
            new.next();
        }
    }
    (removed + old.count(), added + new.count())
}

/// A group of that name without members and rules.
fn bare(group: &Group) -> Group {
    Group {
        name: group.name.clone(),
        members: Vec::new(),
        mode: group.mode,
        default: group.default,
        allow: Vec::new(),
        deny: Vec::new(),
        accept: Vec::new(),
        refuse: Vec::new(),
        inbound: group.inbound,
        timed: None,
        device_of: None,
        place: group.place.clone(),
    }
}

fn summary(group: &Group) -> String {
    let inbound = if group.inbound == DefaultVerdict::Drop { ", inbound drop" } else { "" };
    format!(
        "{}, default {}{inbound}, {}, {}",
        group.mode,
        group.default,
        count(group.members.len(), "member"),
        count(group.every_rule().count(), "rule")
    )
}

fn describe(device: &Device) -> String {
    let mut parts = Vec::new();
    if let Some(mac) = device.mac {
        parts.push(mac.to_string());
    }
    if !device.addresses.is_empty() {
        parts.push(join(device.addresses.iter()));
    }
    if let Some(vlan) = device.vlan {
        parts.push(format!("VLAN {vlan}"));
    }
    if let Some(interface) = &device.interface {
        parts.push(format!("on {interface}"));
    }
    parts.join(", ")
}

/// `tcp/443 to @update-servers`, `tcp/22 from @workstations`
fn core(action: Action, rule: &Rule) -> String {
    format!("{} {} {}", rule.service_text, action.end(), rule.to_text)
}

/// `tcp/443 to @update-servers (CHG-4711, owner biomed, until 2027-01-31T00:00:00Z)`
fn sentence(action: Action, rule: &Rule) -> String {
    let mut notes = Vec::new();
    notes.extend(rule.reason.clone());
    notes.extend(rule.owner.as_ref().map(|owner| format!("owner {owner}")));
    let until = rule.until.and_then(End::wall);
    notes.extend(until.map(|until| format!("until {}", time(until))));
    match notes.as_slice() {
        [] => core(action, rule),
        _ => format!("{} ({})", core(action, rule), notes.join(", ")),
    }
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn count(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn join(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
