//! Users who may only look: whatever they request and do not read, root can change the policy and follow
//! drops, and the log has only the daemon's lines.
use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use enforcer_testkit::frames::{Ethernet, V4, ether_type, udp};

use crate::{
    harness::{
        Daemon, Lab,
        frames::{Sender, mac},
        number,
        programs::{self, Server},
        topology::{HOSTILE, LAN0_MAC, UPDATES},
        wait::wait_for,
        wait_until,
    },
    hostile::{as_nobody, ask, prepare, proc_number},
};

/// Prefixes of the policy in force.
const PREFIXES: u64 = 1_000_000;
/// Connections of the user who may only look: the limit per user.
const CONNECTIONS: usize = 64;
/// Devices that are refused, and so fill the backlog.
const DEVICES: u32 = 1_000;
/// Viewers are in this group, operators in one that `nobody` is not in.
const ROLES: [&str; 2] = ["viewer_group = \"nogroup\"", "operator_group = \"daemon\""];

const POLICY: &str = r#"schema = 1
[sets]
feed = { file = "feed.txt" }
[groups.beds]
members = ["00:1b:44/24"]
deny = [{ to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }, { to = "@feed" }]
allow = [{ to = "198.51.100.10", service = "tcp/80" }]
"#;

/// A list with this many prefixes, none of which is adjacent to another or overlaps the lab.
pub(crate) fn feed(prefixes: u64) -> String {
    let mut text = String::new();
    for n in 0..prefixes as u32 {
        let _ = writeln!(text, "{}/31", std::net::Ipv4Addr::from_bits(0x1000_0000 + 4 * n));
    }
    text
}

fn start<'a>(lab: &'a Lab, prefixes: u64) -> Daemon<'a> {
    let mut daemon = prepare(lab, POLICY, &ROLES);
    daemon.write("feed.txt", &feed(prefixes));
    daemon.run();
    daemon
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: e\r\n\r\n")
}

/// Connections of `nobody`, each with these requests sent, which are never read.
fn unread(
    socket: &Path,
    connections: usize,
    requests: impl Fn(usize) -> String + Sync,
) -> Vec<UnixStream> {
    as_nobody(&[], || {
        let open = (0..connections).map(|n| {
            let stream = UnixStream::connect(socket).expect("it listens");
            stream.set_nonblocking(true).expect("a socket");
            // Requests that do not fit are not sent: the daemon reads one request after the other.
            let _ = (&stream).write(requests(n).as_bytes());
            stream
        });
        open.collect()
    })
}

/// Each of this many devices is refused once in a round, each time for a different port.
pub(crate) fn refused(lab: &Lab, devices: u32, rounds: u16) {
    let sender = Sender::open(&lab.dev1, "eth0");
    let frame = |device: u32, port| {
        let [_, high, middle, low] = device.to_be_bytes();
        let from = [0x00, 0x1b, 0x44, 0x70 | high, middle, low];
        let packet = V4::new(0x0a14_0000 + 256 + device, 0xca72_0477, 17);
        let packet = packet.packet(&udp(40_000, port, b"refused"));
        Ethernet::new(from).to(mac(LAN0_MAC)).frame(ether_type::IPV4, &packet)
    };
    for port in 0..rounds {
        let frames: Vec<_> = (0..devices).map(|device| frame(device, 1_000 + port)).collect();
        frames.chunks(64).for_each(|frames| sender.send(frames));
    }
}

#[test]
fn viewers_delay_no_order_of_root() {
    let lab = Lab::gateway("viewers");
    let _server = Server::start(&lab.internet, "x", &[], &[]);
    let prefixes = number("ENFORCER_VIEWER_PREFIXES", PREFIXES);
    let daemon = start(&lab, prefixes);
    // A live change, so that the shown policy has to be generated.
    assert_eq!(daemon.cli(&["allow", "beds", "192.0.2.1", "tcp/1"]).code, Some(0));
    let tail = daemon.tail(&[]);
    let quiet = proc_number(&daemon, "VmHWM:");

    let socket = daemon.path("enforcer.sock");
    let explain = "{\"from\": \"00:1b:44:11:3a:b6\", \"to\": \"16.0.0.1:80\", \"proto\": \"tcp\"}";
    let explain = format!(
        "POST /v1/explain HTTP/1.1\r\nhost: e\r\ncontent-length: {}\r\n\r\n{explain}",
        explain.len()
    );
    let all = ["policy", "policy?revision=1", "rules", "devices", "history", "status", "metrics"];
    let held = unread(&socket, CONNECTIONS, |n| {
        // All request the policy first, then everything else, each in a different order.
        let others = (0..all.len()).map(|at| get(&format!("/v1/{}", all[(n + at) % all.len()])));
        let others: String = others.collect();
        get("/v1/policy") + &explain + &others.repeat(20)
    });

    // The shortest of three, because the machine has other work too.
    let order = |mode: &str| {
        let begun = Instant::now();
        let ended = daemon.cli(&["mode", "beds", mode]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        begun.elapsed()
    };
    let took: Vec<Duration> = (0..3).flat_map(|_| ["observe", "enforce"].map(order)).collect();
    assert!(took.iter().min().is_some_and(|time| *time <= Duration::from_secs(1)), "{took:?}");
    // Disconnected clients cost nothing more.
    drop(held);
    let also = order("enforce");
    println!("{prefixes} prefixes, {CONNECTIONS} connections: orders took {took:?}, then {also:?}");

    programs::connects(&lab.dev1, HOSTILE, 1001);
    tail.wait_for_dest(HOSTILE);
    let peak = proc_number(&daemon, "VmHWM:").saturating_sub(quiet);
    // The text of the policy, the revision and the memory for reading it; not a copy for each
    // connection.
    assert!(peak < 700 << 10, "{peak} KiB more");
    let back = || as_nobody(&[], || ask(&socket, &closing("/v1/rules")));
    wait_until("a viewer is served", || back().is_ok_and(|a| a.contains(" 200 ")).then_some(()));
}

fn closing(path: &str) -> String {
    get(path).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
}

#[test]
fn followers_that_never_read_have_their_share_and_are_hung_up() {
    let lab = Lab::gateway("unread");
    let _server = Server::start(&lab.internet, "x", &[], &[]);
    let daemon = start(&lab, 10);
    let socket = daemon.path("enforcer.sock");
    // Enough events to exceed a socket's buffer.
    refused(&lab, DEVICES, 4);
    let counted = || {
        let metrics = daemon.curl("/v1/metrics", &[]).1;
        let lines =
            metrics.lines().filter(|line| line.starts_with("enforcer_refused_frames_total"));
        let sum: u64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        (sum >= u64::from(DEVICES)).then_some(())
    };
    wait_until("the events are there", counted);
    let before = proc_number(&daemon, "VmRSS:");

    let follow = get("/v1/events?since=2000-01-01T00:00:00Z&frame=1");
    let held = unread(&socket, 40, |_| follow.clone());
    let log = || daemon.log();
    wait_until("some follow", || (log().matches("follows the events").count() >= 8).then_some(()));
    // Their share is used up, root's is not.
    let answer = as_nobody(&[], || ask(&socket, &closing("/v1/events"))).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("the most that one user may have"), "{answer}");
    let tail = daemon.tail(&[]);
    programs::connects(&lab.dev1, HOSTILE, 1001);
    tail.wait_for("root's own", |event| event["dest_port"] == 1001);
    let grown = proc_number(&daemon, "VmRSS:").saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");

    let hung_up = wait_for(Duration::from_secs(90), || log().contains("hung up").then_some(()));
    assert!(hung_up.is_some(), "{}", log());
    let free = || {
        as_nobody(&[], || {
            let mut stream = UnixStream::connect(&socket)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(get("/v1/events").as_bytes())?;
            let mut head = [0; 12];
            stream.read_exact(&mut head).map(|()| head.ends_with(b" 200"))
        })
    };
    wait_until("their places are free", || free().is_ok_and(|free: bool| free).then_some(()));
    let said = log().lines().filter(|line| line.contains("hung up")).count();
    assert!((1..=2).contains(&said), "said once, not for each: {}", log());
    // Root continues to follow.
    programs::connects(&lab.dev1, HOSTILE, 1002);
    tail.wait_for("what comes later", |event| event["dest_port"] == 1002);
    assert!(!programs::connects(&lab.dev1, UPDATES, 81));
    drop(held);
}

#[test]
fn no_client_forges_a_line_of_the_log() {
    let lab = Lab::gateway("forge");
    let daemon = start(&lab, 10);
    let socket = daemon.path("enforcer.sock");
    let name = "a%0aERROR:%20forged%1b%5b2J%e2%80%ae";
    let put = format!(
        "PUT /v1/policy?file={name} HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\
         content-type: application/toml\r\ncontent-length: 11\r\n\r\nschema = 1\n"
    );
    let json = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: e\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let live = |target: &str, reason: &str, until: i64| {
        let body = serde_json::json!({ "action": "allow", "target": target, "to": "192.0.2.1",
            "service": "tcp/1", "reason": reason, "until": until });
        json("/v1/live", &body.to_string())
    };
    let soon = 4_000_000_000;
    let forged = "x\nERROR: forged\u{1b}[2J\u{202e}";
    let requests = [
        put.clone(),
        put.replace("policy?file=", "policy?dry_run=true&file="),
        format!("DELETE /v1/live/{name} HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n"),
        live("beds", forged, soon),
        live(forged, "why", soon),
        live("beds", &"x".repeat(60_000), soon),
        live("beds", "why", i64::MAX),
    ];
    // As root, and as a user who may not.
    let answers = |request: &String| {
        let root = ask(&socket, request).expect("an answer");
        let nobody = as_nobody(&[], || ask(&socket, request)).expect("an answer");
        assert!(root.starts_with("HTTP/1.1 400 "), "{root}");
        assert!(nobody.starts_with("HTTP/1.1 403 "), "{nobody}");
        root
    };
    let told: Vec<String> = requests.iter().map(answers).collect();
    assert!(told[5].contains("longer than 256 bytes"), "{}", told[5]);
    assert!(told[6].contains("years are 2000 to 2199"), "{}", told[6]);

    let log = daemon.log();
    assert!(
        log.contains("apply a\\nERROR: forged\\u{1b}[2J\\u{202e}, asked for by uid 0"),
        "{log}"
    );
    assert!(!log.lines().any(|line| line.trim_start().starts_with("ERROR: forged")), "{log}");
    let shown = daemon.cli(&["audit", "show", &daemon.path("state").display().to_string()]);
    let history = daemon.cli(&["history"]);
    for text in [&log, &shown.stdout, &history.stdout] {
        let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(bad, None, "{text}");
    }
    // The shown policy can be applied.
    let reason = "Bett 12: \"nur heute\" \\ ü";
    let allowed =
        daemon.cli(&["allow", "beds", "192.0.2.1", "tcp/1", "--for", "1h", "--reason", reason]);
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    let repeated = daemon.cli(&["allow", "beds", "198.51.100.10", "tcp/80"]);
    assert_eq!(repeated.code, Some(0), "{repeated:?}");
    let document = daemon.cli(&["policy", "show"]).stdout;
    let path = daemon.write("shown.toml", &document).display().to_string();
    for command in ["check", "apply"] {
        let ended = daemon.cli(&[command, &path]);
        assert!(ended.code == Some(0), "{command}: {ended:?}\n{document}");
    }
}
