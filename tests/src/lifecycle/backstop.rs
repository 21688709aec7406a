//! The backstop: nftables tables that block forwarding while an interface is not protected.
use std::{fs, time::Duration};

use super::POLICY;
use super::tamper::{pair, plug};
use crate::harness::{
    Daemon, Lab, Netns, Sniffer,
    frames::{self, Flood},
    programs::{self, Server},
    topology::{DEV1_MAC, LAN0_MAC, UPDATES},
    wait_until,
};

/// Payload that no policy here lets out.
pub(super) const MARKER: &[u8] = b"must-not-leave-this-gateway";
const CENTRAL_MAC: &str = "02:00:00:30:00:10";
const BRIDGE_MAC: &str = "02:00:00:20:00:99";

/// A datagram with the marker from the first device to an address, through a MAC.
pub(super) fn forbidden(to_mac: &str, to: [u8; 4]) -> Vec<u8> {
    let packet = frames::ipv4([10, 20, 0, 11], to, 17, &frames::udp(4000, 5001, MARKER));
    frames::ethernet(frames::mac(to_mac), frames::mac(DEV1_MAC), 0x0800, &packet)
}

/// Number of seen frames with the marker.
pub(super) fn leaked(sniffer: &Sniffer) -> usize {
    let seen = sniffer.frames(Duration::from_millis(200));
    seen.iter().filter(|frame| frames::contains(frame, MARKER)).count()
}

/// Deletes and recreates the interface, as when its driver is reloaded.
fn again(lab: &Lab, master: Option<&str>) {
    lab.gw.ip("link del lan0");
    lab.replug();
    match master {
        Some(master) => drop(lab.gw.ip(&format!("link set lan0 master {master}"))),
        None => lab.gw.address("lan0", "10.20.0.1/24"),
    }
}

fn backstop(daemon: &Daemon<'_>) -> String {
    let status = daemon.status();
    status["interfaces"][0]["backstop"].as_str().expect("a word").to_owned()
}

fn armed(daemon: &Daemon<'_>) {
    wait_until("the backstop is armed", || (backstop(daemon) == "armed").then_some(()));
}

pub(super) fn install(daemon: &Daemon<'_>) {
    let installed = daemon.backstop("install");
    assert!(installed.success(), "{installed:?}");
}

/// Frames that the backstop dropped, from `backstop show`.
fn dropped(daemon: &Daemon<'_>) -> u64 {
    let shown = daemon.backstop("show");
    assert!(shown.success(), "{shown:?}");
    let number = |line: &str| {
        let number = line.split_once(": ")?.1.split_once(" frames")?.0.replace(',', "");
        number.parse::<u64>().ok()
    };
    shown.stdout.lines().filter_map(number).sum()
}

#[test]
fn nothing_routed_leaves_while_an_interface_is_made_again() {
    let lab = Lab::gateway("remake");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    install(&daemon);
    daemon.run();
    assert_eq!(backstop(&daemon), "armed");
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    let sniffer = Sniffer::start(&lab.internet, "eth0");
    let flood = Flood::start(&lab.dev1, "eth0", vec![forbidden(LAN0_MAC, [198, 51, 100, 10])]);
    for _ in 0..5 {
        flood.wait_for(500);
        again(&lab, None);
        wait_until("it is protected again", || daemon.attached("lan0"));
        armed(&daemon);
    }
    flood.wait_for(500);
    assert_eq!(leaked(&sniffer), 0);
    assert!(programs::connects(&lab.dev1, UPDATES, 80), "and what is allowed passes again");
    let metrics = daemon.curl("/v1/metrics", &[]).1;
    assert!(metrics.contains("enforcer_backstop_armed{interface=\"lan0\"} 1"), "{metrics}");
    assert!(metrics.contains("enforcer_reattached_total 5"), "{metrics}");

    // The same without a daemon: it stays shut. Without the backstop, all frames would leave.
    daemon.kill9();
    let before = dropped(&daemon);
    again(&lab, None);
    flood.wait_for(500);
    assert_eq!(leaked(&sniffer), 0);
    assert!(dropped(&daemon) > before, "the flood came as far as the backstop");
    let removed = daemon.backstop("remove");
    assert!(removed.success(), "{removed:?}");
    flood.wait_for(500);
    assert!(leaked(&sniffer) > 0, "this test would have seen a leak");
}

#[test]
fn nothing_bridged_leaves_while_a_port_is_made_again() {
    let lab = Lab::gateway("rebridge");
    lab.gw.ip(&format!("link add br0 address {BRIDGE_MAC} type bridge forward_delay 0"));
    lab.gw.ip("link set br0 up");
    for port in ["lan0", "cen0"] {
        lab.gw.ip(&format!("address flush dev {port}"));
        lab.gw.ip(&format!("link set {port} master br0"));
    }
    lab.gw.address("br0", "10.20.0.1/24");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    install(&daemon);
    daemon.run();
    let shown = daemon.backstop("show").stdout;
    assert_eq!(shown.matches(" armed\n").count(), 4, "the bridge follows its port: {shown}");
    assert!(programs::connects(&lab.dev1, UPDATES, 80), "routed, by way of the bridge");
    let sniffers = [Sniffer::start(&lab.central, "eth0"), Sniffer::start(&lab.internet, "eth0")];
    // To another port of the bridge, and to the bridge, to be routed.
    let both =
        vec![forbidden(CENTRAL_MAC, [10, 30, 0, 10]), forbidden(BRIDGE_MAC, [198, 51, 100, 10])];
    let flood = Flood::start(&lab.dev1, "eth0", both);
    for _ in 0..5 {
        flood.wait_for(500);
        again(&lab, Some("br0"));
        wait_until("it is protected again", || daemon.attached("lan0"));
        armed(&daemon);
    }
    flood.wait_for(500);
    assert_eq!(sniffers.each_ref().map(leaked), [0, 0]);
    wait_until("the bridge is open again", || {
        (daemon.backstop("show").stdout.matches(" armed\n").count() == 4).then_some(())
    });
    assert!(programs::connects(&lab.dev1, UPDATES, 80));

    daemon.kill9();
    again(&lab, Some("br0"));
    flood.wait_for(500);
    assert_eq!(sniffers.each_ref().map(leaked), [0, 0]);
    assert!(daemon.backstop("remove").success());
    flood.wait_for(500);
    let leaks = sniffers.each_ref().map(leaked);
    assert!(leaks[0] > 0 && leaks[1] > 0, "this test would have seen a leak: {leaks:?}");
}

#[test]
fn it_is_installed_before_the_daemon_and_the_interface_and_opens_when_both_are_there() {
    let lab = Lab::gateway("boot");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan1"], POLICY);
    let shown = daemon.backstop("show");
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(1), "not installed\n"));
    daemon.setting("backstop = \"required\"");
    let device: Netns = pair(&lab);
    let refused = daemon.run_to_end();
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("hint: enforcer backstop install"), "{refused:?}");
    assert_eq!(daemon.attached("lan1"), None);
    lab.gw.ip("link del lan1");
    for _ in 0..2 {
        let installed = daemon.backstop("install");
        assert_eq!(installed.stdout, "installed for lan1: shut until the daemon arms them\n");
    }
    plug(&lab, &device);
    assert!(!programs::connects(&device, UPDATES, 80), "the gateway forwards before it enforces");
    assert!(dropped(&daemon) > 0);
    daemon.run();
    assert_eq!(backstop(&daemon), "armed");
    assert!(programs::connects(&device, UPDATES, 80));
    assert!(!programs::connects(&device, UPDATES, 81));
    // Again under a running daemon: nothing shuts.
    install(&daemon);
    assert!(daemon.backstop("show").stdout.contains(" armed\n"));
    // Enforcement outlives the daemon, so it stays armed.
    daemon.terminate();
    assert!(programs::connects(&device, UPDATES, 80));
    let detached = daemon.detach();
    assert!(detached.stdout.contains("removed: table inet enforcer\n"), "{detached:?}");
    assert!(detached.stdout.contains("removed: table bridge enforcer\n"), "{detached:?}");
    assert!(programs::connects(&device, UPDATES, 81));
}

#[test]
fn changes_to_its_tables_are_noticed_and_undone() {
    let lab = Lab::gateway("flush");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    install(&daemon);
    daemon.run();
    let nft = |words: &[&str]| lab.gw.run_ok("nft", words);
    let whole = nft(&["-s", "list", "table", "inet", "enforcer"]);
    assert!(whole.contains("elements = { \"lan0\" }"), "{whole}");
    let tail = daemon.tail(&[]);
    for (seen, words) in [
        &["delete", "table", "inet", "enforcer"][..],
        &["flush", "chain", "inet", "enforcer", "shut"],
        &["insert", "rule", "inet", "enforcer", "shut", "accept"],
        &["flush", "set", "inet", "enforcer", "protected"],
        &["flush", "set", "inet", "enforcer", "armed"],
        &["add", "element", "inet", "enforcer", "armed", "{ 999 }"],
        &["flush", "ruleset"],
    ]
    .into_iter()
    .enumerate()
    {
        nft(words);
        let is_tamper = |line: &&serde_json::Value| line["event_type"] == "tamper";
        wait_until(&format!("{words:?} is told"), || {
            (tail.lines().iter().filter(is_tamper).count() > seen).then_some(())
        });
        wait_until(&format!("{words:?} is undone"), || {
            let now = lab.gw.run(
                "nft",
                &["-s", "list", "table", "inet", "enforcer"],
                Duration::from_secs(5),
            );
            (now.stdout == whole).then_some(())
        });
    }
    assert!(
        daemon.curl("/v1/metrics", &[]).1.contains("enforcer_tamper_total{reason=\"backstop\"} 7")
    );
    // The operator's own removal is different.
    assert!(daemon.backstop("remove").success());
    wait_until("it stays away", || daemon.log().contains("the backstop was removed").then_some(()));
    assert_eq!(backstop(&daemon), "absent");
    install(&daemon);
    armed(&daemon);
}

#[test]
fn what_is_above_a_protected_interface_follows_it() {
    let lab = Lab::gateway("stack");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    // A macvlan, because not every kernel of a test machine has VLANs: both have an interface below.
    lab.gw.ip("link add link lan0 name above0 type macvlan mode bridge");
    lab.gw.ip("link set above0 up");
    lab.gw.address("above0", "10.22.0.1/24");
    lab.dev1.address("eth0", "10.22.0.11/24");
    lab.dev1.ip("route add 198.51.100.10 via 10.22.0.1");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    install(&daemon);
    daemon.run();
    assert!(daemon.backstop("show").stdout.contains("  above0           armed\n"));
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    daemon.terminate();
    // The found names are known at the next boot.
    assert!(daemon.backstop("remove").success());
    let installed = daemon.backstop("install");
    assert!(installed.stdout.starts_with("installed for above0, lan0: shut"), "{installed:?}");
    assert!(!programs::connects(&lab.dev1, UPDATES, 80));
    fs::write(daemon.path("state").join("backstop.json"), "{").expect("it can be written");
    let installed = daemon.backstop("install");
    assert!(installed.stdout.starts_with("installed for lan0: shut"), "{installed:?}");
}
