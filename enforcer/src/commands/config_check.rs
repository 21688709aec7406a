//! `enforcer config check`: the problems of the daemon's settings, and of the policy that they name.
//! Needs no root and no daemon.

use std::path::Path;

use enforcer::api::Exit;
use enforcer::config::{self, Settings};
use enforcer::fault::{Failed, Fault};
use enforcer::policy::{Place, Problem, Severity, report};
use enforcer::{dataplane, host};

use super::document::{self, Document};
use super::{Result, check, machine};

pub(super) fn run(file: Option<&Path>, json: bool) -> Result<Exit> {
    let (file, text) = document::text_at(file.unwrap_or(Path::new(config::FILE)))?;
    let (settings, mut problems) = config::check(&file, &text);
    problems.extend(settings.interfaces.iter().filter_map(|name| no_ethernet(&file, &text, name)));
    let mut document = None;
    // Invalid settings may name the wrong policy.
    if !report::has_errors(&problems) {
        match document::read(&settings.policy) {
            Ok(read) => {
                let read = read.compiled(machine::host(&settings).as_ref());
                problems.extend(read.problems.iter().cloned());
                document = Some(read);
            }
            Err(e) => problems.push(unreadable(&file, &text, &e)),
        }
    }
    let fine = format!("{file}: {}", contents(&settings));
    let text_of = |name: &str| match &document {
        _ if name == file => Some(text.as_str()),
        Some(Document { bundle, .. }) => document::text_of(bundle, name),
        None => None,
    };
    check::tell(&problems, &text_of, &fine, json)
}

/// The policy is not there, or not yet: the daemon would not start.
fn unreadable(file: &str, text: &str, error: &Failed) -> Problem {
    let names_it = |line: &str| {
        let value = line.trim_start().strip_prefix("policy").map(str::trim_start);
        value.is_some_and(|value| value.starts_with('='))
    };
    let line = text.lines().position(names_it).unwrap_or(0) + 1;
    let place = Place { file: file.into(), line: u32::try_from(line).unwrap_or(1), column: 1 };
    let hint = "the daemon does not start without one; `enforcer init` writes a first policy";
    Problem {
        severity: Severity::Warning,
        place,
        message: error.to_string(),
        hint: Some(hint.to_owned()),
    }
}

/// An interface of this machine whose frames the program cannot judge.
fn no_ethernet(file: &str, text: &str, name: &str) -> Option<Problem> {
    let kind = host::link_type_other_than_ethernet(name)?.to_string();
    let quoted = format!("\"{name}\"");
    let line = text.lines().position(|line| line.contains(&quoted)).unwrap_or(0);
    let column = text.lines().nth(line).and_then(|line| line.find(&quoted)).unwrap_or(0);
    let error = dataplane::Error::NoEthernet { interface: name.to_owned(), kind };
    Some(Problem {
        severity: Severity::Error,
        place: Place { file: file.into(), line: line as u32 + 1, column: column as u32 + 1 },
        message: error.to_string(),
        hint: error.hint(),
    })
}

/// `fine: protects lan0, lan1 by /etc/enforcer/policy.toml`.
fn contents(settings: &Settings) -> String {
    let interfaces = match settings.interfaces.as_slice() {
        [] => "no interface".to_owned(),
        names => names.join(", "),
    };
    format!("fine: protects {interfaces} by {}", settings.policy.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it() {
        let mut settings = Settings::default();
        let policy = "by /etc/enforcer/policy.toml";
        assert_eq!(contents(&settings), format!("fine: protects no interface {policy}"));
        settings.interfaces = vec!["lan0".into(), "lan1".into()];
        assert_eq!(contents(&settings), format!("fine: protects lan0, lan1 {policy}"));
    }
}
