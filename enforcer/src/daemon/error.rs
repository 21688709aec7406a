//! Why the daemon stopped or failed to start, and how it is reported.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::state;
use crate::api::Exit;
use crate::api::{ErrorCode, Failure};
use crate::control::listen;
use crate::fault::Fault;
use crate::policy::Problem;
use crate::{backstop, config, dataplane, host, privilege};

/// Why the daemon stopped or failed to start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings are incomplete.
    #[error(transparent)]
    Settings(#[from] config::Error),
    /// The control socket cannot be opened.
    #[error("cannot open the control socket")]
    Socket(#[from] listen::Error),
    /// The port for Prometheus cannot be opened.
    #[error("cannot open the port for metrics, {address}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Signals cannot be caught.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The policy file or one of its set files cannot be read.
    #[error("cannot read the policy {}", file.display())]
    Policy {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The policy has errors, and there is no earlier one to fall back to.
    #[error("the policy {file} has errors, and no earlier policy is known")]
    Problems {
        /// The file.
        file: String,
        /// Every problem.
        problems: Vec<Problem>,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The machine's interfaces and addresses cannot be read.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] dataplane::Error),
    /// The backstop cannot be installed or removed.
    #[error(transparent)]
    Backstop(#[from] backstop::Error),
    /// This is an unprivileged container, or another user namespace.
    #[error("{}", privilege::INSIDE)]
    Contained,
    /// Capabilities cannot be dropped.
    #[error("cannot give up the capabilities that the daemon does not need")]
    Privilege(#[source] io::Error),
    /// Notifications from the kernel cannot be received.
    #[error("cannot listen to the kernel's notices")]
    Notifications(#[source] io::Error),
}

impl Error {
    /// The kind of error that the client gets.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Settings(_)
            | Self::Socket(_)
            | Self::Metrics { .. }
            | Self::Policy { .. }
            | Self::Problems { .. }
            | Self::State(_)
            | Self::Backstop(
                backstop::Error::Absent
                | backstop::Error::NoNft
                | backstop::Error::Name(_)
                | backstop::Error::Memory { .. },
            ) => ErrorCode::Configuration,
            Self::Backstop(_)
            | Self::Privilege(_)
            | Self::Notifications(_)
            | Self::Signals(_)
            | Self::Host(_)
            | Self::Contained
            | Self::Kernel(_) => ErrorCode::Kernel,
        }
    }
}

impl Fault for Error {
    fn exit(&self) -> Exit {
        self.code().exit()
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(error) => error.hint(),
            Self::Kernel(error) => error.hint(),
            Self::Backstop(error) => error.hint(),
            Self::Contained => Some(privilege::OUTSIDE.into()),
            Self::Policy { file, .. } => Some(format!(
                "write one, or name another with --policy; `enforcer check {}` finds its mistakes",
                file.display()
            )),
            Self::Problems { file, .. } => {
                Some(format!("`enforcer check {file}` shows each with its place"))
            }
            Self::Metrics { source, .. } if source.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                Some(
                    "its unit keeps the daemon from the network: `systemctl edit enforcer`, and below \
                     [Service] RestrictAddressFamilies=AF_INET AF_INET6"
                        .into(),
                )
            }
            Self::Metrics { .. } => {
                Some("name another address: `listen` under [metrics] in enforcer.toml".into())
            }
            Self::Socket(_)
            | Self::Signals(_)
            | Self::State(_)
            | Self::Host(_)
            | Self::Privilege(_)
            | Self::Notifications(_) => None,
        }
    }
}

/// The error as sent over the socket.
pub(super) fn failure(error: &Error) -> Failure {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let next = error.to_string();
        // Some errors repeat their source's text.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    Failure { error: text, hint: error.hint(), code: error.code() }
}

/// An invalid request.
pub(super) fn usage(error: &str, hint: Option<&str>) -> Failure {
    Failure { error: error.into(), hint: hint.map(Into::into), code: ErrorCode::BadRequest }
}
