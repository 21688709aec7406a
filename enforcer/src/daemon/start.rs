//! The start: the policy is in force on every interface before it returns.

use std::sync::Arc;

use log::{error, info, warn};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::aside::{Aside, Shown};
use super::core::{Core, now};
use super::engine::Engine;
use super::history::History;
use super::probe::Probe;
use super::recorder::Recorder;
use super::report::Reporter;
use super::source::{choose, last_good, saved};
use super::state::{Saved, State};
use super::time::Clock;
use super::turns::Turns;
use super::watched::Watched;
use super::{Error, failure};
use crate::audit::{Audit, Who};
use crate::backstop::Change;
use crate::config::Settings;
use crate::dataplane::Dataplane;
use crate::dataplane::events::Reader;
use crate::dataplane::pins::Pins;
use crate::dataplane::programs::Options;
use crate::events::hub::Hub;
use crate::host::Kernel;

impl Core {
    /// Puts the policy in force on every interface before it returns.
    pub(super) async fn start(
        settings: Settings,
        pins: Pins,
        hub: Hub,
        (turns, probes): (Turns, mpsc::Sender<Probe>),
    ) -> Result<Self, Error> {
        let (state, made) = State::open(&settings.state_dir);
        let audit = Audit::open(&settings.state_dir, settings.audit_keep);
        let history = History::open(&settings.state_dir);
        let watched = Watched::open(&settings).await?;
        let kernel = Kernel::open()?;
        let links = kernel.links().await?;
        // Existing interfaces are protected first; missing ones are left to the reconciliation.
        let named = |name: &String| links.iter().find(|link| link.name == *name).cloned();
        let protected: Vec<_> = settings.interfaces.iter().filter_map(named).collect();
        let clock = Clock::open(&state, settings.clock);
        let host = kernel.host(&protected, &links, clock.now().earliest).await?;

        let mut warnings = Vec::new();
        let saved = state.policy();
        let (live, damaged) = state.live();
        let live = clock.resume(live);
        if let Some(text) = damaged {
            error!("{text}");
            warnings.push(text);
        }
        let saved = without_unconfirmed(&state, saved, &mut warnings);
        let mut active = choose(&settings, &state, saved.as_ref(), &live, &host, &mut warnings)?;

        let reporter = Reporter::new(hub);
        let Settings { kernel_log, flow_cache, answers, .. } = settings;
        let options = Options { kernel_log, flow_cache, answers };
        let other = saved.as_ref().filter(|saved| saved.digest != active.digest);
        let dataplane = match (Dataplane::open(pins, &active.compiled.image, options), other) {
            (Ok(dataplane), _) => dataplane,
            (Err(e), None) => return Err(e.into()),
            (Err(e), Some(saved)) => {
                let why = failure(&e.into()).error;
                let text = format!(
                    "{} cannot be put in force: {why}; revision {} stays in force",
                    active.bundle.file, saved.revision
                );
                error!("{text}");
                warnings.push(text);
                active = last_good(saved, &live, &host)?;
                let pins = Pins::open(&settings.bpffs)?;
                Dataplane::open(pins, &active.compiled.image, options)?
            }
        };
        let same = saved.as_ref().filter(|saved| saved.digest == active.digest);
        active.revision = match (same, &saved) {
            (Some(same), _) => same.revision,
            (None, Some(saved)) => saved.revision + 1,
            (None, None) => 1,
        };
        let same_as_before = same.map(|same| same.revision);
        active.since = same.map_or_else(now, |same| same.since.clone());
        active.aside = saved.as_ref().and_then(|saved| saved.aside.clone());
        active.generation = dataplane.current().number;
        let active = Arc::new(active);
        reporter.announce(&active);
        let (latest, earliest) = clock.offsets();
        dataplane.set_clock(latest, earliest);
        let mut core = Self {
            settings,
            turns,
            kernel,
            engine: Engine::new(dataplane, active, state.counters()),
            reporter,
            guarded: Vec::new(),
            watched,
            protected_before: state.protected(),
            starts: Vec::new(),
            warnings,
            started: now(),
            audit,
            history,
            state,
            clock,
            sinks: Vec::new(),
            aside: Aside::default(),
            shown: Shown::default(),
            recorder: Recorder::open(),
            probes,
        };
        core.say_backstop();
        core.protect_all(&links)?;
        let indices: Vec<u32> = core.guarded.iter().map(|guarded| guarded.index).collect();
        for index in core.engine.dataplane.release_others(&indices)? {
            warn!("interface with index {index} is no longer protected: it is not in the settings");
        }
        core.follow_transmit().await;
        core.confirm().await?;
        if let Err(e) = core.engine.dataplane.forget_other_versions() {
            error!("{}", failure(&e.into()).error);
            core.warnings.push("what another version left is still in the kernel".into());
        }
        core.keep_time();
        core.keep_state(made);
        core.state.end_of_start(&core.engine.active.digest);
        let on: Vec<&str> = core.guarded.iter().map(|guarded| &*guarded.name).collect();
        let (revision, generation) = (core.engine.active.revision, core.engine.active.generation);
        if on.is_empty() {
            error!("revision {revision} is NOT enforced on any interface yet");
        } else {
            info!("enforcing revision {revision} (generation {generation}) on {}", on.join(", "));
        }
        core.record_start();
        if same_as_before.is_none_or(|revision| !core.history.has(revision)) {
            let (revision, bundle) = core.revision(&Who::Daemon, None, &[]);
            let saved = core.history.save(revision, &bundle);
            core.say_kept(saved);
        }
        Ok(core)
    }

    /// Reports what happened to the backstop while no daemon ran.
    fn say_backstop(&mut self) {
        let text = match self.watched.at_start {
            Change::Restored => {
                "the backstop's tables were removed while no daemon ran; they are installed again"
            }
            Change::Rebooted => {
                "the backstop's tables were not there after the reboot; they are installed now: until then \
                 all was forwarded (enable enforcer-backstop.service)"
            }
            Change::None | Change::Installed | Change::Removed => return,
        };
        self.starts.push(text.into());
        self.remember(text.into());
        self.tamper("backstop", None, text.into());
    }

    /// Stores the state for the next start. A failure does not stop the daemon: the policy is in force, and
    /// a warning says that it will not survive a reboot.
    fn keep_state(&mut self, made: Result<(), super::state::Error>) {
        let write = || -> Result<(), super::state::Error> {
            made?;
            self.state.prepare(&saved(&self.engine.active))?.commit()?;
            self.state.prepare_live(&self.engine.active.live, &self.clock.stamp())?.commit()
        };
        match write() {
            Ok(()) => self.state.forget_unconfirmed(),
            Err(e) => {
                let text = format!(
                    "the active policy could not be saved: {}; a reboot would load what was saved before",
                    failure(&e.into()).error
                );
                error!("{text}");
                self.warnings.push(text);
            }
        }
    }

    /// Reads the ring buffer in a separate task.
    pub(super) fn follow_ring(&self) -> Result<JoinHandle<()>, Error> {
        let reader = Reader::open(self.engine.dataplane.pins())?;
        let reporter = self.reporter.clone();
        Ok(tokio::spawn(async move {
            let e = reader.run(|record| reporter.handle(&record)).await;
            error!("the ring buffer cannot be read any more: {e}");
        }))
    }
}

/// The policy that was confirmed last. An unconfirmed one is set aside, with a warning.
fn without_unconfirmed(
    state: &State,
    saved: Option<Saved>,
    warnings: &mut Vec<String>,
) -> Option<Saved> {
    let Some(unconfirmed) = state.unconfirmed() else { return saved };
    let mut saved = saved?;
    // It was confirmed, and the daemon ended before it could record that.
    if unconfirmed.digest == saved.digest {
        return Some(saved);
    }
    let text = format!(
        "revision {} was not confirmed before the daemon ended: revision {} is in force",
        unconfirmed.revision, saved.revision
    );
    warn!("{text}");
    warnings.push(text);
    saved.aside = Some(unconfirmed.digest);
    Some(saved)
}
