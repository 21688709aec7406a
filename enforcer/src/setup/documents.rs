//! The settings and the policy of a gateway that starts in observe mode.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Device, Machine, is_chosen};
use crate::host::survey::Interface;
use crate::policy::Mac;

/// The settings file of the packages: every setting, commented out.
pub const SETTINGS: &str = include_str!("../../../dist/etc/enforcer.toml");

/// Number of VLANs that get a group of their own; further ones are only declared.
const MOST_GROUPS: usize = 64;

/// The settings: those of the packages, with the interfaces and the policy.
pub fn settings(interfaces: &[&str], policy: &str) -> String {
    let names: Vec<String> = interfaces.iter().map(|name| quote(name)).collect();
    let usual = format!("#policy = {}", quote(crate::config::POLICY));
    let line = match format!("policy = {}", quote(policy)) {
        line if usual.ends_with(&line) => usual.clone(),
        line => line,
    };
    SETTINGS
        .replacen("#interfaces = []", &format!("interfaces = [{}]", names.join(", ")), 1)
        .replacen(&usual, &line, 1)
}

/// The policy: an observing group for each interface and VLAN, and the devices seen there.
///
/// `file` is its path, `today` a date, `maker` looks up the maker of a network card.
pub fn policy(
    machine: &Machine<'_>,
    chosen: &[&Interface],
    file: &str,
    today: &str,
    maker: &mut dyn FnMut(Mac) -> Option<String>,
) -> String {
    let indices: Vec<u32> = chosen.iter().map(|interface| interface.link.index).collect();
    let mut text = format!(
        "\
# The first policy of this gateway, written by `enforcer init` on {today}. From here on it is yours.
#
# Nothing is dropped: every group observes. `enforcer tail` shows what would be dropped. Write
# rules for what has to go on, set the mode of one group to \"enforce\", and
#
#   enforcer check {file}
#   enforcer apply --confirm 90s {file}
#   enforcer confirm
#
# Every key: enforcer-policy(5), docs/policy.md.

schema = 1
"
    );
    devices(&mut text, &machine.devices(&indices), maker);
    for interface in chosen {
        let name = interface.link.name.as_str();
        if !nameable(name) {
            let _ = writeln!(text, "\n# A policy cannot name {}: see `unknown`.", quote(name));
            continue;
        }
        let addresses =
            addresses(interface.addresses.iter().map(|(ip, length)| (*ip, Some(*length))));
        let _ = writeln!(text, "\n# Everything untagged behind {name}{}.", bracketed(&addresses));
        let leads_out = machine.leads_out((interface.link.index, None));
        group(&mut text, &format!("behind-{name}"), &format!("interface:{name}"), leads_out);
    }
    for (vlan, names) in machine.vlan_devices(&indices).into_iter().take(MOST_GROUPS) {
        let names: Vec<&str> = names.into_iter().collect();
        let _ = writeln!(text, "\n# Everything in VLAN {vlan} ({}).", names.join(", "));
        let leads_out = indices.iter().any(|index| machine.leads_out((*index, Some(vlan))));
        group(&mut text, &format!("vlan-{vlan}"), &format!("vlan:{vlan}"), leads_out);
    }
    for interface in chosen.iter().filter(|interface| nameable(&interface.link.name)) {
        let vlans = machine.vlans(interface.link.index);
        if vlans.is_empty() {
            continue;
        }
        let ids: Vec<String> = vlans.iter().map(u16::to_string).collect();
        let name = key(&interface.link.name);
        let _ = write!(
            text,
            "\n# VLANs whose frames arrive here. Frames with another tag would be dropped.\n\
             [interfaces.{name}]\nvlans = [{}]\n",
            ids.join(", ")
        );
    }
    text.push_str(
        "\n# Devices that are in no group.\n[unknown]\nmode    = \"observe\"\ndefault = \"drop\"\n",
    );
    text
}

fn group(text: &mut String, name: &str, member: &str, leads_out: bool) {
    // Names of groups allow fewer characters than names of interfaces.
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    let (default, why) = match leads_out {
        true => ("pass", "  # a default route leaves here: these are answers"),
        false => ("drop", ""),
    };
    let _ = write!(
        text,
        "[groups.{}]\nmembers = [{}]\nmode    = \"observe\"\ndefault = \"{default}\"{why}\n\
         allow = [\n  \
         # {{ to = \"gateway\", service = [\"udp/53\", \"tcp/53\", \"udp/123\"], reason = \"names and time\" }},\n\
         ]\n",
        key(&name),
        quote(member)
    );
}

fn devices(text: &mut String, devices: &[Device], maker: &mut dyn FnMut(Mac) -> Option<String>) {
    if devices.is_empty() {
        text.push_str("\n# No device was seen.\n");
        return;
    }
    text.push_str(
        "\n# Devices that were seen. Take the `#` away to give one a name of your choice; the name can\n\
         # then be a member of a group. `enforcer devices` lists those that are seen later.\n",
    );
    let mut place = (String::new(), None);
    for (number, device) in (1..).zip(devices) {
        let here = (device.interface.clone(), device.vlan);
        if place != here {
            let vlan = device.vlan.map(|vlan| format!(", VLAN {vlan}")).unwrap_or_default();
            let _ = writeln!(text, "# Behind {}{vlan}:", device.interface);
            place = here;
        }
        let vlan = device.vlan.map(|vlan| format!(", vlan = {vlan}")).unwrap_or_default();
        let seen = device.addresses.iter().map(|ip| (*ip, None));
        let addresses = match addresses(seen) {
            none if none.is_empty() => "no address seen".to_owned(),
            addresses => addresses,
        };
        let vendor = vendor(device.mac, maker);
        let _ = writeln!(
            text,
            "#devices.device-{number} = {{ mac = \"{}\"{vlan} }}  # {addresses}; {vendor}",
            device.mac
        );
    }
}

/// The maker, as text.
pub fn vendor(mac: Mac, maker: &mut dyn FnMut(Mac) -> Option<String>) -> String {
    if mac.0[0] & 0b10 != 0 {
        return "locally administered address".to_owned();
    }
    // The list is external data: it must not be able to end the comment.
    let name = maker(mac).map(|name| name.chars().filter(|c| !c.is_control()).collect());
    name.unwrap_or_else(|| "unknown vendor".to_owned())
}

/// Addresses in a line: configured ones, or else all.
pub fn addresses(all: impl Iterator<Item = (IpAddr, Option<u8>)> + Clone) -> String {
    let chosen = all.clone().any(|(ip, _)| is_chosen(ip));
    let shown = all.filter(|(ip, _)| !chosen || is_chosen(*ip));
    let words: Vec<String> = shown
        .map(|(ip, length)| {
            length.map_or_else(|| ip.to_string(), |length| format!("{ip}/{length}"))
        })
        .collect();
    words.join(", ")
}

fn bracketed(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

/// Whether a policy can name the interface.
fn nameable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A key of a table, in quotes if it has to be.
fn key(text: &str) -> String {
    let bare = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if bare { text.to_owned() } else { quote(text) }
}

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}
