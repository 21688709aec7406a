//! Pins, interfaces, addresses and state files that change behind the daemon's back.
use std::fs;

use serde_json::Value;

use super::{POLICY, wider};
use crate::harness::{
    Daemon, Lab, Netns,
    programs::{self, Server},
    topology::{GATEWAY, HOSTILE, UPDATES},
    wait_until,
};

#[test]
fn status_tells_what_the_kernel_says() {
    let lab = Lab::gateway("health");
    let daemon = Daemon::start(&lab.gw, &["lan0", "cen0"], POLICY);
    assert_eq!(daemon.cli(&["status"]).code, Some(0));
    lab.gw.ip("link del cen0");
    let status = daemon.cli(&["status", "--json"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!(status["enforcing"], false);
    assert_eq!(status["interfaces"][0]["enforcing"], true);
    assert_eq!(status["interfaces"][1]["enforcing"], false);
    assert_eq!(status["interfaces"][1]["note"], "there is no such interface");
    // The other one is still protected and monitored while this one is gone.
    let pin = daemon.pin(&format!("link-{}", lab.gw.index("lan0")));
    fs::remove_file(&pin).expect("the link is pinned");
    wait_until("its pin is back", || pin.exists().then_some(()));
}

/// A gateway with one removable cable to one device.
pub(super) fn pair(lab: &Lab) -> Netns {
    let device = Netns::create(&format!("{}-pair", lab.gw.name()));
    plug(lab, &device);
    device
}

pub(super) fn plug(lab: &Lab, device: &Netns) {
    lab.gw.veth(("lan1", "02:00:00:21:00:01"), device, ("eth0", "00:1b:44:11:3a:c0"));
    lab.gw.address("lan1", "10.21.0.1/24");
    device.address("eth0", "10.21.0.11/24");
    device.ip("route add default via 10.21.0.1");
}

#[test]
fn an_interface_that_comes_back_is_protected_again() {
    let lab = Lab::gateway("again");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let device = pair(&lab);
    let daemon = Daemon::start(&lab.gw, &["lan1"], POLICY);
    assert!(programs::connects(&device, UPDATES, 80));
    assert!(!programs::connects(&device, UPDATES, 81));
    let (index, generation) =
        (lab.gw.index("lan1"), daemon.status()["policy"]["generation"].clone());
    lab.gw.ip("link del lan1");
    wait_until("status says so", || (daemon.cli(&["status"]).code == Some(1)).then_some(()));
    plug(&lab, &device);
    assert_ne!(lab.gw.index("lan1"), index);
    wait_until("it is protected again", || daemon.attached("lan1"));
    wait_until("status says so", || (daemon.cli(&["status"]).code == Some(0)).then_some(()));
    let status = daemon.status();
    assert!(status["policy"]["generation"].as_u64() > generation.as_u64(), "{status}");
    assert_eq!(status["policy"]["revision"], 1);
    assert!(programs::connects(&device, UPDATES, 80));
    assert!(!programs::connects(&device, UPDATES, 81));
    let old = daemon.pin(&format!("link-{index}"));
    assert!(!old.exists(), "the pin of the interface that is gone is still there");
}

#[test]
fn rules_to_the_gateway_follow_its_addresses() {
    let lab = Lab::gateway("own");
    let _server = Server::start(&lab.gw, "gw", &[80], &[]);
    let text = POLICY.replace("allow = [", "allow = [{ to = \"gateway\", service = \"tcp/80\" }, ");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &text);
    assert!(programs::connects(&lab.dev1, GATEWAY, 80));
    assert!(!programs::connects(&lab.dev1, "203.0.113.77", 80));
    lab.gw.address("wan0", "203.0.113.77/24");
    wait_until("the daemon has seen it", || {
        daemon.log().contains("addresses or interfaces changed").then_some(())
    });
    wait_until("it is the gateway's", || {
        programs::connects(&lab.dev1, "203.0.113.77", 80).then_some(())
    });
    assert_eq!(daemon.status()["policy"]["revision"], 1);
    lab.gw.ip("address del 203.0.113.77/24 dev wan0");
    wait_until("no longer", || (daemon.log().matches("addresses or").count() > 1).then_some(()));
    assert!(!programs::connects(&lab.dev1, "203.0.113.77", 80));
}

#[test]
fn a_damaged_state_file_never_opens_the_gateway() {
    let lab = Lab::gateway("state");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    assert!(daemon.apply(&wider()).success());
    let state = daemon.path("state").join("policy.json");
    let good = fs::read(&state).expect("the state is saved");
    let mut flipped = good.clone();
    let at = good.windows(4).position(|part| part == b"5000").expect("the rule is in it");
    flipped[at] ^= 1;
    for bad in [flipped, good[..good.len() / 2].to_vec(), Vec::new()] {
        // With a good policy file, that one.
        daemon.terminate();
        daemon.write("policy.toml", POLICY);
        fs::write(&state, &bad).expect("it can be written");
        daemon.run();
        let log = daemon.last_log();
        assert!(log.contains("policy.json is damaged"), "{log}");
        assert!(!programs::connects(&lab.dev1, HOSTILE, 81));
        // Without one: no start, and the kernel keeps its policy.
        daemon.terminate();
        daemon.write("policy.toml", "schema = 7\n");
        fs::write(&state, &bad).expect("it can be written");
        let ended = daemon.run_to_end();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(daemon.attached("lan0").is_some());
        assert!(programs::connects(&lab.dev1, UPDATES, 80));
        assert!(!programs::connects(&lab.dev1, UPDATES, 81));
        daemon.write("policy.toml", POLICY);
        daemon.run();
    }
}
