//! The same allowlist as an nftables ruleset, and real nftables on a wire.
//!
//! ```text
//!   device l0 ── g0 gateway w0 ── x0 behind
//! ```
//! The gateway neither routes nor bridges: a ruleset on the ingress hook of `g0` forwards what it
//! accepts to `w0`, byte by byte, and drops the rest. The frames that arrive at `x0` show nftables'
//! verdict.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use enforcer::policy::{Host, Range};

use super::allowlist::{Allowlist, Block, Group, Rule, Service, To, mac};
use crate::harness::{Netns, Sniffer, frames, lacking, topology, wait, wait_until};
use enforcer_testkit::frames::Ethernet;

/// Every ruleset forwards frames of this sender: once the last one has arrived, all have.
const LAST: [u8; 6] = [2, 0xff, 0xff, 0xff, 0xff, 0xff];
/// If nothing arrives for this long, no more frames will.
const QUIET: Duration = Duration::from_millis(30);

/// Three namespaces and a socket behind them.
pub(super) struct Wire {
    device: Netns,
    gateway: Netns,
    sniffer: Sniffer,
    _behind: Netns,
}

impl Wire {
    /// Builds it; returns the reason if nftables or a part of it is missing.
    #[track_caller]
    pub(super) fn build() -> Result<Self, String> {
        if !lacking(&["nft"]).is_empty() {
            return Err("there is no nft".to_owned());
        }
        let prefix = topology::prefix("oracle");
        let create = |role: &str| Netns::create(&format!("{prefix}-{role}"));
        let [device, gateway, behind] = ["device", "gateway", "behind"].map(create);
        for netns in [&device, &gateway, &behind] {
            netns.sysctl("ipv6/conf/default/disable_ipv6", "1");
        }
        gateway.veth(("g0", "02:00:00:00:ff:00"), &device, ("l0", "02:00:00:00:fe:00"));
        gateway.veth(("w0", "02:00:00:00:ff:01"), &behind, ("x0", "02:00:00:00:fe:01"));
        let sniffer = Sniffer::start(&behind, "x0");
        let wire = Self { device, gateway, sniffer, _behind: behind };
        let trial = format!("{}}}\n", head());
        match wire.nft(&trial) {
            (true, _) => Ok(wire),
            (false, error) => Err(format!("this kernel's nftables cannot forward: {error}")),
        }
    }

    /// Puts a ruleset in force.
    #[track_caller]
    pub(super) fn load(&self, ruleset: &str) {
        let (loaded, error) = self.nft(ruleset);
        assert!(loaded, "{error}\n{ruleset}");
    }

    fn nft(&self, ruleset: &str) -> (bool, String) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        std::fs::write(file.path(), ruleset).expect("it is ours");
        let file = file.path().display().to_string();
        let ended = self.gateway.run("nft", &["-f", &file], wait::DEADLINE);
        (ended.success(), ended.stderr)
    }

    /// Sends frames; returns those that nftables accepted, each in the form of [`untagged`].
    #[track_caller]
    pub(super) fn accepted(&self, frames: &[&[u8]]) -> HashSet<Vec<u8>> {
        let last = Ethernet::new(LAST).frame(0x88b5, b"last");
        frames::send_all(&self.device, "l0", frames);
        frames::send_all(&self.device, "l0", &[&last]);
        let mut came = HashSet::new();
        wait_until("the last frame comes", || {
            came.extend(self.sniffer.frames(Duration::ZERO));
            came.remove(&last).then_some(())
        });
        came.extend(self.sniffer.frames(QUIET));
        came
    }
}

/// A frame as seen by a packet socket: without the outer VLAN tag.
pub(super) fn untagged(frame: &[u8]) -> Vec<u8> {
    match frame.get(12..14) {
        Some([0x81, 0] | [0x88, 0xa8]) if frame.len() >= 18 => {
            [&frame[..12], &frame[16..]].concat()
        }
        _ => frame.to_vec(),
    }
}

/// The emptied table, and the common part of all rulesets.
fn head() -> String {
    format!(
        "table netdev oracle\ndelete table netdev oracle\ntable netdev oracle {{\n\
         chain pass {{\nfwd to \"w0\"\n}}\n\
         chain last {{\nether saddr {} goto pass\n}}\n",
        mac(LAST)
    )
}

/// The ruleset: the sender selects the chain of its group, which has the group's rules.
pub(super) fn ruleset(list: &Allowlist, host: &Host) -> String {
    let mut text = head();
    let prefixes = host.interfaces.iter().flat_map(|interface| &interface.prefixes);
    let local: Vec<String> =
        prefixes.map(|(address, length)| format!("{address}/{length}")).collect();
    let own: Vec<String> = host.own.iter().map(IpAddr::to_string).collect();
    set(&mut text, "own", own);
    set(&mut text, "local", local);
    for (number, blocks) in list.sets.iter().enumerate() {
        set(&mut text, &format!("set_{number}"), blocks.iter().map(|block| block.text()).collect());
    }
    for (number, group) in list.groups.iter().enumerate() {
        let lines = group_lines(group);
        line(&mut text, &format!("chain group_{number} {{\n{lines}}}"));
    }
    line(&mut text, "chain ingress {");
    line(&mut text, "type filter hook ingress device \"g0\" priority 0; policy drop;");
    line(&mut text, "jump last");
    line(&mut text, "ip saddr @own_4 drop\nip6 saddr @own_6 drop");
    text += &bindings(list);
    text += &dispatch(list);
    // Only IP: a policy of this kind cannot name anything else.
    if list.unknown_passes {
        line(&mut text, "meta protocol { ip, ip6 } goto pass");
    }
    text + "}\n}\n"
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A set for each family.
fn set(text: &mut String, name: &str, blocks: Vec<String>) {
    let (v6, v4): (Vec<String>, Vec<String>) =
        blocks.into_iter().partition(|block| block.contains(':'));
    for (family, kind, blocks) in [(4, "ipv4_addr", v4), (6, "ipv6_addr", v6)] {
        let elements = match blocks.as_slice() {
            [] => String::new(),
            blocks => format!("elements = {{ {} }}", blocks.join(", ")),
        };
        line(text, &format!("set {name}_{family} {{\ntype {kind}\nflags interval\nauto-merge"));
        line(text, &format!("{elements}\n}}"));
    }
}

/// A bound device may use only its addresses, and no other device may use them.
fn bindings(list: &Allowlist) -> String {
    let mut text = String::new();
    for device in list.devices.iter().filter(|device| !device.addresses.is_empty()) {
        let who = mac(device.mac);
        for (family, is_v4) in [("ip", true), ("ip6", false)] {
            let addresses = device.addresses.iter().filter(|address| address.is_ipv4() == is_v4);
            let addresses: Vec<String> = addresses.map(IpAddr::to_string).collect();
            if addresses.is_empty() {
                line(&mut text, &format!("meta protocol {family} ether saddr {who} drop"));
                continue;
            }
            let addresses = format!("{family} saddr != {{ {} }}", addresses.join(", "));
            // Without `meta protocol` in front, a MAC in the line makes nft compare the frame's
            // EtherType, which is that of the tag if there is one.
            let family = format!("meta protocol {family}");
            line(&mut text, &format!("{family} ether saddr {who} {addresses} drop"));
            let theirs = addresses.replace("!= ", "");
            line(&mut text, &format!("{family} {theirs} ether saddr != {who} drop"));
        }
    }
    text
}

/// The most specific first: MACs, source addresses by length of prefix, MAC prefixes.
fn dispatch(list: &Allowlist) -> String {
    let mut text = String::new();
    for (number, group) in list.groups.iter().enumerate() {
        let devices = group.devices.iter().map(|device| list.devices[*device].mac);
        for bytes in devices.chain(group.macs.iter().copied()) {
            line(&mut text, &format!("ether saddr {} goto group_{number}", mac(bytes)));
        }
    }
    let groups = || list.groups.iter().enumerate();
    let mut blocks: Vec<(Block, usize)> = groups()
        .flat_map(|(number, group)| group.blocks.iter().map(move |block| (*block, number)))
        .collect();
    // Ranges that are not prefixes do not overlap with others, so their order does not matter.
    blocks.sort_by_key(|(block, _)| std::cmp::Reverse(block.prefix().unwrap_or(0)));
    for (block, number) in blocks {
        line(&mut text, &format!("{} goto group_{number}", address(block, "saddr")));
    }
    let mut prefixes: Vec<_> = groups()
        .flat_map(|(number, group)| group.prefixes.iter().map(move |prefix| (*prefix, number)))
        .collect();
    prefixes.sort_by_key(|((_, length), _)| std::cmp::Reverse(*length));
    for ((bytes, length), number) in prefixes {
        let mask = (u64::MAX << (48 - length)).to_be_bytes();
        let mask = mac([mask[2], mask[3], mask[4], mask[5], mask[6], mask[7]]);
        line(&mut text, &format!("ether saddr & {mask} == {} goto group_{number}", mac(bytes)));
    }
    text
}

/// Deny before allow, then the default verdict.
fn group_lines(group: &Group) -> String {
    let mut text = String::new();
    for (rules, verdict) in [(&group.deny, "drop"), (&group.allow, "goto pass")] {
        for rule in rules {
            rule_lines(&mut text, rule, verdict);
        }
    }
    let default = if group.passes { "meta protocol { ip, ip6 } goto pass" } else { "drop" };
    line(&mut text, default);
    text
}

/// A line for each family and service.
fn rule_lines(text: &mut String, rule: &Rule, verdict: &str) {
    let set = |name: &str| vec![format!("ip daddr @{name}_4"), format!("ip6 daddr @{name}_6")];
    let destinations = match rule.to {
        To::Any => vec!["meta protocol { ip, ip6 }".to_owned()],
        To::Gateway => set("own"),
        To::Local => set("local"),
        To::Set(number) => set(&format!("set_{number}")),
        To::Block(block) => vec![address(block, "daddr")],
    };
    for destination in destinations {
        for service in &rule.services {
            let service = match service {
                Service::Any => String::new(),
                Service::Protocol(number) => format!("meta l4proto {number}"),
                Service::Ports(name, first, last) if first == last => {
                    format!("{name} dport {first}")
                }
                Service::Ports(name, first, last) => format!("{name} dport {first}-{last}"),
            };
            line(text, &format!("{destination} {service} {verdict}"));
        }
    }
}

fn address(block: Block, field: &str) -> String {
    let family = if block.is_v4() { "ip" } else { "ip6" };
    match block.0 {
        // nftables refuses a comparison that is always true.
        Range::V4(0, u32::MAX) | Range::V6(0, u128::MAX) => format!("meta protocol {family}"),
        Range::V4(..) | Range::V6(..) => format!("{family} {field} {}", block.text()),
    }
}
