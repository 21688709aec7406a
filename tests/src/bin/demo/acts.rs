//! The acts of the demo, and their expectations.
use std::time::Duration;

use tests::harness::wait::wait_for;

use super::{
    Screen,
    gateway::{Gateway, POLICY},
    scene::Scene,
    transfer::{Archive, Transfer},
};

const ADVISORY: &str = "ICSMA-25-030-01";

/// The first act: nothing is enforced.
pub(crate) fn open(scene: &Scene, screen: &mut Screen) {
    screen.step("1  Without enforcer: the hospital works");
    good(scene, screen);
    screen.step("2  Without enforcer: the monitor calls the addresses in its firmware");
    let bad = scene.bad();
    for (what, leaks) in bad.ways {
        screen.expect(&format!("gets out: {what}"), leaks);
    }
    let (logged, frames) = (bad.logged, bad.frames);
    screen.expect(&format!("the servers outside logged it: {logged} calls, {frames} packets"), {
        logged > 0 && frames > 0
    });
    screen.expect("gets in: crafted UDP to the monitor (CVE-2024-12248)", scene.crafted_arrives());
}

/// Starts the daemon on the gateway; returns whether the demo can continue.
pub(crate) fn start(scene: &Scene, gateway: &mut Gateway<'_>, screen: &mut Screen) -> bool {
    screen.step("3  The gateway gets enforcer and a policy; the essential lines of it:");
    screen.note(&between(POLICY, "[groups.contec", "\n[groups.others"));
    screen.note("");
    screen.note("# enforcer run --config enforcer.toml &");
    let started = gateway.start();
    if !screen.expect("the daemon is up and the kernel says that lan0 is protected", started) {
        screen.note(&gateway.log());
        return false;
    }
    screen.note("# enforcer status");
    let status = gateway.status().stdout;
    screen.note(&between(&status, "INTERFACE", "VERDICT"));
    gateway.follow();
    // The first drop shows when `tail` has started to follow.
    let follows = wait_for(Duration::from_secs(10), || {
        scene.patient_data_leaves();
        gateway.followed().contains(ADVISORY).then_some(())
    });
    screen.expect("`enforcer tail` follows in the background", follows.is_some());
    true
}

/// The same attempts as before.
pub(crate) fn blocked(scene: &Scene, screen: &mut Screen) {
    screen.step("4  With enforcer: the monitor calls the same addresses");
    let bad = scene.bad();
    for (what, leaks) in bad.ways {
        screen.expect(&format!("does not get out: {what}"), !leaks);
    }
    let (logged, frames) = (bad.logged, bad.frames);
    screen.expect(&format!("the servers outside saw {logged} calls and {frames} packets of it"), {
        logged == 0 && frames == 0
    });
    let arrives = scene.crafted_arrives();
    screen.expect("does not get in: crafted UDP to the monitor (CVE-2024-12248)", !arrives);
}

/// Allowed traffic continues.
pub(crate) fn untouched(scene: &Scene, screen: &mut Screen) {
    screen.step("5  With enforcer: the hospital works as before");
    good(scene, screen);
}

/// The operator's view.
pub(crate) fn seen(gateway: &Gateway<'_>, screen: &mut Screen) {
    screen.step("6  What the operator saw: lines of `enforcer tail`");
    // The daemon reads the ring buffer by a timer.
    let ports = ["tcp/515", "tcp/111", "tcp/511"];
    let _ = wait_for(Duration::from_secs(3), || {
        let lines = gateway.followed();
        ports.iter().all(|port| lines.contains(port)).then_some(())
    });
    let rules = gateway.command(&["rules", "--json"]).stdout;
    let rule = deny_rule(&rules);
    let text = gateway.followed();
    for port in ports {
        let line = text.lines().find(|line| line.contains(&format!("{port} ")));
        let line = line.unwrap_or_default();
        screen.note(&wrap(line));
        let whole = rule.as_ref().is_some_and(|rule| {
            ["DROP", "monitor-1", rule, ADVISORY].iter().all(|word| line.contains(word))
        });
        screen.expect(&format!("{port}: device, rule and advisory are named"), whole);
    }
    let others = text.lines().any(|line| line.contains("bedside-11") || line.contains("pump-12"));
    screen.expect("no line about the two other devices", !others);
    screen.note("# enforcer rules     (without its column of groups)");
    let rules = gateway.command(&["rules"]).stdout;
    screen.note(&rules.lines().map(squeeze).collect::<Vec<_>>().join("\n"));
}

/// A policy change while a transfer runs.
pub(crate) fn change(scene: &Scene, gateway: &Gateway<'_>, archive: &Archive, screen: &mut Screen) {
    screen.step("7  The vendor opens a service on tcp/80, and the pump may use it: live");
    screen.expect("before: the pump does not reach 198.51.100.10 tcp/80", !scene.new_service());
    let mut transfer = Transfer::start(&scene.lab.dev1, archive);
    screen.note("The bedside device is uploading an image of 6 MiB to the archive.");
    let next = gateway.file("next.toml");
    screen.note("# enforcer apply --dry-run next.toml");
    let dry = gateway.command(&["apply", "--dry-run", &next]);
    screen.note(&dry.stdout);
    screen.expect("the dry run shows the difference and changes nothing", {
        dry.success() && dry.stdout.contains("tcp/80") && dry.stdout.contains("nothing was applied")
    });
    screen.note("# enforcer apply next.toml");
    let applied = gateway.command(&["apply", &next]);
    screen.note(applied.stdout.lines().last().unwrap_or(&applied.stderr));
    screen.expect("after: the pump reaches 198.51.100.10 tcp/80", {
        applied.success() && scene.new_service()
    });
    screen.expect("the upload was under way all the time", transfer.is_running());
    screen.expect("patient data to 202.114.4.119 is still dropped", !scene.patient_data_leaves());
    let (sent, received) = transfer.finish();
    screen.note(&format!("sha256 sent      {}…", sent.get(..32).unwrap_or_default()));
    screen.note(&format!("sha256 received  {}…", received.get(..32).unwrap_or_default()));
    screen.expect("the upload arrived whole", !sent.is_empty() && sent == received);
    let devices = gateway.command(&["devices", "--json"]).stdout;
    let none = devices
        .lines()
        .any(|line| line.contains("\"bedside-11\"") && line.contains("\"dropped\":0,"));
    screen.expect("and not one frame of that device was dropped (`enforcer devices`)", none);
}

/// Enforcement does not need the daemon.
pub(crate) fn killed(scene: &Scene, gateway: &mut Gateway<'_>, screen: &mut Screen) {
    screen.step("8  Somebody kills the daemon: kill -9");
    let dead = gateway.kill();
    let status = gateway.status();
    screen.note("# enforcer status");
    // Leave out the path of the socket behind it.
    screen.note(status.stderr.split(": no answer").next().unwrap_or_default());
    screen.expect("the daemon is dead", dead && status.code == Some(5));
    let leaks = scene.patient_data_leaves();
    screen.expect("patient data to 202.114.4.119 is dropped all the same", !leaks);
    screen.expect("the pump still reaches what it may", scene.new_service());
}

/// Nothing stays behind.
pub(crate) fn gone(scene: &Scene, gateway: Gateway<'_>, screen: &mut Screen) {
    screen.step("9  The operator takes enforcer away: enforcer detach");
    let was = gateway.attached();
    let detached = gateway.detach();
    screen.note(detached.stdout.lines().last().unwrap_or(&detached.stderr));
    let attached = gateway.attached();
    screen.expect("the kernel shows no program on lan0 any more (ip link)", was && !attached);
    let pins = super::cleanup::pins();
    screen.expect("nothing is pinned under /sys/fs/bpf any more", !pins.exists());
    screen.expect("and the monitor's call gets out again", scene.patient_data_leaves());
    drop(gateway);
}

fn good(scene: &Scene, screen: &mut Screen) {
    for (what, works) in scene.good() {
        screen.expect(what, works);
    }
}

/// The lines from the one that begins with `from` to before `to`.
fn between(text: &str, from: &str, to: &str) -> String {
    let rest = text.find(from).and_then(|at| text.get(at..)).unwrap_or(text);
    rest.split(to).next().unwrap_or(rest).trim_end().to_owned()
}

/// The id of the rule that denies, from `enforcer rules --json`.
fn deny_rule(rules: &str) -> Option<String> {
    let rules = rules.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut deny = rules.filter(|rule: &serde_json::Value| rule["action"] == "deny");
    Some(deny.next()?["id"].as_str()?.to_owned())
}

/// Breaks a line as `enforcer tail` does on a terminal: parts that do not fit go below.
fn wrap(line: &str) -> String {
    if line.chars().count() <= 76 {
        return line.to_owned();
    }
    match line.rsplit_once("  ") {
        Some((first, rest)) => format!("{}\n{:19}{rest}", first.trim_end(), ""),
        None => line.to_owned(),
    }
}

/// A table's line without the column of groups, for which there is no room.
fn squeeze(line: &str) -> String {
    line.replace("contec-cms8000  ", "")
        .replace("others          ", "")
        .replace("GROUP           ", "")
}
