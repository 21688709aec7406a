//! What tests, fuzz targets and benchmarks share; nothing here needs a kernel.
//!
//! - [`naive`]: the policy language, decided the slow and obvious way
//! - [`random`]: random policies and flows
//! - [`frames`]: frames byte by byte, and random ones
//! - [`corpus`]: what a hostile device sends to get past a policy, as a table
//! - [`bodies`]: what must hold for any input, one body for each fuzz target

pub mod bodies;
pub mod corpus;
pub mod frames;
pub mod naive;
#[expect(clippy::should_implement_trait, reason = "endless: `Random::next` has no end to report")]
pub mod random;
