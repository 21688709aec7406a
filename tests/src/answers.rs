//! Devices that answer: sessions that others open towards a device, and nothing beside them.

mod agree;
mod paths;
mod sessions;

use std::time::Duration;

use crate::harness::programs::{self, Files, Server};
use crate::harness::topology::{CENTRAL, CENTRAL_V6, DEV1, DEV1_V6, DEV2, UPDATES};
use crate::harness::{Daemon, Finished, Lab, bpf, wait_until};

/// What is accepted of the devices, and nothing that they may do themselves.
const POLICY: &str = r#"schema = 1
[sets]
workstations = ["10.30.0.0/24", "2001:db8:30::/64"]
[groups.beds]
members = ["10.20.0.0/24", "2001:db8:20::/64"]
default = "drop"
accept = [
  { from = "@workstations", service = ["tcp/22", "udp/161", "icmp", "icmpv6"], reason = "biomed" },
]
"#;

fn accepting(rule: &str) -> String {
    POLICY.replace("accept = [", &format!("accept = [\n  {rule},"))
}

#[test]
fn what_was_opened_is_answered_and_nothing_else() {
    let lab = Lab::gateway("answers");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let _device = Server::start(&lab.dev1, "device", &[22, 9100], &[161]);
    let _central = Server::start(&lab.central, "central", &[22, 8000], &[514]);
    let ssh = |to: &str| programs::connects(&lab.central, to, 22);
    assert!(ssh(DEV1) && ssh(DEV1_V6));
    assert!(programs::ping(&lab.central, DEV1) && programs::ping(&lab.central, DEV1_V6));
    let asked = programs::say_udp(&lab.central, DEV1, 161, "get");
    assert!(asked.stdout.contains("get"), "{asked:?}");
    // Other ports, other people.
    assert!(!programs::connects(&lab.central, DEV1, 9100));
    assert!(!programs::connects(&lab.internet, DEV1, 22));
    assert!(!programs::connects(&lab.gw, DEV1, 22), "the gateway is not named");
    // What a device begins itself.
    assert!(!programs::connects(&lab.dev1, CENTRAL, 22));
    assert!(!programs::connects(&lab.dev1, CENTRAL, 8000));
    assert!(!programs::ping(&lab.dev1, CENTRAL) && !programs::ping(&lab.dev1, CENTRAL_V6));
    let answers = daemon.reason("answer", "frames");
    assert!(answers >= 5, "{answers}");
    assert!(daemon.reason("default-drop", "frames") >= 4);
    let accepted = daemon.rule_frames("@workstations");
    assert_eq!(accepted, answers);
    // The gateway's own sessions, once they are named.
    assert!(daemon.apply(&accepting("{ from = \"gateway\", service = \"tcp/22\" }")).success());
    assert!(programs::connects(&lab.gw, DEV1, 22));
    // A policy without accept rules needs nothing on the transmit side.
    let without = POLICY.split("accept").next().expect("text").to_owned();
    assert!(daemon.apply(&without).success());
    assert!(!ssh(DEV1));
    assert!(daemon.pinned().iter().all(|pin| !pin.starts_with("send-")), "{:?}", daemon.pinned());
    assert!(daemon.apply(POLICY).success());
    assert!(ssh(DEV1));
}

#[test]
fn a_live_rule_ends_with_its_sessions() {
    let lab = Lab::gateway("accept");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &POLICY.replace("tcp/22", "tcp/23"));
    let files = Files::start(&lab.dev1, 80, 40);
    assert!(!files.reach(&lab.central, DEV1));
    let accepted = daemon.cli(&["accept", "beds", CENTRAL, "tcp/80", "--for", "1h"]);
    assert!(accepted.success(), "{accepted:?}");
    assert!(files.reach(&lab.central, DEV1));
    let fetch = files.fetch_slowly(&lab.central, DEV1);
    fetch.wait_for(100_000);
    let live = daemon.status()["live"][0].clone();
    assert_eq!((&live["action"], &live["to"]), (&"accept".into(), &CENTRAL.into()), "{live}");
    let id = live["id"].as_str().expect("an id").to_owned();
    // Another live change, a policy and a restart do not concern it.
    assert!(daemon.cli(&["deny", DEV2, UPDATES]).success());
    assert!(daemon.apply(&POLICY.replace("udp/161", "udp/162")).success());
    let before = fetch.bytes();
    wait_until("the transfer goes on", || (fetch.bytes() > before + 50_000).then_some(()));
    assert!(daemon.cli(&["revoke", &id]).success());
    programs::settle();
    let (ended, refused) = (fetch.bytes(), daemon.reason("default-drop", "frames"));
    wait_until("retransmissions are refused", || {
        (daemon.reason("default-drop", "frames") > refused).then_some(())
    });
    assert_eq!(fetch.bytes(), ended);
    assert!(!files.reach(&lab.central, DEV1));
}

#[test]
fn the_transmit_side_is_looked_after() {
    let lab = Lab::gateway("transmit");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let _device = Server::start(&lab.dev1, "device", &[22], &[]);
    let works = || programs::connects(&lab.central, DEV1, 22);
    assert!(works());
    // What the daemon leaves behind works without it, and the next one finds it.
    daemon.kill9();
    assert!(works());
    daemon.run();
    assert!(works());
    // Somebody with root takes the program away: it is back at once, and said.
    let tail = daemon.tail(&[]);
    let pin = daemon.pin(&format!("send-{}", lab.gw.index("lan0")));
    if pin.exists() {
        bpf::detach(&pin);
    } else {
        // Before Linux 6.6 it is a filter.
        assert!(tc(&lab, "filter del dev lan0 egress").success());
    }
    let told = tail
        .wait_for("transmit-detached", |line| line["enforcer"]["reason"] == "transmit-detached");
    assert_eq!(told["in_iface"], "lan0", "{told}");
    assert!(works());
    let note = daemon.status()["interfaces"][0]["note"].clone();
    assert!(!note.to_string().contains("transmit"), "{note}");
    // Other programs on the same hook have their turn, and stay when ours goes.
    assert!(tc(&lab, "qdisc add dev lan0 clsact").success() || !pin.exists());
    let added = tc(&lab, "filter add dev lan0 egress prio 10 matchall action drop");
    if added.success() {
        assert!(!works(), "the other one drops what is sent to the device");
    } else {
        println!("no other filter: {added:?}");
    }
    let detached = daemon.detach();
    assert!(detached.success(), "{detached:?}");
    assert!(tc(&lab, "qdisc show dev lan0").stdout.contains("clsact"));
    let left = tc(&lab, "filter show dev lan0 egress");
    assert!(!left.stdout.contains("send_dispatch"), "{left:?}");
}

fn tc(lab: &Lab, words: &str) -> Finished {
    lab.gw.run("tc", &words.split(' ').collect::<Vec<_>>(), Duration::from_secs(5))
}
