//! `enforcer audit`: whether the trail is whole, and what it says. Needs no daemon.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use enforcer::audit::chain::walk;
use enforcer::audit::verify::{self, Report};
use enforcer::audit::{Entry, Line};
use enforcer::exit::Exit;

use super::run::settings;
use super::text::{clean, count, head, table, time};
use super::{GREEN, RED, Screen, print};
use crate::cli;

pub(super) fn run(command: &cli::Audit) -> Result<Exit> {
    match command {
        cli::Audit::Verify { place, last } => verify_trail(&path(place)?, last.as_deref()),
        cli::Audit::Show { place, count, output } => show(&path(place)?, *count, output.json),
    }
}

fn path(place: &cli::Trail) -> Result<PathBuf> {
    match &place.path {
        Some(path) => Ok(path.clone()),
        None => Ok(settings(place.config.as_deref())?.state_dir),
    }
}

fn verify_trail(path: &Path, last: Option<&str>) -> Result<Exit> {
    let report = verify::verify(path, last);
    let report = report.with_context(|| format!("cannot read the trail {}", path.display()))?;
    print(&render(&report, path, Screen::of_stdout()))?;
    Ok(if report.faults.is_empty() { Exit::Fine } else { Exit::Problems })
}

fn render(report: &Report, path: &Path, screen: Screen) -> String {
    let mut out = String::new();
    for (file, line, fault) in &report.faults {
        let place = format!("{}:{line}", file.display());
        out.push_str(&format!("{}: {}: {fault}\n", screen.paint(RED, "fault"), clean(&place)));
    }
    let verdict = if report.faults.is_empty() {
        screen.paint(GREEN, "whole")
    } else {
        screen.paint(RED, "DAMAGED")
    };
    let entries = count(usize::try_from(report.entries).unwrap_or(usize::MAX), "line");
    let numbers = match report.first {
        Some(first) => format!(", entries {first} to {}", report.tail.sequence),
        None => String::new(),
    };
    let path = clean(&path.display().to_string());
    out.push_str(&format!("{path}: {verdict}: {entries}{numbers}\n"));
    out.push_str(&format!("last hash  {}\n", report.tail.hash));
    out
}

fn show(path: &Path, last: Option<usize>, json: bool) -> Result<Exit> {
    let mut lines: Vec<String> = Vec::new();
    let mut faults = 0;
    let mut tail = None;
    for file in verify::files(path)? {
        let text =
            verify::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let walked = walk(&text, tail.as_ref(), &mut |_, line, fault| {
            faults += usize::from(fault.is_some());
            lines.push(String::from_utf8_lossy(line).into_owned());
        });
        tail = Some(walked.tail);
    }
    let skip = last.map_or(0, |last| lines.len().saturating_sub(last));
    let lines = lines.split_off(skip);
    if json {
        print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    } else {
        print(&list(&lines, Screen::of_stdout().width))?;
    }
    if faults > 0 {
        eprintln!(
            "warning: this trail has {}: see `enforcer audit verify`",
            count(faults, "fault")
        );
    }
    Ok(if faults > 0 { Exit::Problems } else { Exit::Fine })
}

fn list(lines: &[String], width: Option<usize>) -> String {
    if lines.is_empty() {
        return "the trail has no entries\n".to_owned();
    }
    let mut rows = vec![head(&["ENTRY", "TIME (UTC)", "WHO", "WHAT", "REVISION", "RESULT, WHY"])];
    rows.extend(lines.iter().map(|line| match serde_json::from_str::<Line>(line) {
        Ok(line) => row(&line),
        Err(_) => {
            let mut row = vec!["?".to_owned(); 5];
            row.push(line.clone());
            row
        }
    }));
    table(&rows, &[0], &[5, 2], width)
}

fn row(line: &Line) -> Vec<String> {
    let Entry { who, action, subject, reason, result, old_revision, new_revision, .. } =
        &line.entry;
    let revision = match (old_revision, new_revision) {
        (Some(old), Some(new)) if old != new => format!("{old} → {new}"),
        (_, Some(new)) => new.to_string(),
        _ => "-".to_owned(),
    };
    let why = [reason, subject].into_iter().flatten().cloned();
    let what = std::iter::once(result.clone()).chain(why).collect::<Vec<_>>().join(", ");
    let sequence = line.sequence.to_string();
    vec![sequence, time(&line.time), who.to_string(), action.to_string(), revision, what]
}

#[cfg(test)]
mod tests {
    use enforcer::audit::chain::{Fault, Tail};
    use enforcer::audit::{Action, Who};

    use super::*;

    #[test]
    fn a_verdict_has_the_place_and_the_hash() {
        let mut report = Report {
            entries: 3,
            first: Some(1),
            tail: Tail { sequence: 3, hash: "ab".repeat(32) },
            faults: Vec::new(),
        };
        let path = Path::new("/var/lib/enforcer");
        let expected = "/var/lib/enforcer: whole: 3 lines, entries 1 to 3\nlast hash  abab";
        assert!(render(&report, path, Screen::default()).starts_with(expected));
        report.faults.push((path.join("audit.jsonl"), 2, Fault::Changed));
        let text = render(&report, path, Screen::default());
        let expected = "fault: /var/lib/enforcer/audit.jsonl:2: this line was changed";
        assert!(text.starts_with(expected) && text.contains(": DAMAGED: "), "{text}");
    }

    #[test]
    fn eighty_columns() {
        let who = Who::Peer { uid: 0, gid: 0, pid: Some(1), user: Some("root".into()) };
        let apply = Entry::new(who, Action::Apply).about("/etc/enforcer/policy.toml");
        let apply = Entry { old_revision: Some(6), new_revision: Some(7), ..apply };
        let line = Line {
            sequence: 12,
            time: "2026-11-23T12:03:04.123456Z".into(),
            entry: apply,
            previous: "00".into(),
        };
        let lines = [serde_json::to_string(&line).unwrap(), "{garbage".into()];
        let expected = "\
ENTRY  TIME (UTC)           WHO   WHAT   REVISION  RESULT, WHY
   12  2026-11-23 12:03:04  root  apply  6 → 7     ok, /etc/enforcer/policy.toml
    ?  ?                    ?     ?      ?         {garbage
";
        assert_eq!(list(&lines, Some(80)), expected);
    }
}
