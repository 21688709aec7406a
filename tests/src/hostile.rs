//! Hostile clients of the control socket disturb neither enforcement nor other clients.
use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::UPDATES,
    wait::pause,
    wait_until,
};

const POLICY: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [{ to = "198.51.100.10", service = "tcp/80" }]
"#;
const NOBODY: u32 = 65_534;
const STATUS: &str = "GET /v1/status HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n";

/// Runs something as the user `nobody`, in its group and these others.
pub(crate) fn as_nobody<T: Send>(groups: &[u32], work: impl FnOnce() -> T + Send) -> T {
    let become_nobody = || {
        // SAFETY: the raw calls change this thread alone, and take numbers and a live array.
        let done = unsafe {
            [
                libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
                libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY),
                libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY),
            ]
        };
        assert_eq!(done, [0; 3], "{}", io::Error::last_os_error());
        work()
    };
    thread::scope(|scope| scope.spawn(become_nobody).join().expect("it does not panic"))
}

/// Sends a request and returns the answer within five seconds.
pub(crate) fn ask(socket: &Path, request: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // A client that is refused early may be disconnected while it still sends.
    let sent = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        sent?;
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Starts a daemon whose socket is also open to the group of `nobody`.
#[track_caller]
fn start<'a>(lab: &'a Lab, settings: &[&str]) -> Daemon<'a> {
    let mut daemon = prepare(lab, POLICY, settings);
    daemon.run();
    daemon
}

/// The same with another policy, before it starts.
#[track_caller]
pub(crate) fn prepare<'a>(lab: &'a Lab, policy: &str, settings: &[&str]) -> Daemon<'a> {
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], policy);
    fs::set_permissions(daemon.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    daemon.setting("socket_group = \"nogroup\"");
    settings.iter().for_each(|line| daemon.setting(line));
    daemon
}

#[track_caller]
pub(crate) fn proc_number(daemon: &Daemon<'_>, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process().pid()));
    let status = status.expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.split_whitespace().next().expect("a number").parse().expect("a number")
}

/// Root gets answers quickly, allowed traffic passes and other traffic does not.
#[track_caller]
fn assert_undisturbed(lab: &Lab, daemon: &Daemon<'_>) {
    let begun = Instant::now();
    let answer = ask(&daemon.path("enforcer.sock"), STATUS).expect("an answer");
    let took = begun.elapsed();
    assert!(answer.contains("\"enforcing\":true"), "{answer}");
    assert!(took < Duration::from_secs(1), "status took {took:?}");
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
}

#[test]
fn a_hostile_client_disturbs_no_other() {
    let lab = Lab::gateway("hostile");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let daemon = start(&lab, &[]);
    let socket = daemon.path("enforcer.sock");
    assert_undisturbed(&lab, &daemon);
    let before = proc_number(&daemon, "VmRSS:");

    let garbage: String = (0..200_000u32).map(|n| char::from((n * 37 % 251) as u8)).collect();
    let field = format!("GET /v1/status HTTP/1.1\r\nhost: e\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    let path = format!("GET /{} HTTP/1.1\r\nhost: e\r\n\r\n", "x".repeat(1 << 20));
    let length =
        |n: &str| format!("PUT /v1/policy HTTP/1.1\r\nhost: e\r\ncontent-length: {n}\r\n\r\n");
    let chunk = "PUT /v1/policy HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n\
                 ffffffffffffffff\r\n";
    let refused = [
        garbage.as_str(),
        &field,
        &fields,
        &path,
        &length("4294967296"),
        &length("18446744073709551616"),
        &length("-1"),
        "GET /v1/status HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        chunk,
    ];
    as_nobody(&[], || {
        for request in refused {
            // A refusal, or no answer.
            let answer = ask(&socket, request).unwrap_or_default();
            let start = &request[..request.len().min(60)];
            assert!(!answer.contains(" 200 "), "{start:?}: {answer}");
        }
    });
    assert_undisturbed(&lab, &daemon);

    // All at once: half heads, half bodies, unread answers, and a thousand connections.
    let held = as_nobody(&[], || {
        let mut held = Vec::new();
        for n in 0..1_000 {
            let Ok(stream) = UnixStream::connect(&socket) else { continue };
            stream.set_nonblocking(true).expect("a socket");
            let request = match n % 4 {
                0 => "GET /v1/sta".to_owned(),
                1 => length("1000000") + &"x".repeat(50_000),
                2 => STATUS.replace("connection: close\r\n", "").repeat(1_000),
                _ => String::new(),
            };
            // It fails if the daemon has disconnected.
            let _ = (&stream).write(request.as_bytes());
            held.push(stream);
        }
        held
    });
    assert!(held.len() > 500, "{}", held.len());
    for _ in 0..5 {
        assert_undisturbed(&lab, &daemon);
    }
    let grown = proc_number(&daemon, "VmRSS:").saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    assert!(daemon.log().contains("too many connections"), "{}", daemon.log());

    // Stalled clients are disconnected, and everything works as before.
    let back = || as_nobody(&[], || ask(&socket, STATUS)).is_ok_and(|a| a.contains(" 200 "));
    wait_until("nobody is served again", || back().then_some(()));
    drop(held);
    assert_undisturbed(&lab, &daemon);
    assert!(proc_number(&daemon, "FDSize:") <= 512);
}

#[test]
fn a_daemon_without_descriptors_waits_for_better_times() {
    let lab = Lab::gateway("nofile");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let daemon = start(&lab, &[]);
    let socket = daemon.path("enforcer.sock");
    let pid = i32::try_from(daemon.process().pid()).expect("a process id");
    let limit = |soft| {
        let new = libc::rlimit { rlim_cur: soft, rlim_max: 4_096 };
        // SAFETY: `new` lives through the call, and no old value is asked for.
        let done = unsafe {
            libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut())
        };
        assert_eq!(done, 0);
    };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count() as u64;
    limit(open + 8);
    let held: Vec<_> = (0..40).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    wait_until("it says so", || daemon.log().contains("cannot accept a connection").then_some(()));
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<&str> = stat.split_whitespace().collect();
        fields[13..15].iter().map(|field| field.parse::<u64>().expect("ticks")).sum::<u64>()
    };
    let before = ticks();
    pause(Duration::from_secs(2));
    assert!(ticks() - before < 100, "it spins: {} ticks in two seconds", ticks() - before);
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    drop(held);
    limit(1_024);
    wait_until("it answers", || {
        ask(&socket, STATUS).is_ok_and(|a| a.contains(" 200 ")).then_some(())
    });
    assert_undisturbed(&lab, &daemon);
}

#[test]
fn viewers_look_and_operators_change() {
    let lab = Lab::gateway("roles");
    // The group `daemon` has number 1 on every Linux.
    let daemon = start(&lab, &["viewer_group = \"nogroup\"", "operator_group = \"daemon\""]);
    let socket = daemon.path("enforcer.sock");
    let put = "PUT /v1/policy HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\
               content-type: application/toml\r\ncontent-length: 11\r\n\r\nschema = 1\n";
    let post = "POST /v1/detach HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n";
    let code = |groups: &[u32], request: &str| {
        as_nobody(groups, || {
            let answer = ask(&socket, request).expect("an answer");
            let code = answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
            (code.expect("a status"), answer)
        })
    };
    for path in ["status", "devices", "rules", "metrics", "policy", "history"] {
        let request = STATUS.replace("status", path);
        assert_eq!(code(&[], &request).0, 200, "{path}");
    }
    for request in [put, post, &put.replace("/v1/policy", "/v1/policy?dry_run=true")] {
        let (code, answer) = code(&[], request);
        assert_eq!(code, 403, "{answer}");
        assert!(
            answer.contains("\"code\":\"forbidden\"") && answer.contains("operator_group"),
            "{answer}"
        );
    }
    assert_eq!(daemon.status()["policy"]["revision"], 1);
    let (allowed, answer) = code(&[1], put);
    assert!(allowed == 200 && answer.contains("\"applied\":true"), "{answer}");

    let text = fs::read_to_string(daemon.path("state/audit.jsonl")).expect("it is there");
    let entries: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let refused: Vec<_> = entries.iter().filter(|e| e["action"] == "refused").collect();
    assert_eq!(refused.len(), 1, "one line stands for a minute: {text}");
    assert_eq!(refused[0]["who"]["peer"]["uid"], NOBODY);
    assert_eq!(refused[0]["subject"], "PUT /v1/policy");
    let last = entries.last().expect("entries");
    assert_eq!((&last["action"], &last["result"]), (&"apply".into(), &"ok".into()));
    assert_eq!(last["who"]["peer"]["user"], "nobody");

    // The history says the same, and has both documents.
    let history = daemon.json(&["history"]);
    assert_eq!(history.len(), 2);
    assert_eq!((&history[1]["who"], &history[1]["in_force"]), (&"nobody".into(), &true.into()));
    assert_eq!(history[1]["removed"], 1);
    let first = daemon.cli(&["policy", "show", "--revision", "1"]);
    assert_eq!(first.stdout, POLICY);
    let file = daemon.path("state/revisions/1.json");
    let mut bytes = fs::read(&file).expect("it is kept");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&file, bytes).expect("it is ours");
    let damaged = daemon.cli(&["policy", "show", "--revision", "1"]);
    assert_eq!(damaged.code, Some(3), "{damaged:?}");
    assert!(damaged.stderr.contains("revisions/1.json is damaged"), "{damaged:?}");
    let gone = daemon.cli(&["policy", "show", "--revision", "77"]);
    assert!(gone.stderr.contains("there is no revision 77"), "{gone:?}");
}
