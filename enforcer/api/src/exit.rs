//! Exit codes: a contract with scripts and unit files.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// The command worked and found problems: a policy with errors, an interface that does not
    /// enforce.
    Problems = 1,
    /// The command line is invalid.
    Usage = 2,
    /// The daemon's settings, a file or a privilege is in the way.
    Configuration = 3,
    /// The kernel refused.
    Kernel = 4,
    /// The daemon is not running, or may not be spoken to.
    NotRunning = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_contract() {
        let all = [
            Exit::Fine,
            Exit::Problems,
            Exit::Usage,
            Exit::Configuration,
            Exit::Kernel,
            Exit::NotRunning,
        ];
        for (code, exit) in (0u8..).zip(all) {
            assert_eq!(exit as u8, code);
        }
    }
}
