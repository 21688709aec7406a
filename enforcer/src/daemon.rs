//! The daemon's core: one [`Input`], one loop. It owns what is in force.

use std::process;

use jiff::ZonedDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::api::{Detached, Failure, PolicyStatus, Status};
use crate::config::{self, Settings};
use crate::control::hub::{Hub, timestamp};
use crate::control::listen::{self, Socket};
use crate::control::{Input, server};
use crate::exit::Exit;

/// Inputs that may wait for the core.
const QUEUE: usize = 64;

/// Why the daemon ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings do not suffice.
    #[error(transparent)]
    Settings(#[from] config::Error),
    /// There is no control socket.
    #[error("cannot open the control socket")]
    Socket(#[from] listen::Error),
    /// Signals cannot be caught.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

impl Error {
    /// The exit code of the daemon that ended with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Settings(_) | Self::Socket(_) => Exit::Configuration,
            Self::Signals(_) => Exit::Kernel,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Settings(error) => error.hint(),
            Self::Socket(_) | Self::Signals(_) => None,
        }
    }
}

/// Runs until SIGTERM, SIGINT or a detach.
pub async fn run(settings: Settings) -> Result<(), Error> {
    if settings.interfaces.is_empty() {
        return Err(config::Error::NoInterface.into());
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let socket = Socket::bind(&settings.socket, settings.socket_group.as_deref())?;
    let (sender, mut inputs) = mpsc::channel(QUEUE);
    let (stop, stopped) = oneshot::channel::<()>();
    let hub = Hub::new();
    let server = tokio::spawn(server::serve(socket, sender, hub, async {
        let _ = stopped.await;
    }));
    if let Err(e) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        log::warn!("cannot tell systemd that the daemon is ready: {e}");
    }
    let started = timestamp(&ZonedDateTime::now());
    loop {
        let input = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            input = inputs.recv() => input,
        };
        match input {
            None => break,
            Some(Input::Detach { peer, reply }) => {
                log::info!("detach, asked for by {peer}");
                let _ = reply.send(Ok(Detached::default()));
                break;
            }
            Some(input) => answer(input, &settings, &started),
        }
    }
    let _ = stop.send(());
    let _ = server.await;
    Ok(())
}

/// Removes every trace from the kernel while no daemon runs.
pub async fn detach(settings: &Settings) -> Result<Detached, Error> {
    log::debug!("nothing is pinned under {}", settings.bpffs.display());
    Ok(Detached::default())
}

fn answer(input: Input, settings: &Settings, started: &str) {
    // Whoever asked may have gone: that is no concern of the core.
    match input {
        Input::Status(reply) => drop(reply.send(status(settings, started))),
        Input::Devices(reply) => drop(reply.send(Vec::new())),
        Input::Rules(reply) => drop(reply.send(Vec::new())),
        Input::Metrics(reply) => drop(reply.send(String::new())),
        Input::PolicyShow(reply) => drop(reply.send(Err(no_data_plane()))),
        Input::Apply { reply, .. } => drop(reply.send(Err(no_data_plane()))),
        Input::Explain { reply, .. } => drop(reply.send(Err(no_data_plane()))),
        Input::Detach { reply, .. } => drop(reply.send(Ok(Detached::default()))),
    }
}

fn no_data_plane() -> Failure {
    Failure { error: "nothing is loaded".into(), hint: None, exit: Exit::Kernel as u8 }
}

fn status(settings: &Settings, started: &str) -> Status {
    Status {
        enforcing: false,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: process::id(),
        started: started.into(),
        policy: PolicyStatus {
            file: settings.policy.display().to_string(),
            revision: 0,
            generation: 0,
            digest: String::new(),
            since: started.into(),
            groups: 0,
            devices: 0,
            rules: 0,
            image_bytes: 0,
        },
        interfaces: Vec::new(),
        reasons: Vec::new(),
        groups: Vec::new(),
        warnings: vec!["nothing is loaded".into()],
    }
}
