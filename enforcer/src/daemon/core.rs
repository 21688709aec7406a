//! Everything that the daemon owns.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::aside::{Aside, Shown};
use super::engine::Engine;
use super::history::History;
use super::probe::Probe;
use super::recorder::Recorder;
use super::report::Reporter;
use super::state::State;
use super::time::Clock;
use super::turns::Turns;
use super::watched::Watched;
use crate::audit::Audit;
use crate::config::{Settings, Xdp};
use crate::dataplane::Preference;
use crate::events::sinks::Health;
use crate::guard::Guarded;
use crate::guard::before::Before;
use crate::host::Kernel;

/// The state that the daemon owns.
pub(super) struct Core {
    pub(super) settings: Settings,
    /// Sources of the loop's work.
    pub(super) turns: Turns,
    pub(super) kernel: Kernel,
    /// What is active.
    pub(super) engine: Engine,
    pub(super) reporter: Reporter,
    pub(super) guarded: Vec<Guarded>,
    pub(super) watched: Watched,
    /// Links that were attached at the last check of this daemon or the previous one.
    pub(super) protected_before: Before,
    /// How each interface was protected at the start, for the audit trail.
    pub(super) starts: Vec<String>,
    /// Warnings for the operator, in addition to the policy's own.
    pub(super) warnings: Vec<String>,
    pub(super) started: String,
    pub(super) audit: Audit,
    pub(super) history: History,
    pub(super) state: State,
    pub(super) clock: Clock,
    /// State of each configured sink.
    pub(super) sinks: Vec<Arc<Health>>,
    /// Threads for slow answers.
    pub(super) aside: Aside,
    /// Cache of the active policy's text.
    pub(super) shown: Shown,
    /// Recording of requests, for tests.
    pub(super) recorder: Recorder,
    /// Channel for frames that the program in the kernel is to judge.
    pub(super) probes: mpsc::Sender<Probe>,
}

/// The time, RFC 3339.
pub(super) fn now() -> String {
    crate::events::Time::now().to_string()
}

/// The mode that the settings ask for.
pub(super) fn preference(xdp: Xdp) -> Preference {
    match xdp {
        Xdp::Auto => Preference::Auto,
        Xdp::Native => Preference::Native,
        Xdp::Generic => Preference::Generic,
    }
}
