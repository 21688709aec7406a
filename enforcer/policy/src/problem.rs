//! What is wrong in a policy document, and where.

use std::sync::Arc;

use crate::shown::escaped_lines;

/// Where something stands in the operator's files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// File name as it was given to [`read`].
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is accepted; the operator should know.
    Warning,
}

/// Something wrong in a policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem whose texts may repeat what stands in a document: what a terminal would obey is
    /// shown as an escape.
    pub(super) fn new(severity: Severity, place: Place, message: &str, hint: Option<&str>) -> Self {
        let visible = |text: &str| escaped_lines(text).into_owned();
        Self { severity, place, message: visible(message), hint: hint.map(visible) }
    }
}
