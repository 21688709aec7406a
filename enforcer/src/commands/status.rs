//! `enforcer status`: what is enforced, according to the kernel.

use enforcer::api::Exit;
use enforcer::api::{InterfaceStatus, Status};
use enforcer::control::client::Client;
use enforcer::convert;
use enforcer::policy::live::span;

use super::text::{bytes, clean, count, head, number, seconds, table, time};
use super::{BOLD, GREEN, RED, Result, Screen, YELLOW, block_on, print, print_json};

pub(super) fn run(client: &Client, json: bool) -> Result<Exit> {
    let status = block_on(async { Ok(client.status().await?) })?;
    if json {
        print_json(std::slice::from_ref(&status))?;
    } else {
        print(&render(&status, Screen::of_stdout()))?;
    }
    Ok(if status.enforcing { Exit::Fine } else { Exit::Problems })
}

fn render(status: &Status, screen: Screen) -> String {
    let policy = &status.policy;
    let mut out = if status.enforcing {
        screen.paint(GREEN, "enforcing")
    } else {
        screen.paint(RED, "NOT ENFORCING")
    };
    out.push_str(&format!(
        "  revision {}, generation {}, since {}\n",
        policy.revision,
        policy.generation,
        time(&policy.since)
    ));
    out.push_str(&format!(
        "policy     {}\n           {}, {}, {}; {}\n",
        clean(&policy.file),
        count(policy.groups, "group"),
        count(policy.devices, "named device"),
        count(policy.rules, "rule"),
        bytes(policy.image_bytes)
    ));
    out.push_str(&format!(
        "daemon     {}, pid {}, since {}\n",
        clean(&status.version),
        status.pid,
        time(&status.started)
    ));
    for warning in &status.warnings {
        out.push_str(&screen.paint(YELLOW, "warning"));
        out.push_str(&format!(": {}\n", clean(warning)));
    }
    if let Some(until) = &status.confirm_until {
        let text = format!("not confirmed: the policy before returns at {}", time(until));
        out.push_str(&format!("{}\n", screen.paint(YELLOW, &text)));
    }
    for part in [
        interfaces(status, screen),
        groups(status, screen),
        live(status, screen),
        reasons(status, screen),
    ] {
        if let Some((head, rows)) = part.split_once('\n') {
            out.push_str(&format!("\n{}\n{rows}", screen.paint(BOLD, head)));
        }
    }
    out
}

fn interfaces(status: &Status, screen: Screen) -> String {
    if status.interfaces.is_empty() {
        return String::new();
    }
    let mut rows = vec![head(&["INTERFACE", "STATE", "XDP", "BACKSTOP", "NOTE"])];
    for InterfaceStatus { name, mode, enforcing, proof, backstop, note, .. } in &status.interfaces {
        let state = match (enforcing, proof.as_str()) {
            (false, _) => "NOT ENFORCING",
            (true, "idle") => "attached",
            (true, _) => "enforcing",
        };
        let note = note.clone().unwrap_or_default();
        rows.push(vec![name.clone(), state.to_owned(), mode.clone(), backstop.clone(), note]);
    }
    table(&rows, &[], &[4], screen.width)
}

fn groups(status: &Status, screen: Screen) -> String {
    if status.groups.is_empty() {
        return String::new();
    }
    // The column says something only where what is sent to devices is dropped.
    let inbound = status.groups.iter().any(|group| group.inbound == "drop");
    let mut header = vec!["GROUP", "MODE", "DEFAULT", "MEMBERS", "RULES"];
    if inbound {
        header.insert(3, "INBOUND");
    }
    let mut rows = vec![head(&header)];
    for group in &status.groups {
        let until = group.until.as_deref().map(|until| format!(" until {}", time(until)));
        let left = group.left.map(|left| format!(" ({} left)", span(left))).unwrap_or_default();
        let mut row = vec![
            group.name.clone(),
            group.mode.clone() + &until.unwrap_or_default() + &left,
            group.default.clone(),
            number(group.members as u64),
            number(group.rules as u64),
        ];
        if inbound {
            row.insert(3, group.inbound.clone());
        }
        rows.push(row);
    }
    let last = header.len() - 1;
    table(&rows, &[last - 1, last], &[0], screen.width)
}

/// Changes on top of the policy file.
fn live(status: &Status, screen: Screen) -> String {
    if status.live.is_empty() {
        return String::new();
    }
    let mut rows = vec![head(&["LIVE", "CHANGE", "ENDS", "WHY"])];
    for change in &status.live {
        rows.push(vec![
            change.id.clone(),
            convert::words(change),
            match (change.left, change.until) {
                // The machine's clock may be wrong, so no date is given.
                (Some(left), _) => format!("in {}", span(left)),
                (None, until) => until.map_or_else(|| "never".to_owned(), seconds),
            },
            change.reason.clone().unwrap_or_default(),
        ]);
    }
    table(&rows, &[], &[3, 1], screen.width)
}

/// Verdicts by reason. Reasons that never occurred are left out, and so are empty columns.
fn reasons(status: &Status, screen: Screen) -> String {
    let seen: Vec<_> =
        status.reasons.iter().filter(|r| r.frames + r.would_drop + r.lost > 0).collect();
    if seen.is_empty() {
        return String::new();
    }
    let observed = seen.iter().any(|r| r.would_drop > 0);
    let withheld = seen.iter().any(|r| r.suppressed + r.lost > 0);
    let mut columns = vec!["VERDICT", "REASON", "FRAMES", "BYTES"];
    if observed {
        columns.push("WOULD DROP");
    }
    if withheld {
        columns.extend(["SUPPRESSED", "LOST"]);
    }
    let mut rows = vec![head(&columns)];
    for reason in seen {
        let mut row = vec![
            reason.verdict.clone(),
            reason.reason.clone(),
            number(reason.frames),
            bytes(reason.bytes),
        ];
        if observed {
            row.push(number(reason.would_drop));
        }
        if withheld {
            row.extend([number(reason.suppressed), number(reason.lost)]);
        }
        rows.push(row);
    }
    table(&rows, &[2, 3, 4, 5, 6], &[1], screen.width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use enforcer::api::{GroupStatus, PolicyStatus, ReasonCount};

    fn status() -> Status {
        Status {
            enforcing: true,
            version: "0.1.0".into(),
            pid: 812,
            started: "2026-11-23T08:00:00.000000+01:00".into(),
            policy: PolicyStatus {
                file: "/etc/enforcer/policy.toml".into(),
                revision: 7,
                generation: 12,
                digest: "00".into(),
                since: "2026-11-23T12:03:04.123456+01:00".into(),
                groups: 1,
                devices: 12,
                rules: 40,
                image_bytes: 1_258_291,
            },
            interfaces: vec![InterfaceStatus {
                name: "lan0".into(),
                index: 3,
                mode: "generic".into(),
                enforcing: true,
                backstop: "armed".into(),
                proof: "seen".into(),
                received: 90,
                runs: 90,
                transmit: None,
                note: Some("the driver has no XDP".into()),
            }],
            reasons: vec![
                ReasonCount {
                    reason: "deny".into(),
                    verdict: "drop".into(),
                    text: "a deny rule".into(),
                    frames: 18_204,
                    bytes: 1_347_096,
                    would_drop: 0,
                    suppressed: 18_000,
                    lost: 0,
                },
                ReasonCount {
                    reason: "malformed".into(),
                    verdict: "drop".into(),
                    text: "a malformed frame".into(),
                    frames: 0,
                    bytes: 0,
                    would_drop: 0,
                    suppressed: 0,
                    lost: 0,
                },
            ],
            groups: vec![GroupStatus {
                name: "patient-monitors".into(),
                mode: "enforce".into(),
                until: None,
                left: None,
                default: "drop".into(),
                inbound: "pass".into(),
                members: 6,
                rules: 40,
            }],
            live: Vec::new(),
            confirm_until: None,
            warnings: vec!["lan0 is in generic mode".into()],
        }
    }

    #[test]
    fn all_is_well() {
        let expected = "\
enforcing  revision 7, generation 12, since 2026-11-23 12:03:04
policy     /etc/enforcer/policy.toml
           1 group, 12 named devices, 40 rules; 1.1 MiB
daemon     0.1.0, pid 812, since 2026-11-23 08:00:00
warning: lan0 is in generic mode

INTERFACE  STATE      XDP      BACKSTOP  NOTE
lan0       enforcing  generic  armed     the driver has no XDP

GROUP             MODE     DEFAULT  MEMBERS  RULES
patient-monitors  enforce  drop           6     40

VERDICT  REASON  FRAMES    BYTES  SUPPRESSED  LOST
drop     deny    18,204  1.2 MiB      18,000     0
";
        assert_eq!(render(&status(), Screen { width: Some(80), colour: false }), expected);
    }

    #[test]
    fn groups_that_let_nothing_in_are_told_apart() {
        let mut status = status();
        status.groups[0].inbound = "drop".into();
        let text = render(&status, Screen { width: Some(80), colour: false });
        let expected = "\
GROUP             MODE     DEFAULT  INBOUND  MEMBERS  RULES
patient-monitors  enforce  drop     drop           6     40
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn an_interface_that_does_not_enforce_cannot_be_overlooked() {
        let mut status = status();
        status.enforcing = false;
        status.interfaces[0].enforcing = false;
        let text = render(&status, Screen::default());
        assert!(text.starts_with("NOT ENFORCING  revision 7"), "{text}");
        assert!(text.contains("\nlan0       NOT ENFORCING  generic  "), "{text}");
        let text = render(&status, Screen { width: None, colour: true });
        assert!(text.starts_with("\x1b[1;31mNOT ENFORCING\x1b[0m  "), "{text}");
    }
}
