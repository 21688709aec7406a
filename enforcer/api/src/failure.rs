//! Errors on the socket.

use serde::{Deserialize, Serialize};

use crate::Exit;

/// Body of a response with HTTP status 4xx or 5xx.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Failure {
    /// What failed; begins in lower case.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Kind of the error.
    pub code: ErrorCode,
}

/// Kind of an error. The names are a contract; a client reads an unknown one as [`ErrorCode::Other`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request is invalid.
    BadRequest,
    /// The request is valid but was not carried out: it would cut off the operator's session, or does not
    /// fit the active policy.
    Refused,
    /// This user does not have the permission.
    Forbidden,
    /// The request body is too large.
    TooLarge,
    /// The settings, the policy, a file or a missing privilege prevents it.
    Configuration,
    /// The kernel refused.
    Kernel,
    /// Too many connections.
    Busy,
    /// Too many clients follow the events.
    TooManyFollowers,
    /// The daemon did not answer in time.
    Timeout,
    /// The daemon is stopping.
    Stopping,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::Refused,
        Self::Forbidden,
        Self::TooLarge,
        Self::Configuration,
        Self::Kernel,
        Self::Busy,
        Self::TooManyFollowers,
        Self::Timeout,
        Self::Stopping,
        Self::Other,
    ];

    /// Exit code of a command that fails with this error.
    pub fn exit(self) -> Exit {
        match self {
            Self::BadRequest => Exit::Usage,
            Self::Refused => Exit::Problems,
            Self::Forbidden
            | Self::TooLarge
            | Self::Configuration
            | Self::TooManyFollowers
            | Self::Other => Exit::Configuration,
            Self::Kernel => Exit::Kernel,
            Self::Busy | Self::Timeout | Self::Stopping => Exit::NotRunning,
        }
    }

    /// HTTP status (RFC 9110, section 15) of this error, unless HTTP has a more specific one for the case.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::TooLarge => 413,
            Self::Refused | Self::Configuration => 422,
            Self::Kernel | Self::Other => 500,
            Self::Busy | Self::TooManyFollowers | Self::Stopping => 503,
            Self::Timeout => 504,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names, statuses and exit codes that scripts read.
    #[test]
    fn codes_are_the_contract() {
        let names: Vec<String> = ErrorCode::ALL
            .iter()
            .map(|code| {
                let name = serde_json::to_string(code).unwrap();
                format!("{} {} {}", name.trim_matches('"'), code.status(), code.exit() as u8)
            })
            .collect();
        assert_eq!(
            names,
            [
                "bad-request 400 2",
                "refused 422 1",
                "forbidden 403 3",
                "too-large 413 3",
                "configuration 422 3",
                "kernel 500 4",
                "busy 503 5",
                "too-many-followers 503 3",
                "timeout 504 5",
                "stopping 503 5",
                "other 500 3",
            ]
        );
        let later: Failure =
            serde_json::from_str(r#"{"error": "e", "code": "of-a-later-version"}"#).unwrap();
        assert_eq!(later.code, ErrorCode::Other);
    }
}
