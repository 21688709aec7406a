//! `enforcer doctor`: checks whether this machine can enforce a policy.

use std::path::Path;

use enforcer::api::Exit;
use enforcer::doctor::{self, Finding, State};

use super::run::{name_interfaces, settings};
use super::text::{clean, count};
use super::{BOLD, GREEN, RED, Result, Screen, YELLOW, block_on, print, print_json};
use crate::cli::Doctor;

/// Widths of the columns of states and of check names.
const STATE: usize = 7;
const CHECK: usize = 16;

pub(super) fn run(args: &Doctor, socket: Option<&Path>) -> Result<Exit> {
    let mut settings = settings(args.config.as_deref())?;
    name_interfaces(&mut settings, &args.interface)?;
    if let Some(socket) = socket {
        settings.socket = socket.to_owned();
    }
    let findings = block_on(async { Ok(doctor::examine(&settings, args.live).await?) })?;
    if args.output.json {
        print_json(&findings)?;
    } else {
        print(&render(&findings, Screen::of_stdout()))?;
    }
    Ok(if doctor::is_fit(&findings) { Exit::Fine } else { Exit::Problems })
}

fn render(findings: &[Finding], screen: Screen) -> String {
    let mut out = sum(findings, screen);
    let mut last = None;
    for finding in findings {
        let about = finding.interface.as_deref().map_or("this machine".into(), clean);
        if last.as_ref() != Some(&about) {
            out.push_str(&format!("\n{}\n", screen.paint(BOLD, &about)));
            last = Some(about);
        }
        let (word, style) = word(finding.state);
        let word = screen.paint(style, &format!("{word:<STATE$}"));
        let indent = 2 + STATE + 2 + CHECK + 2;
        let text = wrap(&clean(&finding.text), indent, screen.width);
        out.push_str(&format!("  {word}  {:<CHECK$}  {text}\n", finding.check));
        if let Some(remedy) = &finding.remedy {
            let remedy = wrap(&clean(remedy), indent + 2, screen.width);
            out.push_str(&format!("{:indent$}→ {remedy}\n", ""));
        }
    }
    out
}

/// `fit: 20 ok, 1 warning`.
fn sum(findings: &[Finding], screen: Screen) -> String {
    let of = |state| findings.iter().filter(|finding| finding.state == state).count();
    let mut parts = vec![format!("{} ok", of(State::Ok))];
    for (state, name) in [(State::Warning, "warning"), (State::Fail, "failure")] {
        if of(state) > 0 {
            parts.push(count(of(state), name));
        }
    }
    if of(State::Unknown) > 0 {
        parts.push(format!("{} not looked at", of(State::Unknown)));
    }
    let fit = if doctor::is_fit(findings) {
        screen.paint(GREEN, "fit")
    } else if of(State::Fail) > 0 {
        screen.paint(RED, "NOT FIT")
    } else {
        screen.paint(RED, "NOT KNOWN TO BE FIT")
    };
    format!("{fit}: {}\n", parts.join(", "))
}

fn word(state: State) -> (&'static str, &'static str) {
    match state {
        State::Ok => ("ok", GREEN),
        State::Warning => ("warning", YELLOW),
        State::Fail => ("FAIL", RED),
        State::Unknown => ("UNKNOWN", RED),
    }
}

/// Breaks a text between words, later lines indented; a word is never broken.
fn wrap(text: &str, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let (mut out, mut used) = (String::new(), indent);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if out.is_empty() {
            used += length;
        } else if used + 1 + length > width {
            out.push_str(&format!("\n{:indent$}", ""));
            used = indent + length;
        } else {
            out.push(' ');
            used += 1 + length;
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("kernel", "Linux 6.18.44: has all that it uses"),
            Finding::warning(
                "clock",
                "nothing keeps it right: rules with an end and the times of events follow it",
                "timedatectl set-ntp true, or run chrony or ntpd",
            ),
            Finding::fail("program", "another XDP program (id 7) is attached to lan0", "remove it")
                .on("lan0"),
        ]
    }

    #[test]
    fn fits_into_80_columns() {
        let expected = "\
NOT FIT: 1 ok, 1 warning, 1 failure

this machine
  ok       kernel            Linux 6.18.44: has all that it uses
  warning  clock             nothing keeps it right: rules with an end and the
                             times of events follow it
                             → timedatectl set-ntp true, or run chrony or ntpd

lan0
  FAIL     program           another XDP program (id 7) is attached to lan0
                             → remove it
";
        let screen = Screen { width: Some(80), colour: false };
        assert_eq!(render(&findings(), screen), expected);
        let piped = render(&findings(), Screen::default());
        assert!(piped.contains("right: rules with an end and the times of events follow it\n"));
        assert!(!piped.contains('\x1b'));
    }

    #[test]
    fn what_was_not_looked_at_cannot_be_overlooked() {
        let mut findings = findings();
        findings.truncate(2);
        assert!(render(&findings, Screen::default()).starts_with("fit: 1 ok, 1 warning\n"));
        findings.push(Finding::unknown("self-test", "it needs CAP_BPF", "run it as root"));
        let text = render(&findings, Screen::default());
        assert!(text.starts_with("NOT KNOWN TO BE FIT: 1 ok, 1 warning, 1 not looked at\n"));
        let line = "  UNKNOWN  self-test         not looked at: it needs CAP_BPF\n";
        assert!(text.contains(line), "{text}");
        let text = render(&findings, Screen { width: Some(80), colour: true });
        assert!(text.contains("\x1b[1;31mUNKNOWN\x1b[0m  self-test"), "{text}");
    }
}
