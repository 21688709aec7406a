//! `enforcer audit`: verifies and prints the trail. Needs no daemon.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::Context;
use enforcer::api::Exit;
use enforcer::audit::verify::{self, Report};
use enforcer::audit::{Entry, Forgot, Line};

use super::run::settings;
use super::text::{clean, count, head, table, time};
use super::{GREEN, RED, Result, Screen, print};
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
    if let Some(Forgot { first, last, to, .. }) = &report.forgot {
        let when = to.as_deref().map(|to| format!(", the last of {}", time(to)));
        let when = when.unwrap_or_default();
        out.push_str(&format!(
            "removed    entries {first} to {last}{when}, according to an entry\n"
        ));
    }
    out.push_str(&format!("last hash  {}\n", report.tail.hash));
    out
}

fn show(path: &Path, last: Option<usize>, json: bool) -> Result<Exit> {
    let most = last.unwrap_or(usize::MAX);
    let mut lines: VecDeque<String> = VecDeque::new();
    let mut faults = 0;
    let files = verify::files(path);
    let walked = files.and_then(|files| {
        verify::lines(&files, &mut |_, _, line, fault| {
            faults += usize::from(fault.is_some());
            // There may be six years of entries; only the last few are kept.
            if !line.is_empty() {
                lines.push_back(String::from_utf8_lossy(line).into_owned());
            }
            if lines.len() > most {
                lines.pop_front();
            }
        })
    });
    walked.with_context(|| format!("cannot read the trail {}", path.display()))?;
    let lines = Vec::from(lines);
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
            forgot: None,
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

        report.faults.clear();
        report.first = Some(3);
        let to = Some("2020-11-23T12:03:04.123456Z".to_owned());
        report.forgot = Some(Forgot { first: 1, last: 2, to, ..Forgot::default() });
        let text = render(&report, path, Screen::default());
        let expected = "\nremoved    entries 1 to 2, the last of 2020-11-23 12:03:04, according to";
        assert!(text.contains(expected), "{text}");
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
