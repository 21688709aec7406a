//! Checks whether drivers run the attached program, and repairs those that do not.

use std::time::Duration;

use log::{error, info};

use super::core::Core;
use super::failure;
use crate::clock::boot_clock;
use crate::guard::plan::Remedy;
use crate::guard::proof::{Counters, Proof};
use crate::host::Link;

/// How long runs are checked often after an event.
const OFTEN: Duration = Duration::from_secs(5);
/// Interval of these checks.
const PAUSE: Duration = Duration::from_millis(100);

impl Core {
    /// Whether frames of devices on an interface, and those towards them that may be refused, are judged by the policy:
    /// according to the kernel our programs are attached, there is no evidence that the driver does not run them, and the
    /// policy is compiled for the interface.
    pub(super) fn enforces(&self, link: &Link) -> bool {
        let guarded = self.guarded.iter().find(|guarded| guarded.index == link.index);
        guarded.is_some_and(|guarded| guarded.prover.proof().holds())
            && link.no_ethernet.is_none()
            && self.engine.dataplane.guards(link.attached)
            && self.is_compiled_for(link.index)
            && !self.leaves_unjudged(link.index)
    }

    /// Whether the policy is compiled for an interface: on any other one, everything is dropped.
    pub(super) fn is_compiled_for(&self, index: u32) -> bool {
        self.engine.active.host.interfaces.iter().any(|known| known.index == index)
    }

    /// An interface has changed: each driver has to prove again that it runs the program.
    pub(super) fn renew_proofs(&mut self) {
        self.guarded.iter_mut().for_each(|guarded| guarded.prover.renew());
        self.look_often();
    }

    /// Makes runs checked often, for a while.
    pub(super) fn look_often(&mut self) {
        self.watched.often_until = now() + OFTEN;
    }

    /// Checks runs if requested and due. Returns whether the state of a proof has changed.
    pub(super) async fn proofs_changed(&mut self) -> bool {
        let (now, watched) = (now(), &self.watched);
        let is_due = now < watched.often_until && now >= watched.runs_looked_at + PAUSE;
        if !is_due || !self.guarded.iter().any(|guarded| guarded.prover.is_fresh()) {
            return false;
        }
        self.begin_proofs();
        match self.kernel.links().await {
            Ok(links) => self.prove(&links),
            // The next check will show.
            Err(_) => false,
        }
    }

    /// To be called before the links are read for [`Core::prove`].
    pub(super) fn begin_proofs(&mut self) {
        for guarded in &mut self.guarded {
            guarded.prover.begin(self.engine.dataplane.runs(guarded.index));
        }
    }

    /// Compares the frames that interfaces received with the runs of the program, and logs the conclusion.
    /// Returns whether any interface has changed between enforced and not.
    pub(super) fn prove(&mut self, links: &[Link]) -> bool {
        let time = now();
        self.watched.runs_looked_at = time;
        let mut said = Vec::new();
        for guarded in &mut self.guarded {
            let link = links.iter().find(|link| link.index == guarded.index);
            let Some(link) = link.filter(|link| self.engine.dataplane.guards(link.attached)) else {
                continue;
            };
            // Read in this order: frames received earlier have been judged by the time the runs are read.
            let received = link.received;
            let counters = Counters { received, runs: self.engine.dataplane.runs(guarded.index) };
            let was = guarded.prover.proof();
            let is = guarded.prover.look(counters, time);
            if was != is {
                said.push((guarded.present.clone(), was, is, counters));
            }
        }
        let changed = said.iter().any(|(_, was, is, _)| was.holds() != is.holds());
        for (name, was, is, counters) in said {
            let Counters { received, runs } = counters;
            match is {
                Proof::Doubted => {
                    error!("{name}: frames arrive and the program has not run yet");
                }
                Proof::Refuted => {
                    let text = format!(
                        "{name} is NOT enforced: its program is attached and the driver does not run it \
                         (frames received: {received}, runs: {runs})"
                    );
                    self.remember(text.clone());
                    self.tamper("program-not-run", Some(&name), text);
                }
                Proof::Seen if !was.holds() => info!("{name}: the program is seen to run"),
                Proof::Seen | Proof::Idle => {}
            }
        }
        changed
    }

    /// Carries out a repair of an interface whose driver does not run the program.
    pub(super) fn repair(&mut self, link: &Link, remedy: Option<Remedy>) {
        let index = link.index;
        let Some(guarded) = self.guarded.iter_mut().find(|guarded| guarded.index == index) else {
            return;
        };
        guarded.repairs = guarded.repairs.saturating_add(1);
        let name = guarded.present.clone();
        let (what, outcome) = match remedy {
            None => return,
            Some(Remedy::NewObject) => {
                ("gave it a new program object", self.engine.dataplane.renew(index))
            }
            Some(Remedy::Generic) => {
                ("changed to generic mode", self.engine.dataplane.fall_back(link.interface(&name)))
            }
        };
        let text = match outcome {
            Ok(()) => format!("{name}: the driver did not run the program; {what}"),
            Err(e) => format!(
                "{name}: the driver does not run the program, and it could not be mended: {}",
                failure(&e.into()).error
            ),
        };
        error!("{text}");
        self.reporter.tamper("program-not-run", Some(&name), text, &self.engine.active);
        self.watched.reattached += 1;
        if let Some(guarded) = self.guarded.iter_mut().find(|guarded| guarded.index == index) {
            guarded.prover.mended();
            if remedy == Some(Remedy::Generic) {
                guarded.native = None;
                guarded.note = Some("in native mode the driver did not run the program".to_owned());
            }
        }
        self.look_often();
    }
}

/// The boot clock.
fn now() -> Duration {
    Duration::from_nanos(boot_clock())
}
