//! Exit codes: a contract with scripts and unit files.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Fine = 0,
    /// The command worked and found problems, such as a policy with errors or an interface that is not
    /// enforcing.
    Problems = 1,
    /// The command line is invalid.
    Usage = 2,
    /// The daemon's settings, a file or a missing privilege prevents the command.
    Configuration = 3,
    /// The kernel refused.
    Kernel = 4,
    /// The daemon is not running, or this user may not connect to it.
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
