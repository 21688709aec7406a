//! Allowed packets in frames to an accomplice.

use std::time::Duration;

use super::{ATTACKER, FAR, Lab, POLICY, VICTIM, text};
use crate::harness::{
    Daemon, Sniffer,
    frames::{contains, send_all},
    programs::{Server, connects},
    wait::wait_until,
};
use enforcer_testkit::frames::{Ethernet, V4, ether_type, udp};

/// The far host has these in addition to 10.40.0.10: one that the policy does not name, and the
/// router's.
const STRANGER: u32 = 0x0a28_004d;
const ROUTER: &str = "10.40.0.254";
const ELSEWHERE: u32 = 0x0a63_0001;
const BRIDGE: [u8; 6] = [2, 0, 0, 0x40, 0xff, 3];
/// Time to wait for frames that must not arrive.
const MOMENT: Duration = Duration::from_millis(300);

fn policy(next_hop: &str) -> String {
    let rule = "allow = [{ to = \"10.40.0.10\", service = \"tcp/443\" }";
    let open = "allow = [{ to = \"any\", service = [\"tcp/443\", \"udp/5000\"] }";
    assert!(POLICY.contains(rule));
    POLICY.replace(rule, open) + &format!("[interfaces.g0]\nnext-hop = \"{next_hop}\"\n")
}

/// Sends a datagram of the victim in a frame to a MAC; returns whether it came out of the bridge within some
/// time, at the attacker and at the far host.
fn comes_out(
    lab: &Lab,
    destination: u32,
    to: [u8; 6],
    marker: &str,
    times: [Duration; 2],
) -> [bool; 2] {
    let sniffers = [Sniffer::start(&lab.attacker, "a0"), Sniffer::start(&lab.far, "x0")];
    let packet = V4::new(0x0a28_000b, destination, 17).packet(&udp(5000, 5000, marker.as_bytes()));
    let frame = Ethernet::new(VICTIM).to(to).frame(ether_type::IPV4, &packet);
    send_all(&lab.victim, "v0", &[&frame]);
    let is_it = |frame: &[u8]| frame.starts_with(&to) && contains(frame, marker.as_bytes());
    let [first, second] = sniffers;
    [first.find(times[0], is_it).is_some(), second.find(times[1], is_it).is_some()]
}

/// The same with a known expectation: expected frames get more time.
#[track_caller]
fn goes(lab: &Lab, destination: u32, to: [u8; 6], marker: &str, expected: [bool; 2]) {
    let times = expected.map(|comes| if comes { Duration::from_secs(10) } else { MOMENT });
    assert_eq!(comes_out(lab, destination, to, marker, times), expected, "{marker}");
}

fn refused(daemon: &Daemon<'_>) -> u64 {
    daemon.reason("destination-binding", "frames")
}

#[test]
fn an_allowed_packet_reaches_its_next_hop_and_no_accomplice() {
    let lab = Lab::build("hops");
    let (far, gateway) = (&lab.far, &lab.gateway);
    far.address("x0", "10.40.0.77/24");
    far.address("x0", &format!("{ROUTER}/24"));
    gateway.ip("addr add 10.40.0.1/24 dev br0");
    gateway.ip(&format!("route add default via {ROUTER}"));
    let _server = Server::start(far, "x", &[443], &[]);
    let known = 0x0a28_000a;
    // The bridge has learned all MACs.
    for (mac, port) in [(ATTACKER, "g1"), (FAR, "w0")] {
        let entry = ["fdb", "replace", &text(mac), "dev", port, "master", "static"];
        gateway.run_ok("bridge", &entry);
    }

    let daemon = lab.daemon(&policy("any"));
    goes(&lab, known, ATTACKER, "bait-0", [true, false]);
    assert!(daemon.apply(&policy("bound")).success(), "{}", daemon.log());

    // A host that the policy names.
    goes(&lab, known, ATTACKER, "bait-1", [false, false]);
    assert_eq!(refused(&daemon), 1);
    goes(&lab, known, FAR, "own-1", [false, true]);
    assert!(connects(&lab.victim, "10.40.0.10", 443));

    // An unknown host: the gateway resolves it.
    goes(&lab, STRANGER, FAR, "early", [false, false]);
    wait_until("the neighbour is known", || {
        comes_out(&lab, STRANGER, FAR, "own-2", [MOMENT; 2])[1].then_some(())
    });
    assert!(connects(&lab.victim, "10.40.0.77", 443));
    goes(&lab, STRANGER, ATTACKER, "bait-2", [false, false]);

    // Through the router, once the gateway has used it; and through the gateway itself.
    gateway.run_ok("ping", &["-c1", "-W2", ROUTER]);
    wait_until("the router is known", || {
        comes_out(&lab, ELSEWHERE, FAR, "out", [MOMENT; 2])[1].then_some(())
    });
    goes(&lab, ELSEWHERE, ATTACKER, "bait-3", [false, false]);
    let before = refused(&daemon);
    comes_out(&lab, ELSEWHERE, BRIDGE, "routed", [MOMENT; 2]);
    assert_eq!(refused(&daemon), before, "the gateway takes what is for it");

    // To a group: only the MAC of the group.
    let group = 0xefff_0001;
    goes(&lab, group, ATTACKER, "bait-4", [false, false]);
    goes(&lab, group, [1, 0, 0x5e, 0x7f, 0, 1], "many", [true, true]);

    // A neighbour that moves is followed, without a new generation.
    let generation = daemon.status()["generation"].clone();
    let moved = format!("neigh replace 10.40.0.77 lladdr {} dev br0 nud permanent", text(ATTACKER));
    gateway.ip(&moved);
    wait_until("the neighbour has moved", || {
        comes_out(&lab, STRANGER, ATTACKER, "moved", [MOMENT; 2])[0].then_some(())
    });
    goes(&lab, STRANGER, FAR, "late", [false, false]);
    assert_eq!(daemon.status()["generation"], generation);

    // `explain` gives the reason.
    let asked = daemon.cli(&["explain", "--from", "victim", "--to", "10.40.0.10:443"]);
    assert!(asked.stdout.contains(&text(FAR)), "{}", asked.stdout);
}
