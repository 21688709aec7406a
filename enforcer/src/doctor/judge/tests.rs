//! A machine where all is well, and one change at a time.
// tidy: long because each change is a row of one table

use std::collections::BTreeMap;

use rtnetlink::packet_route::link::InfoKind;

use super::super::facts::{
    Disk, Enforcement, Facts, Flowtable, Interface, Machine, Native, Network, Unseen,
};
use super::super::{State, is_fit};
use super::judge;
use crate::api::{InterfaceStatus, PolicyStatus, Status};
use crate::backstop::Tables;
use crate::backstop::forward::Chain;
use crate::backstop::table::{Family, Table};
use crate::config::{Backstop, Xdp};
use crate::dataplane::Attached;
use crate::dataplane::inspect::Pinned;
use crate::dataplane::offload::Feature;
use crate::host::{Bridge, Link, OnLink};

fn link(name: &str, index: u32) -> Link {
    Link { name: name.into(), index, up: true, mtu: 1500, ..Link::default() }
}

fn address(interface: u32, text: &str) -> OnLink {
    let (address, length) = text.split_once('/').unwrap();
    OnLink { interface, address: address.parse().unwrap(), length: length.parse().unwrap() }
}

fn table(armed: &str) -> Table {
    let listing = serde_json::json!({ "nftables": [
        { "set": { "name": "protected", "elem": ["lan0"] } },
        { "set": { "name": "armed", "elem": [armed] } },
    ] });
    Table::read(&listing).unwrap()
}

fn status() -> Status {
    let lan0 = InterfaceStatus {
        name: "lan0".into(),
        index: 2,
        mode: "native".into(),
        enforcing: true,
        backstop: "armed".into(),
        proof: "seen".into(),
        received: 1,
        runs: 1,
        transmit: None,
        note: None,
    };
    Status {
        enforcing: true,
        version: "0.1.0".into(),
        pid: 812,
        started: String::new(),
        policy: PolicyStatus {
            file: String::new(),
            revision: 7,
            generation: 12,
            digest: String::new(),
            since: String::new(),
            groups: 1,
            devices: 1,
            rules: 1,
            image_bytes: 1,
        },
        interfaces: vec![lan0],
        reasons: Vec::new(),
        groups: Vec::new(),
        live: Vec::new(),
        confirm_until: None,
        warnings: Vec::new(),
    }
}

/// lan0 is protected, wan0 the uplink; the daemon runs.
fn well() -> Facts {
    let attached = Attached { program: Some(40), native: true };
    let lan0 = Link { attached, ..link("lan0", 2) };
    let off = Feature { on: false, fixed: false };
    let features = ["rx-vlan-hw-parse", "rx-lro", "rx-gro-hw", "rx-fcs", "hw-tc-offload"];
    Facts {
        machine: Machine {
            kernel: (6, 12),
            release: "6.12.0".into(),
            lacking: Vec::new(),
            contained: false,
            pins: "/sys/fs/bpf/enforcer".into(),
            bpffs: Ok(true),
            locked: Some(8 << 20),
            unprivileged: Some(2),
            neighbours: vec![("ipv4", 1024), ("ipv6", 1024)],
            now: 1_800_000_000,
            synchronised: Ok(true),
            state: "/var/lib/enforcer".into(),
            disk: Ok(Disk { free: 1 << 30, volatile: false, writable: true }),
        },
        network: Network {
            links: vec![lan0.clone(), link("wan0", 3)],
            addresses: vec![address(2, "10.20.0.1/24"), address(3, "203.0.113.2/24")],
            uplinks: [3].into(),
            forwards_v4: true,
            forwards_v6: Some(false),
            bridge_calls_ip: false,
            legacy: Vec::new(),
        },
        interfaces: vec![Interface {
            name: "lan0".into(),
            link: Some(lan0),
            features: Ok(features.map(|name| (name.to_owned(), off)).into()),
            driver: Some("igb".into()),
            hindrance: None,
            native: Some(Native { basic: true, fragments: false }),
        }],
        enforcement: Enforcement {
            daemon: Ok(Some(status())),
            pinned: Ok(Some(Pinned { active: true, dispatchers: [(2, 40)].into() })),
            tables: Ok(Family::ALL.map(|family| (family, table("lan0"))).into()),
            backstop: Backstop::Auto,
            xdp: Xdp::Auto,
            flowtables: Ok(Vec::new()),
            forward: Ok(Vec::new()),
        },
    }
}

/// A chain of another tool that drops forwarded traffic.
fn chain(facts: &mut Facts, family: &str, accepts: &[&str]) {
    let accepts = accepts.iter().map(|name| (*name).to_owned()).collect();
    let (table, name) = ("filter".to_owned(), "FORWARD".to_owned());
    let chain = Chain { family: family.into(), table, name, accepts, ..Chain::default() };
    facts.enforcement.forward.as_mut().expect("known").push(chain);
}

/// Changes lan0, both in rtnetlink's data and in the list of interfaces.
fn lan0(facts: &mut Facts, change: impl Fn(&mut Link)) {
    facts.interfaces[0].link.iter_mut().for_each(&change);
    facts.network.links.iter_mut().filter(|link| link.index == 2).for_each(change);
}

/// Nothing is routed, and lan0 is a port of a bridge.
fn bridged(facts: &mut Facts) {
    facts.network.forwards_v4 = false;
    facts.network.links.push(Link { kind: Some(InfoKind::Bridge), ..link("br0", 9) });
    lan0(facts, |link| link.controller = Some(9));
}

/// Sets the bridge's settings.
fn bridge(facts: &mut Facts, bridge: Bridge) {
    facts.network.links.iter_mut().filter(|link| link.index == 9).for_each(|link| {
        link.bridge = Some(bridge);
    });
}

/// Another interface that is up, with an address.
fn another(facts: &mut Facts, link: Link, text: &str) {
    facts.network.addresses.push(address(link.index, text));
    facts.network.links.push(link);
}

fn on(facts: &mut Facts, feature: &str, fixed: bool) {
    let features = facts.interfaces[0].features.as_mut().unwrap();
    features.insert(feature.into(), Feature { on: true, fixed });
}

fn no_daemon(facts: &mut Facts) {
    facts.enforcement.daemon = Ok(None);
}

fn nothing_attached(facts: &mut Facts) {
    lan0(facts, |link| link.attached = Attached::default());
}

/// Before the daemon's first start, with the backstop shut.
fn fresh(facts: &mut Facts) {
    no_daemon(facts);
    nothing_attached(facts);
    facts.enforcement.pinned = Ok(None);
    facts.enforcement.tables = Ok(Family::ALL.map(|family| (family, table("99"))).into());
}

fn unseen<T>() -> Result<T, Unseen> {
    Err(Unseen::new("permission denied"))
}

#[test]
fn all_is_well() {
    let findings = judge(&well());
    let bad: Vec<_> = findings.iter().filter(|finding| finding.state != State::Ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(findings.iter().all(|finding| finding.remedy.is_none()));
    // The number of checks, so that a lost one is noticed.
    assert_eq!(findings.len(), 21, "{findings:#?}");
}

type Change = fn(&mut Facts);

/// The expected finding: check, state, words and remedy, and the change that causes it.
const TABLE: &[(&str, State, &str, &str, Change)] = &[
    ("kernel", State::Fail, "5.10 and later", "later kernel", |f| f.machine.kernel = (5, 4)),
    ("rights", State::Unknown, "CAP_BPF", "as root", |f| f.machine.lacking = vec!["CAP_BPF"]),
    ("bpffs", State::Fail, "not on a BPF", "mount -t bpf", |f| f.machine.bpffs = Ok(false)),
    ("bpffs", State::Unknown, "permission denied", "root", |f| f.machine.bpffs = unseen()),
    ("locked-memory", State::Warning, "8192 KiB", "LimitMEMLOCK", |f| f.machine.kernel = (5, 10)),
    ("unprivileged-bpf", State::Warning, "every user", "bpf_disabled=2", |f| {
        f.machine.unprivileged = Some(0);
    }),
    ("neighbours", State::Warning, "keeps 512 of ipv6", "net.ipv6.neigh.default.gc_thresh3", |f| {
        f.machine.neighbours[1].1 = 512;
    }),
    (
        "bridge-tables",
        State::Warning,
        "br0 forwards 802.1X and LLDP (group_fwd_mask 0x4008)",
        "group_fwd_mask 0",
        |f| {
            bridged(f);
            bridge(f, Bridge { forwards: 0x4008, most_learned: 0 });
        },
    ),
    ("bridge-tables", State::Warning, "br0 learns 1000 MACs at most", "fdb_max_learned 0", |f| {
        bridged(f);
        bridge(f, Bridge { forwards: 0, most_learned: 1000 });
    }),
    ("clock", State::Fail, "before 2026", "timedatectl", |f| f.machine.now = 0),
    ("clock", State::Warning, "nothing keeps", "timedatectl", |f| {
        f.machine.synchronised = Ok(false);
    }),
    ("clock", State::Unknown, "permission", "root", |f| f.machine.synchronised = unseen()),
    ("disk", State::Fail, "cannot be written", "state_dir", |f| {
        f.machine.disk = Ok(Disk { free: 1 << 30, volatile: false, writable: false });
    }),
    ("disk", State::Fail, "0 MiB free", "make room", |f| {
        f.machine.disk = Ok(Disk { free: 99, volatile: false, writable: true });
    }),
    ("disk", State::Warning, "100 MiB free", "make room", |f| {
        f.machine.disk = Ok(Disk { free: 100 << 20, volatile: false, writable: true });
    }),
    ("disk", State::Warning, "in memory", "to a disk", |f| {
        f.machine.disk = Ok(Disk { free: 1 << 30, volatile: true, writable: true });
    }),
    ("daemon", State::Warning, "the kernel keeps enforcing", "enforcer run", no_daemon),
    ("daemon", State::Warning, "nothing is enforced", "enforcer run", fresh),
    ("daemon", State::Fail, "drop everything", "enforcer run", |f| {
        no_daemon(f);
        f.enforcement.pinned = Ok(Some(Pinned { dispatchers: [(2, 40)].into(), active: false }));
    }),
    ("daemon", State::Unknown, "permission", "root", |f| f.enforcement.daemon = unseen()),
    ("daemon", State::Fail, "not protected", "enforcer status", |f| {
        f.enforcement.daemon.as_mut().unwrap().as_mut().unwrap().enforcing = false;
    }),
    ("daemon", State::Warning, "warns: a pin", "enforcer status", |f| {
        let status = f.enforcement.daemon.as_mut().unwrap().as_mut().unwrap();
        status.warnings.push("a pin is gone".into());
    }),
    ("program", State::Fail, "another XDP program (id 41)", "set dev lan0 xdp off", |f| {
        no_daemon(f);
        lan0(f, |link| link.attached.program = Some(41));
    }),
    ("program", State::Fail, "another XDP program (id 41)", "set dev lan0 xdpgeneric off", |f| {
        f.enforcement.daemon.as_mut().unwrap().as_mut().unwrap().interfaces[0].enforcing = false;
        lan0(f, |link| link.attached = Attached { program: Some(41), native: false });
    }),
    ("program", State::Unknown, "whose program 40", "as root", |f| {
        no_daemon(f);
        f.enforcement.pinned = unseen();
    }),
    ("program", State::Fail, "none is attached", "enforcer status", nothing_attached),
    ("backstop", State::Warning, "not installed", "backstop install", |f| {
        f.enforcement.tables = Ok(Tables::new());
    }),
    ("backstop", State::Fail, "require the backstop", "backstop install", |f| {
        f.enforcement.tables = Ok(Tables::new());
        f.enforcement.backstop = Backstop::Required;
    }),
    ("backstop", State::Warning, "off by the settings", "\"auto\"", |f| {
        f.enforcement.tables = Ok(Tables::new());
        f.enforcement.backstop = Backstop::Off;
    }),
    ("backstop", State::Fail, "`bridge enforcer` is missing", "install", |f| {
        drop(f.enforcement.tables.as_mut().unwrap().remove(&Family::Bridge));
    }),
    ("backstop", State::Unknown, "permission", "root", |f| f.enforcement.tables = unseen()),
    ("backstop", State::Fail, "shut although", "arms it", |f| {
        f.enforcement.tables = Ok(Family::ALL.map(|family| (family, table("99"))).into());
    }),
    ("backstop", State::Fail, "are not judged", "backstop install", nothing_attached),
    ("backstop", State::Warning, "do not cover", "backstop install", |f| {
        lan0(f, |link| link.name = "lan1".into());
        f.interfaces[0].name = "lan1".into();
    }),
    ("forwarding", State::Warning, "nothing is routed", "ip_forward=1", |f| {
        f.network.forwards_v4 = false;
    }),
    (
        "forwarding",
        State::Warning,
        "IPv4 is routed, IPv6 is not; another tool drops what its rules do not accept: chain \
         FORWARD of table ip filter (policy drop)",
        "nft insert rule ip filter FORWARD iifname lan0 accept",
        |f| chain(f, "ip", &["lan1"]),
    ),
    ("forwarding", State::Warning, "FORWARD of table bridge filter", "nft insert rule", |f| {
        bridged(f);
        chain(f, "bridge", &[]);
    }),
    ("forwarding", State::Warning, "FORWARD of table ip filter", "nft insert rule", |f| {
        bridged(f);
        f.network.bridge_calls_ip = true;
        chain(f, "ip", &[]);
    }),
    ("forwarding", State::Warning, "IPv4 alone", "ipv6.conf.all.forwarding=1", |f| {
        f.network.addresses.push(address(2, "2001:db8:20::1/64"));
    }),
    ("flow-offload", State::Fail, "past XDP (flowtable inet x fast)", "delete flowtable", |f| {
        let fast = Flowtable {
            name: "inet x fast".into(),
            devices: ["lan0".into(), "wan0".into()].into(),
            hardware: true,
        };
        let slow = Flowtable { name: "ip x slow".into(), hardware: false, ..fast.clone() };
        f.enforcement.flowtables = Ok(vec![slow, fast]);
    }),
    ("flow-offload", State::Warning, "past the backstop", "nft delete flowtable ip x slow", |f| {
        let devices = ["lan0".into()].into();
        let slow = Flowtable { name: "ip x slow".into(), devices, hardware: false };
        f.enforcement.flowtables = Ok(vec![slow]);
    }),
    ("flow-offload", State::Unknown, "permission", "root", |f| {
        f.enforcement.flowtables = unseen();
    }),
    ("bypass", State::Warning, "cen0 is not protected", "interfaces = [\"lan0\", \"cen0\"]", |f| {
        another(f, link("cen0", 4), "10.30.0.1/24");
    }),
    ("bypass", State::Fail, "on the network of lan0 (10.20.0.0/24)", "\"lan1\"]", |f| {
        another(f, link("lan1", 4), "10.20.0.2/16");
    }),
    ("bypass", State::Fail, "wan0 is on the network of lan0", "interfaces = ", |f| {
        f.network.addresses.push(address(3, "10.20.0.3/24"));
    }),
    ("bypass", State::Warning, "wan0, an uplink, bridges p1, p2", "if devices", |f| {
        f.network.links[1].kind = Some(InfoKind::Bridge);
        for (name, index) in [("p1", 5), ("p2", 6)] {
            f.network.links.push(Link { controller: Some(3), ..link(name, index) });
        }
    }),
    ("interface", State::Unknown, "no interface to protect", "--interface lan0", |f| {
        f.interfaces.clear()
    }),
    ("interface", State::Fail, "no interface `lan0`", "ip -brief link", |f| {
        f.interfaces[0].link = None;
    }),
    ("interface", State::Warning, "it is down", "ip link set lan0 up", |f| {
        lan0(f, |link| link.up = false);
    }),
    ("interface", State::Fail, "a bridge hands frames", "interfaces = [\"p1\"]", |f| {
        lan0(f, |link| link.kind = Some(InfoKind::Bridge));
        f.network.links.push(Link { controller: Some(2), ..link("p1", 5) });
    }),
    ("interface", State::Fail, "loopback", "behind", |f| lan0(f, |link| link.loopback = true)),
    ("interface", State::Warning, "the rest of eth0", "[interfaces.\"eth0\"] vlans = [20]", |f| {
        lan0(f, |link| {
            (link.kind, link.lower, link.vlan) = (Some(InfoKind::Vlan), Some(5), Some(20));
        });
        f.network.links.push(link("eth0", 5));
    }),
    ("xdp", State::Warning, "generic (igb)", "the driver's reason", |f| {
        lan0(f, |link| link.attached.native = false);
    }),
    ("xdp", State::Warning, "generic (igb): too many queues", "the driver's reason", |f| {
        lan0(f, |link| link.attached.native = false);
        let status = f.enforcement.daemon.as_mut().unwrap().as_mut().unwrap();
        status.interfaces[0].note = Some("too many queues".into());
    }),
    ("xdp", State::Warning, "its driver has no native XDP", "xdp = \"generic\"", |f| {
        lan0(f, |link| link.attached.native = false);
        f.interfaces[0].native = Some(Native::default());
    }),
    ("xdp", State::Warning, "no native XDP (igb)", "slower", |f| {
        fresh(f);
        f.interfaces[0].native = Some(Native::default());
    }),
    ("xdp", State::Warning, "shows when it is attached", "enforcer status", |f| {
        fresh(f);
        f.interfaces[0].native = None;
    }),
    ("vlan-tags", State::Warning, "XDP by rxvlan until", "ethtool -K lan0 rxvlan off", |f| {
        on(f, "rx-vlan-hw-parse", false);
    }),
    ("vlan-tags", State::Fail, "cannot be switched off (rxvlan)", "another interface", |f| {
        on(f, "rx-vlan-hw-parse", true);
    }),
    ("merged-frames", State::Warning, "by lro and rx-gro-hw:", "lan0 lro off rx-gro-hw off", |f| {
        on(f, "rx-lro", false);
        on(f, "rx-gro-hw", false);
    }),
    ("frame-checksums", State::Fail, "trailing-bytes", "lan0 rx-fcs off", |f| {
        on(f, "rx-fcs", false);
    }),
    ("hardware-offload", State::Warning, "past XDP", "lan0 hw-tc-offload off", |f| {
        on(f, "hw-tc-offload", false);
    }),
    ("hardware", State::Unknown, "permission", "root", |f| f.interfaces[0].features = unseen()),
    ("mtu", State::Warning, "before Linux 5.18", "mtu 1500", |f| {
        f.machine.kernel = (5, 15);
        lan0(f, |link| link.mtu = 9000);
    }),
    ("mtu", State::Warning, "no frame that large", "mtu 1500", |f| {
        fresh(f);
        lan0(f, |link| link.mtu = 9000);
    }),
    ("bridge", State::Warning, "by wan0, lan1, for this port too", "if devices", |f| {
        let bridge = Link { kind: Some(InfoKind::Bridge), ..link("br0", 9) };
        f.network.links.extend([bridge, link("lan1", 4)]);
        f.network.links.iter_mut().filter(|link| link.index != 9).for_each(|link| {
            link.controller = Some(9);
        });
        lan0(f, |link| link.controller = Some(9));
    }),
    ("bridge", State::Fail, "a switch chip forwards between lan0 and lan1", "nomaster", |f| {
        let bridge = Link { kind: Some(InfoKind::Bridge), ..link("br0", 9) };
        let chip = |link: Link| Link { controller: Some(9), switch: Some(vec![1]), ..link };
        f.network.links.extend([bridge, chip(link("lan1", 4))]);
        lan0(f, |link| (link.controller, link.switch) = (Some(9), Some(vec![1])));
    }),
    ("bridge", State::Fail, "frames arrive by lan1 too", "[\"lan0\", \"lan1\"]", |f| {
        let bond = Link { kind: Some(InfoKind::Bond), ..link("bond0", 9) };
        f.network.links.extend([bond, Link { controller: Some(9), ..link("lan1", 4) }]);
        lan0(f, |link| link.controller = Some(9));
    }),
];

#[test]
fn what_is_in_the_way_is_named_with_its_remedy() {
    for (number, (check, state, text, remedy, change)) in TABLE.iter().enumerate() {
        let mut facts = well();
        change(&mut facts);
        let findings = judge(&facts);
        let is_it = |finding: &&super::Finding| {
            let says = finding.text.contains(text);
            finding.check == *check && finding.state == *state && says
        };
        let found = findings.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("{number} {check} {text}: {findings:#?}"));
        let said = found.remedy.as_deref().unwrap_or_default();
        assert!(said.contains(remedy), "{number} {check}: {said}");
        assert_eq!(is_fit(&findings), is_fit(std::slice::from_ref(found)), "{number} {check}");
        // Every finding that is not ok has a remedy.
        for finding in findings {
            assert_eq!(finding.remedy.is_none(), finding.state == State::Ok, "{finding:?}");
        }
    }
}

#[test]
fn what_is_only_different_is_fine() {
    let changes: [(&str, &str, Change); 11] = [
        // Chains that no frame of a device passes, or that accept all of them.
        ("forwarding", "IPv4 is routed, IPv6 is not", |f| {
            ["ip6", "bridge"].into_iter().for_each(|family| chain(f, family, &[]));
            chain(f, "ip", &["lan0"]);
        }),
        ("forwarding", "frames are bridged", |f| {
            bridged(f);
            chain(f, "ip", &[]);
        }),
        ("forwarding", "iptables-legacy has rules, not looked at", |f| {
            f.network.legacy.push("iptables-legacy");
        }),
        ("forwarding", "the packet filter was not looked at: no nft", |f| {
            f.enforcement.forward = Err(Unseen::new("no nft"));
        }),
        ("forwarding", "frames are bridged", bridged),
        ("bridge", "every port of it is protected", |f| {
            f.network.links.push(Link { kind: Some(InfoKind::Bridge), ..link("br0", 9) });
            lan0(f, |link| link.controller = Some(9));
        }),
        // A VLAN on top of a protected interface is judged below, whatever its network.
        ("bypass", "nothing but uplinks", |f| {
            another(f, Link { lower: Some(2), ..link("lan0.20", 9) }, "10.20.20.1/24");
        }),
        ("bypass", "nothing but uplinks", |f| {
            another(f, Link { up: false, ..link("cen0", 4) }, "10.30.0.1/24");
            another(f, Link { loopback: true, ..link("lo", 1) }, "127.0.0.1/8");
            another(f, link("idle", 5), "fe80::1/64");
            another(f, link("v6", 6), "2001:db8::1/64");
        }),
        ("xdp", "as the settings say", |f| f.enforcement.xdp = Xdp::Generic),
        ("mtu", "in several buffers are judged", |f| {
            lan0(f, |link| link.mtu = 9000);
            // It is attached natively, whatever features the driver reports.
        }),
        ("kernel", "no jumbo frames", |f| f.machine.kernel = (5, 15)),
    ];
    for (check, text, change) in changes {
        let mut facts = well();
        change(&mut facts);
        let findings = judge(&facts);
        let found = findings.iter().find(|f| f.check == check && f.text.contains(text));
        let found = found.unwrap_or_else(|| panic!("{check} {text}: {findings:#?}"));
        assert_eq!(found.state, State::Ok);
        assert!(is_fit(&findings), "{check} {text}: {findings:#?}");
    }
}

#[test]
fn before_the_first_start_the_backstop_is_shut() {
    let mut facts = well();
    fresh(&mut facts);
    let findings = judge(&facts);
    assert!(findings.iter().any(|finding| finding.text.starts_with("shut until")));
    assert!(is_fit(&findings), "{findings:#?}");
}

#[test]
fn hardware_without_features_hides_nothing() {
    let mut facts = well();
    facts.interfaces[0].features = Ok(BTreeMap::new());
    assert!(judge(&facts).iter().all(|finding| finding.state == State::Ok));
}
