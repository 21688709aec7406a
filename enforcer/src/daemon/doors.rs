//! The daemon's listeners: the control socket, and the port for Prometheus if configured.
//!
//! Enforcement needs neither. If one cannot be opened (`/run` is full, the address does not exist yet), the
//! daemon logs it and retries at each check.

use std::net::SocketAddr;

use log::{error, info};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Error, failure};
use crate::config::Settings;
use crate::control::access::Access;
use crate::control::listen::Socket;
use crate::control::{Inputs, scrape, server};
use crate::events::hub::Hub;

/// Open listeners, and those still to be opened.
pub(super) struct Doors {
    settings: Settings,
    access: Access,
    inputs: Inputs,
    hub: Hub,
    /// Until the socket is open: the signal that stops its server.
    stopped: Option<oneshot::Receiver<()>>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
    /// Until the port is open: its address.
    port: Option<SocketAddr>,
    /// The errors that were last reported.
    said: Vec<String>,
}

impl Doors {
    /// Opens no listener yet.
    pub(super) fn new(settings: &Settings, inputs: Inputs, hub: Hub) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self {
            access: access(settings),
            port: settings.metrics,
            settings: settings.clone(),
            inputs,
            hub,
            stopped: Some(stopped),
            stop: Some(stop),
            server: None,
            said: Vec::new(),
        }
    }

    /// Starts the server on a socket.
    pub(super) fn serve(&mut self, socket: Socket) {
        let Some(stopped) = self.stopped.take() else { return };
        let stopped = async {
            let _ = stopped.await;
        };
        let (inputs, hub) = (self.inputs.clone(), self.hub.clone());
        let limits = server::Limits::default();
        let work = server::serve(socket, self.access, limits, inputs, hub, stopped);
        self.server = Some(tokio::spawn(work));
    }

    /// Whether everything is open.
    pub(super) fn are_open(&self) -> bool {
        self.stopped.is_none() && self.port.is_none()
    }

    /// Tries to open the remaining listeners. Returns a message for the operator if it differs from the
    /// last one.
    pub(super) async fn open(&mut self) -> Option<String> {
        let before = self.said.clone();
        self.said.clear();
        if self.stopped.is_some() {
            let Settings { socket, socket_group, .. } = &self.settings;
            match Socket::bind(socket, socket_group.as_deref()) {
                Ok(socket) => self.serve(socket),
                Err(e) => self.say(&Error::Socket(e)),
            }
        }
        if let Some(address) = self.port {
            match scrape::bind(address).await {
                Ok(listener) => {
                    info!("metrics are served on http://{address}/metrics");
                    tokio::spawn(scrape::serve(listener, self.inputs.clone()));
                    self.port = None;
                }
                Err(source) => self.say(&Error::Metrics { address, source }),
            }
        }
        (self.said != before).then(|| {
            for text in &self.said {
                error!("{text}; it is tried again each second");
            }
            if self.said.is_empty() {
                info!("the control socket and the port for metrics are open");
            }
            self.said.join("; ")
        })
    }

    fn say(&mut self, error: &Error) {
        let failure = failure(error);
        let hint = failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        self.said.push(format!("{}{hint}", failure.error));
    }

    /// Finishes the requests in progress, and closes.
    pub(super) async fn close(self) {
        drop(self.stopped);
        if let (Some(stop), Some(server)) = (self.stop, self.server) {
            let _ = stop.send(());
            let _ = server.await;
        }
    }
}

/// Permissions by role. A missing group must not give its role to others: until the group exists and the
/// daemon is restarted, only root may use the socket.
fn access(settings: &Settings) -> Access {
    let (viewers, operators) = (&settings.viewer_group, &settings.operator_group);
    Access::new(viewers.as_deref(), operators.as_deref()).unwrap_or_else(|e| {
        error!("{e}: only root may use the control socket");
        Access::ROOT_ALONE
    })
}
