//! The gateway under real traffic: what devices reach, and what they do not.
//!
//! - `select`: who belongs to a group, by MAC, prefix, address, name and interface
//! - `modes`: unknown devices, observe, quarantine, the essentials, native and generic
//! - `binding`: devices that send from what is not theirs, and tagged frames
//! - `essentials`: DHCP, neighbours, 802.1X pass; servers and routers that devices are not
//! - `jumbo`: frames of 9,000 bytes
//! - `live`: a policy that changes under an established connection
mod binding;
mod essentials;
mod jumbo;
mod live;
mod modes;
mod select;

use crate::harness::topology::{UPDATES, UPDATES_V6};

/// Where nobody should go over IPv6.
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
