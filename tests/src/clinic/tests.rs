//! A day in the clinic: everything that has to work does, and nothing else.

use std::time::Duration;

use super::{Clinic, POLICY};
use crate::harness::programs::{self, Server};
use crate::harness::services::{Snmp, Sshd};
use crate::harness::topology::HOSTILE;
use crate::harness::{lacking, skip, wait_until};

#[test]
fn everything_works_without_a_rule_for_high_ports() {
    let missing = lacking(&["sshd", "ssh", "snmpd", "snmpget", "storescp", "echoscu", "dnsmasq"]);
    if !missing.is_empty() {
        return skip(
            "clinic::tests::everything_works_without_a_rule_for_high_ports",
            &missing.join(", "),
        );
    }
    assert!(!POLICY.contains("49152") && !POLICY.contains("32768"), "no rule for high ports");
    let clinic = Clinic::build("clinic");
    let daemon = clinic.daemon(POLICY);
    let device = |name: &str| clinic.device(name);
    let (central, archive) = (device("central-1"), device("archive-1"));
    let (station, monitoring) = (&device("workstation-1").netns, &device("monitoring-1").netns);
    let (ct, printer) = (device("ct-1"), device("printer-1"));

    // Vital signs of every monitor.
    let station_server = Server::start(&central.netns, "central", &[515], &[]);
    for monitor in clinic.all("monitor") {
        assert!(programs::connects(&monitor.netns, &central.ip, 515), "{}", monitor.ip);
        station_server.wait_for(&format!("tcp 515 {}", monitor.ip));
    }
    // Names from the gateway.
    let words = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=",
        "--log-facility=-",
        "--no-resolv",
        "--no-hosts",
        "--address=/central.clinic/10.43.0.10",
    ];
    let names = clinic.gw.spawn("dnsmasq", &words);
    wait_until("dnsmasq starts", || names.stderr().contains("started, version").then_some(()));
    let asked = device("monitor-1").netns.run(
        "busybox",
        &["nslookup", "central.clinic", "10.41.0.1"],
        Duration::from_secs(5),
    );
    assert!(asked.stdout.contains("10.43.0.10"), "{asked:?}");

    // Printing, SNMP, ping, ssh, DICOM in both directions, video.
    let _printer = Server::start(&printer.netns, "printer", &[9100, 80], &[]);
    let printed = programs::say(station, &printer.ip, 9100, "page");
    assert!(printed.stdout.contains("page"), "{printed:?}");
    assert!(!programs::connects(station, &printer.ip, 80), "no rule names it");
    let agent = Snmp::start(&printer.netns);
    assert!(agent.answers(monitoring, &printer.ip), "{}", agent.log());
    assert!(!agent.answers(station, &printer.ip), "the monitoring server alone may ask");
    let pinged =
        ["monitor-1", "monitor-12", "cms8000-1", "pump-6", "printer-1", "ct-1", "modality-4"];
    for name in pinged {
        assert!(programs::ping(monitoring, &device(name).ip), "{name}");
        assert!(!programs::ping(station, &device(name).ip), "{name}");
    }
    let sshd = Sshd::start(&ct.netns);
    let said = sshd.run(station, &ct.ip, "echo scanned");
    assert!(said.stdout.contains("scanned"), "{said:?} {}", sshd.log());
    let _ct = programs::dicom_server(&ct.netns, 104);
    let _archive = programs::dicom_server(&archive.netns, 11_112);
    assert!(programs::dicom_echo(station, &ct.ip, 104));
    assert!(programs::dicom_echo(&ct.netns, &archive.ip, 11_112));
    let _camera = Server::start(&device("camera-4").netns, "camera", &[554], &[]);
    assert!(programs::connects(station, &device("camera-4").ip, 554));

    // What nobody wants.
    let _internet = Server::start(&clinic.internet, "internet", &[443, 515], &[]);
    let tail = daemon.tail(&[]);
    let cms8000 = device("cms8000-1");
    assert!(!programs::connects(&cms8000.netns, HOSTILE, 515));
    let told = tail.wait_for_dest(HOSTILE);
    assert_eq!(
        (&told["enforcer"]["device"], &told["enforcer"]["reason"]),
        (&"cms8000".into(), &"deny".into())
    );
    let victim = Server::start(&device("monitor-2").netns, "monitor", &[23], &[2000, 5000]);
    for (from, port) in [(station, 2000), (&clinic.internet, 2000), (station, 5000)] {
        let _ = programs::say_udp(from, &device("monitor-2").ip, port, "crash");
    }
    assert!(!programs::connects(station, &device("monitor-2").ip, 23));
    assert_eq!(victim.calls(), ["ready"]);
    tail.wait_for("the crafted datagram", |line| {
        line["enforcer"]["reason"] == "refuse" && line["src_ip"] == "203.0.113.1"
    });
    assert!(!programs::connects(&device("unknown-1").netns, &central.ip, 515));
    assert!(!programs::connects(&device("pump-1").netns, &central.ip, 515));
    assert!(!programs::connects(&ct.netns, &device("workstation-1").ip, 22));

    // Who is who, and what is open.
    let flows = daemon.json(&["flows"]);
    let is_open = |service: &str| flows.iter().any(|flow| flow["service"] == service);
    assert!(
        ["tcp/22", "tcp/104", "tcp/554", "tcp/9100", "udp/161"].into_iter().all(is_open),
        "{flows:?}"
    );
    assert!(daemon.status()["enforcing"] == true);
}
