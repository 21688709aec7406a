//! A policy and the files that it names, as `check` and `apply` read them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use enforcer::api::PolicyBundle;
use enforcer::policy::read::decode;
use enforcer::policy::{self, Host, Policy, Problem, report};

use super::{Result, machine};

/// A policy, read and judged.
#[derive(Debug)]
pub(super) struct Document {
    /// The documents for the daemon.
    pub(super) bundle: PolicyBundle,
    /// The model; only valid without errors.
    pub(super) policy: Policy,
    /// Every problem found.
    pub(super) problems: Vec<Problem>,
}

impl Document {
    /// Adds the compiler's problems, unless there are errors already: for one machine, or for any.
    pub(super) fn compiled(mut self, host: Option<&Host>) -> Self {
        if report::has_errors(&self.problems) {
            return self;
        }
        let found = match host {
            None => policy::check(&self.policy, machine::now()),
            Some(host) => policy::compile(&self.policy, host)
                .map_or_else(|problems| problems, |compiled| compiled.warnings),
        };
        self.problems.extend(found);
        let in_a_set = |problem: &Problem| *problem.place.file != *self.bundle.file;
        self.problems
            .sort_by(|a, b| in_a_set(a).cmp(&in_a_set(b)).then_with(|| a.place.cmp(&b.place)));
        self
    }
}

/// Reads a policy, `-` being standard input. Set files are relative to its directory.
pub(super) fn read(path: &Path) -> Result<Document> {
    let (file, text) = text_at(path)?;
    let beside = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut files = BTreeMap::new();
    let mut load = |name: &str| {
        let text = decode(std::fs::read(beside.join(name))?)?;
        files.insert(name.to_owned(), text.clone());
        Ok(text)
    };
    let (policy, problems) = policy::read(&file, &text, &mut load);
    let bundle = PolicyBundle { file, text, files, ..PolicyBundle::default() };
    Ok(Document { bundle, policy, problems })
}

/// The text of a file and its name in places, `-` being standard input.
pub(super) fn text_at(path: &Path) -> Result<(String, String)> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = io::stdin().read_to_end(&mut bytes).and_then(|_| decode(bytes));
        return Ok(("<stdin>".to_owned(), read.context("cannot read standard input")?));
    }
    let file = path.display().to_string();
    let text = std::fs::read(path).and_then(decode);
    let text = text.with_context(|| format!("cannot read {file}"))?;
    Ok((file, text))
}

/// The text of a file by its name in places.
pub(super) fn text_of<'t>(bundle: &'t PolicyBundle, name: &str) -> Option<&'t str> {
    if name == bundle.file {
        return Some(&bundle.text);
    }
    bundle.files.get(name).map(String::as_str)
}
