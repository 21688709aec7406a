//! `enforcer check`: the problems of a policy. Needs no root and no daemon.

use std::path::Path;

use anyhow::Result;
use enforcer::exit::Exit;
use enforcer::policy::{Policy, report};

use super::document::{self, Document, text_of};
use super::text::count;
use super::{Screen, print, print_json};

pub(super) fn run(policy: &Path, json: bool) -> Result<Exit> {
    let Document { bundle, policy, problems } = document::read(policy)?;
    let refused = report::has_errors(&problems);
    if json {
        let reports: Vec<_> = problems.iter().map(enforcer::api::ProblemReport::from).collect();
        print_json(&reports)?;
    } else {
        let colour = Screen::of_stdout().colour;
        let mut text = report::render(&problems, &|name| text_of(&bundle, name), colour);
        if !refused {
            text.push_str(&format!("{}: {}\n", bundle.file, contents(&policy)));
        }
        print(&text)?;
    }
    Ok(if refused { Exit::Problems } else { Exit::Fine })
}

/// `fine: 2 groups, 1 device, 12 rules`.
fn contents(policy: &Policy) -> String {
    let rules = policy.groups.iter().map(|group| group.allow.len() + group.deny.len()).sum();
    format!(
        "fine: {}, {}, {}",
        count(policy.groups.len(), "group"),
        count(policy.devices.len(), "named device"),
        count(rules, "rule")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it() {
        let expected = "fine: 0 groups, 0 named devices, 0 rules";
        assert_eq!(contents(&Policy::default()), expected);
    }
}
