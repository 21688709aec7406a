//! What outlives what: crashes, restarts, removal, and a machine that changes under the daemon.
//!
//! - `audit`: the trail of changes
//! - `backstop`: what holds while an interface is not protected
//! - `watch`: programs, pins and interfaces that somebody removes, renames or moves
//! - `branch`: changes that would cut off whoever makes them
//! - `busy`: what goes on while a large policy is put in force
//! - `clock`: a wall clock that is wrong, and that is put right
//! - `confirm`: policies that return unless they are confirmed, and earlier revisions
//! - `faults`: a full disk, no BTF, a daemon that hangs, tables that somebody writes to
//! - `forged`: pins that are not what their names say, or that others may use
//! - `live`: changes by command
//! - `manager`: what systemd hears: ready, and signs of life
//! - `missing`: starts on a bad day: parts that are missing, full disks, what was lost meanwhile
//! - `start`: a start that is killed at any of its system calls
//! - `survive`: kill -9, SIGTERM, restart, and detach
//! - `privilege`: what the daemon may do, whoever runs it
//! - `recorded`: a day of orders, asked again
//! - `reboot`: what a reboot leaves, and the start after it
//! - `refuse`: starts that must not happen, and what stays in force then
//! - `tags`: VLAN tags that an interface would remove
//! - `waiting`: changes by command while a policy waits to be confirmed
//! - `tamper`: pins, interfaces, addresses and state files that change behind the daemon's back
mod audit;
mod backstop;
mod branch;
mod busy;
mod clock;
mod confirm;
mod diagnostics;
mod faults;
mod forged;
mod live;
mod manager;
mod missing;
mod privilege;
mod reboot;
mod recorded;
mod refuse;
mod start;
mod survive;
mod tags;
mod tamper;
mod waiting;
mod watch;

use crate::harness::topology::HOSTILE;

/// UDP 5000 is allowed, all else is dropped.
const POLICY: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [{ to = "198.51.100.10", service = ["udp/5000", "tcp/80"], reason = "CHG-4711" }]
"#;

/// The same with a rule more.
fn wider() -> String {
    POLICY.replace("allow = [", &format!("allow = [{{ to = \"{HOSTILE}\" }}, "))
}
