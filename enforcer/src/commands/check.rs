//! `enforcer check`: the problems of a policy. Needs no root and no daemon.

use std::path::Path;

use enforcer::api::Exit;
use enforcer::fault::Fault;
use enforcer::policy::{Interface, Policy, Problem, Severity, report};
use enforcer::{dataplane, host};

use super::document::{self, Document, text_of};
use super::run::settings;
use super::text::count;
use super::{Result, Screen, machine, print, print_json};

pub(super) fn run(policy: &Path, json: bool) -> Result<Exit> {
    // On the gateway its addresses are taken into account; other machines have no settings.
    let host = settings(None).ok().and_then(|settings| machine::host(&settings));
    let document = document::read(policy)?.compiled(host.as_ref());
    let Document { bundle, policy, mut problems } = document;
    problems.extend(policy.interfaces.iter().filter_map(no_ethernet));
    let fine = format!("{}: {}", bundle.file, contents(&policy));
    tell(&problems, &|name| text_of(&bundle, name), &fine, json)
}

/// An interface of this machine whose frames the program cannot judge. The policy may be for another machine, so
/// it is a warning.
fn no_ethernet(interface: &Interface) -> Option<Problem> {
    let kind = host::link_type_other_than_ethernet(&interface.name)?.to_string();
    let error = dataplane::Error::NoEthernet { interface: interface.name.clone(), kind };
    let (message, hint) = (error.to_string(), error.hint());
    Some(Problem { severity: Severity::Warning, place: interface.place.clone(), message, hint })
}

/// Prints the problems of a document, and `fine` if none of them is an error.
pub(super) fn tell<'t>(
    problems: &[Problem],
    text_of: &dyn Fn(&str) -> Option<&'t str>,
    fine: &str,
    json: bool,
) -> Result<Exit> {
    let refused = report::has_errors(problems);
    if json {
        let reports: Vec<_> = problems.iter().map(enforcer::convert::problem).collect();
        print_json(&reports)?;
    } else {
        let mut text = report::render(problems, text_of, Screen::of_stdout().colour);
        if !refused {
            text.push_str(&format!("{fine}\n"));
        }
        print(&text)?;
    }
    Ok(if refused { Exit::Problems } else { Exit::Fine })
}

/// `fine: 2 groups, 1 device, 12 rules`.
fn contents(policy: &Policy) -> String {
    format!(
        "fine: {}, {}, {}",
        count(policy.groups.len(), "group"),
        count(policy.devices.len(), "named device"),
        count(policy.every_rule().count(), "rule")
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
