//! Selects the policy when the daemon starts.

use std::collections::BTreeMap;
use std::path::Path;

use log::error;

use super::active::{Active, digest, read_bundle};
use super::state::{Saved, State};
use super::{Error, failure};
use crate::api::PolicyBundle;
use crate::config::Settings;
use crate::policy::live::LiveChange;
use crate::policy::read::decode;
use crate::policy::{Host, Policy, Problem, read, report};

/// Unfinished starts with a new policy after which the earlier one is used instead. A single one may be an
/// accident: a power cut, a `kill -9`.
const MAX_DEATHS: u32 = 2;

/// The policy to start with: the policy file, unless another policy was applied since.
///
/// A policy file with errors does not replace an earlier policy; nor does one that ended the daemon during
/// its last starts.
pub(super) fn choose(
    settings: &Settings,
    state: &State,
    saved: Option<&Saved>,
    live: &[LiveChange],
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Active, Error> {
    let file = absolute(&settings.policy);
    if let Some(saved) = saved.filter(|saved| saved.bundle.file != file) {
        warnings.push(format!(
            "the policy in force was applied from {}; {file} is not in force",
            saved.bundle.file
        ));
        return last_good(saved, live, host);
    }
    let loaded = load(&settings.policy);
    if let (Ok(bundle), Some(saved)) = (&loaded, saved) {
        let digest = digest(bundle);
        let is_new = digest != saved.digest && saved.aside.as_ref() != Some(&digest);
        if is_new && state.begin(&digest) >= MAX_DEATHS {
            let text = format!(
                "the daemon ended at its last {MAX_DEATHS} starts while it put {file} in force (too little \
                 memory?): revision {} stays in force; `enforcer apply {file}` tries it again",
                saved.revision
            );
            error!("{text}");
            warnings.push(text);
            return last_good(saved, live, host);
        }
    }
    let fresh = loaded.and_then(|bundle| {
        let (policy, problems) = read_bundle(&bundle);
        compiled(bundle, policy, problems, live, host)
    });
    match (fresh, saved) {
        (Ok(fresh), Some(saved)) if saved.aside.as_ref() == Some(&fresh.digest) => {
            warnings.push(format!(
                "{file} is not in force: it was rolled back, or not confirmed; `enforcer apply` \
                 applies it"
            ));
            last_good(saved, live, host)
        }
        (Ok(fresh), _) => Ok(fresh),
        (Err(e), None) => Err(e),
        (Err(e), Some(saved)) => {
            let text = failure(&e).error;
            error!("{text}; revision {} stays in force", saved.revision);
            if let Error::Problems { problems, .. } = &e {
                problems.iter().for_each(|p| error!("{}: {}", p.place, p.message));
            }
            warnings.push(format!("{text}: revision {} stays in force", saved.revision));
            last_good(saved, live, host)
        }
    }
}

fn absolute(file: &Path) -> String {
    std::fs::canonicalize(file).as_deref().unwrap_or(file).display().to_string()
}

/// The policy that was last in force.
pub(super) fn last_good(saved: &Saved, live: &[LiveChange], host: &Host) -> Result<Active, Error> {
    let (policy, problems) = read_bundle(&saved.bundle);
    compiled(saved.bundle.clone(), policy, problems, live, host)
}

fn compiled(
    bundle: PolicyBundle,
    policy: Policy,
    problems: Vec<Problem>,
    live: &[LiveChange],
    host: &Host,
) -> Result<Active, Error> {
    let file = bundle.file.clone();
    if report::has_errors(&problems) {
        return Err(Error::Problems { file, problems });
    }
    Active::compile(bundle.into(), policy.into(), live, host.clone(), problems)
        .map_err(|problems| Error::Problems { file, problems })
}

/// Reads a policy file and the files of its sets, whose names are relative to it.
pub(super) fn load(file: &Path) -> Result<PolicyBundle, Error> {
    let fail = |source| Error::Policy { file: file.into(), source };
    let text = std::fs::read(file).and_then(decode).map_err(fail)?;
    let dir = file.parent().unwrap_or(Path::new(""));
    let mut files = BTreeMap::new();
    let name = absolute(file);
    // Only for the names of the set files; problems are reported later.
    let _ = read(&name, &text, &mut |set| {
        let text = decode(std::fs::read(dir.join(set))?)?;
        files.insert(set.to_owned(), text.clone());
        Ok(text)
    });
    let bundle = PolicyBundle { file: name, text, files, ..PolicyBundle::default() };
    log::debug!("read {} ({})", bundle.file, digest(&bundle));
    Ok(bundle)
}

/// The part that survives a restart.
pub(super) fn saved(names: &Active) -> Saved {
    Saved {
        bundle: PolicyBundle::clone(&names.bundle),
        revision: names.revision,
        since: names.since.clone(),
        digest: names.digest.clone(),
        aside: names.aside.clone(),
    }
}
