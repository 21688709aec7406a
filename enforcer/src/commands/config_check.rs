//! `enforcer config check`: the problems of the daemon's settings. Needs no root and no daemon.

use std::path::Path;

use anyhow::Result;
use enforcer::config::{self, Settings};
use enforcer::exit::Exit;
use enforcer::policy::{Place, Problem, Severity};
use enforcer::{dataplane, site};

use super::{check, document};

pub(super) fn run(file: Option<&Path>, json: bool) -> Result<Exit> {
    let (file, text) = document::text_at(file.unwrap_or(Path::new(config::FILE)))?;
    let (settings, mut problems) = config::check(&file, &text);
    problems.extend(settings.interfaces.iter().filter_map(|name| no_ethernet(&file, &text, name)));
    let fine = format!("{file}: {}", contents(&settings));
    check::tell(&problems, &|name| (name == file).then_some(text.as_str()), &fine, json)
}

/// An interface of this machine whose frames the program cannot judge.
fn no_ethernet(file: &str, text: &str, name: &str) -> Option<Problem> {
    let kind = site::link_type_other_than_ethernet(name)?.to_string();
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
