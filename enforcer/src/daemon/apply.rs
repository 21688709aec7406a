//! How a policy is applied.

use std::sync::Arc;
use std::time::{Duration, Instant};

use enforcer_common::abi::map;
use log::{error, info, warn};

use super::active::{Active, read_bundle};
use super::core::{Core, now};
use super::engine::Engine;
use super::session::CONFIRM_OR_FORCE;
use super::source::saved;
use super::unconfirmed::Unconfirmed;
use super::{Error, failure, usage};
use crate::api::{ErrorCode, Failure, Guard, PolicyBundle};
use crate::dataplane::{self, Loaded};
use crate::policy::remark::{self, MAX_FILE, check_remark};
use crate::policy::{Change, Host, Problem, diff, report};

/// Attempts to load a generation while pins are being removed.
const TRIES: u32 = 3;
/// Allowed time for a confirmation, in seconds.
const CONFIRM: std::ops::RangeInclusive<u32> = 1..=86_400;

/// The result of applying a policy.
#[derive(Default)]
pub(super) struct Applied {
    /// Whether the policy is in force.
    pub(super) applied: bool,
    pub(super) revision: u64,
    pub(super) generation: u64,
    /// Differences from the previous policy.
    pub(super) changes: Vec<Change>,
    pub(super) problems: Vec<Problem>,
    /// Milliseconds from the request until the policy was in force.
    pub(super) milliseconds: f64,
    /// When the previous policy returns unless this one is confirmed, RFC 3339.
    pub(super) confirm_until: Option<String>,
}

impl Core {
    /// Applies a policy, or reports what it would change.
    pub(super) async fn apply(&mut self, bundle: PolicyBundle) -> Result<Applied, Failure> {
        let begun = Instant::now();
        let order = Order::of(&bundle)?;
        if !order.dry_run {
            self.refuse_while_unconfirmed().await?;
        }
        // Only the policy is stored, not how it was applied.
        let bundle = PolicyBundle {
            file: bundle.file,
            text: bundle.text,
            files: bundle.files,
            ..Default::default()
        };
        let (bundle, names) = (Arc::new(bundle), Arc::clone(&self.engine.active));
        let read = Arc::clone(&bundle);
        let (policy, mut problems, changes) = self
            .offload(move || {
                let (policy, problems) = read_bundle(&read);
                let is_damaged = report::has_errors(&problems);
                let changes = if is_damaged { Vec::new() } else { diff(&names.written, &policy) };
                (policy, problems, changes)
            })
            .await;
        let mut answer = Applied {
            revision: self.engine.active.revision,
            generation: self.engine.active.generation.into(),
            ..Applied::default()
        };
        if report::has_errors(&problems) {
            answer.problems = problems;
            return Ok(answer);
        }
        answer.changes = changes;
        let host = self.host().await.map_err(|e| failure(&e))?;
        let (live, read) = (self.engine.active.live.clone(), problems.clone());
        let compiled =
            self.offload(move || Active::compile(bundle, policy.into(), &live, host, read)).await;
        let next = match compiled {
            Ok(next) => next,
            Err(found) => {
                problems.extend(found);
                answer.problems = problems;
                return Ok(answer);
            }
        };
        answer.problems = next.warnings.clone();
        let same =
            next.digest == self.engine.active.digest && next.bundle == self.engine.active.bundle;
        if order.dry_run || (same && self.is_for(&next.host)) {
            return Ok(answer);
        }
        if order.confirm.is_none() {
            self.spare_session(order.guard, &next, CONFIRM_OR_FORCE).await?;
        }
        let revision =
            self.engine.active.revision + u64::from(next.digest != self.engine.active.digest);
        let next = Active { revision, since: now(), ..next };
        match order.confirm {
            None => self.switch(next).await,
            Some(time) => self.switch_until(next, time, &answer.changes).await,
        }
        .map_err(|e| failure(&e))?;
        self.warnings.clear();
        answer.applied = true;
        answer.revision = self.engine.active.revision;
        answer.generation = self.engine.active.generation.into();
        answer.milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        answer.confirm_until = self.engine.pending.as_ref().map(Unconfirmed::until);
        Ok(answer)
    }

    /// Puts a compiled policy in force. On any failure the old one stays.
    pub(super) async fn switch(&mut self, next: Active) -> Result<(), Error> {
        let next = self.numbered(next);
        // A policy that cannot be stored is not put in force: a restart would lose it.
        let (state, stamp, names) = (self.state.clone(), self.clock.stamp(), Arc::clone(&next));
        let (pending, live) = self
            .offload(move || {
                let pending = state.prepare(&saved(&names))?;
                match state.prepare_live(&names.live, &stamp) {
                    Ok(live) => Ok((pending, live)),
                    Err(e) => {
                        pending.discard();
                        Err(e)
                    }
                }
            })
            .await?;
        match self.put(&next, |engine, loaded| engine.activate(&next, loaded)).await {
            Ok(()) => {
                for file in [pending, live] {
                    if let Err(e) = file.commit() {
                        error!("{}", failure(&e.into()).error);
                        self.warnings.push("the active policy could not be saved; a restart would load the previous one".into());
                    }
                }
                self.say_active();
                Ok(())
            }
            Err(e) => {
                pending.discard();
                live.discard();
                Err(e)
            }
        }
    }

    /// Loads a compiled policy on a separate thread, and passes it to `put` to activate.
    pub(super) async fn put(
        &mut self,
        next: &Arc<Active>,
        mut put: impl FnMut(&mut Engine, Loaded) -> Result<(), dataplane::Error>,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (loader, names) = (self.engine.dataplane.loader()?, Arc::clone(next));
            let loaded = self.offload(move || loader.load(&names.compiled.image)).await?;
            match put(&mut self.engine, loaded) {
                Err(dataplane::Error::Replaced(name)) => {
                    warn!("{}", dataplane::Error::Replaced(name));
                }
                other => {
                    other?;
                    // Before the command returns, so that the first question is noted.
                    self.follow_transmit().await;
                    return Ok(());
                }
            }
        }
        Err(dataplane::Error::Replaced(map::GENERATIONS).into())
    }

    /// Assigns the next generation's number and announces its names, before the first frame is judged by
    /// it.
    pub(super) fn numbered(&self, next: Active) -> Arc<Active> {
        let next = self.engine.numbered(next);
        self.reporter.announce(&next);
        next
    }

    /// The policy that was put in force and its interfaces, for the service manager. Only `status` asks the
    /// kernel whether it still is in force.
    pub(super) fn summary(&self) -> String {
        let is_guarded = |name: &&String| self.guarded.iter().any(|it| it.name == **name);
        let (on, not_on): (Vec<&String>, Vec<_>) =
            self.settings.interfaces.iter().partition(is_guarded);
        let names = |list: Vec<&String>| {
            list.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let revision = self.engine.active.revision;
        let on = if on.is_empty() { "no interface yet".to_owned() } else { names(on) };
        let text = format!("revision {revision} was put in force on {on}");
        if not_on.is_empty() { text } else { format!("{text}; NOT on {}", names(not_on)) }
    }

    pub(super) fn say_active(&self) {
        let (revision, generation) = (self.engine.active.revision, self.engine.active.generation);
        info!("revision {revision} is in force (generation {generation})");
    }

    /// Compiles the documents and the live changes for a changed host, and switches. An unwritable state
    /// directory does not prevent this: the stored policy is the same.
    pub(super) async fn recompile(&mut self, host: Host) -> Result<(), Error> {
        let old = Active::clone(&self.engine.active);
        let warnings = old.read.clone();
        let file = old.bundle.file.clone();
        let Active { revision, since, aside, .. } = old;
        let next = self
            .offload(move || Active::compile(old.bundle, old.written, &old.live, host, warnings))
            .await
            .map_err(|problems| Error::Problems { file, problems })?;
        self.put_generation(Active { revision, since, aside, ..next }).await?;
        self.say_active();
        Ok(())
    }

    pub(super) async fn host(&self) -> Result<Host, Error> {
        let links = self.kernel.links().await?;
        let mut host =
            self.kernel.host(&self.chosen(&links), &links, self.clock.now().earliest).await?;
        host.remember_routers(&self.engine.active.host);
        host.remember_neighbours(&self.engine.active.host);
        Ok(host)
    }

    /// Whether the active policy was compiled for this host, apart from time and neighbours.
    pub(super) fn is_for(&self, host: &Host) -> bool {
        host.without_neighbours() == self.engine.active.host.without_neighbours()
    }
}

/// How a policy is applied.
struct Order {
    dry_run: bool,
    confirm: Option<Duration>,
    guard: Guard,
}

impl Order {
    fn of(bundle: &PolicyBundle) -> Result<Self, Failure> {
        let reason = bundle.reason.as_ref();
        remark::check("the name of the policy file", &bundle.file, MAX_FILE)
            .and_then(|()| reason.map_or(Ok(()), |reason| check_remark("reason", reason)))
            .map_err(|wrong| usage(&wrong.message, wrong.hint.as_deref()))?;
        if let Some(seconds) = bundle.confirm
            && !CONFIRM.contains(&seconds)
        {
            return Err(Failure {
                error: format!("confirm: {} to {} seconds", CONFIRM.start(), CONFIRM.end()),
                hint: Some(format!("{seconds} was asked for")),
                code: ErrorCode::BadRequest,
            });
        }
        Ok(Self {
            dry_run: bundle.dry_run,
            confirm: bundle.confirm.map(|seconds| Duration::from_secs(seconds.into())),
            guard: Guard { force: bundle.force, session: bundle.session },
        })
    }
}
