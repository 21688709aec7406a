//! `enforcer apply`: the difference, and the switch.

use std::io::{self, IsTerminal};

use enforcer::api::Exit;
use enforcer::api::{ApplyReport, Change, PolicyBundle};
use enforcer::control::client::Client;
use enforcer::convert;
use enforcer::policy::{Problem, report};

use super::document::{self, Document, text_of};
use super::text::{clean, time};
use super::{GREEN, RED, Result, Screen, YELLOW, block_on, print, print_json, session};
use crate::cli;

pub(super) fn run(client: &Client, args: &cli::Apply) -> Result<Exit> {
    // The daemon has a different working directory, and other users will see the places of the
    // rules.
    let policy = std::fs::canonicalize(&args.policy).unwrap_or_else(|_| args.policy.clone());
    let Document { mut bundle, problems, .. } = document::read(&policy)?;
    let (dry_run, json) = (args.dry_run, args.output.json);
    bundle.dry_run = dry_run;
    bundle.confirm = args.confirm.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
    bundle.force = args.force;
    bundle.reason = args.reason.clone();
    bundle.session = session::own();
    // The daemon would find the same errors; finding them here needs no daemon.
    let answer = if report::has_errors(&problems) {
        let problems = problems.iter().map(convert::problem).collect();
        ApplyReport { problems, ..ApplyReport::default() }
    } else {
        block_on(async { Ok(client.apply(&bundle).await?) })?
    };
    let problems: Vec<_> = answer.problems.iter().map(convert::reported).collect();
    let refused = report::has_errors(&problems);
    if json {
        print_json(std::slice::from_ref(&answer))?;
    } else {
        show_problems(&problems, &bundle);
        if refused {
            eprintln!("refused: the old policy stays in force");
        } else {
            print(&render(&answer, dry_run, Screen::of_stdout()))?;
        }
    }
    Ok(if refused { Exit::Problems } else { Exit::Fine })
}

fn show_problems(problems: &[Problem], bundle: &PolicyBundle) {
    let colour = super::colour(io::stderr().is_terminal());
    eprint!("{}", report::render(problems, &|name| text_of(bundle, name), colour));
}

fn render(answer: &ApplyReport, dry_run: bool, screen: Screen) -> String {
    let mut out = String::new();
    for change in &answer.changes {
        let style = match change.sign {
            '+' => GREEN,
            '-' => RED,
            _ => YELLOW,
        };
        out.push_str(&screen.paint(style, &line(change)));
        out.push('\n');
    }
    let last = if dry_run && answer.changes.is_empty() {
        format!("dry run: nothing would change, revision {} stays in force", answer.revision)
    } else if dry_run {
        format!("dry run: nothing was applied, revision {} stays in force", answer.revision)
    } else if !answer.applied {
        format!("nothing changed: revision {} stays in force", answer.revision)
    } else {
        format!("applied: revision {} in {:.0} ms", answer.revision, answer.milliseconds)
    };
    out.push_str(&last);
    out.push('\n');
    if let Some(until) = &answer.confirm_until {
        let text = format!(
            "the policy before returns at {} unless `enforcer confirm` comes first",
            time(until)
        );
        out.push_str(&screen.paint(YELLOW, &text));
        out.push('\n');
    }
    out
}

/// `+ allow patient-monitors: tcp/443 to @update-servers (CHG-4711)`.
fn line(change: &Change) -> String {
    let mut line = format!("{} {}", change.sign, change.kind);
    if let Some(subject) = &change.subject {
        line.push_str(&format!(" {subject}"));
    }
    if !change.text.is_empty() {
        line.push_str(if change.subject.is_some() { ": " } else { " " });
        line.push_str(&change.text);
    }
    if let Some(rule) = &change.rule {
        line.push_str(&format!("  {rule}"));
    }
    clean(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(sign: char, kind: &str, subject: Option<&str>, text: &str) -> Change {
        Change {
            sign,
            kind: kind.into(),
            subject: subject.map(Into::into),
            text: text.into(),
            rule: None,
        }
    }

    fn report() -> ApplyReport {
        let allow = change('+', "allow", Some("monitors"), "tcp/443 to @updates (CHG-4711)");
        ApplyReport {
            applied: true,
            revision: 7,
            generation: 9,
            changes: vec![
                Change { rule: Some("r-1a2b3c4d".into()), ..allow },
                change('~', "mode", Some("pumps"), "observe -> enforce"),
                change('-', "group", Some("cameras"), ""),
                change('~', "unknown", None, "default pass -> drop"),
            ],
            problems: Vec::new(),
            milliseconds: 12.4,
            confirm_until: None,
        }
    }

    #[test]
    fn the_difference() {
        let expected = "\
+ allow monitors: tcp/443 to @updates (CHG-4711)  r-1a2b3c4d
~ mode pumps: observe -> enforce
- group cameras
~ unknown default pass -> drop
applied: revision 7 in 12 ms
";
        assert_eq!(render(&report(), false, Screen::default()), expected);
    }

    #[test]
    fn the_last_line_says_what_is_in_force() {
        let last = |report: &ApplyReport, dry_run| {
            let text = render(report, dry_run, Screen::default());
            text.lines().last().unwrap().to_owned()
        };
        let same = ApplyReport { applied: false, changes: Vec::new(), ..report() };
        assert_eq!(last(&same, false), "nothing changed: revision 7 stays in force");
        assert_eq!(last(&same, true), "dry run: nothing would change, revision 7 stays in force");
        let dry = ApplyReport { applied: false, ..report() };
        assert_eq!(last(&dry, true), "dry run: nothing was applied, revision 7 stays in force");
    }
}
