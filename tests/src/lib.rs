//! Tests that need a kernel, and what they share with those that do not.
//!
//! - [`naive`]: the policy language, decided the slow and obvious way
//! - [`random`]: random policies and flows
//! - [`frames`]: frames byte by byte, and random ones

pub mod frames;
pub mod naive;
pub mod random;
