//! Answers pass whatever way the question takes: by NAT, across a bridge, from another protected interface.

use super::accepting;
use crate::harness::programs::{self, Server};
use crate::harness::topology::DEV1;
use crate::harness::{Daemon, Lab};
use crate::rogue;

const NAT: &str = "table ip nat {
  chain in { type nat hook prerouting priority -100; iifname wan0 tcp dport 2222 dnat to 10.20.0.11:22; }
  chain out { type nat hook postrouting priority 100; oifname lan0 ip saddr 203.0.113.77 masquerade; }
}";

#[test]
fn translated_questions_are_answered_as_the_device_sees_them() {
    let lab = Lab::gateway("nat");
    let rules = lab.gw.run("nft", &[NAT], std::time::Duration::from_secs(5));
    assert!(rules.success(), "{rules:?}");
    lab.internet.address("eth0", "203.0.113.77/24");
    for mode in ["native", "generic"] {
        let daemon = Daemon::prepare(
            &lab.gw,
            &["lan0"],
            &accepting("{ from = \"203.0.113.1\", service = \"tcp/22\" }"),
        );
        daemon.setting(&format!("xdp = \"{mode}\""));
        let mut daemon = daemon;
        daemon.run();
        assert_eq!(daemon.status()["interfaces"][0]["mode"], mode);
        let _device = Server::start(&lab.dev1, "device", &[22], &[]);
        // Another destination before routing: the device sees who asks.
        assert!(programs::connects(&lab.internet, "203.0.113.2", 2222), "{mode}");
        // Another source behind it: the gateway asks.
        let hidden = |to: &str| {
            let words = ["-n", "-z", "-w", "1", "-s", "203.0.113.77", to, "22"];
            lab.internet.run("nc", &words, std::time::Duration::from_secs(5)).success()
        };
        assert!(!hidden(DEV1), "{mode}");
        let gateway = accepting("{ from = \"gateway\", service = \"tcp/22\" }");
        assert!(daemon.apply(&gateway).success());
        assert!(hidden(DEV1), "{mode}");
        assert!(daemon.detach().success());
    }
}

#[test]
fn across_a_bridge() {
    let lab = rogue::Lab::build("bridged");
    let daemon = lab.daemon(&rogue::POLICY.replace(
        "[groups.bad]",
        "accept = [{ from = \"10.40.0.10\", service = [\"tcp/22\", \"icmp\"] },\n  \
           { from = \"fd40::10\", service = [\"tcp/22\", \"icmpv6\"] }]\n[groups.bad]",
    ));
    let _device = Server::start(&lab.victim, "device", &[22, 23], &[]);
    for own in ["10.40.0.11", "fd40::11"] {
        assert!(programs::connects(&lab.far, own, 22), "{own}");
        assert!(programs::ping(&lab.far, own), "{own}");
        assert!(!programs::connects(&lab.far, own, 23), "{own}");
    }
    assert!(!programs::ping(&lab.victim, "10.40.0.10"));
    let flows = daemon.json(&["flows", "--device", "victim"]);
    let ssh = flows.iter().find(|flow| flow["service"] == "tcp/22").expect("it is listed");
    assert_eq!((&ssh["group"], &ssh["interface"]), (&"monitors".into(), &"g0".into()), "{ssh}");
    assert!(ssh["answered"] == true && ssh["frames_from"].as_u64() > Some(0), "{ssh}");
    assert!(flows.iter().any(|flow| flow["service"] == "icmpv6"), "{flows:?}");
}

#[test]
fn from_one_protected_interface_to_another() {
    let lab = Lab::gateway("hairpin");
    let stations = "[groups.stations]\nmembers = [\"10.30.0.0/24\"]\n\
                    allow = [{ to = \"10.20.0.0/24\", service = \"tcp/22-23\" }]\n";
    let text = format!("{}{stations}", super::POLICY);
    let daemon = Daemon::start(&lab.gw, &["lan0", "cen0"], &text);
    let _device = Server::start(&lab.dev1, "device", &[22, 23, 24], &[]);
    let reaches = |port| programs::connects(&lab.central, DEV1, port);
    // What the station may do, and what the device accepts.
    assert!(reaches(22));
    assert!(!reaches(23) && !reaches(24));
    assert!(daemon.reason("answer", "frames") > 0);
}
