//! Tests that need a kernel, and what they share with those that do not.
//!
//! - [`naive`]: the policy language, decided the slow and obvious way
//! - [`random`]: random policies and flows
//! - [`frames`]: frames byte by byte, and random ones

pub mod frames;
pub mod naive;
#[expect(clippy::should_implement_trait, reason = "endless: `Random::next` has no end to report")]
pub mod random;
