//! Userspace half of enforcer.
//!
//! - [`policy`]: document to model to image; pure: no clock, no files, no kernel
//! - [`image`]: the plain value in which policy and data plane meet
//! - [`api`]: what travels over the unix socket, and the event lines
//! - [`audit`]: who changed what: a chain of lines that shows when it was edited
//! - [`control`]: HTTP over the unix socket, both halves
//! - [`config`]: the daemon's settings
//! - [`daemon`]: the core: one `Input`, one loop
//! - [`dataplane`]: what is in the kernel: programs, maps, links, pins
//! - [`doctor`]: what on this machine helps or hinders enforcement
//! - [`backstop`]: what the packet filter drops while an interface is not protected
//! - [`memory`]: what the allocator is told
//! - [`metrics`]: counters and gauges as Prometheus reads them
//! - [`events`]: what they are, who follows them, and how they look outside
//! - [`setup`]: a first configuration, from what the machine looks like
//! - [`shown`]: text from outside, made safe to show
//! - [`site`]: what the machine looks like, over rtnetlink
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
