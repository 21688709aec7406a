//! Tests that need a kernel, and the lab that they and the demo run in. What they share with tests
//! that need none is in `enforcer-testkit`.
//!
//! - [`harness`]: namespaces, programs, frames: the lab
//! - [`replay`]: the table through real gateways
//! - [`composed`]: random stacks of headers through them, and a second opinion
//!
//! The tests themselves are in `verdict`, `nonlinear`, `agree`, `answers`, `captures`, `evasions`, `stacked`,
//! `oracle`, `verifier`, `doctor`, `events`, `gateway`, `lifecycle`, `churn`, `hostile`, `rogue`, `cli`, `completions`,
//! `metrics`, `packaging`, `readme`, `reuse`, `setup`, `sinks`, `top`, `wire` and `xdp_filter`.

pub mod composed;
pub mod harness;
pub mod replay;

#[cfg(test)]
mod agree;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod churn;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod clinic;
#[cfg(test)]
mod completions;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod evasions;
#[cfg(test)]
mod events;
#[cfg(test)]
mod flow_cache;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod inbound;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod nonlinear;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod reuse;
#[cfg(test)]
mod rogue;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod sinks;
#[cfg(test)]
mod stacked;
#[cfg(test)]
mod top;
#[cfg(test)]
mod verdict;
#[cfg(test)]
mod verifier;
#[cfg(test)]
mod viewers;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod xdp_filter;
