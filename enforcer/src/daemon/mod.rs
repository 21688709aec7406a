//! The daemon: one type of [`Request`], and one loop, which owns the state.
//!
//! - `active`: the active policy, its image, and the meaning of the image's numbers
//! - `apply`: how a policy is applied
//! - `aside`: slow answers, outside the loop
//! - `confirm`: policies that must be confirmed, and rollback
//! - `core`: everything that the daemon owns
//! - `doors`: the control socket and the port for metrics
//! - `engine`: what is active, and how that changes
//! - `error`: why the daemon stopped or failed to start
//! - `explain`: how a frame would be decided
//! - `flows`: what others have opened towards devices
//! - `history`: earlier revisions
//! - `hops`: neighbours on links with bound next hops
//! - `image`: checks the tables by which the kernel judges
//! - `interfaces`: status of the interfaces and the backstop
//! - `known`: limits of the present time, from clocks that may be wrong: pure
//! - `live`: live changes
//! - `metrics`: metrics for Prometheus
//! - `notifications`: notifications from the kernel
//! - `offload`: slow work beside the loop
//! - `overlay`: puts live changes over the policy and into the kernel
//! - `probe`: questions to the program in the kernel
//! - `protect`: which interfaces are protected, and how
//! - `queries`: answers to questions
//! - `reconcile`: checks and restores pins, programs, interfaces and the backstop
//! - `record`: entries of the audit trail
//! - `recorder`: recording of requests, for tests
//! - `report`: records from the kernel to events
//! - `rows`: rules, as the socket shows them
//! - `runs`: whether drivers run the program, and repairs if they do not
//! - `session`: refuses changes that would cut off the operator's own session
//! - `source`: where the policy comes from at the start
//! - `start`: the start: every interface is protected before it returns
//! - `state`: the state that survives a restart
//! - `unresolved`: destinations whose MAC is not known yet
//! - `systemd`: messages to the service manager
//! - `tags`: keeps VLAN offloads off
//! - `time`: the machine's clocks
//! - `totals`: counts of refused frames, in a table that devices cannot fill
//! - `transmit`: keeps the transmit side attached where the policy needs it
//! - `turns`: what the loop waits for
//! - `unconfirmed`: the policy that waits to be confirmed
//! - `upkeep`: work once a second
//! - `watched`: what the daemon knows of the backstop, and of its checks

mod active;
mod apply;
mod aside;
mod confirm;
mod core;
mod doors;
mod engine;
mod error;
mod explain;
mod flows;
mod history;
mod hops;
mod image;
mod interfaces;
mod known;
mod live;
mod metrics;
mod notifications;
mod offload;
mod overlay;
mod probe;
mod protect;
mod queries;
mod reconcile;
mod record;
mod recorder;
mod report;
mod rows;
mod runs;
mod session;
mod source;
mod start;
mod state;
mod systemd;
mod tags;
mod time;
mod totals;
mod transmit;
mod turns;
mod unconfirmed;
mod unresolved;
mod upkeep;
mod watched;

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::core::Core;
use self::doors::Doors;
pub use self::error::Error;
use self::error::{failure, usage};
use self::systemd::Manager;
use self::turns::{Turn, Turns};
use crate::api::Detached;
use crate::audit::Action;
use crate::backstop;
use crate::config::{self, Backstop, Settings};
use crate::control::body::encode;
use crate::control::listen::{self, Socket};
use crate::control::{Input, queue};
use crate::dataplane;
use crate::dataplane::pins::Pins;
use crate::events::hub::Hub;
use crate::events::sinks;
use crate::privilege;
use crate::request::Request;

/// Inputs of each role that may wait for the core.
const QUEUE: usize = 64;
/// Batches of frames that may wait for the program in the kernel.
const PROBES: usize = 8;
/// Time for the sinks to finish when the daemon ends.
const SINKS: Duration = Duration::from_secs(2);

/// Runs until SIGTERM, SIGINT or a detach. Enforcement continues afterwards; only a detach removes it.
pub async fn run(settings: Settings) -> Result<(), Error> {
    if settings.interfaces.is_empty() {
        return Err(config::Error::NoInterface.into());
    }
    if privilege::in_user_namespace() {
        return Err(Error::Contained);
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Error::Signals)?;
    let hub = Hub::new();
    // The pins come first: a second daemon finds out here that another one holds them.
    let pins = Pins::open(&settings.bpffs)?;
    // While the process may still set the socket's group. A failure to open is retried later: enforcement
    // comes first.
    let socket = Socket::bind(&settings.socket, settings.socket_group.as_deref());
    // The socket has its group. The rest needs two or three capabilities.
    privilege::lift_memory_lock();
    privilege::drop_unneeded().map_err(Error::Privilege)?;
    // Before the first check, so that no change is missed.
    let listens = settings.backstop != Backstop::Off;
    let notices = notifications::listen(listens).map_err(Error::Notifications)?;
    let (sender, inputs) = queue(QUEUE);
    let (probes, asked) = mpsc::channel(PROBES);
    let turns = Turns::new(inputs, notices, asked);
    let mut doors = Doors::new(&settings, sender, hub.clone());
    let mut core = Core::start(settings, pins, hub.clone(), (turns, probes)).await?;
    let sinks = start_sinks(&mut core, &hub);
    let events = core.follow_ring()?;

    if let Ok(socket) = socket {
        doors.serve(socket);
    }
    core.turns.report_to(Manager::ready(&core.summary()));
    core.open(&mut doors).await;
    loop {
        let turn = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                let text = core.reload().await;
                core.turns.say(&text);
                continue;
            }
            turn = core.turns.next() => turn,
        };
        match turn {
            Turn::Request(None) => break,
            Turn::Request(Some((_, Input { request: Request::Detach { peer }, reply }))) => {
                core.recorder.record(core.clock.now(), &Request::Detach { peer });
                let who = peer.who();
                if let Err(refused) = core.announce(&who, Action::Detach, "everything") {
                    let _ = reply.send(Err(refused));
                    continue;
                }
                log::warn!("detach, asked for by {peer}: nothing is enforced any more");
                events.abort();
                let detached = core.detach(who).await;
                let answer =
                    detached.map_err(|e| failure(&e)).and_then(|detached| encode(&detached));
                let _ = reply.send(answer);
                doors.close().await;
                finish(sinks).await;
                return Ok(());
            }
            Turn::Tick => {
                core.tick().await;
                core.open(&mut doors).await;
            }
            turn @ (Turn::PollLinks | Turn::Hear(_) | Turn::Probe(_) | Turn::Request(Some(_))) => {
                core.turn(turn).await;
            }
        }
    }
    log::info!("the daemon ends; what is in force stays in force");
    core.fold();
    core.keep_time();
    core.record(Action::Stop);
    events.abort();
    core.report_suppressed();
    doors.close().await;
    finish(sinks).await;
    Ok(())
}

impl Core {
    /// Tries to open the remaining listeners, and logs errors.
    async fn open(&mut self, doors: &mut Doors) {
        if doors.are_open() {
            return;
        }
        if let Some(trouble) = doors.open().await {
            self.turns.say(&format!("{} {trouble}", self.summary()));
            self.warnings.extend(Some(trouble).filter(|trouble| !trouble.is_empty()));
        }
    }
}

/// Starts the configured sinks.
fn start_sinks(core: &mut Core, hub: &Hub) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for sink in &core.settings.sinks {
        match sinks::follow(sink.clone(), hub) {
            Ok((health, work)) => {
                core.sinks.push(health);
                running.spawn(work);
            }
            // Sinks subscribe first, and there are fewer of them than allowed subscribers.
            Err(full) => log::error!("a sink is missing: {full}"),
        }
    }
    running
}

/// Gives the sinks a limited time to deliver pending events.
async fn finish(sinks: JoinSet<()>) {
    if timeout(SINKS, sinks.join_all()).await.is_err() {
        log::warn!("a sink has not taken all lines; `enforcer status` has said which");
    }
}

/// Removes everything from the kernel while no daemon runs.
pub async fn detach(settings: &Settings) -> Result<Detached, Error> {
    let removed = if settings.bpffs.exists() {
        let pins = Pins::open(&settings.bpffs)?;
        let audit = record::without_daemon(settings);
        let detached = remove_all(pins.remove_all(), &settings.state_dir).await;
        if let Some((mut audit, who)) = audit {
            record::detached(&mut audit, who, &detached);
        }
        detached?.removed
    } else {
        remove_tables(&settings.state_dir).await?
    };
    listen::remove_stale(&settings.socket)?;
    Ok(Detached { removed })
}

/// Everything that was removed from the kernel, including the backstop's tables.
async fn remove_all(
    removed: Result<Vec<String>, dataplane::Error>,
    state_dir: &Path,
) -> Result<Detached, Error> {
    let mut removed = removed?;
    removed.extend(remove_tables(state_dir).await?);
    Ok(Detached { removed })
}

/// Removes the backstop's tables: without the program, an open table protects nothing, and a shut one
/// blocks all traffic.
async fn remove_tables(state_dir: &Path) -> Result<Vec<String>, Error> {
    match backstop::detach(state_dir).await {
        // Without nft, no table of ours can exist.
        Err(backstop::Error::NoNft) => Ok(Vec::new()),
        result => Ok(result?),
    }
}
