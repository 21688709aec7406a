//! Questions to the program in the kernel.

use enforcer_common::decide::Decision;
use tokio::sync::oneshot;

use super::state::Counters;
use crate::dataplane::Flows;

/// Frames for the active program, and the reply channel.
pub(super) struct Probe {
    /// Bytes of each frame, and the index of the receiving interface.
    pub(super) frames: Vec<(Vec<u8>, u32)>,
    pub(super) reply: oneshot::Sender<Probed>,
}

/// The active program's answers, and other data of the core from the same moment.
pub(super) struct Probed {
    /// The generation that decided.
    pub(super) generation: u32,
    pub(super) decisions: Vec<Result<Decision, String>>,
    pub(super) counters: Counters,
    /// What others have opened towards devices, if the policy has accept rules.
    pub(super) flows: Flows,
}
