//! Another device's place on a bridge, and expired neighbours.

use std::time::{Duration, Instant};

use super::{ATTACKER, FAR, Lab, POLICY, VICTIM};
use crate::harness::{
    Sniffer,
    frames::{Flood, contains, send_all},
    programs::{Server, connects},
    wait::pause,
};
use enforcer_testkit::frames::{BROADCAST, Ethernet, V4, arp, eapol, ether_type, lldp, udp};

/// Essentials with the MAC of another device.
fn essentials(mac: [u8; 6]) -> Vec<Vec<u8>> {
    let reserved = |last| Ethernet::new(mac).to([1, 0x80, 0xc2, 0, 0, last]);
    let probe = arp(1, mac, 0, 0x0a28_0063);
    vec![
        reserved(3).frame(ether_type::EAPOL, &eapol(b"")),
        reserved(0xe).frame(ether_type::LLDP, &lldp(b"chassis")),
        Ethernet::new(mac).to(BROADCAST).frame(ether_type::ARP, &probe),
    ]
}

/// `count` numbered frames from the far host to a MAC.
fn numbered(to: [u8; 6], count: u32) -> Vec<Vec<u8>> {
    let frame = |n: u32| {
        let data = [&b"for-the-victim"[..], &n.to_be_bytes()].concat();
        let packet = V4::new(0x0a28_000a, 0x0a28_000b, 17).packet(&udp(5000, 5000, &data));
        Ethernet::new(FAR).to(to).frame(ether_type::IPV4, &packet)
    };
    (0..count).map(frame).collect()
}

/// Frames with a marker that went to a MAC.
fn count(sniffer: &Sniffer, to: [u8; 6], marker: &[u8]) -> usize {
    let seen = sniffer.frames(Duration::from_millis(500));
    seen.iter().filter(|frame| frame.starts_with(&to) && contains(frame, marker)).count()
}

/// A single frame with the victim's MAC would be enough: the bridge learns its port.
#[test]
fn no_device_takes_another_devices_traffic() {
    let lab = Lab::build("intercept");
    let daemon = lab.daemon(POLICY);
    // The bridge knows where the victim is.
    send_all(&lab.victim, "v0", &[&essentials(VICTIM)[2]]);
    let (own, other) = (Sniffer::start(&lab.victim, "v0"), Sniffer::start(&lab.attacker, "a0"));
    let flood = Flood::start(&lab.attacker, "a0", essentials(VICTIM));
    flood.wait_for(300);
    for frames in numbered(VICTIM, 1000).chunks(10) {
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        send_all(&lab.far, "x0", &frames);
        flood.wait_for(5);
    }
    drop(flood);
    assert_eq!(count(&own, VICTIM, b"for-the-victim"), 1000, "all of them stay with the victim");
    assert_eq!(count(&other, VICTIM, b"for-the-victim"), 0);
    assert!(daemon.reason("interface-binding", "frames") > 300);
}

/// A host whose named interface is not protected may not appear on a protected one.
#[test]
fn no_device_takes_the_traffic_of_a_quiet_server() {
    let lab = Lab::build("quiet");
    let daemon = lab.daemon(POLICY);
    send_all(&lab.far, "x0", &[&essentials(FAR)[2]]);
    let (own, other) = (Sniffer::start(&lab.far, "x0"), Sniffer::start(&lab.attacker, "a0"));
    let flood = Flood::start(&lab.attacker, "a0", essentials(FAR));
    flood.wait_for(300);
    let frame = |n: u32| {
        let port = 443u16.to_be_bytes();
        let head =
            [0xc0, 0, port[0], port[1], 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0];
        let segment = [&head[..], b"for-the-server", &n.to_be_bytes()].concat();
        let packet = V4::new(0x0a28_000b, 0x0a28_000a, 6).packet(&segment);
        Ethernet::new(VICTIM).to(FAR).frame(ether_type::IPV4, &packet)
    };
    for n in 0..50 {
        send_all(&lab.victim, "v0", &[&frame(n)]);
        flood.wait_for(5);
    }
    drop(flood);
    assert_eq!(count(&own, FAR, b"for-the-server"), 50);
    assert_eq!(count(&other, FAR, b"for-the-server"), 0);
    // Nor the gateway's own: of another port, and of the bridge.
    for mac in [[2, 0, 0, 0x40, 0xff, 2], [2, 0, 0, 0x40, 0xff, 3]] {
        let before = daemon.reason("src-mac-own", "frames");
        send_all(&lab.attacker, "a0", &[&essentials(mac)[0]]);
        assert_eq!(daemon.reason("src-mac-own", "frames"), before + 1, "{mac:02x?}");
    }
    assert_eq!(daemon.reason("src-mac-zero", "frames"), 0);
    send_all(&lab.attacker, "a0", &[&essentials([0; 6])[0]]);
    assert_eq!(daemon.reason("src-mac-zero", "frames"), 1);
    // Frames with its own MAC pass.
    let before = daemon.reason("eapol", "frames");
    send_all(&lab.attacker, "a0", &[&essentials(ATTACKER)[0]]);
    assert_eq!(daemon.reason("eapol", "frames"), before + 1);
}

/// The ports have no addresses, so the prefix on the link is unknown.
#[test]
fn neighbours_are_found_again_across_a_bridge_without_addresses() {
    let lab = Lab::build("forget");
    let _server = Server::start(&lab.far, "x", &[443], &[]);
    let daemon = lab.daemon(POLICY);
    let (victim, far, gateway) = (&lab.victim, &lab.far, &lab.gateway);
    let forgets: [(&str, &dyn Fn()); 5] = [
        ("nothing", &|| {}),
        ("the far host", &|| drop(far.ip("-6 neigh flush all"))),
        ("the device", &|| drop(victim.ip("-6 neigh flush all"))),
        ("both", &|| {
            far.ip("-6 neigh flush all");
            victim.ip("-6 neigh flush all");
        }),
        ("the bridge", &|| {
            gateway.ip("link set br0 type bridge fdb_flush");
        }),
    ];
    for (who, forget) in forgets {
        for _ in 0..3 {
            forget();
            let begun = Instant::now();
            assert!(connects(victim, "fd40::10", 443), "{who} forgot");
            // A lost solicitation is repeated after a second (RFC 4861 section 10).
            assert!(begun.elapsed() < Duration::from_secs(1), "{who}: {:?}", begun.elapsed());
            assert!(connects(victim, "10.40.0.10", 443), "{who} forgot");
        }
    }
    // Entries that have become stale are probed by unicast, from a global address to a global one.
    pause(Duration::from_secs(1));
    far.ip("-6 neigh change fd40::11 dev x0 lladdr 02:00:00:40:00:11 nud probe");
    pause(Duration::from_secs(1));
    let entry = far.ip("-6 neigh show fd40::11 dev x0");
    assert!(entry.contains("REACHABLE"), "{entry}");
    assert_eq!(daemon.reason("nd-spoof", "frames"), 0);
}
