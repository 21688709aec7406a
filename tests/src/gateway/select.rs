//! Membership in a group, and its events.
use super::{HOSTILE_V6, policy};
use crate::harness::{
    Daemon, Lab,
    programs::{self, Files},
    topology::{DEV1, DEV1_MAC, DEV1_V6, HOSTILE, UPDATES, UPDATES_V6},
};

/// Members, whether they cover IPv4 and IPv6 of the first device, and whether the second one too.
const SELECTORS: [(&str, bool, bool, bool); 8] = [
    ("\"00:1b:44:11:3a:b6\"", true, true, false),
    ("\"00:1b:44/24\"", true, true, true),
    ("\"10.20.0.11\"", true, false, false),
    ("\"10.20.0.8/30\"", true, false, false),
    ("\"10.20.0.5-10.20.0.11\"", true, false, false),
    ("\"2001:db8:20::11/128\"", false, true, false),
    ("\"bed-11\"", true, true, false),
    ("\"interface:lan0\"", true, true, true),
];

#[test]
fn every_kind_of_member_decides_what_a_device_reaches() {
    let lab = Lab::gateway("select");
    lab.internet.address("lo", HOSTILE_V6);
    let files = Files::start(&lab.internet, 80, 4);
    let text = |members: &str| {
        let mac = DEV1_MAC;
        let device =
            format!("[devices.bed-11]\nmac = \"{mac}\"\nip = [\"{DEV1}\", \"{DEV1_V6}\"]\n");
        // A device with a binding is also in a group by its address, with everything that it sends.
        format!("{}{}", policy(members), if members.contains("bed-11") { &device } else { "" })
    };
    let daemon = Daemon::start(&lab.gw, &["lan0"], &text("\"bed-11\""));
    for (members, v4, v6, both) in SELECTORS {
        let applied = daemon.apply(&text(members));
        assert!(applied.success(), "{members}: {applied:?}");
        let before = [UPDATES, UPDATES_V6, "202.114.4.0/24"].map(|to| daemon.rule_frames(to));
        let refused = daemon.reason("default-drop", "frames");
        assert!(files.reach(&lab.dev1, UPDATES), "{members}");
        assert!(files.reach(&lab.dev1, UPDATES_V6), "{members}");
        assert_eq!(files.reach(&lab.dev1, HOSTILE), !v4, "{members}");
        assert_eq!(files.reach(&lab.dev1, HOSTILE_V6), !v6, "{members}");
        // The second device is in no group then, and unknown devices pass.
        assert_eq!(files.reach(&lab.dev2, HOSTILE), !both, "{members}");
        let after = [UPDATES, UPDATES_V6, "202.114.4.0/24"].map(|to| daemon.rule_frames(to));
        assert_eq!(after[0] > before[0] + 10, v4, "{members}: {before:?} {after:?}");
        assert_eq!(after[1] > before[1] + 10, v6, "{members}: {before:?} {after:?}");
        assert_eq!(after[2] > before[2], v4 || both, "{members}: {before:?} {after:?}");
        let now = daemon.reason("default-drop", "frames");
        assert_eq!(now > refused, v6, "{members}: {refused} {now}");
    }
}

#[test]
fn an_event_names_device_destination_and_reason() {
    let lab = Lab::gateway("event");
    let device = format!("[devices.bed-11]\nmac = \"{DEV1_MAC}\"\n");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &format!("{}{device}", policy("\"bed-11\"")));
    let tail = daemon.tail(&[]);
    assert!(!programs::connects(&lab.dev1, HOSTILE, 515));
    let line = tail.wait_for_dest(HOSTILE);
    let rules = daemon.rules();
    let rule = rules.iter().find(|rule| rule["to"] == "202.114.4.0/24").expect("it is there");
    assert_eq!(line["event_type"], "drop");
    assert_eq!(line["in_iface"], "lan0");
    assert_eq!(line["ether"]["src_mac"], DEV1_MAC);
    assert_eq!(line["src_ip"], DEV1);
    assert_eq!((&line["dest_port"], &line["proto"]), (&515.into(), &"TCP".into()));
    let detail = &line["enforcer"];
    for (field, value) in [
        ("verdict", "drop"),
        ("device", "bed-11"),
        ("group", "beds"),
        ("reason", "deny"),
        ("rule_reason", "ICSMA-25-030-01"),
    ] {
        assert_eq!(detail[field], value, "{field}: {line}");
    }
    assert_eq!(detail["rule"], rule["id"]);
    assert_eq!(detail["revision"], 1);
    assert_eq!(detail["generation"], daemon.status()["policy"]["generation"]);

    assert!(!programs::connects(&lab.dev1, UPDATES_V6, 443));
    let line = tail.wait_for_dest(UPDATES_V6);
    assert_eq!((&line["src_ip"], &line["dest_port"]), (&DEV1_V6.into(), &443.into()));
    assert_eq!(line["enforcer"]["reason"], "default-drop");
    assert!(line["enforcer"]["rule"].is_null(), "{line}");

    let devices = daemon.devices();
    let row = devices.iter().find(|row| row["device"] == "bed-11").expect("it is named");
    assert!(row["dropped"].as_u64() >= Some(2), "{row}");
    assert_eq!((&row["group"], &row["mac"]), (&"beds".into(), &DEV1_MAC.into()));
    let last = format!("{UPDATES_V6} tcp/443");
    assert_eq!(row["last_destination"], last);
}
