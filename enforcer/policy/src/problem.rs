//! Problems in a policy document, and their places.

use std::sync::Arc;

use crate::shown::escaped_lines;

/// A position in the operator's files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// File name as given to [`read`].
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

/// A problem in a policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Its place.
    pub place: Place,
    /// What is wrong; in lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem whose texts may quote the document: unsafe characters are escaped.
    pub(super) fn new(severity: Severity, place: Place, message: &str, hint: Option<&str>) -> Self {
        let visible = |text: &str| escaped_lines(text).into_owned();
        Self { severity, place, message: visible(message), hint: hint.map(visible) }
    }
}
