//! The way of a policy into the kernel, and the watch over the interfaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::ZonedDateTime;
use log::{error, info, warn};
use tokio::task::JoinHandle;

use super::apply;
use super::confirm::Unconfirmed;
use super::history::History;
use super::in_force::InForce;
use super::report::Reporter;
use super::source::choose;
use super::state::{Counters, Saved, State};
use super::time::Clock;
use super::watch::{Guarded, Watch};
use super::{Error, failure, record};
use crate::api::Detached;
use crate::audit::{Action, Audit, Who};
use crate::config::{Settings, Xdp};
use crate::control::hub::{Hub, timestamp};
use crate::dataplane::events::Reader;
use crate::dataplane::generation::{Generation, Options};
use crate::dataplane::pins::Pins;
use crate::dataplane::{Dataplane, Preference};
use crate::sinks::Health;
use crate::site::Kernel;

/// What the daemon owns.
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) kernel: Kernel,
    pub(super) dataplane: Dataplane,
    pub(super) reporter: Reporter,
    pub(super) in_force: Arc<InForce>,
    pub(super) guarded: Vec<Guarded>,
    pub(super) watch: Watch,
    /// Counters of rules from generations that are gone.
    pub(super) counters: Counters,
    /// Generations that frames may still be leaving.
    pub(super) retired: Vec<(Generation, Arc<InForce>)>,
    /// What the operator should know, beside the policy's own warnings.
    pub(super) warnings: Vec<String>,
    pub(super) started: String,
    pub(super) pending: Option<Unconfirmed>,
    pub(super) audit: Audit,
    pub(super) history: History,
    pub(super) state: State,
    pub(super) clock: Clock,
    /// How each sink of the settings does.
    pub(super) sinks: Vec<Arc<Health>>,
}

impl Core {
    /// Puts the policy in force on every interface before it returns.
    pub(super) async fn start(settings: Settings, pins: Pins, hub: Hub) -> Result<Self, Error> {
        let state = State::open(&settings.state_dir)?;
        let audit = Audit::open(&settings.state_dir);
        let history = History::open(&settings.state_dir);
        let watch = Watch::open(&settings).await?;
        let kernel = Kernel::open()?;
        let links = kernel.links().await?;
        let mut protected = Vec::new();
        for name in &settings.interfaces {
            let link = links.iter().find(|link| link.name == *name);
            let link = link.ok_or_else(|| crate::dataplane::Error::NoInterface(name.clone()))?;
            protected.push(link.clone());
        }
        let clock = Clock::open(&state, settings.clock);
        let site = kernel.site(&protected, clock.now().earliest).await?;

        let mut warnings = Vec::new();
        let saved = state.policy();
        let (live, damaged) = state.live();
        let live = clock.resume(live);
        if let Some(text) = damaged {
            error!("{text}");
            warnings.push(text);
        }
        let saved = without_unconfirmed(&state, saved, &mut warnings);
        let mut in_force = choose(&settings, saved.as_ref(), &live, &site, &mut warnings)?;
        let same = saved.as_ref().filter(|saved| saved.digest == in_force.digest);
        in_force.revision = match (same, &saved) {
            (Some(same), _) => same.revision,
            (None, Some(saved)) => saved.revision + 1,
            (None, None) => 1,
        };
        let same_as_before = same.map(|same| same.revision);
        in_force.since = same.map_or_else(now, |same| same.since.clone());
        in_force.aside = saved.as_ref().and_then(|saved| saved.aside.clone());

        let reporter = Reporter::new(hub);
        let options = Options { talks: settings.kernel_log, remembers: settings.flow_cache };
        let dataplane = Dataplane::open(pins, &in_force.compiled.image, options)?;
        in_force.generation = dataplane.current().number;
        let in_force = Arc::new(in_force);
        reporter.announce(in_force.generation, Arc::clone(&in_force));
        let (latest, earliest) = clock.offsets();
        dataplane.set_clock(latest, earliest);
        let mut core = Self {
            settings,
            kernel,
            dataplane,
            reporter,
            in_force,
            guarded: Vec::new(),
            watch,
            counters: state.counters(),
            retired: Vec::new(),
            warnings,
            started: now(),
            pending: None,
            audit,
            history,
            state,
            clock,
            sinks: Vec::new(),
        };
        for link in protected {
            core.protect(&link, &links)?;
        }
        let indices: Vec<u32> = core.guarded.iter().map(|guarded| guarded.index).collect();
        for index in core.dataplane.release_others(&indices)? {
            warn!("interface with index {index} is no longer protected: it is not in the settings");
        }
        core.confirm().await?;
        if let Err(e) = core.dataplane.forget_other_versions() {
            error!("{}", failure(&e.into()).error);
            core.warnings.push("what another version left is still in the kernel".into());
        }
        core.state.prepare(&apply::saved(&core.in_force))?.commit()?;
        core.keep_time();
        core.state.prepare_live(&core.in_force.live, &core.clock.stamp())?.commit()?;
        core.state.forget_unconfirmed();
        info!(
            "enforcing revision {} (generation {}) on {}",
            core.in_force.revision,
            core.in_force.generation,
            core.settings.interfaces.join(", ")
        );
        core.record(Action::Start);
        if same_as_before.is_none_or(|revision| !core.history.has(revision)) {
            core.keep(&Who::Daemon, None, &[]);
        }
        Ok(core)
    }

    /// Reads the ring buffer in a task of its own.
    pub(super) fn follow_ring(&self) -> Result<JoinHandle<()>, Error> {
        let reader = Reader::open(self.dataplane.pins())?;
        let reporter = self.reporter.clone();
        Ok(tokio::spawn(async move {
            let e = reader.run(|record| reporter.handle(&record)).await;
            error!("the ring buffer cannot be read any more: {e}");
        }))
    }

    /// Looks after everything that can change without us, once a second.
    pub(super) async fn watch(&mut self) {
        self.look_at_clock();
        self.return_if_overdue();
        self.end_changes();
        self.audit.retry();
        self.fold();
        self.tell_withheld();
        self.dataplane.tell_diagnostics();
        self.mend_or_say().await;
    }

    /// Tells which refused frames had no event since the last time.
    pub(super) fn tell_withheld(&mut self) {
        for share in self.dataplane.withheld() {
            self.reporter.withheld(&share, &self.in_force);
        }
    }

    /// Adds the counters of generations that are gone to what is kept.
    pub(super) fn fold(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        for (generation, names) in std::mem::take(&mut self.retired) {
            add(&mut self.counters, &generation, &names);
        }
        let previous = self.pending.as_ref().map(|pending| &*pending.previous);
        let known = previous.into_iter().chain([&*self.in_force]).flat_map(rules);
        let known: BTreeMap<_, _> = known.map(|(_, id)| (id, ())).collect();
        self.counters.retain(|id, _| known.contains_key(id.as_str()));
        if let Err(e) = self.state.save_counters(&self.counters) {
            warn!("{}", failure(&e.into()).error);
        }
    }

    /// Frames and bytes by rule id, over all generations.
    pub(super) fn rule_counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        for (generation, names) in &self.retired {
            add(&mut counters, generation, names);
        }
        add(&mut counters, self.dataplane.current(), &self.in_force);
        counters
    }

    /// Removes every trace from the kernel.
    pub(super) async fn detach(self, who: Who) -> Result<Detached, Error> {
        let Self { dataplane, mut audit, .. } = self;
        let detached = super::remove_all(dataplane.detach()).await;
        record::detached(&mut audit, who, &detached);
        detached
    }
}

/// The policy that was confirmed last; one that waited is set aside, and said.
fn without_unconfirmed(
    state: &State,
    saved: Option<Saved>,
    warnings: &mut Vec<String>,
) -> Option<Saved> {
    let Some(unconfirmed) = state.unconfirmed() else { return saved };
    let mut saved = saved?;
    // Confirmed, and the daemon ended before it could say so.
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

/// Ids of the rules, with their numbers.
fn rules(names: &InForce) -> impl Iterator<Item = (u32, &str)> {
    let rules = (0u32..).zip(&names.compiled.rules);
    rules.filter_map(|(number, rule)| {
        let (_, rule) = rule.as_ref()?.rule(&names.policy)?;
        Some((number, &*rule.id))
    })
}

fn add(counters: &mut Counters, generation: &Generation, names: &InForce) {
    for (number, id) in rules(names) {
        let counter = generation.counter(number);
        let sum = counters.entry(id.to_owned()).or_default();
        sum.0 = sum.0.wrapping_add(counter.frames);
        sum.1 = sum.1.wrapping_add(counter.bytes);
    }
}

pub(super) fn now() -> String {
    timestamp(&ZonedDateTime::now())
}

pub(super) fn preference(xdp: Xdp) -> Preference {
    match xdp {
        Xdp::Auto => Preference::Auto,
        Xdp::Native => Preference::Native,
        Xdp::Generic => Preference::Generic,
    }
}
