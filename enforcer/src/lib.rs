//! Userspace half of enforcer.
//!
//! - [`policy`]: document to model to image; pure: no clock, no files, no kernel
//! - [`image`]: the plain value that the policy hands to the data plane
//! - [`api`]: the types that travel over the unix socket, and the event lines
//! - [`audit`]: the hash-chained trail of changes
//! - [`control`]: HTTP over the unix socket, both halves
//! - [`config`]: the daemon's settings
//! - [`daemon`]: the core: one `Input`, one loop
//! - [`dataplane`]: state in the kernel: programs, maps, links, pins
//! - [`doctor`]: checks whether this machine can enforce a policy
//! - [`backstop`]: packet filter tables that block forwarding while an interface is not protected
//! - [`memory`]: settings of the allocator
//! - [`metrics`]: counters and gauges in Prometheus' text format
//! - [`events`]: their types, followers and output formats
//! - [`setup`]: a first configuration, from a survey of the machine
//! - [`shown`]: untrusted text, made safe to display
//! - [`site`]: interfaces, addresses and routes of the machine, over rtnetlink
//! - [`privilege`]: the capabilities that the daemon keeps
//! - [`exit`]: exit codes
pub mod api;
pub mod audit;
pub mod backstop;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod doctor;
pub mod events;
pub mod exit;
pub mod image;
pub mod memory;
pub mod metrics;
pub mod policy;
pub mod privilege;
pub mod setup;
pub mod shown;
pub mod site;
