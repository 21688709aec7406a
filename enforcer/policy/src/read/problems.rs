//! The list of problems, limited in length.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::{Place, Problem, Severity};
use super::MAX_PROBLEMS;

/// Problems found so far. Errors displace warnings when the list is full.
#[derive(Default)]
pub(super) struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    more_errors: usize,
    more_warnings: usize,
    /// Lines with a syntax error: other problems in them are only its consequences.
    damaged: HashSet<(Arc<str>, u32)>,
}

impl Problems {
    pub(super) fn error(&mut self, place: Place, message: String, hint: Option<String>) {
        if self.is_damaged(&place) {
            return;
        }
        if self.is_full() {
            self.more_errors += 1;
        } else {
            self.errors.push(Problem::new(Severity::Error, place, &message, hint.as_deref()));
        }
    }

    pub(super) fn warning(&mut self, place: Place, message: String, hint: Option<String>) {
        if self.is_damaged(&place) {
            return;
        }
        if self.warnings.len() >= MAX_PROBLEMS {
            self.more_warnings += 1;
        } else {
            self.warnings.push(Problem::new(Severity::Warning, place, &message, hint.as_deref()));
        }
    }

    pub(super) fn syntax_error(&mut self, place: Place, message: String, hint: Option<String>) {
        let line = (place.file.clone(), place.line);
        // After a syntax error, the parser also reports the rest of the line.
        if !self.is_damaged(&place) {
            self.error(place, message, hint);
            self.damaged.insert(line);
        }
    }

    fn is_damaged(&self, place: &Place) -> bool {
        !self.damaged.is_empty() && self.damaged.contains(&(place.file.clone(), place.line))
    }

    /// Number of errors so far.
    pub(super) fn errors(&self) -> usize {
        self.errors.len() + self.more_errors
    }

    /// Whether a further error would only be counted, so that its hint is not needed.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= MAX_PROBLEMS
    }

    /// All problems sorted by place, those of the document before those of its set files.
    pub(super) fn finish(self, file: &str) -> Vec<Problem> {
        let Self { errors: mut all, mut warnings, mut more_warnings, more_errors, .. } = self;
        let room = MAX_PROBLEMS - all.len().min(MAX_PROBLEMS);
        if warnings.len() > room {
            warnings.sort_by(|a, b| a.place.cmp(&b.place));
            more_warnings += warnings.len() - room;
            warnings.truncate(room);
        }
        all.append(&mut warnings);
        all.sort_by(|a, b| {
            let key = |problem: &Problem| *problem.place.file != *file;
            key(a).cmp(&key(b)).then_with(|| a.place.cmp(&b.place))
        });
        let more = [(more_errors, Severity::Error), (more_warnings, Severity::Warning)];
        let last = all.last().map(|problem| problem.place.clone());
        for (count, severity) in more {
            if let (1.., Some(place)) = (count, last.clone()) {
                let what = match severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                };
                let s = if count == 1 { "" } else { "s" };
                let message = format!("and {count} more {what}{s}");
                let hint = Some("they are listed when these are gone".to_owned());
                all.push(Problem { severity, place, message, hint });
            }
        }
        all
    }
}
