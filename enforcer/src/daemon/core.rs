//! The way of a policy into the kernel, and the watch over the interfaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{Timestamp, ZonedDateTime};
use log::{error, info, warn};
use tokio::task::JoinHandle;

use super::in_force::{InForce, read_bundle};
use super::report::{Reporter, wall_offset};
use super::source::{choose, load};
use super::state::{Counters, Saved, State};
use super::watch::{Guarded, Watch};
use super::{Error, failure};
use crate::api::{ApplyReport, Detached, Failure, PolicyBundle};
use crate::config::{Settings, Xdp};
use crate::control::hub::{Hub, timestamp};
use crate::dataplane::events::Reader;
use crate::dataplane::generation::Generation;
use crate::dataplane::pins::Pins;
use crate::dataplane::{Dataplane, Preference};
use crate::policy::{Site, diff, report};
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
    state: State,
    lost: u64,
}

impl Core {
    /// Puts the policy in force on every interface before it returns.
    pub(super) async fn start(settings: Settings, pins: Pins, hub: Hub) -> Result<Self, Error> {
        let state = State::open(&settings.state_dir)?;
        let watch = Watch::open(&settings).await?;
        let kernel = Kernel::open()?;
        let links = kernel.links().await?;
        let mut protected = Vec::new();
        for name in &settings.interfaces {
            let link = links.iter().find(|link| link.name == *name);
            let link = link.ok_or_else(|| crate::dataplane::Error::NoInterface(name.clone()))?;
            protected.push(link.clone());
        }
        let site = kernel.site(&protected, Timestamp::now().as_second()).await?;

        let mut warnings = Vec::new();
        let saved = state.policy();
        let mut in_force = choose(&settings, saved.as_ref(), &site, &mut warnings)?;
        let same = saved.as_ref().filter(|saved| saved.digest == in_force.digest);
        in_force.revision = match (same, &saved) {
            (Some(same), _) => same.revision,
            (None, Some(saved)) => saved.revision + 1,
            (None, None) => 1,
        };
        in_force.since = same.map_or_else(now, |same| same.since.clone());

        let reporter = Reporter::new(hub);
        let dataplane = Dataplane::open(pins, &in_force.compiled.image)?;
        in_force.generation = dataplane.current().number;
        let in_force = Arc::new(in_force);
        reporter.announce(in_force.generation, Arc::clone(&in_force));
        dataplane.set_wall_offset(wall_offset());
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
            state,
            lost: 0,
        };
        core.lost = core.count_lost();
        for link in protected {
            core.protect(&link, &links)?;
        }
        let indices: Vec<u32> = core.guarded.iter().map(|guarded| guarded.index).collect();
        for index in core.dataplane.release_others(&indices)? {
            warn!("interface with index {index} is no longer protected: it is not in the settings");
        }
        core.confirm().await?;
        let saved = core.saved();
        core.state.prepare(&saved)?.commit()?;
        info!(
            "enforcing revision {} (generation {}) on {}",
            core.in_force.revision,
            core.in_force.generation,
            core.settings.interfaces.join(", ")
        );
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

    fn saved(&self) -> Saved {
        Saved {
            bundle: self.in_force.bundle.clone(),
            revision: self.in_force.revision,
            since: self.in_force.since.clone(),
            digest: self.in_force.digest.clone(),
        }
    }

    /// Applies a policy, or says what it would change.
    pub(super) async fn apply(&mut self, bundle: PolicyBundle) -> Result<ApplyReport, Failure> {
        let begun = std::time::Instant::now();
        let dry_run = bundle.dry_run;
        let bundle = PolicyBundle { dry_run: false, ..bundle };
        let (policy, mut problems) = read_bundle(&bundle);
        let mut answer = ApplyReport {
            revision: self.in_force.revision,
            generation: self.in_force.generation.into(),
            ..ApplyReport::default()
        };
        if report::has_errors(&problems) {
            answer.problems = problems.iter().map(Into::into).collect();
            return Ok(answer);
        }
        answer.changes = diff(&self.in_force.policy, &policy);
        let site = self.site().await.map_err(|e| failure(&e))?;
        let next = match InForce::compile(bundle, policy, site, problems.clone()) {
            Ok(next) => next,
            Err(found) => {
                problems.extend(found);
                answer.problems = problems.iter().map(Into::into).collect();
                return Ok(answer);
            }
        };
        answer.problems = next.warnings.iter().map(Into::into).collect();
        let same = next.digest == self.in_force.digest && next.bundle == self.in_force.bundle;
        if dry_run || (same && self.is_for(&next.site)) {
            return Ok(answer);
        }
        let revision = self.in_force.revision + u64::from(next.digest != self.in_force.digest);
        self.switch(InForce { revision, since: now(), ..next }).map_err(|e| failure(&e))?;
        self.warnings.clear();
        answer.applied = true;
        answer.revision = self.in_force.revision;
        answer.generation = self.in_force.generation.into();
        answer.milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        Ok(answer)
    }

    /// Puts a compiled policy in force. The old one stays when anything fails.
    pub(super) fn switch(&mut self, mut next: InForce) -> Result<(), Error> {
        let saved = Saved {
            bundle: next.bundle.clone(),
            revision: next.revision,
            since: next.since.clone(),
            digest: next.digest.clone(),
        };
        // What cannot be kept is not put in force: it would be gone after a restart.
        let pending = self.state.prepare(&saved)?;
        // Its numbers must have a meaning before the first frame is judged by it.
        next.generation = self.dataplane.current().number + 1;
        let next = Arc::new(next);
        self.reporter.announce(next.generation, Arc::clone(&next));
        match self.dataplane.replace(&next.compiled.image) {
            Ok(old) => {
                let names = std::mem::replace(&mut self.in_force, next);
                self.retired.push((old, names));
                if let Err(e) = pending.commit() {
                    error!("{}", failure(&e.into()).error);
                    self.warnings.push("the policy in force is not on disk".into());
                }
                info!(
                    "revision {} is in force (generation {})",
                    self.in_force.revision, self.in_force.generation
                );
                Ok(())
            }
            Err(e) => {
                pending.discard();
                Err(e.into())
            }
        }
    }

    /// Applies the policy file again (SIGHUP).
    pub(super) async fn reload(&mut self) {
        let outcome = match load(&self.settings.policy) {
            Ok(bundle) => self.apply(bundle).await,
            Err(e) => Err(failure(&e)),
        };
        match outcome {
            Ok(answer) if answer.applied => {}
            Ok(answer) => {
                for problem in answer.problems {
                    let (file, line) = (problem.file, problem.line);
                    error!("{file}:{line}:{}: {}", problem.column, problem.message);
                }
                error!("the policy file has errors: revision {} stays", self.in_force.revision);
            }
            Err(e) => error!("cannot reload: {}", e.error),
        }
    }

    pub(super) async fn site(&self) -> Result<Site, Error> {
        let protected = self.chosen(&self.kernel.links().await?);
        Ok(self.kernel.site(&protected, Timestamp::now().as_second()).await?)
    }

    /// Whether what is in force was compiled for this machine, the time aside.
    pub(super) fn is_for(&self, site: &Site) -> bool {
        Site { now: self.in_force.site.now, ..site.clone() } == self.in_force.site
    }

    /// Looks after everything that can change without us, once a second.
    pub(super) async fn watch(&mut self) {
        self.dataplane.set_wall_offset(wall_offset());
        self.fold();
        let lost = self.count_lost();
        if lost > self.lost {
            self.reporter.lost(lost - self.lost, &self.in_force);
            self.lost = lost;
        }
        self.mend_or_say().await;
    }

    fn count_lost(&self) -> u64 {
        self.dataplane.reasons().iter().map(|(_, counter)| counter.lost).sum()
    }

    /// Adds the counters of generations that are gone to what is kept.
    pub(super) fn fold(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        for (generation, names) in std::mem::take(&mut self.retired) {
            add(&mut self.counters, &generation, &names);
        }
        let known: BTreeMap<_, _> = rules(&self.in_force).map(|id| (id, ())).collect();
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
    pub(super) async fn detach(self) -> Result<Detached, Error> {
        let mut removed = self.dataplane.detach()?;
        removed.extend(super::remove_tables().await?);
        Ok(Detached { removed })
    }
}

fn rules(names: &InForce) -> impl Iterator<Item = &str> {
    let rules = names.compiled.rules.iter();
    rules.filter_map(|rule| rule.rule(&names.policy)).map(|(_, rule)| &*rule.id)
}

fn add(counters: &mut Counters, generation: &Generation, names: &InForce) {
    for (number, id) in (0u32..).zip(rules(names)) {
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
