//! Devices that send from foreign addresses, and frames with tags.
use crate::harness::{
    Daemon, Lab, Sniffer, frames,
    programs::{self, Files},
    topology::{DEV1, DEV1_MAC, DEV1_V6, DEV2, LAN0_MAC, UPDATES, UPDATES_V6},
    wait_until,
};

fn bound() -> String {
    format!(
        "schema = 1\n[devices.bed-11]\nmac = \"{DEV1_MAC}\"\nip = [\"{DEV1}\", \"{DEV1_V6}\"]\n\
         [groups.beds]\nmembers = [\"bed-11\", \"10.20.0.12\"]\n\
         allow = [{{ to = \"any\", reason = \"all\" }}]\n"
    )
}

#[test]
fn a_bound_device_sends_from_its_own_addresses_only() {
    let lab = Lab::gateway("binding");
    let files = Files::start(&lab.internet, 80, 1);
    let daemon = Daemon::start(&lab.gw, &["lan0"], &bound());
    let tail = daemon.tail(&["--reason", "source-binding"]);
    assert!(files.reach(&lab.dev1, UPDATES));
    assert!(files.reach(&lab.dev1, UPDATES_V6));
    for (address, length, to) in [("10.20.0.99", 24, UPDATES), ("2001:db8:20::99", 64, UPDATES_V6)]
    {
        lab.dev1.address("eth0", &format!("{address}/{length}"));
        assert!(!files.reach_by(&lab.dev1, to, &["--interface", address]), "{address}");
        let line = tail.wait_for(address, |line| line["src_ip"] == address);
        assert_eq!(line["dest_ip"], to);
        assert_eq!(line["enforcer"]["device"], "bed-11");
    }
    assert!(files.reach_by(&lab.dev1, UPDATES, &["--interface", DEV1]));
}

#[test]
fn no_other_device_sends_from_a_bound_address() {
    let lab = Lab::gateway("stolen");
    let files = Files::start(&lab.internet, 80, 1);
    let daemon = Daemon::start(&lab.gw, &["lan0"], &bound());
    let tail = daemon.tail(&[]);
    // The gateway's MAC is known, so the connection is dropped and not the ARP request.
    assert!(files.reach(&lab.dev2, UPDATES));
    lab.dev1.ip("address flush dev eth0");
    lab.dev2.address("eth0", &format!("{DEV1}/24"));
    assert!(!files.reach_by(&lab.dev2, UPDATES, &["--interface", DEV1]));
    let line = tail.wait_for(DEV1, |line| line["src_ip"] == DEV1 && line["dest_ip"] == UPDATES);
    assert_eq!(line["enforcer"]["reason"], "source-binding", "{line}");
    // It cannot claim the address either.
    lab.dev2.ip("neigh flush dev eth0");
    lab.dev2.run_ok("sh", &["-c", &format!("ping -c 1 -W 1 -I {DEV1} 10.20.0.1 || true")]);
    let line = tail.wait_for("arp-spoof", |line| line["enforcer"]["reason"] == "arp-spoof");
    assert_eq!(line["ether"]["ether_type"], 0x0806, "{line}");
    // Its own address still works, once it has stopped asking for the gateway with the other one.
    lab.dev2.ip(&format!("address del {DEV1}/24 dev eth0"));
    wait_until("the gateway is found", || {
        lab.dev2.ip("neigh flush dev eth0");
        files.reach_by(&lab.dev2, UPDATES, &["--interface", DEV2]).then_some(())
    });
}

#[test]
fn tagged_frames_are_dropped_unless_declared() {
    let lab = Lab::gateway("tagged");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &bound());
    assert!(programs::ping(&lab.dev1, UPDATES));
    let sniffer = Sniffer::start(&lab.internet, "eth0");
    let datagram = |text: &[u8]| {
        let udp = frames::udp(40000, 9, text);
        frames::ipv4([10, 20, 0, 11], [198, 51, 100, 10], 17, &udp)
    };
    let send = |ether_type: u16, head: &[u8], text: &[u8]| {
        let payload = [head, &datagram(text)].concat();
        let (to, from) = (frames::mac(LAN0_MAC), frames::mac(DEV1_MAC));
        frames::send(&lab.dev1, "eth0", &frames::ethernet(to, from, ether_type, &payload));
    };
    let tail = daemon.tail(&["--reason", "vlan-undeclared"]);
    send(0x8100, &[0, 20, 8, 0], b"tagged-20");
    let line = tail.wait_for("VLAN 20", |line| line["vlan"] == serde_json::json!([20]));
    assert_eq!(line["dest_ip"], UPDATES, "{line}");
    send(0x88a8, &[0, 30, 0x81, 0, 0, 20, 8, 0], b"tagged-30-20");
    tail.wait_for("VLAN 30", |line| line["vlan"] == serde_json::json!([30]));
    send(0x8100, &[0, 40, 0x81, 0, 0, 20, 8, 0], b"tagged-40-20");
    tail.wait_for("VLAN 40 and 20", |line| line["vlan"] == serde_json::json!([40, 20]));
    // VLAN 0 is a priority, not a network.
    send(0x8100, &[0x60, 0, 8, 0], b"priority-3");
    assert!(sniffer.saw(b"priority-3", std::time::Duration::from_secs(5)));
    send(0x0800, &[], b"plain-frame");
    // Frames arrive in order: once this one is here, the tagged ones would be too.
    let seen = sniffer.find(std::time::Duration::from_secs(5), |frame| {
        assert!(!frame.windows(7).any(|part| part == b"tagged-"), "a tagged frame got through");
        frame.windows(11).any(|part| part == b"plain-frame")
    });
    assert!(seen.is_some());
    assert_eq!(daemon.reason("vlan-undeclared", "frames"), 3);

    // Declared, it is judged like any other.
    let text = format!("{}[interfaces.lan0]\nvlans = [20]\n", bound());
    assert!(daemon.apply(&text).success());
    let passed = daemon.reason("allow", "frames");
    send(0x8100, &[0, 20, 8, 0], b"tagged-20");
    wait_until("it is allowed", || (daemon.reason("allow", "frames") > passed).then_some(()));
    assert_eq!(daemon.reason("vlan-undeclared", "frames"), 3);
}
