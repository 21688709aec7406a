//! Checks whether this machine can enforce a policy, and whether the program works here.
//!
//! - [`facts`]: facts about the machine, and why some are unknown
//! - [`judge`]: facts to findings; pure
//! - [`look`]: gathers facts, changes nothing
//! - [`trial`]: frames that must be dropped and frames that must pass

pub mod facts;
pub mod judge;
pub mod look;
pub mod trial;

use serde::Serialize;

use crate::config::Settings;
use crate::control::client::Client;
use crate::host;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No problem.
    Ok,
    /// Enforcement works; something else may cause surprises.
    Warning,
    /// Enforcement does not work, or traffic can bypass it.
    Fail,
    /// The check could not run: not a pass.
    Unknown,
}

/// The result of one check. Field names and the names of checks are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check: a stable name.
    pub check: &'static str,
    /// The protected interface; none for the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The result.
    pub state: State,
    /// What was found.
    pub text: String,
    /// What to do about it; always there unless the state is [`State::Ok`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding without a problem.
    pub fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, interface: None, state: State::Ok, text: text.into(), remedy: None }
    }

    /// A finding to be aware of.
    pub fn warning(
        check: &'static str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { state: State::Warning, remedy: Some(remedy.into()), ..Self::ok(check, text) }
    }

    /// A finding that must be fixed.
    pub fn fail(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warning(check, text, remedy) }
    }

    /// A check that could not run, and why.
    pub fn unknown(check: &'static str, why: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        let text = format!("not looked at: {}", why.as_ref());
        Self { state: State::Unknown, ..Self::warning(check, text, remedy) }
    }

    /// The same about one interface.
    #[must_use]
    pub fn on(self, interface: &str) -> Self {
        Self { interface: Some(interface.to_owned()), ..self }
    }
}

/// Whether a machine is fit: nothing failed, and every check ran.
pub fn is_fit(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| matches!(finding.state, State::Ok | State::Warning))
}

/// Checks the machine and tries the program; with `ask`, the active program too. Does not change
/// enforcement.
///
/// # Errors
///
/// The kernel does not list its interfaces.
pub async fn examine(settings: &Settings, ask: bool) -> Result<Vec<Finding>, host::Error> {
    let facts = look::look(settings).await?;
    let mut findings = judge::judge(&facts);
    findings.extend(trial::run());
    if ask {
        findings.extend(trial::live(&Client::new(&settings.socket)).await);
    }
    // Findings about the machine come first, then those of each interface together.
    findings.sort_by_key(|finding| {
        let name = finding.interface.as_ref()?;
        let mut interfaces = facts.interfaces.iter();
        Some(interfaces.position(|interface| interface.name == *name))
    });
    Ok(findings)
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_is_no_pass() {
        let ok = Finding::ok("kernel", "");
        let warning = Finding::warning("clock", "", "x");
        assert!(is_fit(&[ok.clone(), warning.clone()]));
        assert!(!is_fit(&[ok.clone(), Finding::fail("bpffs", "", "x")]));
        assert!(!is_fit(&[ok, warning, Finding::unknown("self-test", "no root", "x")]));
    }

    #[test]
    fn a_finding_is_one_object() {
        let finding = Finding::unknown("rxvlan", "no root", "run as root").on("lan0");
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r#"{"check":"rxvlan","interface":"lan0","state":"unknown","text":"not looked at: no root","remedy":"run as root"}"#
        );
        let ok = serde_json::to_string(&Finding::ok("kernel", "Linux 6.18")).unwrap();
        assert_eq!(ok, r#"{"check":"kernel","state":"ok","text":"Linux 6.18"}"#);
    }
}
