//! The binary as a script sees it: exit codes, which stream, closed pipes, Ctrl-C.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use enforcer::control::access::Access;
use enforcer::control::listen::Socket;
use enforcer::control::{queue, server};
use enforcer::events::Event;
use enforcer::events::hub::Hub;
use tokio::runtime::Runtime;

fn enforcer(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enforcer"));
    command.args(args).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = enforcer(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A daemon without a core: it only has events.
struct Daemon {
    dir: tempfile::TempDir,
    hub: Hub,
    _runtime: Runtime,
}

impl Daemon {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let hub = Hub::new();
        {
            let _entered = runtime.enter();
            let socket = Socket::bind(&dir.path().join("s"), None).unwrap();
            let (inputs, _) = queue(1);
            runtime.spawn(server::serve(
                socket,
                Access::default(),
                server::Limits::default(),
                inputs,
                hub.clone(),
                std::future::pending(),
            ));
        }
        Self { dir, hub, _runtime: runtime }
    }

    /// Starts a `tail`; it follows when this returns.
    #[expect(
        clippy::disallowed_methods,
        reason = "until a condition holds; the test has a deadline"
    )]
    fn tail(&self, args: &[&str]) -> Child {
        while self.hub.is_followed() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let socket = self.dir.path().join("s");
        let mut command = enforcer(&["tail", "--socket", socket.to_str().unwrap()]);
        let child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
        while !self.hub.is_followed() {
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }
}

/// A drop after this many repeats.
fn event(repeats: u64) -> Event {
    with_frame(repeats, None)
}

fn with_frame(repeats: u64, packet: Option<&str>) -> Event {
    let mut line = serde_json::json!({
        "timestamp": "2026-11-23T12:03:04.123456+01:00",
        "event_type": "drop",
        "dest_ip": "192.0.2.1",
        // A port without a name.
        "dest_port": 60053,
        "proto": "UDP",
        "enforcer": {
            "verdict": "drop", "reason": "default", "device": "bed-12", "generation": 1,
            "revision": 1, "count": 1, "repeats": repeats, "suppressed": 0,
        },
    });
    if let Some(packet) = packet {
        line["packet"] = packet.into();
    }
    serde_json::from_value(line).unwrap()
}

#[test]
fn exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none");
    let socket = socket.to_str().unwrap();
    let (code, out, err) = output(&["status", "--socket", socket]);
    assert_eq!((code, out.as_str()), (Some(5), ""));
    assert!(err.starts_with("error: the daemon is not running"), "{err}");
    assert!(err.ends_with("hint: start it: `enforcer run`, or its service\n"), "{err}");

    assert_eq!(output(&["frobnicate"]).0, Some(2));
    assert_eq!(output(&["check", "/nowhere.toml"]).0, Some(3));

    let settings = dir.path().join("enforcer.toml");
    std::fs::write(&settings, "sockte = 1\n").unwrap();
    let (code, _, err) = output(&["run", "--config", settings.to_str().unwrap()]);
    assert_eq!(code, Some(3));
    assert!(err.contains("enforcer.toml:1:1: unknown key `sockte` in the settings"), "{err}");
}

#[test]
fn config_check_says_what_the_daemon_would_and_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("enforcer.toml");
    let file = file.to_str().unwrap();
    assert_eq!(output(&["config", "check", file]).0, Some(3), "there is none");

    std::fs::write(file, "sockte = 1\ninterfaces = [\"lan0\", 7]\n").unwrap();
    let (code, out, _) = output(&["config", "check", file]);
    assert_eq!(code, Some(1));
    let expected = format!(
        "\
{file}:1:1: error: unknown key `sockte` in the settings
 1 | sockte = 1
   | ^^^^^^
hint: did you mean `socket`?

{file}:2:23: error: `interfaces` must be a list of strings, not an integer
 2 | interfaces = [\"lan0\", 7]
   |                       ^
hint: write `interfaces = [\"lan0\"]`

2 errors
"
    );
    // Long names of temporary directories break lines.
    assert_eq!(out.replace("\n    ", " "), expected);
    let (code, out, _) = output(&["config", "check", "--json", file]);
    assert_eq!((code, out.lines().count()), (Some(1), 2));
    let problem: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((&problem["line"], &problem["severity"]), (&1.into(), &"error".into()));

    let policy = dir.path().join("policy.toml");
    let policy = policy.to_str().unwrap();
    std::fs::write(file, format!("interfaces = [\"no-such-0\"]\npolicy = {policy:?}\n")).unwrap();
    let check = || {
        let (code, out, err) = output(&["config", "check", file]);
        assert_eq!(err, "");
        (code, out.replace("\n    ", " "))
    };
    let fine = format!("{file}: fine: protects no-such-0 by {policy}\n");
    let (code, out) = check();
    assert!(
        out.starts_with(&format!("{file}:2:1: warning: cannot read {policy}: No such")),
        "{out}"
    );
    assert!(code == Some(0) && out.ends_with(&fine), "{out}");

    let rules = "allow = [{ to = \"10.0.0.9\" }]\ndeny = [{ to = \"10.0.0.0/8\" }]\n";
    let text = format!("schema = 1\n[groups.g]\nmembers = [\"10.0.0.1\"]\n{rules}");
    std::fs::write(policy, &text).unwrap();
    let (code, out) = check();
    let never =
        format!("{policy}:4:10: warning: this allow rule never decides anything\n 4 | allow");
    assert!(code == Some(0) && out.starts_with(&never) && out.ends_with(&fine), "{out}");
    std::fs::write(policy, text.replace("10.0.0.9", "10.0.0")).unwrap();
    assert_eq!(check().0, Some(1));
    std::fs::write(policy, text.replace("10.0.0.9", "198.51.100.1")).unwrap();
    assert_eq!(check(), (Some(0), fine));
}

#[test]
fn check_says_what_the_reader_alone_does_not_see() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.toml");
    let text = "schema = 1\n[groups.g]\nmembers = [\"10.0.0.1\"]\n\
                allow = [{ to = \"any\", until = 2020-01-01T00:00:00Z }]\n";
    std::fs::write(&policy, text).unwrap();
    let (code, out, _) = output(&["check", policy.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert!(out.contains(":4:10: warning: rule r-") && out.contains("has ended"), "{out}");
    let (_, out, _) = output(&["check", "--json", policy.to_str().unwrap()]);
    let problem: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&problem["line"], &problem["severity"]), (&4.into(), &"warning".into()));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = enforcer(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn tail_counts_and_prints_a_line_an_event() {
    let daemon = Daemon::start();
    let child = daemon.tail(&["-n", "2"]);
    for repeats in 0..3 {
        daemon.hub.publish(event(repeats));
    }
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    let expected = "\
12:03:04.123 DROP  bed-12       192.0.2.1 udp/60053    default
12:03:04.123 DROP  bed-12       192.0.2.1 udp/60053    ×2  default
";
    assert_eq!(String::from_utf8(done.stdout).unwrap(), expected);
}

#[test]
fn tail_ends_with_ctrl_c_and_with_its_reader() {
    let daemon = Daemon::start();
    let mut child = daemon.tail(&["--json"]);
    daemon.hub.publish(event(0));
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event(0));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));

    for quiet in [false, true] {
        let mut child = daemon.tail(&[]);
        drop(child.stdout.take());
        // It notices this even when there is nothing to write.
        if !quiet {
            daemon.hub.publish(event(0));
        }
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

/// No events, and no reader: a pipe, a named pipe while standard output is read, and a socket.
#[test]
fn a_quiet_tail_ends_with_its_reader_whatever_it_writes_to() {
    let daemon = Daemon::start();
    for args in [&["--pcap", "-"][..], &["--eve"], &["--json"]] {
        let mut child = daemon.tail(args);
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }

    let fifo = daemon.dir.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let open = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut child = daemon.tail(&["--pcap", fifo.to_str().unwrap()]);
    let mut head = [0; 4];
    (&open).read_exact(&mut head).unwrap();
    assert_eq!(child.try_wait().unwrap(), None, "it is read, and goes on");
    drop(open);
    assert_eq!(child.wait().unwrap().code(), Some(0));

    // A capture to a file continues even if standard output has no reader.
    let file = daemon.dir.path().join("drops.pcapng");
    let mut child = daemon.tail(&["-n", "1", "--pcap", file.to_str().unwrap()]);
    drop(child.stdout.take());
    #[expect(clippy::disallowed_methods, reason = "longer than it looks from time to time")]
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(child.try_wait().unwrap(), None);
    daemon.hub.publish(with_frame(0, Some("AAECAwQFBgcICQoLDA0=")));
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = daemon.dir.path().join("s");
    while daemon.hub.is_followed() {
        std::thread::yield_now();
    }
    let mut command = enforcer(&["tail", "--socket", socket.to_str().unwrap()]);
    let mut child = command.stdout(std::os::fd::OwnedFd::from(theirs)).spawn().unwrap();
    drop(command);
    while !daemon.hub.is_followed() {
        std::thread::yield_now();
    }
    drop(ours);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_capture_has_the_frames_and_no_terminal() {
    let daemon = Daemon::start();
    let file = daemon.dir.path().join("drops.pcapng");
    let child = daemon.tail(&["-n", "1", "--pcap", file.to_str().unwrap()]);
    daemon.hub.publish(event(0));
    daemon.hub.publish(with_frame(0, Some("AAECAwQFBgcICQoLDA0=")));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    let bytes = std::fs::read(&file).unwrap();
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "a section header");
    assert!(holds(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]), "the frame");
    assert!(holds("DROP bed-12: default".as_bytes()), "its comment");
}

#[test]
fn eve_lines_have_no_field_of_ours() {
    let daemon = Daemon::start();
    let child = daemon.tail(&["-n", "1", "--eve", "--since", "2026-11-23T00:00:00Z"]);
    daemon.hub.publish(event(0));
    let done = child.wait_with_output().unwrap();
    let line: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (&line["event_type"], &line["timestamp"]),
        (&"drop".into(), &"2026-11-23T12:03:04.123456+0100".into(),)
    );
    assert!(line.get("enforcer").is_none(), "{line}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "gives the pipe time to fill up")]
fn ctrl_c_ends_a_tail_without_a_reader() {
    let daemon = Daemon::start();
    let mut child = daemon.tail(&["--json"]);
    for _ in 0..10 {
        for count in 0..1000 {
            daemon.hub.publish(event(count));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn interrupt(child: &Child) {
    // SAFETY: no memory is involved, and the child has not been waited for: the id is its own.
    let sent = unsafe { libc::kill(child.id().cast_signed(), libc::SIGINT) };
    assert_eq!(sent, 0);
}

/// Root of an unprivileged container has every capability in its namespace, but none in the initial
/// one.
#[test]
fn a_user_namespace_is_no_place_for_it() {
    let inside = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net"]).args(args).output()
    };
    if !inside(&["true"]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: unshare makes no user namespace here");
        return;
    }
    let program = env!("CARGO_BIN_EXE_enforcer");
    let doctor = inside(&[program, "doctor", "--json", "--interface", "lan0"]).unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    let text = String::from_utf8(doctor.stdout).unwrap();
    let findings = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let rights = findings.into_iter().find(|f: &serde_json::Value| f["check"] == "rights").unwrap();
    assert_eq!(rights["state"], "fail");
    assert_eq!(rights["remedy"], "run it on the host, or in a privileged container");
    let run = inside(&[program, "run", "--interface", "lan0"]).unwrap();
    assert_eq!(run.status.code(), Some(4));
    let text = String::from_utf8(run.stderr).unwrap();
    assert!(text.contains("error: this is a user namespace (an unprivileged container)"), "{text}");
}

#[test]
fn a_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(output(&["man", dir.path().to_str().unwrap()]).0, Some(0));
    for page in ["enforcer.1", "enforcer-config-check.1", "enforcer.toml.5", "enforcer-policy.5"] {
        assert!(Path::new(dir.path()).join(page).exists(), "{page}");
    }
}

#[test]
fn explain_needs_no_daemon_with_a_policy() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("p.toml");
    let text = "schema = 1\n[groups.g]\nmembers = [\"10.0.0.0/8\"]\ndefault = \"drop\"\n";
    std::fs::write(&policy, text).unwrap();
    let policy = policy.to_str().unwrap();
    let ask = ["explain", "--policy", policy, "--from", "10.1.2.3", "--to", "192.0.2.1:80"];
    let (code, out, err) = output(&ask);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("drop: no rule allows it\n"), "{out}");
    assert!(out.contains("10.1.2.3 to 192.0.2.1 tcp/80 on lan0\n"), "{out}");
    assert!(out.ends_with("  allow = [{ to = \"192.0.2.1\", service = \"tcp/80\" }]\n"), "{out}");
    assert!(err.contains("decided on the host") && err.contains("`gateway`"), "{err}");

    let (code, out, err) = output(&["explain", "--policy", policy, "--from", "x", "--to", "::1"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("error: tcp needs a port\nhint: "), "{err}");

    std::fs::write(policy, "schema = 2\n").unwrap();
    let (code, out, err) = output(&ask);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("schema `2` is not known"), "{err}");
}
