//! Userspace half of enforcer.
//!
//! - [`policy`]: document to model to image; pure: no clock, no files, no kernel
//! - [`image`]: the plain value in which policy and data plane meet
//! - [`api`]: what travels over the unix socket, and the event lines
pub mod api;
pub mod image;
pub mod policy;
