//! `enforcer config check`: the problems of the daemon's settings. Needs no root and no daemon.

use std::path::Path;

use anyhow::Result;
use enforcer::config::{self, Settings};
use enforcer::exit::Exit;

use super::{check, document};

pub(super) fn run(file: Option<&Path>, json: bool) -> Result<Exit> {
    let (file, text) = document::text_at(file.unwrap_or(Path::new(config::FILE)))?;
    let (settings, problems) = config::check(&file, &text);
    let fine = format!("{file}: {}", contents(&settings));
    check::tell(&problems, &|name| (name == file).then_some(text.as_str()), &fine, json)
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
