//! Userspace half of enforcer.
//!
//! - [`policy`]: document to model to image; pure: no clock, no files, no kernel
//! - [`api`]: what travels over the unix socket, and the event lines
pub mod api;
pub mod policy;
