//! Shared by tests, fuzz targets and benchmarks; nothing here needs a kernel.
//!
//! - [`naive`]: the policy language, decided in the slow and obvious way
//! - [`random`]: random policies and flows
//! - [`frames`]: frames byte by byte, and random ones
//! - [`corpus`]: frames by which a hostile device tries to evade a policy, as a table
//! - [`bodies`]: properties that must hold for any input, one body for each fuzz target

pub mod bodies;
pub mod corpus;
pub mod frames;
pub mod naive;
#[expect(clippy::should_implement_trait, reason = "endless: `Random::next` has no end to report")]
pub mod random;
