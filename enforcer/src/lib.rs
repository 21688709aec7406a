//! Userspace half of enforcer.
//!
//! - [`policy`], a crate: document to model to image; pure: no clock, no files, no kernel
//! - [`image`] of it: the plain value in which policy and data plane meet
//! - [`shown`] of it: text from outside, made safe to show
//! - [`api`], a crate: what travels over the unix socket
//! - [`convert`]: values of the policy as the API has them, and back
//! - [`audit`]: who changed what: a chain of lines that shows when it was edited
//! - [`control`]: HTTP over the unix socket, both halves
//! - [`config`]: the daemon's settings
//! - [`request`]: what is asked of the daemon
//! - [`daemon`]: the core: one loop that answers requests
//! - [`dataplane`]: what is in the kernel: programs, maps, links, pins
//! - [`doctor`]: what on this machine helps or hinders enforcement
//! - [`backstop`]: what the packet filter drops while an interface is not protected
//! - [`memory`]: what the allocator is told
//! - [`metrics`]: counters and gauges as Prometheus reads them
//! - [`events`]: what they are, who follows them, and how they look outside
//! - [`fault`]: the remedy and the exit code of an error
//! - [`setup`]: a first configuration, from what the machine looks like
//! - [`site`]: what the machine looks like, over rtnetlink
//! - [`privilege`]: the capabilities that the daemon keeps
pub mod audit;
pub mod backstop;
pub mod config;
pub mod control;
pub mod convert;
pub mod daemon;
pub mod dataplane;
pub mod doctor;
pub mod events;
pub mod fault;
pub mod memory;
pub mod metrics;
pub mod privilege;
pub mod request;
pub mod setup;
pub mod site;

pub use enforcer_api as api;
pub use enforcer_policy as policy;
pub use enforcer_policy::{image, shown};
