//! Paths that bypass the protected interfaces.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rtnetlink::packet_route::link::InfoKind;

use super::super::facts::{Facts, Network};
use super::super::{Finding, State};
use super::unknown;
use crate::backstop::forward::Chain;
use crate::backstop::stack::{Root, Stack, follow};
use crate::host::tables::{self, TooSmall};
use crate::host::{Link, OnLink};

pub(super) fn machine(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![forwarding(facts), flow_offload(facts)];
    if !facts.interfaces.is_empty() {
        findings.extend(bypasses(facts));
    }
    findings
}

/// Names of the protected interfaces, and of VLAN devices and bridges on top of them.
fn judged(facts: &Facts) -> BTreeSet<String> {
    let root = |name: &String| Root { name: name.clone(), guarded: false };
    let names = facts.interfaces.iter().map(|interface| &interface.name);
    let roots: Vec<Root> = names.map(root).collect();
    follow(&Stack::new(), &roots, &facts.network.links).into_keys().collect()
}

fn is_protected(facts: &Facts, link: &Link) -> bool {
    facts.interfaces.iter().any(|interface| interface.name == link.name)
}

/// Which traffic is forwarded, and which chains of other tools drop it.
fn forwarding(facts: &Facts) -> Finding {
    let finding = switches(facts);
    if finding.state != State::Ok {
        return finding;
    }
    let text = &finding.text;
    let chains = match &facts.enforcement.forward {
        Ok(chains) => drops(facts, chains),
        Err(unseen) => {
            let text = format!("{text}; the packet filter was not looked at: {}", unseen.why);
            return Finding::ok(finding.check, text);
        }
    };
    let [first, ..] = chains.as_slice() else {
        if facts.network.legacy.is_empty() {
            return finding;
        }
        let legacy = facts.network.legacy.join(", ");
        return Finding::ok(finding.check, format!("{text}; {legacy} has rules, not looked at"));
    };
    let names = chains.iter().map(|chain| chain.to_string()).collect::<Vec<_>>().join(", ");
    let text = format!("{text}; another tool drops what its rules do not accept: {names}");
    let judged: Vec<String> = judged(facts).into_iter().collect();
    let lan = judged.first().map_or("lan0", String::as_str);
    let Chain { family, table, name, .. } = first;
    let remedy = format!(
        "nft insert rule {family} {table} {name} iifname {lan} accept, the same with oifname, and \
         where that tool is configured, if devices do not reach what enforcer lets pass"
    );
    Finding::warning(finding.check, text, remedy)
}

/// Chains that frames from a protected interface pass, and that do not accept all of them.
fn drops<'a>(facts: &Facts, chains: &'a [Chain]) -> Vec<&'a Chain> {
    let Network { links, forwards_v4, forwards_v6, bridge_calls_ip, .. } = &facts.network;
    let judged = judged(facts);
    let bridges = || links.iter().filter(|link| link.kind == Some(InfoKind::Bridge));
    let is_bridged = |link: &Link| bridges().any(|bridge| Some(bridge.index) == link.controller);
    let protected = facts.interfaces.iter().filter_map(|interface| interface.link.as_ref());
    let bridged = protected.into_iter().any(is_bridged);
    let (v4, v6) = (*forwards_v4, *forwards_v6 == Some(true));
    let by_bridge = bridged && *bridge_calls_ip;
    let meets = |chain: &&Chain| match chain.family.as_str() {
        "ip" => v4 || by_bridge,
        "ip6" => v6 || by_bridge,
        "inet" => v4 || v6 || by_bridge,
        "bridge" => bridged,
        _ => false,
    };
    chains.iter().filter(meets).filter(|chain| !judged.is_subset(&chain.accepts)).collect()
}

fn switches(facts: &Facts) -> Finding {
    const CHECK: &str = "forwarding";
    let network = &facts.network;
    let links = facts.interfaces.iter().filter_map(|interface| interface.link.as_ref());
    let is_port = |link: &Link| link.controller.is_some();
    let bridged = links.clone().any(is_port);
    let judged = judged(facts);
    let has_v6 = |address: &OnLink| {
        let link = network.links.iter().find(|link| link.index == address.interface);
        address.address.is_ipv6()
            && !address.is_link_local()
            && link.is_some_and(|link| judged.contains(&link.name))
    };
    match (network.forwards_v4, network.forwards_v6) {
        (true, Some(false)) if network.addresses.iter().any(has_v6) => Finding::warning(
            CHECK,
            "IPv4 alone is routed, and a protected interface has IPv6 addresses",
            "sysctl -w net.ipv6.conf.all.forwarding=1, and in /etc/sysctl.d",
        ),
        (true, Some(true)) => Finding::ok(CHECK, "IPv4 and IPv6 are routed"),
        (true, _) => Finding::ok(CHECK, "IPv4 is routed, IPv6 is not"),
        (false, Some(true)) => Finding::warning(
            CHECK,
            "IPv6 alone is routed",
            "sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d",
        ),
        (false, _) if bridged => Finding::ok(CHECK, "nothing is routed, frames are bridged"),
        (false, _) => Finding::warning(
            CHECK,
            "nothing is routed: no device reaches anything behind this machine",
            "sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d",
        ),
    }
}

/// Flows that nftables forwards by itself.
fn flow_offload(facts: &Facts) -> Finding {
    const CHECK: &str = "flow-offload";
    let tables = match &facts.enforcement.flowtables {
        Ok(tables) => tables,
        Err(unseen) => return unknown(CHECK, unseen),
    };
    let judged = judged(facts);
    let ours = |devices: &BTreeSet<String>| -> Vec<String> {
        devices.intersection(&judged).cloned().collect()
    };
    let mut found: Vec<_> =
        tables.iter().filter(|table| !ours(&table.devices).is_empty()).collect();
    found.sort_by_key(|table| !table.hardware);
    let Some(first) = found.first() else {
        return Finding::ok(CHECK, "no flowtable takes frames of a protected interface");
    };
    let (name, devices) = (&first.name, ours(&first.devices).join(", "));
    let remedy = format!(
        "take {devices} out of it where it is configured (OpenWrt: flow_offloading_hw 0), or nft \
         delete flowtable {name}"
    );
    if first.hardware {
        let text = format!("hardware forwards flows of {devices} past XDP (flowtable {name})");
        return Finding::fail(CHECK, text, remedy);
    }
    let text = format!("flows of {devices} go past the backstop, not past XDP (flowtable {name})");
    Finding::warning(CHECK, text, remedy)
}

/// Interfaces from which frames are forwarded without being judged.
fn bypasses(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "bypass";
    let network = &facts.network;
    let judged = judged(facts);
    let others = network
        .links
        .iter()
        .filter(|link| link.up && !link.loopback && !judged.contains(&link.name));
    let mut findings = Vec::new();
    for link in others {
        let name = &link.name;
        let is_uplink = network.uplinks.contains(&link.index);
        let routed: Vec<&OnLink> = routed(network, link).collect();
        let same = same_network(network, &judged, &routed);
        if let Some((here, there)) = same {
            let text = format!("{name} is on the network of {there} ({here}) and is not protected");
            findings.push(Finding::fail(CHECK, text, protect(facts, &[name])));
        } else if let (Some(first), false) = (routed.first(), is_uplink) {
            let text = format!(
                "{name} is not protected: what is behind it ({}) is forwarded without being judged",
                prefix(first)
            );
            let remedy = format!("if devices are there: {}", protect(facts, &[name]));
            findings.push(Finding::warning(CHECK, text, remedy));
        }
        let ports = ports(network, link);
        if link.kind == Some(InfoKind::Bridge) && is_uplink && ports.len() > 1 {
            let text = format!(
                "{name}, an uplink, bridges {}: that traffic is not judged",
                ports.join(", ")
            );
            let remedy = format!("if devices are there: {}", protect(facts, &[]));
            findings.push(Finding::warning(CHECK, text, remedy));
        }
    }
    if findings.is_empty() {
        let text = "nothing but uplinks is forwarded beside the protected interfaces";
        findings.push(Finding::ok(CHECK, text));
    }
    findings
}

/// Addresses of an interface from whose networks this machine routes.
fn routed<'a>(network: &'a Network, link: &Link) -> impl Iterator<Item = &'a OnLink> {
    let index = link.index;
    let is_routed = |address: &OnLink| match address.address {
        IpAddr::V4(_) => network.forwards_v4,
        IpAddr::V6(_) => network.forwards_v6 == Some(true),
    };
    network.addresses.iter().filter(move |address| {
        address.interface == index && !address.is_link_local() && is_routed(address)
    })
}

/// A prefix that an unprotected interface shares with a protected one, and the name of that.
fn same_network<'a>(
    network: &'a Network,
    judged: &BTreeSet<String>,
    routed: &[&OnLink],
) -> Option<(String, &'a str)> {
    let protected = network.links.iter().filter(|link| judged.contains(&link.name));
    protected.into_iter().find_map(|link| {
        let theirs = network.addresses.iter().filter(|address| address.interface == link.index);
        let shared = theirs.into_iter().find(|theirs| {
            !theirs.is_link_local() && routed.iter().any(|ours| overlap(ours, theirs))
        });
        shared.map(|shared| (prefix(shared), link.name.as_str()))
    })
}

fn overlap(one: &OnLink, other: &OnLink) -> bool {
    let length = one.length.min(other.length);
    length > 0
        && one.address.is_ipv4() == other.address.is_ipv4()
        && first(one.address, length) == first(other.address, length)
}

/// `10.20.0.0/24`.
fn prefix(on_link: &OnLink) -> String {
    format!("{}/{}", first(on_link.address, on_link.length), on_link.length)
}

/// The first address of a prefix.
fn first(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// Names of an interface's ports.
fn ports<'a>(network: &'a Network, link: &Link) -> Vec<&'a str> {
    let ports = network.links.iter().filter(|port| port.controller == Some(link.index));
    ports.map(|port| port.name.as_str()).collect()
}

/// The line of enforcer.toml that protects these interfaces too.
fn protect(facts: &Facts, more: &[&str]) -> String {
    let mut names: Vec<&str> =
        facts.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    names.extend(more.iter().filter(|name| !facts.interfaces.iter().any(|i| i.name == **name)));
    if more.is_empty() {
        return "name the ports in `interfaces` of enforcer.toml".into();
    }
    format!("interfaces = {names:?} in enforcer.toml")
}

/// Essentials that no bridge forwards unless configured to: 802.1X and LLDP.
const RESERVED: u16 = 1 << 3 | 1 << 14;

/// The forwarding mask and MAC limit of the bridge that a protected interface is a port of.
pub(super) fn bridge(facts: &Facts, link: &Link) -> Option<Finding> {
    const CHECK: &str = "bridge-tables";
    let above = facts.network.links.iter().find(|other| Some(other.index) == link.controller)?;
    let (name, bridge) = (&above.name, above.bridge?);
    if bridge.forwards & RESERVED != 0 {
        let text = format!(
            "{name} forwards 802.1X and LLDP (group_fwd_mask {:#x}), which pass whatever the rules say",
            bridge.forwards
        );
        let remedy = format!("ip link set {name} type bridge group_fwd_mask 0");
        return Some(Finding::warning(CHECK, text, remedy));
    }
    if let Some(TooSmall { text, remedy }) = tables::of_bridge(above) {
        return Some(Finding::warning(CHECK, text, remedy));
    }
    Some(Finding::ok(CHECK, format!("{name} keeps 802.1X and LLDP, and has room for MACs")))
}

/// The other ports of the bridge or bond that a protected interface is a port of.
pub(super) fn interface(facts: &Facts, link: &Link) -> Option<Finding> {
    const CHECK: &str = "bridge";
    let network = &facts.network;
    let above = network.links.iter().find(|other| Some(other.index) == link.controller)?;
    let siblings = || {
        let port = |other: &&Link| other.controller == link.controller && other.index != link.index;
        network.links.iter().filter(port)
    };
    let (name, above_name) = (&link.name, &above.name);
    let in_hardware = siblings().find(|other| link.switch.is_some() && other.switch == link.switch);
    if let (Some(other), Some(InfoKind::Bridge)) = (in_hardware, &above.kind) {
        let text = format!(
            "a switch chip forwards between {name} and {}, ports of {above_name}, past XDP",
            other.name
        );
        let remedy = format!("take it out of the bridge and route: ip link set {name} nomaster");
        return Some(Finding::fail(CHECK, text, remedy));
    }
    let open: Vec<&str> = siblings()
        .filter(|other| !is_protected(facts, other))
        .map(|other| other.name.as_str())
        .collect();
    if open.is_empty() {
        let text = format!("a port of {above_name}; every port of it is protected");
        return Some(Finding::ok(CHECK, text));
    }
    let (list, protect) = (open.join(", "), protect(facts, &open));
    if matches!(above.kind, Some(InfoKind::Bond | InfoKind::Team)) {
        let text = format!("a port of {above_name}: frames arrive by {list} too, and pass");
        return Some(Finding::fail(CHECK, text, protect));
    }
    let text =
        format!("a port of {above_name}: what arrives by {list}, for this port too, is not judged");
    Some(Finding::warning(CHECK, text, format!("if devices are there: {protect}")))
}
