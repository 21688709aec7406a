//! Problems as the daemon sent them, back to problems.

use std::sync::Arc;

use enforcer::api::ProblemReport;
use enforcer::policy::{Place, Problem, Severity};

/// From the API's form.
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
