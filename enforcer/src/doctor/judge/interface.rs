//! Problems of one interface.

use rtnetlink::packet_route::link::InfoKind;

use super::super::Finding;
use super::super::facts::{Facts, Interface};
use super::{Attached, attached, unknown};
use crate::config::Xdp;
use crate::dataplane::Error;
use crate::dataplane::offload::{Feature, STRIP};
use crate::fault::Fault as _;
use crate::host::Link;

/// Largest MTU whose frames fit into one buffer of a page, with the headroom of XDP and the kernel's
/// overhead (4096 - 256 - 320), with an Ethernet header and two tags.
const ONE_BUFFER: u32 = 3498;
/// Features that merge frames before XDP sees them, by the kernel's names and those of `ethtool -K`.
const MERGE: [(&str, &str); 2] = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];
/// The feature by which hardware leaves the checksum of a frame (FCS) in it.
const CHECKSUM: (&str, &str) = ("rx-fcs", "rx-fcs");
/// The feature that offloads tc and flowtables to hardware.
const FORWARD: (&str, &str) = ("hw-tc-offload", "hw-tc-offload");

/// There is no such interface.
pub(super) fn missing(interface: &Interface) -> Finding {
    let error = Error::NoInterface(interface.name.clone());
    Finding::fail("interface", error.to_string(), error.hint().unwrap_or_default())
}

pub(super) fn judge(facts: &Facts, interface: &Interface, link: &Link) -> Vec<Finding> {
    let mut findings = vec![kind(facts, link), xdp(facts, interface, link)];
    match &interface.features {
        Ok(_) => findings.extend([
            tags(interface),
            merged(interface),
            checksums(interface),
            hardware(interface),
        ]),
        Err(unseen) => findings.push(unknown("hardware", unseen)),
    }
    findings.push(mtu(facts, interface, link));
    findings
}

/// Whether the program sees every frame on an interface of this kind.
fn kind(facts: &Facts, link: &Link) -> Finding {
    const CHECK: &str = "interface";
    let links = &facts.network.links;
    let word = link.kind.as_ref().map_or("ethernet".into(), ToString::to_string);
    if let Some(kind) = link.no_ethernet.clone() {
        let error = Error::NoEthernet { interface: link.name.clone(), kind };
        return Finding::fail(CHECK, error.to_string(), error.hint().unwrap_or_default());
    }
    if let Some(below) = link.hides_frames(links) {
        let error = Error::Hidden { interface: link.name.clone(), kind: word, below };
        return Finding::fail(CHECK, error.to_string(), error.hint().unwrap_or_default());
    }
    if link.loopback {
        let remedy = "name the interface that devices are behind";
        return Finding::fail(CHECK, "no device is behind the loopback", remedy);
    }
    let lower = links.iter().find(|other| Some(other.index) == link.lower);
    if let (Some(InfoKind::Vlan), Some(lower)) = (&link.kind, lower) {
        let (lower, vlan) = (&lower.name, link.vlan.unwrap_or_default());
        let text =
            format!("a VLAN device: the rest of {lower}, untagged frames too, is not judged");
        let remedy = format!("protect {lower}, with `[interfaces.{lower:?}] vlans = [{vlan}]`");
        return Finding::warning(CHECK, text, remedy);
    }
    if !link.up {
        let remedy = format!("ip link set {} up", link.name);
        return Finding::warning(CHECK, "it is down: nothing arrives", remedy);
    }
    Finding::ok(CHECK, format!("index {}, {word}, up", link.index))
}

/// Native or generic, and why.
fn xdp(facts: &Facts, interface: &Interface, link: &Link) -> Finding {
    const CHECK: &str = "xdp";
    let driver = interface.driver.as_deref().unwrap_or("unknown driver");
    let asked = facts.enforcement.xdp == Xdp::Generic;
    if asked {
        return Finding::ok(CHECK, format!("generic, as the settings say ({driver})"));
    }
    let another_card = "change the virtual network card on the host, or leave it: slower";
    let slower = "slower; a driver with native XDP, or xdp = \"generic\" in enforcer.toml";
    if attached(facts, link) == Attached::Ours {
        if link.attached.native {
            return Finding::ok(CHECK, format!("native ({driver})"));
        }
        let why = match (note(facts, link), interface.native) {
            (Some(note), _) => note,
            (None, _) if interface.hindrance.is_some() => {
                interface.hindrance.clone().unwrap_or_default()
            }
            (None, Some(native)) if native.basic => "MTU, queues or offloads are in the way".into(),
            (None, Some(_)) => "its driver has no native XDP".into(),
            (None, None) => "the driver accepted no native program".into(),
        };
        let text = format!("generic ({driver}): {why}");
        let remedy = match interface.native {
            _ if interface.hindrance.is_some() => another_card.to_owned(),
            Some(native) if native.basic => {
                "the log of `enforcer run` has the driver's reason; dmesg may have more".to_owned()
            }
            _ => slower.to_owned(),
        };
        return Finding::warning(CHECK, text, remedy);
    }
    if let Some(why) = &interface.hindrance {
        let text = format!("it will be generic ({driver}): {why}");
        return Finding::warning(CHECK, text, another_card);
    }
    match interface.native {
        Some(native) if native.basic => {
            let text = format!(
                "the driver has native XDP ({driver}); whether it runs shows when frames arrive"
            );
            Finding::ok(CHECK, text)
        }
        Some(_) => {
            Finding::warning(CHECK, format!("the driver has no native XDP ({driver})"), slower)
        }
        None => Finding::warning(
            CHECK,
            format!(
                "native or generic shows when it is attached ({driver}; Linux 6.3 tells before)"
            ),
            "enforcer run, then `enforcer status`",
        ),
    }
}

/// Why the daemon could not attach natively. For an adopted link it knows no reason.
fn note(facts: &Facts, link: &Link) -> Option<String> {
    let status = facts.enforcement.daemon.as_ref().ok()?.as_ref()?;
    let note = status.interfaces.iter().find(|row| row.index == link.index)?.note.clone();
    note.filter(|note| !note.starts_with("generic mode"))
}

/// The features in a list that are on, by ethtool's names.
fn on(interface: &Interface, list: &[(&str, &'static str)]) -> Vec<(&'static str, Feature)> {
    let Ok(features) = &interface.features else { return Vec::new() };
    let state = |name: &str| features.get(name).copied().unwrap_or_default();
    let states = list.iter().map(|(kernel, ethtool)| (*ethtool, state(kernel)));
    states.filter(|(_, feature)| feature.on).collect()
}

/// The command that turns features off.
fn switch_off(interface: &Interface, on: &[(&'static str, Feature)]) -> String {
    let off: String = on.iter().map(|(name, _)| format!(" {name} off")).collect();
    format!("ethtool -K {}{off}", interface.name)
}

fn names(on: &[(&'static str, Feature)]) -> String {
    on.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ")
}

/// Hardware that removes VLAN tags.
fn tags(interface: &Interface) -> Finding {
    const CHECK: &str = "vlan-tags";
    let on = on(interface, &STRIP);
    if let Some((feature, _)) = on.iter().find(|(_, feature)| feature.fixed) {
        let source = std::io::ErrorKind::Unsupported.into();
        let error = Error::Tags { interface: interface.name.clone(), feature, source };
        return Finding::fail(CHECK, error.to_string(), error.hint().unwrap_or_default());
    }
    if on.is_empty() {
        return Finding::ok(CHECK, "XDP sees them: no hardware takes them away");
    }
    let text = format!("hidden from XDP by {} until the daemon switches that off", names(&on));
    Finding::warning(CHECK, text, switch_off(interface, &on))
}

/// Hardware that merges frames.
fn merged(interface: &Interface) -> Finding {
    const CHECK: &str = "merged-frames";
    let on = on(interface, &MERGE);
    if on.is_empty() {
        return Finding::ok(CHECK, "no hardware merges frames in front of XDP");
    }
    if interface.driver.as_deref() == Some("virtio_net") {
        // `virtnet_xdp_set` asks the host to stop it. In generic mode merged frames are judged as one frame.
        let text =
            format!("{}: virtio switches it off while a native program is attached", names(&on));
        return Finding::ok(CHECK, text);
    }
    let text = format!("merged in front of XDP by {}: most drivers refuse both", names(&on));
    Finding::warning(CHECK, text, switch_off(interface, &on))
}

/// Hardware that leaves the checksum of frames in them: four bytes behind every packet, which are refused.
fn checksums(interface: &Interface) -> Finding {
    const CHECK: &str = "frame-checksums";
    let on = on(interface, &[CHECKSUM]);
    if on.is_empty() {
        return Finding::ok(CHECK, "frames end without their checksum (rx-fcs)");
    }
    let text = "rx-fcs leaves the checksum in every frame: all but short ones are dropped as trailing-bytes";
    Finding::fail(CHECK, text, switch_off(interface, &on))
}

/// Hardware that may forward by itself.
fn hardware(interface: &Interface) -> Finding {
    const CHECK: &str = "hardware-offload";
    let on = on(interface, &[FORWARD]);
    if on.is_empty() {
        return Finding::ok(CHECK, "hardware forwards nothing by itself (hw-tc-offload)");
    }
    let text = "hw-tc-offload lets tc rules and flowtables forward in hardware, past XDP";
    Finding::warning(CHECK, text, switch_off(interface, &on))
}

fn mtu(facts: &Facts, interface: &Interface, link: &Link) -> Finding {
    const CHECK: &str = "mtu";
    let mtu = link.mtu;
    let generic = "mode generic takes it, slower";
    let remedy = format!("ip link set {} mtu 1500, or leave it: {generic}", link.name);
    if mtu <= ONE_BUFFER {
        return Finding::ok(CHECK, format!("{mtu}: a frame is in one buffer"));
    }
    if facts.machine.kernel < (5, 18) {
        let text = format!("{mtu}: native XDP has no room for such frames before Linux 5.18");
        return Finding::warning(CHECK, text, remedy);
    }
    let is_native = link.attached.native && attached(facts, link) == Attached::Ours;
    match interface.native {
        Some(native) if native.basic && !native.fragments && !is_native => {
            let text = format!("{mtu}: the driver gives native programs no frame that large");
            Finding::warning(CHECK, text, remedy)
        }
        _ => Finding::ok(CHECK, format!("{mtu}: frames in several buffers are judged")),
    }
}
