//! `[devices]`: devices with a name.

use std::collections::HashMap;

use toml::de::DeTable;

use super::super::address::{is_wildcard, looks_like_address, quoted};
use super::super::{Device, Mac, Range};
use super::Reader;
use super::fields::{entries, is_empty_list};

const KEYS: [&str; 4] = ["mac", "ip", "vlan", "interface"];

impl Reader<'_> {
    pub(super) fn read_devices(&mut self, devices: &DeTable<'_>) {
        let mut by_mac: HashMap<Mac, usize> = HashMap::new();
        for (key, value) in entries(devices) {
            let (name, offset) = (key.get_ref().as_ref(), key.span().start);
            self.group_or_device_name("device", name, offset);
            let Some(table) = self.reader.as_table(name, value) else { continue };
            self.reader.known_keys(table, &KEYS, "a device");
            let mac = self.device_mac(table);
            let addresses = self.device_addresses(table);
            let vlan = table.get("vlan").and_then(|value| self.reader.vlan_id("vlan", value));
            let interface = match self.reader.string(table, "interface", "lan0") {
                Some((text, at)) if self.reader.interface_name(text, at) => Some(text.to_owned()),
                _ => None,
            };
            if table.get("mac").is_none() && table.get("ip").is_none() {
                let message = format!("the device `{name}` has neither `mac` nor `ip`");
                let hint = "say how to recognise it: `mac = \"00:1b:44:11:3a:b7\"`";
                self.reader.absent(offset, message, hint);
            }
            let place = self.reader.lines.place(offset);
            let index = self.policy.devices.len();
            if let Some((mac, at)) = mac {
                if let Some(&other) = by_mac.get(&mac) {
                    let first = &self.policy.devices[other];
                    let message = format!("`{name}` and `{}` have the same MAC", first.name);
                    let hint = format!("`{}` is at {}", first.name, first.place);
                    self.reader.error(at, message, hint);
                } else {
                    by_mac.insert(mac, index);
                }
            }
            self.device_index.insert(name.to_owned(), index);
            self.policy.devices.push(Device {
                name: name.to_owned(),
                mac: mac.map(|(mac, _)| mac),
                addresses,
                vlan,
                interface,
                place,
            });
        }
    }

    fn device_mac(&mut self, table: &DeTable<'_>) -> Option<(Mac, usize)> {
        let (text, offset) = self.reader.string(table, "mac", "00:1b:44:11:3a:b7")?;
        match Mac::parse(text) {
            Some(mac) if mac.is_multicast() => {
                let hint = "a device sends from an address whose first byte is even";
                self.reader.error(offset, format!("{mac} is a multicast address"), hint);
                None
            }
            Some(Mac([0, 0, 0, 0, 0, 0])) => {
                let hint = "write the address that is on the device's label";
                self.reader.error(offset, "no device has the MAC 00:00:00:00:00:00", hint);
                None
            }
            Some(mac) => Some((mac, offset)),
            None => {
                let hint = if text.contains('/') || is_wildcard(text) {
                    "a prefix is a member of a group, not a device"
                } else {
                    "write six bytes: `00:1b:44:11:3a:b7`"
                };
                self.reader.error(offset, format!("{} is not a MAC address", quoted(text)), hint);
                None
            }
        }
    }

    fn device_addresses(&mut self, table: &DeTable<'_>) -> Vec<Range> {
        let Some(value) = table.get("ip") else { return Vec::new() };
        let Some(texts) = self.reader.strings("ip", value, "10.20.0.12") else { return Vec::new() };
        if is_empty_list(value) {
            let hint = "leave `ip` out, or write the device's addresses";
            self.reader.absent(value.span().start, "`ip` is an empty list", hint);
        }
        let mut addresses = Vec::with_capacity(texts.len());
        for (text, offset) in texts {
            match Range::parse(text) {
                Ok(range) => addresses.push(range),
                Err(error) => self.complain(offset, error),
            }
        }
        addresses
    }

    /// Commands accept these names in place of addresses, so that they must not look like one.
    pub(super) fn group_or_device_name(&mut self, what: &str, name: &str, offset: usize) {
        if name == "unknown" {
            let hint = "it stands for devices that are in no group: see `[unknown]`";
            self.reader.error(offset, "`unknown` is a reserved name", hint);
        } else if looks_like_address(name) {
            let message = format!("the name {} looks like an address", quoted(name));
            self.reader.error(offset, message, format!("choose another name for the {what}"));
        } else {
            self.reader.name(what, name, offset);
        }
    }
}
