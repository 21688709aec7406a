//! `explain` for frames behind routers, in captures of both directions, and with other tools'
//! chains, compared with what happens to them.

use serde_json::Value;

use crate::harness::{
    Daemon, Lab, Netns,
    programs::{self, Server},
    skip,
    topology::{DEV1, DEV1_MAC, UPDATES},
    wait, wait_until,
};

/// The router of a ward, and what is behind it.
const WARD: &str = "10.20.0.99";
const WARD_MAC: &str = "02:00:00:20:00:99";
const PUMP: &str = "10.21.0.7";

const POLICY: &str = "schema = 1\n[devices.pump-7]\nip = \"10.21.0.7\"\n\
     [groups.pumps]\nmembers = [\"pump-7\"]\nallow = [{ to = \"any\", service = \"tcp/80\" }]\n\
     [unknown]\ndefault = \"drop\"\n";

/// One answer.
#[track_caller]
fn asked(daemon: &Daemon<'_>, from: &str) -> Value {
    daemon.json(&["explain", "--from", from, "--to", &format!("{UPDATES}:80")]).remove(0)
}

#[test]
fn a_device_behind_a_router_is_judged_with_the_routers_mac() {
    let lab = Lab::gateway("explainward");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let ward = lab.device("ward", WARD_MAC);
    let pump = Netns::create(&format!("{}-pump", ward.name()));
    ward.veth(("in0", "02:00:00:21:00:01"), &pump, ("eth0", "02:00:00:21:00:07"));
    ward.address("eth0", &format!("{WARD}/24"));
    ward.address("in0", "10.21.0.1/24");
    ward.sysctl("ipv4/ip_forward", "1");
    ward.ip("route add default via 10.20.0.1");
    pump.address("eth0", &format!("{PUMP}/24"));
    pump.ip("route add default via 10.21.0.1");
    lab.internet.ip("route add 10.21.0.0/24 via 203.0.113.2");
    lab.gw.ip(&format!("route add 10.21.0.0/24 via {WARD}"));

    // The router's MAC is in no group: the address decides.
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    assert!(programs::connects(&pump, UPDATES, 80));
    for from in ["pump-7", PUMP] {
        let answer = asked(&daemon, from);
        let said = (&answer["verdict"], &answer["group"], &answer["device"]);
        assert_eq!(said, (&"pass".into(), &"pumps".into(), &"pump-7".into()), "{answer}");
        let taken = format!(
            "MAC {WARD_MAC} taken from the gateway's neighbours: {PUMP} is behind the router {WARD}"
        );
        assert!(answer["assumed"].to_string().contains(&taken), "{answer}");
    }
    // The router's MAC is in a group that allows nothing: an exact MAC takes precedence over an
    // address.
    let group = format!("[groups.routers]\nmembers = [\"{WARD_MAC}\"]\n");
    assert!(daemon.apply(&format!("{POLICY}{group}")).success());
    assert!(!programs::connects(&pump, UPDATES, 80));
    for from in ["pump-7", PUMP] {
        let answer = asked(&daemon, from);
        let said = (&answer["verdict"], &answer["reason"], &answer["group"]);
        let expected = (&"drop".into(), &"default-drop".into(), &"routers".into());
        assert_eq!(said, expected, "{answer}");
    }
}

/// A MAC has the address that the gateway has seen, and frames from behind another interface are
/// not judged at all.
#[test]
fn addresses_and_interfaces_are_those_of_the_neighbour_table() {
    let lab = Lab::gateway("explainmac");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let policy = format!(
        "schema = 1\n[groups.beds]\nmembers = [\"{DEV1_MAC}\"]\n\
         allow = [{{ to = \"any\", service = \"tcp/80\" }}]\n"
    );
    let daemon = Daemon::start(&lab.gw, &["cen0", "lan0"], &policy);
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    let answer = asked(&daemon, DEV1_MAC);
    let frame = format!("{DEV1} to {UPDATES} tcp/80 on lan0");
    assert_eq!((&answer["frame"], &answer["verdict"]), (&frame.into(), &"pass".into()), "{answer}");
    let assumed = asked(&daemon, "203.0.113.1")["assumed"].to_string();
    assert!(assumed.contains("the gateway reaches 203.0.113.1 by wan0"), "{assumed}");
}

/// An address behind a VLAN device on top of the protected interface sends tagged frames.
#[test]
fn a_device_in_a_vlan_is_judged_with_its_tag() {
    let lab = Lab::gateway("explainvlan");
    let tried =
        lab.gw.run("ip", &["link", "add", "tried", "type", "vlan", "id", "1"], wait::DEADLINE);
    if tried.stderr.contains("Unknown device type") {
        let test = "a_device_in_a_vlan_is_judged_with_its_tag";
        return skip(test, &format!("this kernel has no `vlan`: {}", tried.stderr.trim()));
    }
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    for (netns, below, address) in
        [(&lab.gw, "lan0", "10.20.20.1/24"), (&lab.dev2, "eth0", "10.20.20.12/24")]
    {
        netns.ip(&format!("link add link {below} name v20 type vlan id 20"));
        netns.address("v20", address);
        netns.ip("link set v20 up");
    }
    lab.dev2.ip("route replace default via 10.20.20.1");
    lab.internet.ip("route add 10.20.20.0/24 via 203.0.113.2");
    let policy = "schema = 1\n[interfaces.lan0]\nvlans = [20]\n[groups.v20]\nmembers = [\"vlan:20\"]\n\
                  allow = [{ to = \"any\", service = \"tcp/80\" }]\n[unknown]\ndefault = \"drop\"\n";
    let daemon = Daemon::start(&lab.gw, &["lan0"], policy);
    assert!(programs::connects(&lab.dev2, UPDATES, 80));
    let answer = asked(&daemon, "10.20.20.12");
    let said = (&answer["verdict"], &answer["group"]);
    assert_eq!(said, (&"pass".into(), &"v20".into()), "{answer}");
    assert!(answer["frame"].to_string().contains("on lan0, VLAN 20"), "{answer}");
}

/// Captures `interface` of the gateway with tcpdump while a device talks.
#[track_caller]
fn captured(lab: &Lab, daemon: &Daemon<'_>, interface: &str) -> Vec<Value> {
    let path = daemon.path(&format!("{interface}.pcap")).display().to_string();
    let words = ["-i", interface, "-n", "--immediate-mode", "-U", "-Z", "root", "-w", &path];
    let tcpdump = lab.gw.spawn("tcpdump", &words);
    wait_until("tcpdump listens", || tcpdump.stderr().contains("listening on").then_some(()));
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(programs::ping(&lab.dev1, UPDATES));
    programs::settle();
    assert!(tcpdump.terminate(wait::DEADLINE).success());
    daemon.json(&["explain", "--pcap", &path])
}

#[test]
fn frames_of_the_gateway_are_no_drops_of_a_device() {
    let lab = Lab::gateway("explainboth");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let policy = "schema = 1\n[groups.beds]\nmembers = [\"00:1b:44/24\"]\n\
                  allow = [{ to = \"any\", service = [\"tcp/80\", \"icmp\"] }]\n[unknown]\ndefault = \"drop\"\n";
    let daemon = Daemon::start(&lab.gw, &["lan0"], policy);
    // From one interface, and from all of them, which tcpdump writes as Linux cooked.
    for interface in ["lan0", "any"] {
        let answers = captured(&lab, &daemon, interface);
        let verdict = |verdict: &'static str| {
            answers.iter().filter(move |answer| answer["verdict"] == verdict)
        };
        let passed = verdict("pass").filter(|answer| answer["group"] == "beds");
        // tcpdump does not see dropped frames: every frame that it saw from the device passed.
        assert!(passed.count() >= 4, "{interface}: {answers:#?}");
        assert_eq!(verdict("drop").count(), 0, "{interface}: {answers:#?}");
        let sent = verdict("not-judged").filter(|answer| {
            answer["frame"].as_str().is_some_and(|frame| frame.starts_with(UPDATES))
        });
        let sent: Vec<_> = sent.collect();
        assert!(sent.len() >= 3, "{interface}: {answers:#?}");
        for answer in sent {
            assert!(
                ["outgoing", "unprotected"].contains(&answer["reason"].as_str().expect("a word"))
            );
        }
    }
}

/// A gateway with chains as made by Docker, ufw or `iptables -P FORWARD DROP`.
#[test]
fn another_tool_that_drops_behind_us_is_named() {
    let lab = Lab::gateway("explainfilter");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let policy = "schema = 1\n[groups.beds]\nmembers = [\"00:1b:44/24\"]\n\
                  allow = [{ to = \"any\", service = \"tcp/80\" }]\n";
    let daemon = Daemon::start(&lab.gw, &["lan0"], policy);
    let notes = || asked(&daemon, DEV1)["notes"].clone();
    let forwarding = || {
        let all = daemon.doctor(&["--json"]).stdout;
        let line = all.lines().find(|line| line.contains("\"check\":\"forwarding\""));
        serde_json::from_str::<Value>(line.expect("it looks at that")).expect("JSON")
    };
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert_eq!((notes(), &forwarding()["state"]), (Value::Null, &"ok".into()));

    // As iptables-nft makes it, and as firewalld ends its chain.
    let nft = |words: &str| {
        lab.gw.run_ok("nft", &words.split(' ').collect::<Vec<_>>());
    };
    nft("add table ip filter");
    nft("add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
    nft("add table inet firewalld");
    nft("add chain inet firewalld fw { type filter hook forward priority 10 ; policy accept ; }");
    nft("add chain inet firewalld rest");
    nft("add rule inet firewalld fw jump rest");
    nft("add rule inet firewalld rest counter reject with icmpx type admin-prohibited");
    assert!(!programs::connects(&lab.dev1, UPDATES, 80));
    let names = [
        "chain FORWARD of table ip filter (policy drop)",
        "chain fw of table inet firewalld (its rules end in drop)",
    ];
    // The result is cached for some seconds.
    let said = wait_until("explain says so", || Some(notes()).filter(|notes| !notes.is_null()));
    let finding = forwarding();
    assert_eq!(finding["state"], "warning", "{finding}");
    for name in names {
        assert!(said.to_string().contains(name), "{said}");
        assert!(finding["text"].to_string().contains(name), "{finding}");
    }
    assert_eq!(asked(&daemon, DEV1)["verdict"], "pass");

    nft("delete table inet firewalld");
    let remedy = forwarding()["remedy"].as_str().expect("a remedy").to_owned();
    let first = remedy.split(',').next().expect("a command");
    assert_eq!(first, "nft insert rule ip filter FORWARD iifname lan0 accept");
    lab.gw.run_ok("nft", &first.split(' ').skip(1).collect::<Vec<_>>());
    nft("insert rule ip filter FORWARD oifname lan0 accept");
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert_eq!(forwarding()["state"], "ok");
    wait_until("explain says no more", || notes().is_null().then_some(()));
}
