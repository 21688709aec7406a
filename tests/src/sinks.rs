//! Events in other programs' logs: read back from real receivers.
use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use crate::harness::{
    Daemon, Lab, Process, lacking,
    programs::{self, Server},
    skip,
    topology::HOSTILE,
    wait::wait_for,
    wait_until,
};
use crate::viewers;

const POLICY: &str = r#"schema = 1
[devices.bed-11]
mac = "00:1b:44:11:3a:b6"
[groups.beds]
members = ["bed-11"]
deny = [{ to = "202.114.4.0/24", reason = "say \"no\" [ICSMA-25-030-01]" }]
"#;
const CROWD: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
deny = [{ to = "202.114.4.0/24" }]
"#;
const JOURNALD: &str = "/usr/lib/systemd/systemd-journald";

/// One attempt at a port; repeats of a flow are suppressed, so each test uses its own ports.
fn attempt(lab: &Lab, port: u16) {
    assert!(!programs::connects(&lab.dev1, HOSTILE, port));
}

/// rsyslog on a unix socket, UDP and TCP. For each message it writes a line with the parsed parts,
/// separated by `|`.
fn rsyslog<'a>(lab: &'a Lab, daemon: &Daemon<'_>) -> (Process, impl Fn() -> Vec<String> + 'a) {
    let (socket, out) = (daemon.path("log.sock"), daemon.path("rsyslog.out"));
    let config = format!(
        r#"module(load="imudp")
module(load="imptcp")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{}" UseSpecialParser="off" RateLimit.Interval="0")
input(type="imudp" address="127.0.0.1" port="514")
input(type="imptcp" address="127.0.0.1" port="601" SupportOctetCountedFraming="on")
template(name="parts" type="string" string="%inputname%|%pri-text%|%app-name%|%msgid%|%structured-data%|%msg%\n")
action(type="omfile" file="{}" template="parts")
"#,
        socket.display(),
        out.display()
    );
    let config = daemon.write("rsyslog.conf", &config).display().to_string();
    let pid = daemon.path("rsyslog.pid").display().to_string();
    let process = lab.gw.spawn("rsyslogd", &["-n", "-f", &config, "-i", &pid]);
    wait_until("rsyslog listens", || socket.exists().then_some(()));
    let lines = move || {
        let text = fs::read_to_string(&out).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    (process, lines)
}

#[test]
fn rsyslog_reads_every_part_over_unix_udp_and_tcp() {
    if !lacking(&["rsyslogd"]).is_empty() {
        return skip("sinks::rsyslog_reads_every_part", "rsyslogd is not here");
    }
    let lab = Lab::gateway("rsyslog");
    let _server = Server::start(&lab.internet, "x", &[], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let (_rsyslog, lines) = rsyslog(&lab, &daemon);
    let settings = fs::read_to_string(daemon.path("enforcer.toml")).expect("it was written");
    let unix = format!("unix:{}", daemon.path("log.sock").display());
    for (port, to, input) in [
        (1001, unix.as_str(), "imuxsock"),
        (1002, "udp:127.0.0.1:514", "imudp"),
        (1003, "tcp:127.0.0.1:601", "imptcp"),
    ] {
        daemon
            .settings(&format!("{settings}[sinks.syslog]\nto = \"{to}\"\nfacility = \"local3\"\n"));
        daemon.run();
        attempt(&lab, port);
        let destination = format!("{HOSTILE} tcp/{port}");
        let line = wait_until("rsyslog has it", || {
            lines().into_iter().find(|line| line.contains(&destination))
        });
        let parts: Vec<&str> = line.split('|').collect();
        let [from, priority, app, id, data, text] = parts[..] else { panic!("{line}") };
        assert_eq!((from, priority), (input, "local3.notice"), "{line}");
        assert_eq!((app, id), ("enforcer", "drop"), "{line}");
        assert!(data.starts_with("[enforcer@32473 ") && data.ends_with(']'), "{line}");
        for field in [
            "device=\"bed-11\"",
            "reason=\"deny\"",
            &format!("dest_ip=\"{HOSTILE}\""),
            &format!("dest_port=\"{port}\""),
            r#"rule_reason="say \"no\" [ICSMA-25-030-01\]""#,
        ] {
            assert!(data.contains(field), "{field}: {line}");
        }
        assert!(text.starts_with(&format!("DROP bed-11 {destination} deny r-")), "{line}");
        assert_eq!(daemon.status()["warnings"], serde_json::json!([]));
        assert!(daemon.terminate().success());
    }
}

#[test]
fn a_missing_receiver_delays_nothing_and_gets_the_queue_later() {
    if !lacking(&["rsyslogd"]).is_empty() {
        return skip("sinks::a_receiver_that_is_not_there", "rsyslogd is not here");
    }
    let lab = Lab::gateway("nosyslog");
    let _server = Server::start(&lab.internet, "x", &[], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    daemon.setting("[sinks.syslog]\nto = \"tcp:127.0.0.1:601\"");
    daemon.run();
    let tail = daemon.tail(&[]);
    attempt(&lab, 1001);
    tail.wait_for("it, as always", |event| event["dest_port"] == 1001);
    let text = wait_until("the trouble is told", || {
        let text = daemon.cli(&["status"]).stdout;
        text.contains("sink syslog: cannot connect to tcp:127.0.0.1:601").then_some(text)
    });
    assert!(text.starts_with("enforcing"), "{text}");
    let up = |value: u32| format!("enforcer_sink_up{{sink=\"syslog\"}} {value}");
    let metrics = || daemon.curl("/v1/metrics", &[]).1;
    assert!(metrics().contains(&up(0)), "{}", metrics());
    attempt(&lab, 1002);
    let (_rsyslog, lines) = rsyslog(&lab, &daemon);
    for port in [1001, 1002] {
        wait_until("what waited is delivered", || {
            lines().iter().any(|line| line.contains(&format!("tcp/{port}"))).then_some(())
        });
    }
    wait_until("the trouble is over", || metrics().contains(&up(1)).then_some(()));
    assert_eq!(daemon.status()["warnings"], serde_json::json!([]));
    assert!(metrics().contains("enforcer_sink_lost_lines_total{sink=\"syslog\"} 0"));
}

/// A separate journald with its files, until this value is dropped.
struct Journal {
    name: String,
    process: Option<Process>,
}

impl Journal {
    fn start(lab: &Lab) -> Self {
        let name = format!("enforcer-lab-{}", std::process::id());
        let process = lab.gw.spawn(JOURNALD, &[&name]);
        let journal = Self { name, process: Some(process) };
        wait_until("journald listens", || Path::new(&journal.socket()).exists().then_some(()));
        journal
    }

    fn socket(&self) -> String {
        format!("/run/systemd/journal.{}/socket", self.name)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.process.take());
        let _ = fs::remove_dir_all(format!("/run/systemd/journal.{}", self.name));
        for dir in ["/var/log/journal", "/run/log/journal"] {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().ends_with(&format!(".{}", self.name)) {
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        }
    }
}

#[test]
fn journalctl_finds_events_by_their_fields() {
    if !Path::new(JOURNALD).exists() || !lacking(&["journalctl"]).is_empty() {
        return skip("sinks::journalctl_finds_events", "systemd-journald is not here");
    }
    let lab = Lab::gateway("journal");
    let _server = Server::start(&lab.internet, "x", &[], &[]);
    let journal = Journal::start(&lab);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    daemon.setting(&format!("[sinks.journald]\nsocket = \"{}\"", journal.socket()));
    daemon.run();
    for port in [1001, 1002] {
        attempt(&lab, port);
    }
    let namespace = format!("--namespace={}", journal.name);
    let words = [
        namespace.as_str(),
        "--output=json",
        "--no-pager",
        "ENFORCER_DEVICE=bed-11",
        "ENFORCER_REASON=deny",
        "ENFORCER_DEST_PORT=1002",
    ];
    let entry: Value = wait_until("journalctl finds it", || {
        let found = lab.gw.run("journalctl", &words, Duration::from_secs(10));
        serde_json::from_str(found.stdout.lines().next()?).ok()
    });
    for (field, value) in [
        ("ENFORCER_DEST_IP", HOSTILE),
        ("ENFORCER_DEST_PORT", "1002"),
        ("ENFORCER_RULE_REASON", "say \"no\" [ICSMA-25-030-01]"),
        ("ENFORCER_GROUP", "beds"),
        ("PRIORITY", "5"),
        ("SYSLOG_IDENTIFIER", "enforcer"),
        ("_TRANSPORT", "journal"),
    ] {
        assert_eq!(entry[field], value, "{entry}");
    }
    let message = entry["MESSAGE"].as_str().expect("a text");
    assert!(message.starts_with(&format!("DROP bed-11 {HOSTILE} tcp/1002 deny r-")), "{entry}");
}

#[test]
fn a_file_has_the_lines_of_tail_and_what_waited_is_in_it_at_the_end() {
    let lab = Lab::gateway("sinkfile");
    let _server = Server::start(&lab.internet, "x", &[], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let path = daemon.path("events.json");
    daemon.setting(&format!("[sinks.file]\npath = \"{}\"", path.display()));
    daemon.run();
    let tail = daemon.tail(&[]);
    for port in 1001..1006 {
        attempt(&lab, port);
    }
    tail.wait_for("the last one", |event| event["dest_port"] == 1005);
    assert!(daemon.terminate().success());
    let text = fs::read_to_string(&path).expect("the file is there");
    let parse = |line| serde_json::from_str::<Value>(line).expect("JSON");
    let written: Vec<Value> = text.lines().map(parse).collect();
    let drops = |events: Vec<Value>| -> Vec<Value> {
        events.into_iter().filter(|event| event["dest_ip"] == HOSTILE).collect()
    };
    let (written, seen) = (drops(written), drops(tail.lines()));
    assert!(written.len() >= 5, "{text}");
    assert_eq!(written, seen);
}

/// A thousand devices, each with as many lines as its budget allows: everything that the kernel counted is in the
/// files, as lines or as counts, and nothing is missing because the file was slow.
#[test]
fn a_file_keeps_up_with_a_flood() {
    let lab = Lab::gateway("sinkflood");
    let _server = Server::start(&lab.internet, "x", &[], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], CROWD);
    let path = daemon.path("events.json");
    daemon.setting(&format!("[sinks.file]\npath = \"{}\"\nkeep = 50", path.display()));
    daemon.run();
    let begun = std::time::Instant::now();
    viewers::refused(&lab, 1_000, 100);
    let took = begun.elapsed();
    let read = || -> Vec<Value> {
        let old = (1..=50).rev().map(|number| daemon.path(&format!("events.json.{number}")));
        let files = old.chain([path.clone()]);
        let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
        // The last line may be incomplete.
        let whole = text.get(..text.rfind('\n').map_or(0, |end| end + 1)).unwrap_or_default();
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let count = |event: &Value| event["enforcer"]["count"].as_u64().expect("a number");
    let refused = daemon.reason("deny", "frames");
    assert!(refused >= 100_000, "{refused}");
    // Each check reads the whole file.
    let lines = wait_for(Duration::from_secs(120), || {
        let lines = read();
        let of_frames = lines.iter().filter(|event| {
            let detail = &event["enforcer"];
            detail["reason"] == "deny" || detail["frame_reason"] == "deny"
        });
        let told: u64 = of_frames.map(count).sum();
        (told == daemon.reason("deny", "frames")).then_some(lines)
    });
    let lines = lines.expect("what was refused is in the files");
    let drops = lines.iter().filter(|event| event["event_type"] == "drop").count();
    println!("{refused} frames in {took:?}: {} lines, {drops} of them drops", lines.len());
    assert!(!lines.iter().any(|event| event["enforcer"]["reason"] == "slow-reader"));
    let metrics = daemon.curl("/v1/metrics", &[]).1;
    assert!(metrics.contains("enforcer_sink_lost_lines_total{sink=\"file\"} 0"), "{metrics}");
    assert_eq!(daemon.status()["warnings"], serde_json::json!([]));
}
