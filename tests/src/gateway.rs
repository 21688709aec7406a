//! The gateway under real traffic: what devices can and cannot reach.
//!
//! - `select`: membership in a group by MAC, prefix, address, name and interface
//! - `modes`: unknown devices, observe, quarantine, the essentials, native and generic
//! - `binding`: devices that send from foreign addresses, and tagged frames
//! - `essentials`: DHCP, neighbours, 802.1X pass; rogue servers and routers do not
//! - `jumbo`: frames of 9,000 bytes
//! - `live`: a policy that changes under an established connection
mod binding;
mod essentials;
mod jumbo;
mod live;
mod modes;
mod select;

use crate::harness::topology::{UPDATES, UPDATES_V6};

/// A forbidden IPv6 destination.
const HOSTILE_V6: &str = "2001:db8:bad::119";

/// One group: `tcp/80` to the update server is allowed, the hard-coded addresses are denied.
fn policy(members: &str) -> String {
    format!(
        r#"schema = 1
[groups.beds]
members = [{members}]
allow = [
  {{ to = "{UPDATES}", service = "tcp/80", reason = "CHG-4711" }},
  {{ to = "{UPDATES_V6}", service = "tcp/80" }},
]
deny = [{{ to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }}]
"#
    )
}
