//! Writes the model as a document: the complete policy as one text that [`read`](super::read()) accepts.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use jiff::Timestamp;

use super::read::{MAX_NAME, content};
use super::{
    Action, DefaultVerdict, Device, End, Group, Interface, Mode, Policy, Range, Rates, Rule,
    Service, Set, Timed, To,
};

const HEADER: &str =
    "# One whole policy, written by enforcer: set files are part of it, comments are not kept.\n";

/// Column at which lists are wrapped.
const WIDTH: usize = 100;

/// Writes the complete policy as one document, with the sets that rules name; set files are inlined.
///
/// Reading it gives an equal policy, except for places and for live rules that repeat another one. The same
/// policy gives the same text. Ends on the boot clock must be converted to dates before, because a document
/// cannot express them.
pub fn write(policy: &Policy) -> String {
    let mut out = String::from(HEADER);
    out.push_str("schema = 1\n");
    let sets = sets(policy);
    if !sets.is_empty() {
        out.push_str("\n[sets]\n");
    }
    for (name, set) in sets {
        // A set may have a million ranges: their texts are not collected.
        list(&mut out, name, set.ranges.iter().map(|range| range.to_string()));
    }
    for device in &policy.devices {
        write_device(&mut out, device);
    }
    for (index, group) in policy.groups.iter().enumerate() {
        write_group(&mut out, policy, index, group);
    }
    for interface in &policy.interfaces {
        write_interface(&mut out, interface);
    }
    let unknown = policy.unknown;
    let default = unknown.default;
    out.push_str(&format!("\n[unknown]\ndefault = \"{default}\"\n"));
    write_mode(&mut out, unknown.mode, unknown.timed);
    let on = &policy.essential;
    out.push_str("\n[essential]\n");
    for (name, on) in [
        ("arp", on.arp),
        ("neighbour-discovery", on.neighbour_discovery),
        ("dhcp", on.dhcp),
        ("eapol", on.eapol),
        ("lldp", on.lldp),
        ("stp", on.stp),
    ] {
        out.push_str(&format!("{name} = {on}\n"));
    }
    if on.rates != Rates::default() {
        let rates = on.rates.named().map(|(name, rate)| format!("{name} = {rate}"));
        out.push_str(&format!("rate = {{ {} }}\n", rates.join(", ")));
    }
    out
}

/// Writes a rule as an inline table: `{ to = "10.20.0.10", service = "tcp/8000" }`.
pub fn write_rule(action: Action, rule: &Rule) -> String {
    let mut out = format!("{{ {} = {}", action.end(), string(&to_text(rule)));
    match service_words(rule).as_slice() {
        [word] => out.push_str(&format!(", service = {}", string(word))),
        words => {
            let words: Vec<String> = words.iter().map(|word| string(word)).collect();
            out.push_str(&format!(", service = [{}]", words.join(", ")));
        }
    }
    if let Some(until) = rule.until.and_then(End::wall) {
        out.push_str(&format!(", until = {}", time(until)));
    }
    for (key, value) in [("reason", &rule.reason), ("owner", &rule.owner)] {
        if let Some(value) = value {
            out.push_str(&format!(", {key} = {}", string(value)));
        }
    }
    out.push_str(" }");
    out
}

/// `2027-01-31T00:00:00Z`.
pub(super) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// The sets that rules name, by name.
fn sets(policy: &Policy) -> BTreeMap<&str, &Set> {
    let sets = policy.every_rule().filter_map(|rule| match &rule.to {
        To::Set(set) => Some((set.name.as_str(), &**set)),
        To::Any | To::Gateway | To::Local | To::Range(_) => None,
    });
    sets.collect()
}

fn write_device(out: &mut String, device: &Device) {
    out.push_str(&format!("\n[devices.{}]\n", key(&device.name)));
    if let Some(mac) = device.mac {
        out.push_str(&format!("mac = \"{mac}\"\n"));
    }
    if !device.addresses.is_empty() {
        list(out, "ip", device.addresses.iter().map(Range::to_string));
    }
    if let Some(vlan) = device.vlan {
        out.push_str(&format!("vlan = {vlan}\n"));
    }
    if let Some(interface) = &device.interface {
        out.push_str(&format!("interface = {}\n", string(interface)));
    }
}

/// Writes the mode that follows a temporary one: the temporary one must not become permanent.
fn write_mode(out: &mut String, mode: Mode, timed: Option<Timed>) {
    if let Some(until) = timed.and_then(|timed| timed.until.wall()) {
        out.push_str(&format!("# {mode} until {}\n", time(until)));
    }
    let mode = timed.map_or(mode, |timed| timed.afterwards);
    out.push_str(&format!("mode = \"{mode}\"\n"));
}

fn write_group(out: &mut String, policy: &Policy, index: usize, group: &Group) {
    out.push_str(&format!("\n[groups.{}]\n", key(&group_name(policy, index, group))));
    list(out, "members", group.members.iter().map(|member| member.selector.text(policy)));
    write_mode(out, group.mode, group.timed);
    out.push_str(&format!("default = \"{}\"\n", group.default));
    if group.inbound != DefaultVerdict::Pass {
        out.push_str(&format!("inbound = \"{}\"\n", group.inbound));
    }
    for action in [Action::Allow, Action::Deny, Action::Accept, Action::Refuse] {
        write_rules(out, action, group.rules(action));
    }
}

fn write_rules(out: &mut String, action: Action, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    out.push_str(&format!("{} = [\n", action.name()));
    for rule in distinct(rules) {
        out.push_str(&format!("  {},\n", write_rule(action, &rule)));
    }
    out.push_str("]\n");
}

/// The rules without repetitions: a live change may repeat a rule of the file, but a document may not have
/// a rule twice. The later end of the two applies.
fn distinct(rules: &[Rule]) -> Vec<Cow<'_, Rule>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<Cow<'_, Rule>> = Vec::with_capacity(rules.len());
    for rule in rules {
        let first = *places.entry(content(rule)).or_insert(kept.len());
        match kept.get_mut(first) {
            None => kept.push(Cow::Borrowed(rule)),
            Some(same) if lasts_longer(rule.until, same.until) => {
                same.to_mut().until = rule.until;
            }
            Some(_) => {}
        }
    }
    kept
}

/// Whether `a` ends later than `b`. Ends are dates here: see [`write`].
fn lasts_longer(a: Option<End>, b: Option<End>) -> bool {
    let end = |end: Option<End>| end.map_or(i64::MAX, |end| end.wall().unwrap_or(i64::MAX));
    end(a) > end(b)
}

/// A unique name for a device's own group.
fn group_name(policy: &Policy, index: usize, group: &Group) -> String {
    if group.device_of.is_none() {
        return group.name.clone();
    }
    let taken = |name: &str| {
        let mut others = policy.groups.iter().enumerate();
        others.any(|(other, group)| other != index && group.name == name)
            || policy.devices.iter().any(|device| device.name == name)
    };
    // More candidates than groups: at least one is free.
    let mut names = (index..).map(|number| {
        let suffix = format!("-{number}");
        // Group names are ASCII, and at most MAX_NAME long.
        let base: String = group.name.chars().take(MAX_NAME - suffix.len()).collect();
        base + &suffix
    });
    names.find(|name| !taken(name)).unwrap_or_default()
}

fn write_interface(out: &mut String, interface: &Interface) {
    let vlans: Vec<String> = interface.vlans.iter().map(u16::to_string).collect();
    let name = key(&interface.name);
    out.push_str(&format!("\n[interfaces.{name}]\nvlans = [{}]\n", vlans.join(", ")));
    if interface.binds_next_hops {
        out.push_str("next-hop = \"bound\"\n");
    }
    if interface.floods_essentials_only {
        out.push_str("flooded = \"essential\"\n");
    }
    write_rules(out, Action::Accept, &interface.accept);
}

/// The remote end as the operator wrote it, if it still has the same meaning.
fn to_text(rule: &Rule) -> String {
    let canonical = rule.to.to_string();
    match &rule.to {
        To::Range(range) if Range::parse(&rule.to_text) == Ok(*range) => rule.to_text.clone(),
        To::Any | To::Gateway | To::Local | To::Range(_) | To::Set(_) => canonical,
    }
}

/// The services as the operator wrote them, if they still have the same meaning.
fn service_words(rule: &Rule) -> Vec<String> {
    let written: Vec<&str> = rule.service_text.split(", ").collect();
    let parsed = written.iter().map(|word| Service::parse(word).ok());
    if parsed.eq(rule.services.iter().copied().map(Some)) {
        return written.into_iter().map(str::to_owned).collect();
    }
    rule.services.iter().map(Service::to_string).collect()
}

/// Writes a list of strings: on one line if it fits, else on as few as possible.
fn list(out: &mut String, name: &str, items: impl Iterator<Item = String> + Clone) {
    let items = items.map(|item| string(&item));
    let name = key(name);
    // A list that fits has fewer items than the line has columns.
    let length: usize = items.clone().take(WIDTH).map(|item| item.len() + 2).sum();
    if name.len() + length < WIDTH - 4 {
        let items: Vec<String> = items.collect();
        out.push_str(&format!("{name} = [{}]\n", items.join(", ")));
        return;
    }
    out.push_str(&format!("{name} = ["));
    let mut column = WIDTH;
    for item in items {
        if column + item.len() + 2 > WIDTH {
            out.push_str("\n ");
            column = 1;
        }
        column += item.len() + 2;
        out.push_str(&format!(" {item},"));
    }
    out.push_str("\n]\n");
}

/// A key: without quotes if TOML allows it.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { string(name) }
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            // TOML requires escapes for U+0000 to U+001F and U+007F; the other control characters would
            // affect a terminal.
            _ if character.is_control() => {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    #[test]
    fn as_it_is_written() {
        let text = r#"schema = 1
groups."icu.1" = { members = ["bed-12", "00:1b:44/24", "vlan:20"], default = "pass", allow = [
  { to = "@feed", reason = "a \"quote\" \\ ü", until = 2027-01-31T01:00:00+01:00 },
  { to = "10.0.0.4-10.0.0.7", service = ["tcp/515 - 520", "proto/6"], owner = "biomed" } ] }
devices.bed-12 = { mac = "001b.4411.3ab7", ip = "10.20.0.12" }
interfaces."br#0".vlans = [20, 30]
sets.feed.file = "feed.txt"
"#;
        let (policy, problems) = read("p", text, &mut |_| Ok("192.0.2.0/24 # TEST\n".to_owned()));
        assert_eq!(problems, []);
        let expected = r#"# One whole policy, written by enforcer: set files are part of it, comments are not kept.
schema = 1

[sets]
feed = ["192.0.2.0/24"]

[devices.bed-12]
mac = "00:1b:44:11:3a:b7"
ip = ["10.20.0.12"]

[groups."icu.1"]
members = ["bed-12", "00:1b:44:00:00:00/24", "vlan:20"]
mode = "enforce"
default = "pass"
allow = [
  { to = "@feed", service = "any", until = 2027-01-31T00:00:00Z, reason = "a \"quote\" \\ ü" },
  { to = "10.0.0.4-10.0.0.7", service = ["tcp/515 - 520", "proto/6"], owner = "biomed" },
]

[interfaces."br#0"]
vlans = [20, 30]

[unknown]
default = "pass"
mode = "enforce"

[essential]
arp = true
neighbour-discovery = true
dhcp = true
eapol = true
lldp = true
stp = false
"#;
        assert_eq!(write(&policy), expected);
    }

    #[test]
    fn long_lists_are_broken() {
        let mut out = String::new();
        let items: Vec<String> = (0..20).map(|n| format!("192.0.2.{n}/32")).collect();
        list(&mut out, "feed", items.into_iter());
        assert!(out.lines().all(|line| line.len() <= WIDTH), "{out}");
        assert_eq!(out.lines().count(), 6, "{out}");
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a\"\\\u{7f}\u{85}\n"), "\"a\\\"\\\\\\u007F\\u0085\\u000A\"");
        assert_eq!(key("a-b_1"), "a-b_1");
        assert_eq!(key("a.b"), "\"a.b\"");
    }
}
