//! Events: what they are, who follows them, and how they look outside.
//!
//! - [`event`]: the one type of them
//! - `protocol`: protocols of IP by name
//! - [`time`]: when they happened
//! - [`json`]: the flat line of JSON
//! - [`text`]: one line for people, and flat fields
//! - [`eve`]: lines as Suricata would write them
//! - [`pcap`]: a capture
//! - [`hub`]: events to those who follow, none of whom can delay another
//! - `seats`: how many may follow, and whose places they are
//! - `backlog`: events that are kept for those who ask later
//! - [`filter`]: which events a follower wants
//! - [`cidr`]: addresses and prefixes in queries
//! - [`subscription`]: the filter, from when on, and how much of each event
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
mod seats;
pub mod sinks;
pub mod subscription;
pub mod text;
pub mod time;

pub use event::Event;
pub use time::Time;
