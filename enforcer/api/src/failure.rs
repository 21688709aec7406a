//! What an error looks like on the socket.

use serde::{Deserialize, Serialize};

use crate::Exit;

/// An error body: HTTP status 4xx or 5xx.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Failure {
    /// What failed, lower case.
    pub error: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What kind of error it is.
    pub code: ErrorCode,
}

/// A kind of error. Names are a contract; a client takes one that it does not know for
/// [`ErrorCode::Other`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request is invalid.
    BadRequest,
    /// It was understood, and not done: it would cut off the operator, or does not fit what is in
    /// force.
    Refused,
    /// This user may not do that.
    Forbidden,
    /// The body is too large.
    TooLarge,
    /// The settings, the policy, a file or a privilege is in the way.
    Configuration,
    /// The kernel refused.
    Kernel,
    /// Too many connections.
    Busy,
    /// Too many programs follow the events.
    TooManyFollowers,
    /// No answer in time.
    Timeout,
    /// The daemon is stopping.
    Stopping,
    /// One of a later version.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// All of them.
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

    /// The exit code of a command that failed with it.
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

    /// The status of HTTP (RFC 9110, section 15) that it comes with, unless HTTP has a closer one.
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

    /// What a script reads.
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
