use std::io;

use rtnetlink::packet_route::link::InfoKind;

use super::*;
use crate::config;
use crate::host::Link;
use crate::host::survey::Route;
use crate::policy::{self, Policy, report};

fn interface(name: &str, index: u32) -> Interface {
    let mac = Mac([2, 0, 0, 0, 0xee, u8::try_from(index).unwrap()]);
    let link = Link { name: name.into(), index, mac, ..Link::default() };
    Interface { link, ethernet: true, up: true, addresses: Vec::new() }
}

fn with(mut interface: Interface, address: &str, length: u8) -> Interface {
    interface.addresses.push((address.parse().unwrap(), length));
    interface
}

fn vlan(mut interface: Interface, id: u16, lower: u32) -> Interface {
    interface.link.kind = Some(InfoKind::Vlan);
    (interface.link.vlan, interface.link.lower) = (Some(id), Some(lower));
    interface
}

fn bridge(mut interface: Interface) -> Interface {
    interface.link.kind = Some(InfoKind::Bridge);
    interface
}

fn port(mut interface: Interface, bridge: u32) -> Interface {
    interface.link.controller = Some(bridge);
    interface
}

fn mac(last: u8) -> Mac {
    Mac([0x00, 0x1b, 0x44, 0, 0, last])
}

fn heard(interface: u32, last: u8, address: &str) -> Neighbour {
    Neighbour { interface, mac: mac(last), address: address.parse().ok() }
}

fn route(interface: u32, gateway: &str) -> Route {
    Route { interface, gateway: gateway.parse().ok() }
}

/// LAN with a VLAN, a WAN, a spare socket, a loopback and a container.
fn router() -> Survey {
    let mut lo = with(interface("lo", 1), "127.0.0.1", 8);
    lo.ethernet = false;
    Survey {
        interfaces: vec![
            lo,
            with(with(interface("lan0", 2), "10.20.0.1", 24), "fe80::1", 64),
            with(vlan(interface("lan0.30", 3), 30, 2), "10.30.0.1", 24),
            with(interface("wan0", 4), "203.0.113.2", 24),
            with(interface("spare0", 5), "fe80::5", 64),
            with(interface("veth1a2b3c", 6), "172.17.0.1", 16),
        ],
        routes: vec![route(4, "203.0.113.1")],
        neighbours: vec![
            heard(2, 1, "10.20.0.11"),
            heard(2, 1, "fe80::11"),
            heard(3, 2, "10.30.0.12"),
            heard(4, 3, "203.0.113.1"),
        ],
        bridge_vlans: Vec::new(),
    }
}

fn roles(machine: &Machine<'_>) -> Vec<Role> {
    machine.roles().into_iter().map(|(_, role)| role).collect()
}

#[test]
fn the_lan_is_what_is_used_and_does_not_lead_out() {
    let survey = router();
    let machine = Machine::new(&survey);
    let above = Role::Above(vec!["lan0".into()]);
    let expected = [Role::NoEthernet, Role::Devices, above, Role::Uplink, Role::Idle, Role::Guest];
    assert_eq!(roles(&machine), expected);
    assert_eq!(machine.proposed(), ["lan0"]);
    assert_eq!(machine.vlans(2), [30].into());
    assert_eq!(machine.vlans(4), [].into());
    let devices = machine.devices(&[2]);
    assert_eq!(devices.len(), 2);
    let expected = ["10.20.0.11", "fe80::11"].map(|ip| ip.parse::<IpAddr>().unwrap());
    assert_eq!((devices[0].vlan, devices[0].addresses.as_slice()), (None, &expected[..]));
    assert_eq!((devices[1].interface.as_str(), devices[1].vlan), ("lan0", Some(30)));

    let none = Survey { routes: Vec::new(), ..survey.clone() };
    assert!(Machine::new(&none).proposed().is_empty(), "it could be any");
}

/// A transparent gateway: a bridge of two ports, one of which leads to the router.
#[test]
fn of_a_bridge_the_port_of_the_router_leads_out() {
    let mut survey = Survey {
        interfaces: vec![
            port(interface("lan0", 2), 9),
            port(interface("wan0", 3), 9),
            with(bridge(interface("br0", 9)), "192.0.2.9", 24),
        ],
        routes: vec![route(9, "192.0.2.1")],
        neighbours: vec![heard(9, 1, "192.0.2.1"), heard(9, 2, "192.0.2.12"), heard(3, 1, "")],
        bridge_vlans: vec![(2, 20)],
    };
    let both = Role::Above(vec!["lan0".into(), "wan0".into()]);
    assert_eq!(roles(&Machine::new(&survey)), [Role::Devices, Role::Uplink, both]);
    assert_eq!(Machine::new(&survey).vlans(2), [20].into());
    // First the bridge does not know the device's port; then it does, and knows one more device.
    let devices = Machine::new(&survey).devices(&[2]);
    let places: Vec<_> = devices.iter().map(|d| (d.interface.as_str(), d.mac)).collect();
    assert_eq!(places, [("br0", mac(2))]);
    survey.neighbours.extend([heard(2, 2, ""), heard(2, 4, "")]);
    let devices = Machine::new(&survey).devices(&[2]);
    let places: Vec<_> = devices.iter().map(|d| (d.interface.as_str(), d.mac)).collect();
    assert_eq!(places, [("lan0", mac(4)), ("lan0", mac(2))]);
    // Until the router has been seen, either port may lead to it.
    survey.neighbours.clear();
    assert!(Machine::new(&survey).proposed().is_empty());
}

/// One cable for everything: the uplink is a VLAN of the devices' interface.
#[test]
fn answers_from_outside_are_let_through_on_a_single_trunk() {
    let survey = Survey {
        interfaces: vec![
            interface("eth0", 2),
            with(vlan(interface("eth0.10", 3), 10, 2), "203.0.113.2", 24),
            with(vlan(interface("eth0.20", 4), 20, 2), "10.20.0.1", 24),
        ],
        routes: vec![route(3, "203.0.113.1")],
        ..Survey::default()
    };
    let machine = Machine::new(&survey);
    assert!(machine.proposed().is_empty());
    let policy = accepted(&machine, &["eth0"]);
    let defaults: Vec<_> =
        policy.groups.iter().map(|group| (group.name.as_str(), group.default.name())).collect();
    assert_eq!(defaults, [("behind-eth0", "drop"), ("vlan-10", "pass"), ("vlan-20", "drop")]);
    assert_eq!(policy.interfaces[0].vlans, [10, 20]);
}

fn written(machine: &Machine<'_>, names: &[&str]) -> String {
    let chosen: Vec<_> = names.iter().map(|name| machine.named(name).unwrap()).collect();
    let mut maker = |known: Mac| (known == mac(1)).then(|| "SanDisk\nCorporation".to_owned());
    documents::policy(machine, &chosen, "/etc/enforcer/policy.toml", "2026-11-26", &mut maker)
}

/// The written policy; neither it nor the settings have a problem.
fn accepted(machine: &Machine<'_>, names: &[&str]) -> Policy {
    let settings = documents::settings(names, "/etc/enforcer/policy.toml");
    let (settings, problems) = config::check("enforcer.toml", &settings);
    assert_eq!(problems, []);
    let expected = config::Settings {
        interfaces: names.iter().map(|name| (*name).to_owned()).collect(),
        ..config::Settings::default()
    };
    assert_eq!(settings, expected);
    read(&written(machine, names))
}

fn read(text: &str) -> Policy {
    let load = &mut |_: &str| Err(io::ErrorKind::NotFound.into());
    let (policy, problems) = policy::read("policy.toml", text, load);
    assert_eq!(report::render(&problems, &|_| Some(text), false), "", "{text}");
    policy
}

#[test]
fn what_is_written_is_accepted_and_drops_nothing() {
    let survey = router();
    let machine = Machine::new(&survey);
    let policy = accepted(&machine, &["lan0"]);
    let modes = policy.groups.iter().map(|group| group.mode).chain([policy.unknown.mode]);
    assert!(modes.into_iter().all(|mode| mode == policy::Mode::Observe));
    let names: Vec<_> = policy.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["behind-lan0", "vlan-30"]);
    assert_eq!(policy.devices, []);
}

#[test]
fn devices_are_comments_that_become_devices() {
    let survey = router();
    let machine = Machine::new(&survey);
    let text = written(&machine, &["lan0"]);
    let expected = "\
# Behind lan0:
#devices.device-1 = { mac = \"00:1b:44:00:00:01\" }  # 10.20.0.11; SanDiskCorporation
# Behind lan0, VLAN 30:
#devices.device-2 = { mac = \"00:1b:44:00:00:02\", vlan = 30 }  # 10.30.0.12; unknown vendor
";
    assert!(text.contains(expected), "{text}");
    let policy = read(&text.replace("#devices.", "devices."));
    let names: Vec<_> = policy.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["device-1", "device-2"]);
    assert_eq!((policy.devices[0].mac, policy.devices[1].vlan), (Some(mac(1)), Some(30)));
}

#[test]
fn names_that_toml_or_a_policy_cannot_take_bare() {
    let mut survey = router();
    for name in ["eth\"0", "b\\c", "lan.30", "brücke", "a@b"] {
        survey.interfaces[1].link.name = name.to_owned();
        let machine = Machine::new(&survey);
        let policy = accepted(&machine, &[name]);
        assert_eq!(policy.groups.len(), if name.is_ascii() { 2 } else { 1 }, "{name}");
    }
}

#[test]
fn locally_administered_addresses_have_no_maker() {
    let mut maker = |_: Mac| Some("somebody".to_owned());
    assert_eq!(documents::vendor(mac(1), &mut maker), "somebody");
    let local = documents::vendor(Mac([2, 0, 0, 0, 0, 1]), &mut maker);
    assert_eq!(local, "locally administered address");
    assert_eq!(documents::vendor(mac(1), &mut |_| None), "unknown vendor");
}

#[test]
fn settings_name_a_policy_that_is_elsewhere() {
    let text = documents::settings(&["lan0"], "/srv/e/policy.toml");
    let settings = config::read("enforcer.toml", &text).unwrap();
    assert_eq!(settings.policy, std::path::Path::new("/srv/e/policy.toml"));
    assert_eq!(text.lines().count(), documents::SETTINGS.lines().count());
}
