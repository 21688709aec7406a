//! `[groups]`: members and rules.

use std::collections::HashMap;

use toml::de::DeTable;

use super::super::address::{
    as_prefix, is_wildcard, looks_like_address, looks_like_mac, mac_prefix, quoted,
};
use super::super::{Action, DefaultVerdict, Device, Group, Mac, Member, Place, Range, Selector};
use super::Reader;
use super::fields::{entries, is_empty_list, nearest};
use super::rules::{Digest, Seen};

const KEYS: [&str; 8] =
    ["members", "mode", "default", "allow", "deny", "accept", "refuse", "inbound"];

impl Reader<'_> {
    /// Reads the groups; returns the digests of their rules.
    pub(super) fn read_groups(&mut self, groups: &DeTable<'_>) -> Vec<Digest> {
        if groups.is_empty() {
            self.reader.warn_absent(0, "the policy has no group, so no rule applies", None);
        }
        let mut digests = Vec::new();
        for (key, value) in entries(groups) {
            let (name, offset) = (key.get_ref().as_ref(), key.span().start);
            self.group_or_device_name("group", name, offset);
            if let Some(&device) = self.device_index.get(name) {
                let place = &self.policy.devices[device].place;
                let hint = format!("the device is at {place}; commands take either, so rename one");
                self.reader.error(offset, format!("a device is named `{name}` too"), hint);
            }
            let Some(table) = self.reader.as_table(name, value) else { continue };
            self.reader.known_keys(table, &KEYS, "a group");
            let members = self.members(name, table, offset);
            let mode = self.reader.mode(table).unwrap_or_default();
            let default = self.reader.verdict(table, "default").unwrap_or_default();
            let inbound = self.reader.verdict(table, "inbound").unwrap_or(DefaultVerdict::Pass);
            let mut seen = Seen::default();
            // In the order of the decision; ids are assigned in the same order.
            let deny = self.rules(name, Action::Deny, table, &mut seen);
            let allow = self.rules(name, Action::Allow, table, &mut seen);
            let refuse = self.rules(name, Action::Refuse, table, &mut seen);
            let accept = self.rules(name, Action::Accept, table, &mut seen);
            digests.extend(seen.digests);
            let (name, place) = (name.to_owned(), self.reader.lines.place(offset));
            self.policy.groups.push(Group {
                name,
                members,
                mode,
                default,
                allow,
                deny,
                accept,
                refuse,
                inbound,
                timed: None,
                device_of: None,
                place,
            });
        }
        digests
    }

    fn members(&mut self, name: &str, table: &DeTable<'_>, offset: usize) -> Vec<Member> {
        let value = table.get("members");
        if value.is_none_or(is_empty_list) {
            let hint = Some("its rules apply to nobody");
            self.reader.warn_absent(
                offset,
                format!("the group {} has no members", quoted(name)),
                hint,
            );
        }
        let texts = value.and_then(|value| self.reader.strings("members", value, "10.20.1.0/24"));
        let texts = texts.unwrap_or_default();
        let mut members: Vec<Member> = Vec::with_capacity(texts.len());
        let mut first: HashMap<Selector, Place> = HashMap::new();
        for (text, offset) in texts {
            let Some(selector) = self.selector(text, offset) else { continue };
            let place = self.reader.lines.place(offset);
            let identity = self.identity(&selector);
            if let Some(place) = first.get(&identity) {
                let message = format!("{} is a member already", quoted(text));
                let hint = format!("it is listed at {place}");
                self.reader.warn(offset, message, Some(&hint));
                continue;
            }
            first.insert(identity, place.clone());
            members.push(Member { selector, place });
        }
        members
    }

    /// A device with a MAC counts as that MAC address, however the member is written.
    fn identity(&self, selector: &Selector) -> Selector {
        if let Selector::Device(index) = selector
            && let Some(Device { mac: Some(mac), .. }) = self.policy.devices.get(*index)
        {
            return Selector::Mac(*mac);
        }
        selector.clone()
    }

    fn selector(&mut self, text: &str, offset: usize) -> Option<Selector> {
        if let Some(&device) = self.device_index.get(text) {
            return Some(Selector::Device(device));
        }
        if let Some(id) = text.strip_prefix("vlan:") {
            let parsed = id.parse().ok().filter(|id| (1..=4094).contains(id));
            if parsed.is_none() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                let message = format!("{} is not a VLAN", quoted(text));
                self.reader.error(offset, message, "VLAN ids are 1 to 4094: `vlan:20`");
                return None;
            }
            return parsed.map(Selector::Vlan);
        }
        if let Some(name) = text.strip_prefix("interface:") {
            return self
                .reader
                .interface_name(name, offset)
                .then(|| Selector::Interface(name.to_owned()));
        }
        let length = text.split_once('/').is_some_and(|(address, _)| looks_like_mac(address));
        if length || is_wildcard(text) {
            return match mac_prefix(text) {
                Ok((mac, _)) if mac.is_multicast() => self.multicast(text, offset),
                Ok((mac, 48)) => Some(Selector::Mac(mac)),
                Ok((mac, length)) => Some(Selector::MacPrefix(mac, length)),
                Err(error) => {
                    self.complain(offset, error);
                    None
                }
            };
        }
        match Mac::parse(text) {
            Some(mac) if mac.is_multicast() => return self.multicast(text, offset),
            Some(mac) => return Some(Selector::Mac(mac)),
            None => {}
        }
        if looks_like_address(text) {
            return match Range::parse(text) {
                Ok(range) => Some(Selector::Addresses(range)),
                Err(_) if let Some(prefix) = as_prefix(text) => {
                    let message = format!("{} is not a MAC address", quoted(text));
                    self.reader.error(
                        offset,
                        message,
                        format!("six bytes, or a prefix: `{prefix}`"),
                    );
                    None
                }
                Err(error) => {
                    self.complain(offset, error);
                    None
                }
            };
        }
        self.unknown_member(text, offset);
        None
    }

    fn multicast(&mut self, text: &str, offset: usize) -> Option<Selector> {
        let hint = "a device sends from an address whose first byte is even";
        self.reader.error(offset, format!("{} is a multicast address", quoted(text)), hint);
        None
    }

    fn unknown_member(&mut self, text: &str, offset: usize) {
        if let Some(set) = text.strip_prefix('@') {
            let message = format!("{} is a set; a set cannot be a member", quoted(text));
            let hint = format!("write the addresses of {} here", quoted(set));
            self.reader.error(offset, message, hint);
            return;
        }
        let meant = if self.reader.problems.is_full() {
            None
        } else {
            nearest(text, self.policy.devices.iter().map(|device| device.name.as_str()))
        };
        let hint = match (meant, as_prefix(text)) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, Some(prefix)) => format!("a MAC prefix has a length: `{prefix}`"),
            (None, None) => {
                "declare it under `[devices]`, or write an address, a CIDR, a range, a MAC, \
                     `vlan:20` or `interface:lan0`"
                    .to_owned()
            }
        };
        self.reader.absent(offset, format!("there is no device {}", quoted(text)), hint);
    }
}
