//! Problems for people. A stand-in with the shape of `policy::report`, which replaces it.

use std::sync::Arc;

use enforcer::api::ProblemReport;
use enforcer::policy::{Place, Problem, Severity};

/// Writes problems for people, each with its line; empty if there is none.
pub(super) fn render<'t>(
    problems: &[Problem],
    text_of: &dyn Fn(&str) -> Option<&'t str>,
    _colour: bool,
) -> String {
    let mut out = String::new();
    for problem in problems {
        let Place { file, line, column } = &problem.place;
        let severity = name(problem.severity);
        out.push_str(&format!("{severity}: {}\n  --> {file}:{line}:{column}\n", problem.message));
        let source = text_of(file).and_then(|text| text.lines().nth(*line as usize - 1));
        if let Some(source) = source {
            out.push_str(&format!("   | {source}\n"));
        }
        if let Some(hint) = &problem.hint {
            out.push_str(&format!("   = hint: {hint}\n"));
        }
        out.push('\n');
    }
    out
}

/// Whether one of them is an error.
pub(super) fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// As the API carries it.
pub(super) fn to_report(problem: &Problem) -> ProblemReport {
    ProblemReport {
        severity: name(problem.severity).to_owned(),
        file: problem.place.file.to_string(),
        line: problem.place.line,
        column: problem.place.column,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    }
}

/// As the API carried it.
pub(super) fn from_report(report: &ProblemReport) -> Problem {
    Problem {
        severity: if report.severity == "error" { Severity::Error } else { Severity::Warning },
        place: Place {
            file: Arc::from(report.file.as_str()),
            line: report.line,
            column: report.column,
        },
        message: report.message.clone(),
        hint: report.hint.clone(),
    }
}

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
