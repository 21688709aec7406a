//! Frames of 9,000 bytes: more than a driver's buffer, spread over fragments.
use crate::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::CENTRAL,
};
use crate::kernel::since;

const POLICY: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [
  { to = "10.30.0.10", service = "udp/5000" },
  { to = "10.30.0.10", service = "tcp/8000" },
]
"#;

#[test]
fn jumbo_frames_are_judged_like_any_other() {
    let lab = Lab::gateway("jumbo");
    for (netns, interface) in
        [(&lab.gw, "lan0"), (&lab.gw, "cen0"), (&lab.dev1, "eth0"), (&lab.central, "eth0")]
    {
        netns.ip(&format!("link set {interface} mtu 9000"));
    }
    lab.switch_mtu(9000);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    // Before Linux 5.18 a native program sees one buffer, and veth refuses it at this MTU.
    let mode = if since(5, 18) { "native" } else { "generic" };
    if mode == "generic" {
        let refused = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
        refused.setting("xdp = \"native\"");
        let ended = refused.run_to_end();
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(ended.stderr.contains("cannot attach to lan0 in native mode"), "{ended:?}");
    }
    daemon.setting(&format!("xdp = {:?}", if mode == "native" { mode } else { "auto" }));
    daemon.run();
    assert_eq!(daemon.status()["interfaces"][0]["mode"], mode);
    let server = Server::start(&lab.central, "x", &[8000, 8001], &[5000, 5001]);

    let text = "x".repeat(8_900);
    let answer = programs::say_udp(&lab.dev1, CENTRAL, 5000, &text);
    assert!(answer.stdout == text, "{} bytes", answer.stdout.len());
    assert_eq!(programs::say_udp(&lab.dev1, CENTRAL, 5001, &text).stdout, "");
    assert!(!server.heard("udp 5001"), "{:?}", server.calls());
    let (frames, bytes) = rule(&daemon, "udp/5000");
    // One frame, not six fragments.
    assert_eq!((frames, bytes), (1, 14 + 20 + 8 + 8_900));
    assert!(daemon.reason("default-drop", "bytes") > 8_900);

    let text = "y".repeat(120_000);
    let answer = programs::say(&lab.dev1, CENTRAL, 8000, &text);
    assert!(answer.stdout == text, "{} bytes", answer.stdout.len());
    assert!(!programs::connects(&lab.dev1, CENTRAL, 8001));
    let (frames, bytes) = rule(&daemon, "tcp/8000");
    assert!(frames < 60 && bytes > 120_000, "{frames} frames, {bytes} bytes");
}

#[track_caller]
fn rule(daemon: &Daemon<'_>, service: &str) -> (u64, u64) {
    let rules = daemon.rules();
    let rule = rules.iter().find(|rule| rule["service"] == service);
    let rule = rule.unwrap_or_else(|| panic!("no rule for {service}: {rules:?}"));
    let number = |field: &str| rule[field].as_u64().expect("a number");
    (number("frames"), number("bytes"))
}
