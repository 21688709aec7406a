//! Essentials of a LAN pass under default deny, and imitations of them do not.
use std::time::Duration;

use super::policy;
use crate::harness::{
    Daemon, Lab, Netns, Sniffer,
    dhcp::{Dnsmasq, Udhcpc, dhclient_v6},
    frames::{contains, mac},
    programs,
    topology::{DEV1, DEV1_MAC, DEV1_V6, DEV2, GATEWAY, GATEWAY_V6, UPDATES},
    wait_until,
};

/// A device that has no address yet.
const FRESH_MAC: &str = "00:1b:44:11:3a:c9";
/// Its autoconfigured address in 2001:db8:20::/64 (RFC 4291, appendix A).
const FRESH_V6: &str = "2001:db8:20:0:21b:44ff:fe11:3ac9";

/// Everything that a rule can allow, for every device.
const ALLOW_ALL: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [{ to = "any" }]
"#;

/// Only web pages of the update server, for every device.
fn deny_all() -> String {
    format!("{}[unknown]\ndefault = \"drop\"\n", policy("\"00:1b:44/24\""))
}

#[test]
fn a_device_gets_its_lease_and_renews_it() {
    let lab = Lab::gateway("lease");
    let fresh = lab.device("fresh", FRESH_MAC);
    let daemon = Daemon::start(&lab.gw, &["lan0"], &deny_all());
    let words = ["--dhcp-range=10.20.0.100,10.20.0.150,10m", "--dhcp-authoritative"];
    let server = Dnsmasq::start(&lab.gw, "lan0", &words);
    let client = Udhcpc::start(&fresh, "eth0", &[]);
    client.wait_for("bound 10.20.0.1");
    let address = fresh.ip("-4 -brief address show dev eth0");
    assert!(address.contains("10.20.0.1"), "{address}");
    let before = daemon.reason("dhcp", "frames");
    assert!(before >= 2, "DISCOVER and REQUEST: {before}\n{}", server.log());
    // This time by unicast to the gateway.
    client.renew();
    client.wait_for("renew 10.20.0.1");
    assert!(daemon.reason("dhcp", "frames") > before);
    assert!(!programs::ping(&fresh, UPDATES), "a lease is no permission");
    assert_eq!(daemon.reason("rogue-dhcp", "frames"), 0);
}

#[test]
fn a_device_gets_its_ipv6_address_from_the_gateway() {
    let lab = Lab::gateway("slaac");
    let fresh = lab.device("fresh", FRESH_MAC);
    let daemon = Daemon::start(&lab.gw, &["lan0"], &deny_all());
    let range = "--dhcp-range=2001:db8:20::100,2001:db8:20::1ff,slaac,64,10m";
    let server = Dnsmasq::start(&lab.gw, "lan0", &[range, "--enable-ra"]);
    fresh.sysctl("ipv6/conf/eth0/accept_ra", "1");
    fresh.sysctl("ipv6/conf/eth0/router_solicitations", "3");
    fresh.ip("link set eth0 down");
    fresh.ip("link set eth0 up");
    wait_until("an address of the advertised prefix", || {
        fresh.ip("-6 -brief address show dev eth0").contains(FRESH_V6).then_some(())
    });
    assert!(fresh.ip("-6 route show default").contains("proto ra"), "{}", server.log());
    assert!(daemon.reason("neighbour-discovery", "frames") > 0);

    let (ended, lease) = dhclient_v6(&fresh, "eth0");
    assert!(lease.contains("iaaddr 2001:db8:20::1"), "{lease}\n{ended:?}\n{}", server.log());
    assert!(daemon.reason("dhcp", "frames") >= 2);
    assert!(!programs::ping(&fresh, GATEWAY_V6), "an address is no permission");
}

#[test]
fn neighbours_are_found_again_when_all_have_forgotten() {
    let lab = Lab::gateway("forgotten");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &deny_all());
    for (gateway, device, reason) in
        [(GATEWAY, DEV1, "arp"), (GATEWAY_V6, DEV1_V6, "neighbour-discovery")]
    {
        for asks_first in [&lab.dev1, &lab.gw] {
            lab.dev1.ip("neigh flush dev eth0");
            lab.gw.ip("neigh flush dev lan0");
            let before = daemon.reason(reason, "frames");
            let to = if std::ptr::eq(asks_first, &lab.gw) { device } else { gateway };
            assert!(!programs::ping(asks_first, to), "{to} answers, or its answer passes");
            let (asker, interface) =
                if to == device { (&lab.gw, "lan0") } else { (&lab.dev1, "eth0") };
            wait_until("the neighbour is found", || {
                let list = asker.ip(&format!("neigh show {to} dev {interface}"));
                list.contains("lladdr").then_some(())
            });
            assert!(daemon.reason(reason, "frames") > before, "{to}");
        }
    }
}

#[test]
fn the_gateway_answers_a_ping_if_a_rule_says_so() {
    let lab = Lab::gateway("ping");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &deny_all());
    assert!(!programs::ping(&lab.dev1, GATEWAY));
    assert!(!programs::ping(&lab.dev1, GATEWAY_V6));
    let rules = "allow = [\n  { to = \"gateway\", service = [\"icmp\", \"icmpv6\"] },";
    assert!(daemon.apply(&deny_all().replace("allow = [", rules)).success());
    assert!(programs::ping(&lab.dev1, GATEWAY));
    assert!(programs::ping(&lab.dev1, GATEWAY_V6));
    assert!(!programs::ping(&lab.dev1, UPDATES), "the rule is about the gateway alone");
}

#[test]
fn a_device_begins_802_1x_with_the_gateway() {
    let lab = Lab::gateway("eapol");
    // Directly connected: no bridge forwards this address.
    let device = Netns::create(&format!("{}-eapol", lab.gw.name()));
    lab.gw.veth(("lan1", "02:00:00:21:00:01"), &device, ("eth0", DEV1_MAC));
    let daemon = Daemon::start(&lab.gw, &["lan1"], &deny_all());
    let sniffer = Sniffer::start(&lab.gw, "lan1");
    let settings = daemon.write(
        "wired.conf",
        "ap_scan=0\nnetwork={\n key_mgmt=IEEE8021X\n eap=MD5\n identity=\"bed\"\n \
         password=\"secret\"\n eapol_flags=0\n}\n",
    );
    let settings = settings.display().to_string();
    let supplicant =
        device.spawn("wpa_supplicant", &["-D", "wired", "-i", "eth0", "-c", &settings]);
    // EAPOL-Start (IEEE 802.1X-2010, 11.3), to the port access entity's address.
    let start = sniffer.find(Duration::from_secs(10), |frame| {
        frame.starts_with(&mac("01:80:c2:00:00:03"))
            && frame[12..14] == [0x88, 0x8e]
            && frame[15] == 1
    });
    assert!(start.is_some(), "{} {}", supplicant.stdout(), supplicant.stderr());
    assert!(daemon.reason("eapol", "frames") > 0);
    assert_eq!(daemon.reason("eapol-destination", "frames"), 0);
}

#[test]
fn a_device_is_no_dhcp_server() {
    let lab = Lab::gateway("roguedhcp");
    let range = "--dhcp-range=10.20.0.200,10.20.0.210,10m";
    let server = Dnsmasq::start(&lab.dev1, "eth0", &[range, "--dhcp-authoritative"]);
    // It works without enforcement.
    let client = Udhcpc::start(&lab.gw, "lan0", &["-n", "-q"]);
    client.wait_for("bound 10.20.0.2");
    lab.gw.ip("address flush dev lan0");
    lab.gw.address("lan0", "10.20.0.1/24");

    // Even if everything that the device sends is allowed.
    let daemon = Daemon::start(&lab.gw, &["lan0"], ALLOW_ALL);
    let sniffer = Sniffer::start(&lab.gw, "lan0");
    let before = server.log().matches("DHCPOFFER").count();
    let client = Udhcpc::start(&lab.gw, "lan0", &["-n", "-q", "-t", "2"]);
    client.wait_for("leasefail");
    assert!(server.log().matches("DHCPOFFER").count() > before, "{}", server.log());
    assert!(daemon.reason("rogue-dhcp", "frames") > 0);
    assert!(!client.log().contains("bound"), "{}", client.log());
    let from_server = [&mac(DEV1_MAC)[..], &[8, 0, 0x45]].concat();
    for frame in sniffer.frames(Duration::from_millis(100)) {
        let offer = contains(&frame, &from_server) && frame.get(34..38) == Some(&[0, 67, 0, 68]);
        assert!(!offer, "an offer came through");
    }
}

/// The gateway as a bridge: server and client are behind two of its ports.
#[test]
fn a_dhcp_server_does_not_answer_across_the_gateway() {
    let lab = Lab::gateway("bridged");
    lab.gw.ip("link add br1 type bridge forward_delay 0 mcast_snooping 0");
    lab.gw.ip("link set br1 up");
    let port = |name: &str, own: &str, mac: &str| {
        let device = Netns::create(&format!("{}-{name}", lab.gw.name()));
        lab.gw.veth((name, own), &device, ("eth0", mac));
        lab.gw.ip(&format!("link set {name} master br1"));
        device
    };
    let rogue = port("lan1", "02:00:00:21:00:01", "00:1b:44:11:3a:c1");
    let client = port("lan2", "02:00:00:21:00:02", "00:1b:44:11:3a:c2");
    rogue.address("eth0", "10.21.0.1/24");
    let words = ["--dhcp-range=10.21.0.200,10.21.0.210,10m", "--dhcp-authoritative"];
    let server = Dnsmasq::start(&rogue, "eth0", &words);
    Udhcpc::start(&client, "eth0", &["-n", "-q"]).wait_for("bound 10.21.0.2");
    client.ip("address flush dev eth0");

    let daemon = Daemon::start(&lab.gw, &["lan1", "lan2"], ALLOW_ALL);
    let offers = || server.log().matches("DHCPOFFER").count();
    let before = offers();
    let asks = Udhcpc::start(&client, "eth0", &["-n", "-q", "-t", "2"]);
    asks.wait_for("leasefail");
    assert!(offers() > before, "the question crosses the bridge: {}", server.log());
    assert!(!asks.log().contains("bound"), "{}", asks.log());
    assert!(daemon.reason("rogue-dhcp", "frames") > 0);
}

#[test]
fn a_device_is_no_router() {
    const ROGUE: &str = "2001:db8:66:";
    let lab = Lab::gateway("roguera");
    lab.dev1.address("eth0", "2001:db8:66::1/64");
    // A forwarding gateway accepts advertisements only with 2.
    lab.gw.sysctl("ipv6/conf/lan0/accept_ra", "2");
    let words = ["--dhcp-range=2001:db8:66::,ra-only,64", "--enable-ra"];
    let believes = || lab.gw.ip("-6 -brief address show dev lan0").contains(ROGUE);
    let server = Dnsmasq::start(&lab.dev1, "eth0", &words);
    wait_until("it works while nobody watches", || believes().then_some(()));
    drop(server);
    for address in lab.gw.ip("-6 -brief address show dev lan0").split_whitespace() {
        if address.starts_with(ROGUE) {
            lab.gw.ip(&format!("address del {address} dev lan0"));
        }
    }
    let daemon = Daemon::start(&lab.gw, &["lan0"], ALLOW_ALL);
    let _server = Dnsmasq::start(&lab.dev1, "eth0", &words);
    wait_until("advertisements are dropped", || {
        (daemon.reason("rogue-ra", "frames") > 0).then_some(())
    });
    programs::settle();
    assert!(!believes(), "{}", lab.gw.ip("-6 -brief address show dev lan0"));
    assert!(programs::ping(&lab.dev1, DEV2), "the devices' switch works");
}
