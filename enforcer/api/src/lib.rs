//! The types that travel over the unix socket. Events are in `enforcer::events::json`.
//!
//! - [`Status`] and its parts, in `status`; [`DeviceRow`], [`RuleRow`], [`HistoryRow`] in `rows`
//! - [`PolicyBundle`] and [`ApplyReport`], in `policy`
//! - [`LiveRequest`] and [`LiveReport`], in `live`
//! - [`ExplainRequest`] and [`Explanation`], in `explain`
//! - [`Failure`] and its [`ErrorCode`], in `failure`; the [`Exit`] codes that follow from it
//!
//! Field names are a contract with scripts: fields may be added, not renamed. The golden files in
//! `enforcer/api/tests/data` enforce it.

mod exit;
mod explain;
mod failure;
mod live;
mod policy;
mod rows;
mod status;

use serde::{Deserialize, Serialize};

pub use exit::Exit;
pub use explain::{CapturedFrame, ExplainFrames, ExplainRequest, Explanation, NearMiss};
pub use failure::{ErrorCode, Failure};
pub use live::{Endpoint, Guard, LiveAction, LiveChange, LiveReport, LiveRequest, Mode, Session};
pub use policy::{ApplyReport, Change, Decided, PolicyBundle, ProblemReport};
pub use rows::{DeviceRow, FlowList, FlowRow, HistoryRow, RuleRow};
pub use status::{GroupStatus, InterfaceStatus, PolicyStatus, ReasonCount, Status};

/// The answer to `POST /v1/detach`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Detached {
    /// What was removed from the kernel, in words, e.g. `program on lan0`.
    pub removed: Vec<String>,
}
