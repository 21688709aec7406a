//! Events: their types, their followers and their output formats.
//!
//! - [`event`]: the only event type
//! - `protocol`: protocols of IP by name
//! - `reason_name`: names of reasons
//! - [`time`]: when they happened
//! - [`json`]: the flat line of JSON
//! - [`text`]: one human-readable line, and flat fields
//! - [`eve`]: lines in Suricata's format
//! - [`pcap`]: a capture
//! - [`hub`]: distributes events to followers, none of which can delay another
//! - `seats`: limits on followers
//! - `backlog`: events kept for later queries
//! - [`filter`]: which events a follower wants
//! - [`cidr`]: addresses and prefixes in queries
//! - [`subscription`]: filter, start, and how much of each event
//! - [`sinks`]: events to journald, syslog and files

mod backlog;
pub mod cidr;
pub mod eve;
pub mod event;
pub mod filter;
pub mod hub;
pub mod json;
pub mod pcap;
mod protocol;
mod reason_name;
mod seats;
pub mod sinks;
pub mod subscription;
pub mod text;
pub mod time;

pub use event::Event;
pub use time::Time;
