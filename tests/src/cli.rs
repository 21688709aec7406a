//! The command line and the API of a running daemon.
use serde_json::Value;

use crate::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::{CENTRAL, DEV1, DEV1_MAC, DEV2_MAC, HOSTILE, HOSTILE_HL7, UPDATES},
    wait_until,
};

const POLICY: &str = r#"schema = 1
[devices.bed-11]
mac = "00:1b:44:11:3a:b6"
ip = ["10.20.0.11", "2001:db8:20::11"]
[groups.beds]
members = ["bed-11"]
allow = [{ to = "198.51.100.10", service = "tcp/80", reason = "CHG-4711", owner = "biomed" }]
deny = [{ to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }]
[groups.pumps]
members = ["10.20.0.12"]
mode = "observe"
"#;

/// Scripts may rely on these fields and their types.
#[track_caller]
fn has(value: &Value, strings: &[&str], numbers: &[&str]) {
    for field in strings {
        assert!(value[*field].is_string(), "{field} in {value}");
    }
    for field in numbers {
        assert!(value[*field].is_u64(), "{field} in {value}");
    }
}

#[test]
fn lists_have_the_fields_that_scripts_read() {
    let lab = Lab::gateway("lists");
    let _server = Server::start(&lab.internet, "x", &[80, 515], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(!programs::connects(&lab.dev1, HOSTILE, 515));
    assert!(programs::connects(&lab.dev2, HOSTILE, 515));

    let status = daemon.status();
    has(&status, &["version", "started"], &["pid"]);
    has(
        &status["policy"],
        &["file", "digest", "since"],
        &["revision", "generation", "groups", "devices", "rules", "image_bytes"],
    );
    has(&status["interfaces"][0], &["name", "mode"], &["index"]);
    has(
        &status["reasons"][0],
        &["reason", "verdict", "text"],
        &["frames", "bytes", "would_drop", "suppressed", "lost"],
    );
    has(&status["groups"][0], &["name", "mode", "default"], &["members", "rules"]);
    assert_eq!(status["interfaces"][0]["index"], lab.gw.index("lan0"));
    assert_eq!(status["policy"]["file"], daemon.path("policy.toml").display().to_string());

    let rules = daemon.rules();
    assert_eq!(rules.len(), 2);
    for rule in &rules {
        has(
            rule,
            &["id", "group", "action", "to", "service", "reason", "place"],
            &["frames", "bytes"],
        );
        assert!(rule["frames"].as_u64() > Some(0), "{rule}");
    }
    let devices = wait_until("both devices are seen", || {
        let devices = daemon.devices();
        let refused = |row: &&Value| row["last_destination"].is_string();
        (devices.iter().filter(refused).count() == 2).then_some(devices)
    });
    let [named, seen] = &devices[..] else { panic!("{devices:?}") };
    has(named, &["device", "mac", "ip", "group", "mode", "last_seen"], &["dropped", "would_drop"]);
    assert_eq!((&named["device"], &named["mac"]), (&"bed-11".into(), &DEV1_MAC.into()));
    assert_eq!((&seen["mac"], &seen["mode"]), (&DEV2_MAC.into(), &"observe".into()));
    assert!(seen["device"].is_null() && seen["dropped"] == 0, "{seen}");

    // The human-readable output.
    let text = daemon.cli(&["status"]);
    assert_eq!(text.code, Some(0));
    assert!(text.stdout.starts_with("enforcing  revision 1, generation 1"), "{text:?}");
    assert!(text.stdout.contains("lan0       enforcing  native"), "{text:?}");
    let text = daemon.cli(&["devices"]);
    assert!(text.stdout.contains(&format!("{HOSTILE} tcp/515")), "{text:?}");
    let text = daemon.cli(&["rules"]);
    assert!(text.stdout.contains("ICSMA-25-030-01") && !text.stdout.contains('\x1b'), "{text:?}");
}

#[test]
fn tail_shows_what_its_filters_ask_for() {
    let lab = Lab::gateway("tail");
    let _server = Server::start(&lab.internet, "x", &[80, 515], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let all = daemon.tail(&[]);
    let tails = [
        (vec!["--group", "pumps"], HOSTILE),
        (vec!["--device", "bed-11", "--reason", "deny"], HOSTILE_HL7),
        (vec!["--device", DEV1, "--to", "10.30.0.0/24"], CENTRAL),
        (vec!["--to", "202.114.4.120/32"], HOSTILE_HL7),
        (vec!["--reason", "default-drop", "--verdict", "drop"], CENTRAL),
        (vec!["--service", "tcp/515", "--interface", "lan0"], HOSTILE),
        (vec!["--not-group", "beds", "--not-to", "10.0.0.0/8"], HOSTILE),
        (vec!["--verdict", "would-drop", "-n", "1"], HOSTILE),
    ];
    let tails: Vec<_> =
        tails.into_iter().map(|(words, address)| (daemon.tail(&words), words, address)).collect();
    assert!(programs::connects(&lab.dev2, HOSTILE, 515));
    assert!(!programs::connects(&lab.dev1, HOSTILE_HL7, 511));
    assert!(!programs::connects(&lab.dev1, CENTRAL, 8000));
    for address in [HOSTILE, HOSTILE_HL7, CENTRAL] {
        all.wait_for_dest(address);
    }
    for (tail, words, address) in tails {
        tail.wait_for_dest(address);
        let lines = tail.lines();
        let mut drops = lines.iter().filter(|line| line["event_type"] == "drop");
        assert!(drops.all(|line| line["dest_ip"] == address), "{words:?}: {lines:?}");
        if words.contains(&"-n") {
            let ended = tail.finish(crate::harness::wait::DEADLINE);
            assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1), "{ended:?}");
        }
    }
    // It ends with 0 on Ctrl-C, and with 5 when the daemon stops.
    all.process().signal(libc::SIGINT);
    let ended = all.finish(crate::harness::wait::DEADLINE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let last = daemon.tail(&[]);
    let mut daemon = daemon;
    daemon.terminate();
    let ended = last.finish(crate::harness::wait::DEADLINE);
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.stderr.contains("the daemon has stopped"), "{ended:?}");
}

#[test]
fn curl_can_do_what_the_command_line_can() {
    let lab = Lab::gateway("api");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let get = |path: &str| -> Value {
        let (code, body) = daemon.curl(path, &[]);
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    };
    assert_eq!(get("/v1/status")["enforcing"], true);
    assert_eq!(get("/v1/devices")[0]["device"], "bed-11");
    assert_eq!(get("/v1/rules").as_array().map(Vec::len), Some(2));
    let (code, metrics) = daemon.curl("/v1/metrics", &[]);
    assert_eq!(code, 200);
    let line = "enforcer_interface_enforcing{interface=\"lan0\",mode=\"native\"} 1";
    assert!(metrics.lines().any(|other| other == line), "{metrics}");
    let (code, text) = daemon.curl("/v1/policy", &[]);
    assert!(code == 200 && text.contains("ICSMA-25-030-01"), "{code} {text}");

    // curl gets the same events as tail.
    let socket = daemon.path("enforcer.sock").display().to_string();
    let url = "http://enforcer/v1/events?to=198.51.100.0/24";
    let words = ["-q", "-sSN", "--unix-socket", &socket, url];
    let mut events = lab.gw.spawn("curl", &words);
    wait_until("curl follows", || daemon.log().contains("follows the events").then_some(()));
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    events.wait_for_stdout("\"dest_port\":81");

    // A policy as TOML, first as a dry run, then applied.
    let file = daemon.write("next.toml", &POLICY.replace("tcp/80", "tcp/80-81"));
    let file = format!("@{}", file.display());
    let words = ["-X", "PUT", "-H", "content-type: application/toml", "--data-binary", &file];
    let (code, body) = daemon.curl("/v1/policy?dry_run=true&file=next.toml", &words);
    assert!(code == 200 && body.contains("\"applied\":false"), "{code} {body}");
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    let (code, body) = daemon.curl("/v1/policy?file=next.toml", &words);
    assert!(code == 200 && body.contains("\"applied\":true"), "{code} {body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    has(&answer, &[], &["revision", "generation"]);
    has(&answer["changes"][0], &["sign", "kind", "text"], &[]);
    assert!(programs::connects(&lab.dev1, UPDATES, 81));
    assert_eq!(get("/v1/status")["policy"]["revision"], 2);

    let (code, body) = daemon.curl("/v1/nothing", &[]);
    assert!(code == 404 && body.contains("\"code\":\"bad-request\""), "{code} {body}");
    let (code, body) = daemon.curl("/v1/status", &["-X", "DELETE"]);
    assert_eq!(code, 405, "{body}");
    let (code, body) = daemon.curl("/v1/detach", &["-X", "POST"]);
    assert!(code == 200 && body.contains("removed"), "{code} {body}");
    assert_eq!(daemon.wait().code, Some(0));
    assert_eq!(daemon.attached("lan0"), None);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let lab = Lab::gateway("codes");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let code = |daemon: &Daemon<'_>, args: &[&str]| daemon.cli(args).code;
    let policy = daemon.path("policy.toml").display().to_string();
    let wrong = daemon.write("wrong.toml", "schema = 1\n[groups.a]\nmembers = [1]\n");
    let wrong = wrong.display().to_string();
    for args in [&["status"][..], &["check", &policy], &["apply", "--dry-run", &policy]] {
        assert_eq!(code(&daemon, args), Some(0), "{args:?}");
    }
    for args in
        [&["check", wrong.as_str()][..], &["apply", &wrong], &["apply", "--dry-run", &wrong]]
    {
        assert_eq!(code(&daemon, args), Some(1), "{args:?}");
    }
    for args in [&["stauts"][..], &["tail", "--to", "x"], &["tail", "-n", "0"], &["apply"]] {
        assert_eq!(code(&daemon, args), Some(2), "{args:?}");
    }
    for args in [&["apply", "/nowhere.toml"][..], &["check", "/nowhere.toml"]] {
        assert_eq!(code(&daemon, args), Some(3), "{args:?}");
    }
    assert_eq!(daemon.status()["policy"]["revision"], 1);
    daemon.terminate();
    for args in [&["status"][..], &["rules"], &["devices"], &["tail"], &["apply", &policy]] {
        let ended = daemon.cli(args);
        assert_eq!(ended.code, Some(5), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains("error: ") && ended.stderr.contains("hint: "), "{ended:?}");
    }
}
