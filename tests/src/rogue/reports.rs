//! Events that a device hides: its own, and another's.

use std::time::Duration;

use serde_json::Value;

use super::{ATTACKER, Lab, POLICY, VICTIM};
use crate::harness::{Daemon, cpu, frames::Sender, wait::pause, wait_until};
use enforcer_testkit::frames::{Ethernet, Tcp, V4, V6, ether_type};

const BEACON: u32 = 0xca72_0477;

fn v4(mac: [u8; 6], source: u32, destination: u32, port: u16) -> Vec<u8> {
    let packet = V4::new(source, destination, 6).packet(&Tcp::new(port).segment(b""));
    Ethernet::new(mac).frame(ether_type::IPV4, &packet)
}

/// The destination whose flow has the same digest as the beacon in versions without a secret: the factors are
/// odd, so there is one.
fn cover(service: u64, beacon: u64) -> u128 {
    const HIGH: u64 = 0xbf58_476d_1ce4_e5b9;
    const LOW: u64 = 0x94d0_49bb_1331_11eb;
    const WHY: u64 = 0xa076_1d64_78bd_642f;
    // Newton: each step doubles the bits that are right.
    let mut inverse = LOW;
    for _ in 0..6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(LOW.wrapping_mul(inverse)));
    }
    assert_eq!(LOW.wrapping_mul(inverse), 1);
    let high = 0x2001_0db8_0000_0000_u64;
    let rest = beacon.wrapping_sub(service).wrapping_mul(WHY).wrapping_sub(high.wrapping_mul(HIGH));
    let low = u64::from(BEACON).wrapping_add(rest.wrapping_mul(inverse));
    u128::from(high) << 64 | u128::from(low)
}

/// Frames of a device that `devices` knows of.
fn dropped(daemon: &Daemon<'_>, device: &str) -> u64 {
    let rows = daemon.devices();
    let row = rows.iter().find(|row| row["device"] == device).expect("it is named");
    row["dropped"].as_u64().unwrap_or_default()
}

fn destinations(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["dest_ip"].as_str()).collect()
}

/// A cover frame with the beacon's unkeyed digest hides nothing.
#[test]
fn a_beacon_is_not_hidden_behind_another_flow() {
    let lab = Lab::build("beacon");
    let policy = POLICY.replace("mode = \"quarantine\"", "mode = \"enforce\"");
    let daemon = lab.daemon(&policy);
    let tail = daemon.tail(&[]);
    let source = 0xfd40 << 112 | 0x66;
    let hidden = cover(6 << 16 | 443, 6 << 16 | 515);
    let packet = V6::new(source, hidden, 6).packet(&Tcp::new(443).segment(b""));
    let covering = Ethernet::new(ATTACKER).frame(ether_type::IPV6, &packet);
    let beacon = v4(ATTACKER, 0x0a28_0042, BEACON, 515);
    // A flow is new to each CPU that sees it.
    cpu::keep_on(0..1);
    let sender = Sender::open(&lab.attacker, "a0");
    for _ in 0..150 {
        sender.send(&[covering.clone(), beacon.clone()]);
    }
    tail.wait_for_dest("202.114.4.119");
    wait_until("all are accounted for", || (dropped(&daemon, "attacker") == 300).then_some(()));
    // And again, when its suppressed frames are reported.
    pause(Duration::from_secs(6));
    sender.send(std::slice::from_ref(&beacon));
    let again = tail.wait_for("the repeats", |line| {
        line["dest_ip"] == "202.114.4.119" && line["enforcer"]["repeats"].as_u64() > Some(0)
    });
    assert_eq!(again["enforcer"]["repeats"], 149, "150 beacons: one told, and the rest counted");
}

/// A sender that uses another's MAC on the wrong port spends its own budget.
#[test]
fn no_device_spends_another_devices_budget() {
    let lab = Lab::build("starve");
    let daemon = lab.daemon(POLICY);
    let tail = daemon.tail(&["--reason", "default-drop"]);
    let attack = |n: u32| v4(VICTIM, 0x0a28_000b, 0x0b00_0000 + n, 443);
    let sender = Sender::open(&lab.attacker, "a0");
    sender.send(&(0..2_000).map(attack).collect::<Vec<_>>());
    let own = |n: u32| v4(VICTIM, 0x0a28_000b, 0x0c00_0000 + n, 443);
    let victim = Sender::open(&lab.victim, "v0");
    let frames: Vec<_> = (1..=40).map(own).collect();
    for frames in frames.chunks(10) {
        sender.send(&(0..500).map(attack).collect::<Vec<_>>());
        victim.send(frames);
    }
    tail.wait_for_dest("12.0.0.40");
    let lines = tail.lines();
    let told = destinations(&lines).iter().filter(|address| address.starts_with("12.0.0.")).count();
    assert_eq!(told, 40, "each of its destinations is told");
}

/// Every named device that was refused is in `devices`, even if none of its events got through.
#[test]
fn every_refused_named_device_is_listed_even_without_events() {
    let lab = Lab::build("named");
    let mut policy = String::from("schema = 1\n[unknown]\ndefault = \"drop\"\n");
    let mac = |n: u16| [2, 0, 0, 0x41, n.to_be_bytes()[0], n.to_be_bytes()[1]];
    for n in 0..600 {
        let mac = super::text(mac(n));
        policy.push_str(&format!("[devices.d{n}]\nmac = \"{mac}\"\n"));
    }
    let daemon = lab.daemon(&policy);
    let sender = Sender::open(&lab.attacker, "a0");
    // More invented ones than there are entries, and then each named one once.
    let invented =
        |n: u16| v4([2, 0, 0, 0x42, n.to_be_bytes()[0], n.to_be_bytes()[1]], 0x0a28_0100, 1, 443);
    let named = |n: u16| v4(mac(n), 0x0a28_0100 + u32::from(n), 0x0b00_0001, 443);
    for block in 0..6_u16 {
        for _ in 0..3 {
            sender.send(&(0..1_000).map(invented).collect::<Vec<_>>());
        }
        sender.send(&(block * 100..block * 100 + 100).map(named).collect::<Vec<_>>());
    }
    let missing = || {
        let rows = daemon.devices();
        let refused = |n: &u16| {
            let name = format!("d{n}");
            rows.iter().any(|row| row["device"] == name.as_str() && row["last_seen"].is_string())
        };
        (0..600_u16).filter(|n| !refused(n)).collect::<Vec<_>>()
    };
    wait_until("the daemon reads what there is", || missing().is_empty().then_some(()));
    let rows = daemon.devices();
    let others = rows.iter().filter(|row| row["device"].is_null()).count();
    assert!(others >= 900, "{others} of 1,000 that nobody named");
}
