//! What is sent to devices: refused, accepted, asked for, related.

use std::time::Duration;

use serde_json::Value;

use crate::harness::dhcp::{Dnsmasq, Udhcpc};
use crate::harness::frames::{self, mac};
use crate::harness::kernel::bpftool;
use crate::harness::programs::{self, Files, Server};
use crate::harness::topology::{
    CENTRAL, CENTRAL_V6, DEV1, DEV1_MAC, DEV1_V6, GATEWAY, LAN0_MAC, UPDATES,
};
use crate::harness::{Daemon, Lab, Sniffer, wait_until};

/// The published datagrams of CVE-2024-12248 are refused; the rest is as without enforcer.
const REFUSES: &str = r#"schema = 1
[groups.monitors]
members = ["10.20.0.0/24", "2001:db8:20::/64", "00:1b:44/24"]
allow = [{ to = "any" }]
refuse = [{ from = "any", service = "udp/2000-2100", reason = "CVE-2024-12248" }]
[interfaces.lan0]
flooded = "essential"
"#;

/// Devices get nothing but what they ask for.
const SHUT: &str = r#"schema = 1
[groups.monitors]
members = ["10.20.0.0/24", "2001:db8:20::/64", "00:1b:44/24"]
inbound = "drop"
allow = [
  { to = "10.30.0.10", service = ["tcp/8000", "udp/514", "icmp"] },
  { to = "2001:db8:30::10", service = ["tcp/8000", "udp/514", "icmpv6"] },
  { to = "gateway", service = ["icmp", "icmpv6"] },
]
"#;

/// The gateway's interface to the central station.
const CEN0_MAC: &str = "02:00:00:30:00:01";
/// The central station's own.
const CENTRAL_MAC: &str = "02:00:00:30:00:10";

/// A datagram as a frame of the gateway, from another segment's address.
fn forged(from: [u8; 4], to: [u8; 4], mac_to: &str, ports: (u16, u16)) -> Vec<u8> {
    let packet = frames::ipv4(from, to, 17, &frames::udp(ports.0, ports.1, b"crash"));
    frames::ethernet(mac(mac_to), mac(LAN0_MAC), 0x0800, &packet)
}

fn is_inwards(line: &Value, reason: &str) -> bool {
    line["enforcer"]["reason"] == reason && line["enforcer"]["direction"] == "in"
}

#[test]
fn the_published_datagrams_do_not_arrive() {
    let lab = Lab::gateway("refuse");
    let daemon = Daemon::start(&lab.gw, &["lan0"], REFUSES);
    let device = Server::start(&lab.dev1, "device", &[22], &[1999, 2000, 2100, 2101]);
    let tail = daemon.tail(&[]);
    for port in [1999, 2101] {
        let asked = programs::say_udp(&lab.central, DEV1, port, "beside");
        assert!(asked.stdout.contains("beside"), "{asked:?}");
    }
    for (port, to) in [(2000, DEV1), (2100, DEV1_V6)] {
        let asked = programs::say_udp(&lab.central, to, port, "crash");
        assert!(!asked.stdout.contains("crash"), "{asked:?}");
    }
    assert!(!device.heard("udp 2000") && !device.heard("udp 2100"), "{:?}", device.calls());
    assert!(programs::connects(&lab.central, DEV1, 22));
    let told = tail.wait_for("a refusal", |line| is_inwards(line, "refuse"));
    assert_eq!((&told["src_ip"], &told["dest_ip"]), (&CENTRAL.into(), &DEV1.into()), "{told}");
    assert_eq!((&told["dest_port"], &told["out_iface"]), (&2000.into(), &"lan0".into()), "{told}");
    assert_eq!(told["ether"]["dest_mac"], DEV1_MAC);
    let detail = &told["enforcer"];
    assert_eq!((&detail["verdict"], &detail["group"]), (&"drop".into(), &"monitors".into()));
    assert_eq!(detail["rule_reason"], "CVE-2024-12248");
    assert!(told.get("in_iface").is_none(), "{told}");
    let rules = daemon.rules();
    let rule = rules.iter().find(|rule| rule["action"] == "refuse").expect("it is listed");
    assert_eq!(rule["frames"].as_u64(), Some(daemon.reason("refuse", "frames")), "{rule}");

    // By broadcast, from the gateway itself and through it; and what devices need comes through.
    let sniffer = Sniffer::start(&lab.dev1, "eth0");
    for (address, to) in [([255; 4], "ff:ff:ff:ff:ff:ff"), ([10, 20, 0, 255], "ff:ff:ff:ff:ff:ff")]
    {
        let refused =
            frames::try_send(&lab.gw, "lan0", &forged([10, 30, 0, 10], address, to, (9, 2000)));
        assert!(refused.is_err(), "the kernel tells who sends on the gateway itself");
    }
    tail.wait_for("a flood", |line| is_inwards(line, "flooded"));
    lab.dev1.ip("neigh flush dev eth0");
    lab.gw.ip("neigh flush dev lan0");
    assert!(programs::ping(&lab.gw, DEV1), "ARP passes");
    let heard = sniffer.find(Duration::from_millis(300), |frame| frames::contains(frame, b"crash"));
    assert!(heard.is_none(), "{heard:?}");
    let lines = tail.lines();
    let floods: Vec<_> = lines.iter().filter(|line| is_inwards(line, "flooded")).collect();
    assert_eq!(floods.len(), 2, "{floods:#?}");

    // Observed, they arrive and are told of.
    assert!(daemon.cli(&["mode", "monitors", "observe"]).success());
    let asked = programs::say_udp(&lab.central, DEV1, 2000, "observed");
    assert!(asked.stdout.contains("observed"), "{asked:?}");
    tail.wait_for("a would-drop", |line| {
        is_inwards(line, "refuse") && line["enforcer"]["verdict"] == "would-drop"
    });
}

#[test]
fn what_an_interface_accepts_of_multicast_arrives() {
    /// Every host is a member.
    const ALL_HOSTS: &str = "224.0.0.1";
    let lab = Lab::gateway("flooded-accept");
    let text = "accept = [{ from = \"gateway\", service = \"udp/5353\", reason = \"mDNS\" }]\n";
    let daemon = Daemon::start(&lab.gw, &["lan0"], &format!("{REFUSES}{text}"));
    lab.gw.ip("route add 224.0.0.0/4 dev lan0");
    let tail = daemon.tail(&[]);
    let sniffer = Sniffer::start(&lab.dev1, "eth0");
    programs::say_udp(&lab.gw, ALL_HOSTS, 5354, "nobody");
    programs::say_udp(&lab.gw, ALL_HOSTS, 5353, "somebody");
    let mut refused = false;
    let accepted = sniffer.find(Duration::from_secs(5), |frame| {
        refused |= frames::contains(frame, b"nobody");
        frames::contains(frame, b"somebody")
    });
    assert!(accepted.is_some() && !refused, "{}", daemon.status());
    let told = tail.wait_for("a flood", |line| is_inwards(line, "flooded"));
    assert_eq!(told["dest_port"], 5354, "{told}");
    let rules = daemon.rules();
    let rule = rules.iter().find(|rule| rule["action"] == "accept").expect("it is listed");
    assert_eq!((&rule["group"], &rule["reason"]), (&"interface lan0".into(), &"mDNS".into()));
    let frames = daemon.reason("accept", "frames");
    assert!(frames >= 1 && rule["frames"].as_u64() == Some(frames), "{rule} {frames}");
    assert!(daemon.cli(&["rules"]).stdout.contains("interface lan0"));
    assert!(daemon.cli(&["status"]).success());
    let words =
        ["explain", "--inbound", "--from", GATEWAY, "--to", "224.0.0.1:5353", "--proto", "udp"];
    let explained = daemon.cli(&words);
    assert!(explained.stdout.contains("reason   accept"), "{explained:?}");
}

#[test]
fn a_live_rule_refuses_at_once() {
    let lab = Lab::gateway("refuse-live");
    let daemon = Daemon::start(
        &lab.gw,
        &["lan0"],
        "schema = 1\n[groups.monitors]\nmembers = [\"10.20.0.0/24\"]\nallow = [{ to = \"any\" }]\n",
    );
    let _device = Server::start(&lab.dev1, "device", &[22], &[2000]);
    let arrives = || programs::say_udp(&lab.central, DEV1, 2000, "x").stdout.contains('x');
    assert!(arrives());
    let words = ["refuse", "monitors", "any", "udp/2000", "--for", "1h", "--reason", "CVE"];
    let refused = daemon.cli(&words);
    assert!(refused.success(), "{refused:?}");
    assert!(!arrives() && programs::connects(&lab.central, DEV1, 22));
    let live = daemon.status()["live"][0].clone();
    assert_eq!((&live["action"], &live["service"]), (&"refuse".into(), &"udp/2000".into()));
    // It survives the daemon, and a policy.
    assert!(daemon.cli(&["revoke", live["id"].as_str().expect("an id")]).success());
    assert!(arrives());
}

#[test]
fn a_device_gets_what_it_asks_for_and_nothing_else() {
    let lab = Lab::gateway("shut");
    let daemon = Daemon::start(&lab.gw, &["lan0"], SHUT);
    let device = Server::start(&lab.dev1, "device", &[22, 8000], &[514, 2000]);
    let _central = Server::start(&lab.central, "central", &[22, 8000], &[514]);
    for to in [CENTRAL, CENTRAL_V6] {
        assert!(programs::connects(&lab.dev1, to, 8000), "{to}");
        assert!(programs::ping(&lab.dev1, to), "{to}");
        let asked = programs::say_udp(&lab.dev1, to, 514, "question");
        assert!(asked.stdout.contains("question"), "{asked:?}");
        assert!(!programs::connects(&lab.dev1, to, 22), "{to}");
    }
    assert!(programs::ping(&lab.dev1, GATEWAY));
    for to in [DEV1, DEV1_V6] {
        assert!(!programs::connects(&lab.central, to, 22), "{to}");
        assert!(!programs::ping(&lab.central, to), "{to}");
    }
    // From the address and port to which the device may send: nobody has asked.
    let packet = frames::ipv4([10, 30, 0, 10], [10, 20, 0, 11], 17, &frames::udp(514, 2000, b"x"));
    let frame = frames::ethernet(mac(CEN0_MAC), mac(CENTRAL_MAC), 0x0800, &packet);
    let before = daemon.reason("inbound-drop", "frames");
    frames::send(&lab.central, "eth0", &frame);
    wait_until("it is refused", || {
        (daemon.reason("inbound-drop", "frames") > before).then_some(())
    });
    assert!(!device.heard("udp 2000") && !device.heard("tcp 22"), "{:?}", device.calls());
    let tail = daemon.tail(&["--since", "1h"]);
    let told = tail.wait_for("a refusal", |line| is_inwards(line, "inbound-drop"));
    assert_eq!(told["out_iface"], "lan0", "{told}");
    // What others send takes nothing of what the devices' own frames may say, nor of what is known of them.
    assert!(!programs::connects(&lab.dev1, UPDATES, 443));
    tail.wait_for_dest(UPDATES);
    let (asked, passed) = (daemon.reason("asked", "frames"), daemon.reason("allow", "frames"));
    assert!(asked >= 8 && passed >= 8, "{asked} {passed}");
}

#[test]
fn a_fresh_device_comes_up() {
    let lab = Lab::gateway("fresh-in");
    let text = format!("{SHUT}[interfaces.lan0]\nflooded = \"essential\"\n");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &text);
    let fresh = lab.device("fresh", "00:1b:44:11:3a:c9");
    let words = [
        "--dhcp-range=10.20.0.100,10.20.0.150,10m",
        "--dhcp-range=2001:db8:20::,ra-only,64,10m",
        "--enable-ra",
    ];
    let server = Dnsmasq::start(&lab.gw, "lan0", &words);
    let client = Udhcpc::start(&fresh, "eth0", &[]);
    client.wait_for("bound 10.20.0.1");
    client.renew();
    client.wait_for("renew 10.20.0.1");
    fresh.sysctl("ipv6/conf/eth0/accept_ra", "1");
    fresh.ip("link set eth0 down");
    fresh.ip("link set eth0 up");
    wait_until("an address of the advertised prefix", || {
        let list = fresh.ip("-6 -brief address show dev eth0");
        list.contains("2001:db8:20:0:21b:44ff:fe11:3ac9").then_some(())
    });
    assert!(programs::ping(&fresh, GATEWAY), "{}", server.log());
    assert!(daemon.reason("inbound-pass", "frames") >= 4);
}

#[test]
fn paths_with_a_small_mtu_are_found() {
    let lab = Lab::gateway("pmtu");
    // The hop behind the gateway takes 1,280 bytes: the gateway says so to the device.
    lab.gw.ip("link set cen0 mtu 1280");
    let daemon = Daemon::start(&lab.gw, &["lan0"], SHUT);
    for to in [CENTRAL, CENTRAL_V6] {
        let sent = upload(&lab, to);
        assert_eq!(sent, 300_000, "{to}");
    }
    let related = daemon.reason("related", "frames");
    assert!(related >= 2, "{related}");
    assert_eq!(daemon.reason("inbound-drop", "frames"), 0);
}

/// Sends 300,000 bytes from the first device to port 8000; how many arrive.
fn upload(lab: &Lab, to: &str) -> usize {
    let family = if to.contains(':') { "-6" } else { "-4" };
    let receiver = lab.central.spawn("sh", &["-c", &format!("nc {family} -l -N 8000 | wc -c")]);
    wait_until("it listens", || {
        // Port 8000, as the kernel lists its sockets.
        let sockets = lab.central.run_ok("cat", &["/proc/net/tcp", "/proc/net/tcp6"]);
        sockets.contains(":1F40").then_some(())
    });
    let script = format!("head -c 300000 /dev/zero | nc -n -N -w 5 {to} 8000");
    let sent = lab.dev1.run("sh", &["-c", &script], Duration::from_secs(20));
    let ended = receiver.finish(Duration::from_secs(20));
    ended.stdout.trim().parse().unwrap_or_else(|_| panic!("{ended:?} {sent:?}"))
}

#[test]
fn a_large_transfer_to_a_device_that_asked_for_it() {
    let lab = Lab::gateway("download");
    let daemon = Daemon::start(&lab.gw, &["lan0"], SHUT);
    let files = Files::start(&lab.central, 8000, 20);
    assert!(files.reach(&lab.dev1, CENTRAL));
    assert!(files.reach(&lab.dev1, CENTRAL_V6));
    assert_eq!(daemon.reason("inbound-drop", "frames"), 0);
    assert_eq!(daemon.reason("inbound-malformed", "frames"), 0);
}

#[test]
fn between_two_devices_both_have_to_agree() {
    let lab = Lab::gateway("agree");
    let policy = |accept: &str| {
        format!(
            "schema = 1\n[groups.monitors]\nmembers = [\"10.20.0.0/24\"]\ninbound = \"drop\"\n{accept}\n\
             [groups.stations]\nmembers = [\"10.30.0.0/24\"]\ninbound = \"drop\"\n\
             allow = [{{ to = \"10.20.0.0/24\", service = \"tcp/22-23\" }}]\n"
        )
    };
    let accept = "accept = [{ from = \"10.30.0.10\", service = [\"tcp/22\", \"tcp/24\"] }]";
    let daemon = Daemon::start(&lab.gw, &["lan0", "cen0"], &policy(accept));
    let _device = Server::start(&lab.dev1, "device", &[22, 23, 24], &[]);
    let reaches = |port| programs::connects(&lab.central, DEV1, port);
    assert!(reaches(22), "the station may, and the device accepts it");
    assert!(!reaches(23), "the device does not");
    assert!(!reaches(24), "the station may not");
    let applied = daemon.apply(&policy(""));
    assert!(applied.success(), "{applied:?}");
    assert!(!reaches(22));
}

#[test]
fn what_is_sent_to_a_device_leaves_its_own_events_alone() {
    let lab = Lab::gateway("budgets");
    let daemon = Daemon::start(&lab.gw, &["lan0"], SHUT);
    let tail = daemon.tail(&[]);
    let flood: Vec<Vec<u8>> = (0..2_000u16)
        .map(|port| {
            let datagram = frames::udp(port, 3000 + port, b"crash");
            let packet = frames::ipv4([10, 30, 0, 10], [10, 20, 0, 11], 17, &datagram);
            frames::ethernet(mac(CEN0_MAC), mac(CENTRAL_MAC), 0x0800, &packet)
        })
        .collect();
    // From elsewhere: the kernel tells a sender on the gateway at once.
    frames::Sender::open(&lab.central, "eth0").send(&flood);
    assert!(!programs::connects(&lab.dev1, UPDATES, 443));
    let told = tail.wait_for_dest(UPDATES);
    assert!(told["enforcer"].get("direction").is_none(), "{told}");
    // Each of them is accounted for.
    let field = |name| daemon.reason("inbound-drop", name);
    let delivered = || {
        let lines = tail.lines();
        let is_one =
            |line: &&Value| line["event_type"] == "drop" && is_inwards(line, "inbound-drop");
        lines.iter().filter(is_one).count() as u64
    };
    assert!(field("frames") >= 2_000);
    wait_until("the events add up", || {
        let sum = delivered() + field("suppressed") + field("lost");
        (sum == field("frames")).then_some(())
    });
    let row = daemon.devices().into_iter().find(|row| row["mac"] == DEV1_MAC);
    let dropped = row.expect("it was refused")["dropped"].as_u64();
    assert!(dropped < Some(100), "what others sent is not the device's: {dropped:?}");
}

#[test]
fn an_emptied_transmit_side_is_noticed_and_filled_again() {
    let lab = Lab::gateway("refuse-slot");
    let daemon = Daemon::start(&lab.gw, &["lan0"], REFUSES);
    let _device = Server::start(&lab.dev1, "device", &[], &[2000]);
    let arrives = || programs::say_udp(&lab.central, DEV1, 2000, "x").stdout.contains('x');
    let tail = daemon.tail(&["--group", "nobody"]);
    assert!(!arrives());
    daemon.process().signal(libc::SIGSTOP);
    let slots = daemon.pin("SENDS").display().to_string();
    bpftool(&["map", "delete", "pinned", &slots, "key", "0", "0", "0", "0"]);
    assert!(arrives(), "nothing judges");
    daemon.process().signal(libc::SIGCONT);
    tail.wait_for("what was changed", |line| {
        line["event_type"] == "tamper" && line["enforcer"]["reason"] == "image"
    });
    wait_until("the slot is filled again", || (!arrives()).then_some(()));
}
