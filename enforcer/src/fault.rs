//! Remedy and exit code of errors that users see.

use std::{fmt, io};

use crate::api::Exit;
use crate::policy::explain;

/// An error with a remedy and an exit code.
pub trait Fault: std::error::Error {
    /// What to do about it.
    fn hint(&self) -> Option<String> {
        None
    }

    /// The exit code of a command that failed with it.
    fn exit(&self) -> Exit {
        Exit::Configuration
    }
}

impl Fault for explain::Error {
    fn hint(&self) -> Option<String> {
        self.hint().map(str::to_owned)
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failed {
    /// The error itself.
    pub error: anyhow::Error,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit code.
    pub exit: Exit,
}

impl<E: Fault + Send + Sync + 'static> From<E> for Failed {
    fn from(error: E) -> Self {
        let (hint, exit) = (error.hint(), error.exit());
        Self { error: error.into(), hint, exit }
    }
}

/// A file or something else on this machine prevents the command.
impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self { error, hint: None, exit: Exit::Configuration }
    }
}

/// Standard output cannot be written.
impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<serde_json::Error> for Failed {
    fn from(error: serde_json::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl Failed {
    /// Whether the reader of our output closed it: no error.
    pub fn is_closed_pipe(&self) -> bool {
        // Only writes to standard output fail with a bare `io::Error`; those of a connection are wrapped.
        let error = self.error.downcast_ref::<io::Error>();
        error.is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    }
}
