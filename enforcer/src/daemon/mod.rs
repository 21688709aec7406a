//! The daemon: one kind of [`Request`], one loop. It owns what is in force.
//!
//! - `core`: start, and what is looked after once a second
//! - `apply`: the way of a policy into force
//! - `doors`: the control socket and the port for metrics
//! - `error`: why the daemon ended, or never began
//! - `confirm`: policies that must be confirmed, and the way back
//! - `live`: changes by command, beside the policy file
//! - `overlay`: changes by command, laid over the policy and into the kernel
//! - `session`: refuses changes that would cut off the operator's own session
//! - `history`: earlier revisions
//! - `image`: the watch over what the kernel judges by
//! - `active`: a policy, its image, and what its numbers mean
//! - `interfaces`: the interfaces and the backstop, as the socket tells them
//! - `report`: records from the kernel to event lines
//! - `answers`: what is in force, as the socket tells it
//! - `aside`: answers that are made beside the loop
//! - `measure`: what is in force and what it did, as Prometheus reads it
//! - `totals`: what was refused, in a table that devices cannot fill
//! - `protect`: which interfaces are protected, and how
//! - `runs`: the same for all interfaces, and what is done where one does not
//! - `record`: what goes into the audit trail
//! - `recorder`: a file of what was asked, for tests
//! - `manager`: what the service manager hears
//! - `source`: where the policy comes from at the start
//! - `state`: what survives a restart
//! - `known`: what is known of the time, and what is not: pure
//! - `time`: the machine's clocks
//! - `notifications`: what the kernel tells by itself
//! - `reconcile`: pins, programs, interfaces and the backstop, and what to do when they change
//! - `tags`: the watch over VLAN tags that hardware would remove

mod active;
mod apply;
mod aside;
mod confirm;
mod core;
mod doors;
mod error;
mod explain;
mod history;
mod hops;
mod image;
mod interfaces;
mod known;
mod live;
mod metrics;
mod notifications;
mod overlay;
mod protect;
mod queries;
mod reconcile;
mod record;
mod recorder;
mod report;
mod runs;
mod session;
mod source;
mod state;
mod systemd;
mod tags;
mod time;
mod totals;
mod turns;

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::core::Core;
use self::doors::Doors;
pub use self::error::Error;
use self::error::failure;
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

/// Inputs of each rank that may wait for the core.
const QUEUE: usize = 64;
/// Batches of frames that may wait for the program in the kernel.
const PROBES: usize = 8;
/// Time for the sinks when the daemon ends.
const SINKS: Duration = Duration::from_secs(2);

/// Runs until SIGTERM, SIGINT or a detach. Enforcement stays in force when it ends; only a
/// detach removes it.
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
    // The pins first: a second daemon learns here that another one holds them.
    let pins = Pins::open(&settings.bpffs)?;
    // While its group can be set. Where it cannot be opened, that is for later: enforcement comes first.
    let socket = Socket::bind(&settings.socket, settings.socket_group.as_deref());
    // The socket has its group. What is left to do needs two capabilities, or three.
    privilege::lift_memory_lock();
    privilege::drop_unneeded().map_err(Error::Privilege)?;
    // Before the first look, so that nothing falls between.
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
    /// Opens what is not open yet, and says what is in the way.
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

/// Starts the sinks of the settings.
fn start_sinks(core: &mut Core, hub: &Hub) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for sink in &core.settings.sinks {
        match sinks::follow(sink.clone(), hub) {
            Ok((health, work)) => {
                core.sinks.push(health);
                running.spawn(work);
            }
            // They come first, and there are fewer than may follow.
            Err(full) => log::error!("a sink is missing: {full}"),
        }
    }
    running
}

/// Lets the sinks deliver what waits, for a while.
async fn finish(sinks: JoinSet<()>) {
    if timeout(SINKS, sinks.join_all()).await.is_err() {
        log::warn!("a sink has not taken all lines; `enforcer status` has said which");
    }
}

/// Removes every trace from the kernel while no daemon runs.
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

/// Nanoseconds since boot, time asleep included.
fn boot_clock() -> u64 {
    clock(libc::CLOCK_BOOTTIME) as u64
}

/// Wall clock less boot clock, in nanoseconds.
fn wall_offset() -> i64 {
    clock(libc::CLOCK_REALTIME).wrapping_sub(clock(libc::CLOCK_BOOTTIME))
}

fn clock(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; both clocks exist on every supported kernel.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// What was removed from the kernel, the backstop's tables included.
async fn remove_all(
    removed: Result<Vec<String>, dataplane::Error>,
    state_dir: &Path,
) -> Result<Detached, Error> {
    let mut removed = removed?;
    removed.extend(remove_tables(state_dir).await?);
    Ok(Detached { removed })
}

/// Removes the backstop's tables: without a program behind it, an open one is no protection, and a
/// shut one is in the way.
async fn remove_tables(state_dir: &Path) -> Result<Vec<String>, Error> {
    match backstop::detach(state_dir).await {
        // Where nft never was, no table of ours can be.
        Err(backstop::Error::NoNft) => Ok(Vec::new()),
        result => Ok(result?),
    }
}
