//! Userspace half of enforcer.
//!
//! - [`policy`], a crate: document to model to image; pure: no clock, no files, no kernel
//! - [`image`] of it: the plain value that the policy hands to the data plane
//! - [`shown`] of it: untrusted text, made safe to display
//! - [`api`], a crate: the types that travel over the unix socket
//! - [`convert`]: values of the policy as API types, and back
//! - [`audit`]: the hash-chained trail of changes
//! - [`control`]: HTTP over the unix socket, both halves
//! - `clock`: the machine's clocks
//! - [`config`]: the daemon's settings
//! - [`request`]: requests to the daemon, without their reply channels
//! - [`daemon`]: the core: one loop that answers requests
//! - [`dataplane`]: state in the kernel: programs, maps, links, pins
//! - [`doctor`]: checks whether this machine can enforce a policy
//! - [`backstop`]: packet filter tables that block forwarding while an interface is not protected
//! - [`memory`]: settings of the allocator
//! - [`metrics`]: counters and gauges in Prometheus' text format
//! - [`events`]: their types, followers and output formats
//! - [`setup`]: a first configuration, from a survey of the machine
//! - `guard`: the protected interfaces, and a plan for whatever is wrong with them
//! - [`fault`]: the hint and the exit code of an error
//! - [`host`]: interfaces, addresses and routes of the machine, over rtnetlink
//! - [`privilege`]: the capabilities that the daemon keeps
pub mod audit;
pub mod backstop;
mod clock;
pub mod config;
pub mod control;
pub mod convert;
pub mod daemon;
pub mod dataplane;
pub mod doctor;
pub mod events;
pub mod fault;
mod guard;
pub mod host;
pub mod memory;
pub mod metrics;
pub mod privilege;
pub mod request;
pub mod setup;

pub use enforcer_api as api;
pub use enforcer_policy as policy;
pub use enforcer_policy::{image, shown};
