//! Tests that need a kernel, and the lab that they and the demo run in.
//!
//! - [`harness`]: namespaces, programs, frames: the lab
pub mod harness;
