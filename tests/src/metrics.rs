//! The metrics, checked by Prometheus' own tool and against the dashboard's queries.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use serde_json::Value;

use crate::harness::{
    Daemon, Finished, Lab, frames, lacking,
    programs::{self, Server},
    skip,
    topology::{DEV1_MAC, HOSTILE, LAN0_MAC, UPDATES},
    wait_until,
};

const DASHBOARD: &str = include_str!("../../contrib/grafana/enforcer.json");
const MANUAL: &str = include_str!("../../docs/metrics.md");
const POLICY: &str = r#"schema = 1
[devices.bed-11]
mac = "00:1b:44:11:3a:b6"
[groups.beds]
members = ["bed-11"]
allow = [{ to = "198.51.100.10", service = "tcp/80", reason = "CHG-4711" }]
deny = [{ to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }]
[groups.wards]
members = ["10.20.0.0/16"]
mode = "observe"
"#;
const LISTEN: &str = "127.0.0.1:9750";

/// A scrape over the port, as Prometheus does it.
fn scrape(lab: &Lab) -> String {
    let answer = programs::curl(&lab.gw, &format!("http://{LISTEN}/metrics"));
    assert!(answer.success(), "{answer:?}");
    answer.stdout
}

/// Runs promtool on a text.
fn promtool(daemon: &Daemon<'_>, lab: &Lab, text: &str) -> Finished {
    let file = daemon.write("metrics.txt", text).display().to_string();
    let check = "promtool check metrics < \"$1\"";
    lab.gw.run("sh", &["-c", check, "sh", &file], Duration::from_secs(20))
}

/// The labels of every family that has samples, by its name.
fn families(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut families: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).expect("a name and a value");
        // No value in these tests has a comma or an equals sign in it.
        let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0));
        families.entry(name).or_default().extend(labels);
    }
    families
}

/// A daemon that has counted every kind of event.
fn eventful(lab: &Lab) -> Daemon<'_> {
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    daemon.setting(&format!("[metrics]\nlisten = \"{LISTEN}\""));
    let file = daemon.path("events.json");
    daemon.setting(&format!("[sinks.file]\npath = \"{}\"", file.display()));
    assert!(daemon.backstop("install").success());
    daemon.run();
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(!programs::connects(&lab.dev1, HOSTILE, 515));
    assert!(programs::connects(&lab.dev2, UPDATES, 80), "it is observed");
    fs::remove_file(daemon.pin("GENERATIONS")).expect("it is pinned");
    wait_until("the daemon tells of all that", || {
        let text = scrape(lab);
        let all = ["tamper_total{", "refused_frames_total{", "verdict=\"would-drop\""];
        all.iter().all(|part| text.contains(part)).then_some(())
    });
    daemon
}

#[test]
fn promtool_accepts_the_metrics() {
    if !lacking(&["promtool"]).is_empty() {
        return skip("metrics::promtool_accepts_the_metrics", "promtool is not here");
    }
    let lab = Lab::gateway("metrics");
    let _server = Server::start(&lab.internet, "x", &[80, 515], &[]);
    let daemon = eventful(&lab);
    let text = scrape(&lab);
    let checked = promtool(&daemon, &lab, &text);
    assert!(checked.success() && checked.stderr.is_empty(), "{checked:?}\n{text}");
    let (code, socket) = daemon.curl("/v1/metrics", &[]);
    assert_eq!(code, 200);
    let checked = promtool(&daemon, &lab, &socket);
    assert!(checked.success() && checked.stderr.is_empty(), "{checked:?}\n{socket}");
    // The check does find a fault.
    let faulty = text.replace("_frames_total", "_frames");
    assert!(!promtool(&daemon, &lab, &faulty).success());

    let denied = "enforcer_refused_frames_total{interface=\"lan0\",group=\"beds\",reason=\"deny\",verdict=\"drop\"} ";
    let frames = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(denied));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    // Under load a refused connection is retried: the program counts a repeat at once, the daemon learns of it
    // within a second.
    let counted = |text: &str| -> Option<u64> {
        let counter = "enforcer_frames_total{reason=\"deny\",verdict=\"drop\"} ";
        text.lines().find_map(|line| line.strip_prefix(counter)?.parse().ok())
    };
    let text = wait_until("the refused frames of both counters agree", || {
        let text = scrape(&lab);
        (Some(frames(&text)) == counted(&text)).then_some(text)
    });
    for line in [
        "enforcer_enforcing 1",
        "enforcer_group_info{group=\"beds\",mode=\"enforce\",default=\"drop\"} 1",
        "enforcer_group_info{group=\"wards\",mode=\"observe\",default=\"drop\"} 1",
        "enforcer_backstop_armed{interface=\"lan0\"} 1",
        "enforcer_tamper_total{reason=\"unpinned\"} 1",
        "enforcer_policy_revision 1",
        "enforcer_audit_waiting 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
}

#[test]
fn a_flood_of_invented_devices_makes_no_series() {
    let lab = Lab::gateway("series");
    let _server = Server::start(&lab.internet, "x", &[80, 515], &[]);
    let daemon = eventful(&lab);
    let before = scrape(&lab).lines().count();
    let invented = |n: u16| {
        let [a, b] = n.to_be_bytes();
        let mac = [0x02, 0xff, 0, 0, a, b];
        let packet =
            frames::ipv4([10, 20, a, b], [198, 51, 100, 10], 17, &frames::udp(9, n, b"flood"));
        frames::ethernet(frames::mac(LAN0_MAC), mac, 0x0800, &packet)
    };
    let many: Vec<Vec<u8>> = (256..768).map(invented).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    frames::send_all(&lab.dev2, "eth0", &many);
    wait_until("the daemon has seen them", || (daemon.devices().len() > 300).then_some(()));
    let after = scrape(&lab);
    assert!(!after.contains("02:ff:00") && !after.contains(DEV1_MAC), "{after}");
    assert!(after.lines().count() <= before + 4, "{before} lines, then:\n{after}");
}

#[test]
fn the_dashboard_asks_for_what_is_exported() {
    let lab = Lab::gateway("grafana");
    let _server = Server::start(&lab.internet, "x", &[80, 515], &[]);
    let _daemon = eventful(&lab);
    let text = scrape(&lab);
    let families = families(&text);
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut shown = BTreeSet::new();
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
        let asks = target["expr"].as_str().expect("an expression");
        let names = asks.split(|c: char| !c.is_alphanumeric() && c != '_');
        let names: Vec<&str> = names.filter(|name| name.starts_with("enforcer_")).collect();
        assert!(!names.is_empty(), "{asks}");
        let mut labels: BTreeSet<&str> = ["instance"].into();
        for name in &names {
            let known = families.get(name).unwrap_or_else(|| panic!("{name} is not exported"));
            labels.extend(known);
        }
        shown.extend(names);
        let legend = target["legendFormat"].as_str().expect("a legend");
        let in_legend = legend.split("{{").skip(1).filter_map(|part| part.split_once("}}"));
        let by = asks.split("by (").skip(1).filter_map(|part| part.split_once(')'));
        let grouped = by.flat_map(|(names, _)| names.split(", "));
        let selected = asks.split('{').skip(1).filter_map(|part| part.split_once('}'));
        let selected = selected.flat_map(|(pairs, _)| pairs.split(','));
        let selected = selected.filter_map(|pair| Some(pair.split_once('=')?.0));
        for label in in_legend.map(|(label, _)| label).chain(grouped).chain(selected) {
            assert!(labels.contains(label), "{label}: {asks}");
        }
    }
    assert!(shown.len() > 20, "{shown:?}");
    for name in families.keys() {
        assert!(MANUAL.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn the_port_is_opened_only_when_asked_for_and_a_wrong_one_is_said() {
    let lab = Lab::gateway("port");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let lists = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let ports = lab.gw.run("cat", &lists, Duration::from_secs(5)).stdout;
    assert_eq!(ports.lines().count(), 2, "heads alone: {ports}");
    assert!(daemon.terminate().success());
    daemon.setting("[metrics]\nlisten = \"192.0.2.77:9750\"");
    // It enforces anyway, and opens the port once the address exists.
    daemon.run();
    let said = "cannot open the port for metrics, 192.0.2.77:9750";
    wait_until("it is said", || daemon.log().contains(said).then_some(()));
    let warnings = daemon.status()["warnings"].to_string();
    assert!(warnings.contains(said) && warnings.contains("listen"), "{warnings}");
    lab.gw.address("lan0", "192.0.2.77/32");
    wait_until("it is opened", || {
        programs::curl(&lab.gw, "http://192.0.2.77:9750/metrics").success().then_some(())
    });
}
