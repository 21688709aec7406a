//! The protected interfaces: their state, and a plan to repair it. This module does not act: the daemon
//! checks the interfaces, asks for a plan and carries it out.
//!
//! - [`plan`]: which interfaces to protect, and the steps that restore protection
//! - [`proof`]: whether a driver runs the program, by two counters
//! - [`before`]: links that were attached before this start

pub(crate) mod before;
pub(crate) mod plan;
pub(crate) mod proof;

use self::proof::{Counters, Proof, Prover};

/// A protected interface.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    /// Name in the settings, if it has one there.
    pub(crate) name: String,
    /// Present name.
    pub(crate) present: String,
    pub(crate) index: u32,
    /// Whether the program ran in the driver at the last check; `None` before the first check.
    pub(crate) native: Option<bool>,
    /// Whether the interface existed at the last check.
    pub(crate) there: bool,
    /// A remark for `status`.
    pub(crate) note: Option<String>,
    /// Checks that the driver runs the program.
    pub(crate) prover: Prover,
    /// Repairs since the program was attached, of a driver that does not run it.
    pub(crate) repairs: u32,
}

impl Guarded {
    /// An interface to which the program was just attached.
    pub(crate) fn new(name: String, present: String, index: u32, note: Option<String>) -> Self {
        let prover = Prover::default();
        Self { name, present, index, native: None, there: true, note, prover, repairs: 0 }
    }

    /// A remark about the proof, unless the program is seen to run.
    pub(crate) fn doubt(&self) -> Option<String> {
        let Counters { received, runs } = self.prover.counters();
        match self.prover.proof() {
            Proof::Seen => None,
            Proof::Idle => Some("no frame has arrived since the program was attached".into()),
            Proof::Doubted => Some("frames arrive, and the program has not run yet".into()),
            Proof::Refuted => Some(format!(
                "the driver does not run the program: {received} frames received, {runs} runs"
            )),
        }
    }
}
