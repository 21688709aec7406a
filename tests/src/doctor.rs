//! `enforcer doctor` on gateways: one that is fit, and ones with problems.
//!
//! If a remedy is a command, it is run, and the problem has to be gone.
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Daemon, Finished, Lab, Netns, bpf, daemon::binary, kernel, lacking, skip, topology::CENTRAL,
    wait,
};

const POLICY: &str = r#"schema = 1
[devices.bed-11]
mac = "00:1b:44:11:3a:b6"
ip = ["10.20.0.11"]
[groups.beds]
members = ["bed-11"]
allow = [{ to = "10.30.0.10", service = "tcp/515", reason = "central station" }]
[unknown]
default = "drop"
"#;

/// Every finding of `enforcer doctor --json`.
#[track_caller]
fn findings(ended: &Finished) -> Vec<Value> {
    assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
    let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    let findings: Vec<Value> = ended.stdout.lines().map(line).collect();
    for finding in &findings {
        assert!(finding["check"].is_string() && finding["text"].is_string(), "{finding}");
        assert_eq!(finding["state"] == "ok", finding["remedy"].is_null(), "{finding}");
    }
    let is_well = |finding: &Value| matches!(finding["state"].as_str(), Some("ok" | "warning"));
    assert_eq!(ended.code == Some(0), findings.iter().all(is_well), "{ended:?}");
    findings
}

/// The same without a daemon and without settings of its own.
#[track_caller]
fn doctor(netns: &Netns, interface: &str) -> Vec<Value> {
    let words = ["doctor", "--json", "--interface", interface, "--socket", "/nowhere/socket"];
    findings(&netns.run(&binary(), &words, wait::DEADLINE))
}

/// The findings of one check.
fn of<'f>(findings: &'f [Value], check: &str) -> Vec<&'f Value> {
    findings.iter().filter(|finding| finding["check"] == check).collect()
}

/// The only finding of a check with this state and text.
#[track_caller]
fn says(findings: &[Value], check: &str, state: &str, text: &str) -> String {
    let is_it = |finding: &&&Value| {
        finding["state"] == state && finding["text"].as_str().is_some_and(|t| t.contains(text))
    };
    let found = of(findings, check);
    let [finding] = found.iter().filter(is_it).collect::<Vec<_>>()[..] else {
        panic!("no {check} is {state} and says {text:?}: {found:#?}");
    };
    finding["remedy"].as_str().unwrap_or_default().to_owned()
}

/// Runs a remedy, which is a command.
#[track_caller]
fn follow(netns: &Netns, remedy: &str) {
    let words: Vec<&str> = remedy.split(',').next().expect("a part").split_whitespace().collect();
    netns.run_ok(words[0], &words[1..]);
}

#[test]
fn a_healthy_gateway_is_fit_also_by_its_program_in_force() {
    let lab = Lab::gateway("fit");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    assert!(daemon.backstop("install").success());
    daemon.run();
    let tail = daemon.tail(&[]);
    let ended = daemon.doctor(&["--live", "--json"]);
    let all = findings(&ended);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    says(&all, "daemon", "ok", "enforces revision 1");
    says(&all, "program", "ok", "as the kernel says");
    says(&all, "backstop", "ok", "both tables");
    says(&all, "backstop", "ok", "armed");
    says(&all, "forwarding", "ok", "IPv4 and IPv6");
    says(&all, "xdp", "ok", "native (veth)");
    says(&all, "engine", "ok", "the program is loaded");
    for place in ["native: 16 frames died, 4 lived", "generic: 16", "an unknown interface: 4"] {
        says(&all, "self-test", "ok", place);
    }
    if crate::kernel::probes() {
        let text =
            format!("9 frames would die, 2 would live: ARP; 10.20.0.11 to {CENTRAL} tcp/515");
        says(&all, "live-test", "ok", &text);
    } else {
        says(&all, "live-test", "unknown", "was not asked");
    }
    // It left no trace: the frames are neither counted nor reported.
    for reason in ["vlan-undeclared", "src-mac-own", "truncated-l3", "source-route", "ethertype"] {
        assert_eq!(daemon.reason(reason, "frames"), 0, "{reason}");
    }
    assert_eq!(daemon.rule_frames("10.30.0.10"), 0);
    let told = tail.lines();
    assert!(!told.iter().any(|line| line["ether"]["src_mac"] == "02:00:5e:00:53:02"), "{told:?}");
    // The human-readable output, without colour in a pipe.
    let text = daemon.doctor(&[]).stdout;
    assert!(text.starts_with("fit: ") && !text.contains('\x1b'), "{text}");
    assert!(text.contains("\nlan0\n"), "{text}");

    daemon.kill9();
    let all = findings(&daemon.doctor(&["--json"]));
    says(&all, "daemon", "warning", "the kernel keeps enforcing");
    says(&all, "program", "ok", "enforcer's is attached");
    let ended = daemon.doctor(&["--live", "--json"]);
    says(&findings(&ended), "live-test", "unknown", "the daemon is not running");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn an_observed_group_and_a_policy_without_rules_are_no_silent_pass() {
    let lab = Lab::gateway("observed");
    let policy = "schema = 1\n[unknown]\nmode = \"observe\"\ndefault = \"drop\"\n";
    let daemon = Daemon::start(&lab.gw, &["lan0"], policy);
    if !crate::kernel::probes() {
        let test = "an_observed_group_and_a_policy_without_rules_are_no_silent_pass";
        skip(test, "this kernel takes no probes");
        return;
    }
    let all = findings(&daemon.doctor(&["--live", "--json"]));
    assert!(says(&all, "live-test", "warning", "frames that must die pass").contains("enforce"));
    says(&all, "live-rule", "warning", "no allow rule could be tried");
}

/// The slot of the active generation is emptied: every frame is dropped, and probes are not
/// answered.
#[test]
fn a_gateway_without_a_policy_in_force_is_not_fit() {
    let lab = Lab::gateway("empty");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let slot = daemon.pin("GENERATIONS").display().to_string();
    let words = ["map", "delete", "pinned", &slot, "key", "0", "0", "0", "0"];
    if crate::kernel::probes() {
        // The daemon restores it eventually.
        wait::wait_until("it is seen", || {
            lab.gw.run("bpftool", &words, wait::DEADLINE);
            let all = findings(&daemon.doctor(&["--live", "--json"]));
            let live = of(&all, "live-test")[0].clone();
            let text = live["text"].as_str().expect("a text");
            (live["state"] == "unknown" && text.contains("did not answer")).then_some(())
        });
    }
    daemon.kill9();
    lab.gw.run("bpftool", &words, wait::DEADLINE);
    let ended = daemon.doctor(&["--json"]);
    says(&findings(&ended), "daemon", "fail", "no policy is in force");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn what_is_in_the_way_is_named_and_its_remedy_helps() {
    let lab = Lab::gateway("sick");
    let gw = &lab.gw;
    let all = doctor(gw, "lan0");
    says(&all, "daemon", "warning", "nothing is enforced");
    says(&all, "backstop", "warning", "not installed");
    let remedy = says(&all, "bypass", "warning", "cen0 is not protected");
    assert!(remedy.contains("interfaces = [\"lan0\", \"cen0\"]"), "{remedy}");

    // Another XDP program, in both modes.
    let other = bpf::load(bpf::XDP, "other", bpf::ATTACH_XDP);
    let link = gw.enter(|| bpf::link(&other, gw.index("lan0"), bpf::ATTACH_XDP));
    let (_, id) = kernel::attached(gw, "lan0").expect("it is attached");
    let text = format!("another XDP program (id {id}) is attached to lan0");
    says(&doctor(gw, "lan0"), "program", "fail", &text);
    drop(link);
    // The kernel frees a link some time after its last descriptor is closed.
    wait::wait_until("the program is gone", || {
        kernel::attached(gw, "lan0").is_none().then_some(())
    });
    assert!(of(&doctor(gw, "lan0"), "program").is_empty());

    for (name, shown) in [("rxvlan", "rxvlan"), ("rx-vlan-stag-hw-parse", "rx-vlan-stag-hw-parse")]
    {
        gw.run_ok("ethtool", &["-K", "lan0", name, "on"]);
        let remedy = says(&doctor(gw, "lan0"), "vlan-tags", "warning", shown);
        follow(gw, &remedy);
        says(&doctor(gw, "lan0"), "vlan-tags", "ok", "");
    }

    for (switch, text) in [
        ("ipv4/ip_forward", "IPv6 alone is routed"),
        ("ipv6/conf/all/forwarding", "IPv4 alone is routed"),
    ] {
        gw.sysctl(switch, "0");
        let remedy = says(&doctor(gw, "lan0"), "forwarding", "warning", text);
        follow(gw, &remedy);
        says(&doctor(gw, "lan0"), "forwarding", "ok", "");
    }

    // The devices' network, past lan0.
    gw.address("cen0", "10.20.0.3/24");
    says(&doctor(gw, "lan0"), "bypass", "fail", "cen0 is on the network of lan0 (10.20.0.0/24)");
    gw.ip("address del 10.20.0.3/24 dev cen0");

    gw.ip("link set lan0 down");
    let remedy = says(&doctor(gw, "lan0"), "interface", "warning", "it is down");
    follow(gw, &remedy);

    gw.ip("link add br0 type bridge");
    for port in ["lan0", "cen0"] {
        gw.ip(&format!("link set {port} master br0"));
    }
    let remedy =
        says(&doctor(gw, "lan0"), "bridge", "warning", "a port of br0: what arrives by cen0");
    assert!(remedy.contains("interfaces = [\"lan0\", \"cen0\"]"), "{remedy}");
    let remedy = says(&doctor(gw, "br0"), "interface", "fail", "cannot enforce on br0: a bridge");
    assert!(remedy.contains("[\"lan0\", \"cen0\"]"), "{remedy}");
    says(&doctor(gw, "lan9"), "interface", "fail", "no interface `lan9`");
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[test]
fn flowtables_are_named() {
    let lab = Lab::gateway("flows");
    let ruleset = "add table inet fast; add flowtable inet fast f \
                   { hook ingress priority 0 ; devices = { lan0, wan0 } ; }";
    let made = lab.gw.run("nft", &[ruleset], Duration::from_secs(5));
    assert!(!made.stderr.contains("syntax"), "{made:?}");
    if !made.success() {
        skip("flowtables_are_named", &format!("no flowtables: {}", first_line(&made.stderr)));
        return;
    }
    let remedy = says(&doctor(&lab.gw, "lan0"), "flow-offload", "warning", "past the backstop");
    assert!(remedy.contains("nft delete flowtable inet fast f"), "{remedy}");
    lab.gw.run_ok("nft", &["delete", "flowtable", "inet", "fast", "f"]);
    says(&doctor(&lab.gw, "lan0"), "flow-offload", "ok", "");
}

#[test]
fn a_place_that_pins_cannot_be_in_is_named() {
    let lab = Lab::gateway("nopins");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let settings = fs::read_to_string(daemon.path("enforcer.toml")).expect("it was written");
    let elsewhere = daemon.path("pins").display().to_string();
    daemon.settings(&settings.replace(&daemon.bpffs().display().to_string(), &elsewhere));
    let all = findings(&daemon.doctor(&["--json"]));
    let remedy = says(&all, "bpffs", "fail", "is not on a BPF file system");
    assert!(remedy.contains("mount -t bpf"), "{remedy}");
    // The self-test uses its own BPF file system.
    says(&all, "self-test", "ok", "native");
}

#[test]
fn without_root_the_skipped_checks_are_named() {
    let lab = Lab::gateway("nobody");
    assert_eq!(lacking(&["setpriv"]), Vec::<String>::new());
    let binary = binary();
    let words = ["--reuid", "65534", "--clear-groups", "--bounding-set", "-all", &binary, "doctor"];
    let more = ["--json", "--interface", "lan0", "--socket", "/nowhere/socket"];
    let ended = lab.gw.run("setpriv", &[&words[..], &more].concat(), wait::DEADLINE);
    let all = findings(&ended);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for check in ["rights", "self-test", "backstop", "flow-offload"] {
        let remedy = says(&all, check, "unknown", "not looked at: ");
        assert!(remedy.contains("root"), "{check}: {remedy}");
        assert_eq!(of(&all, check).len(), 1, "{check} is not known, and nothing else");
    }
    // Checks that need no privileges run.
    says(&all, "interface", "ok", "veth, up");
    says(&all, "vlan-tags", "warning", "by rx-vlan-stag-hw-parse until");
    let text = lab.gw.run("setpriv", &[&words[..], &more[1..]].concat(), wait::DEADLINE).stdout;
    assert!(text.starts_with("NOT KNOWN TO BE FIT: "), "{text}");
}

#[test]
fn one_that_is_killed_leaves_nothing() {
    let lab = Lab::gateway("killed");
    let links = || lab.gw.ip("-brief link");
    let pins = || {
        let entries = fs::read_dir("/sys/fs/bpf").expect("bpffs is mounted").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // Interfaces of tests that run at the same time.
        names.filter(|name| !name.starts_with("enforcer-")).collect::<Vec<_>>()
    };
    let mounts = || {
        let text = fs::read_to_string("/proc/self/mounts").expect("it can be read");
        text.lines().filter(|line| line.contains(" /sys/fs/bpf ")).count()
    };
    crate::harness::mount_bpffs();
    let before = (links(), pins(), mounts());
    for milliseconds in [1, 20, 50, 100, 200, 400] {
        let process = lab.gw.spawn(&binary(), &["doctor", "--interface", "lan0"]);
        wait::pause(Duration::from_millis(milliseconds));
        process.signal(libc::SIGKILL);
        process.finish(wait::DEADLINE);
        assert_eq!((links(), pins(), mounts()), before, "after {milliseconds} ms");
    }
}
