//! The life cycle: crashes, restarts, removal, and a machine that changes under the daemon.
//!
//! - `audit`: the trail of changes
//! - `backstop`: the backstop while an interface is not protected
//! - `watch`: programs, pins and interfaces that are removed, renamed or moved
//! - `branch`: changes that would cut off the operator's own session
//! - `busy`: other work while a large policy is put in force
//! - `clock`: a wall clock that is wrong, and that is put right
//! - `confirm`: policies that return unless they are confirmed, and earlier revisions
//! - `faults`: a full disk, no BTF, a daemon that hangs, tables that root writes to
//! - `forged`: pins that do not match their names, or that others may use
//! - `live`: changes by command
//! - `manager`: notifications to systemd: readiness and watchdog
//! - `missing`: starts with missing parts, full disks, and objects that were lost meanwhile
//! - `start`: a start that is killed at any of its system calls
//! - `survive`: kill -9, SIGTERM, restart, and detach
//! - `privilege`: the daemon's capabilities, as root and as another user
//! - `recorded`: a day of orders, recorded and replayed
//! - `reboot`: the state after a reboot, and the next start
//! - `refuse`: starts that must be refused, and the policy that stays in force
//! - `tags`: VLAN tags that an interface would strip
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

/// UDP 5000 is allowed, everything else is dropped.
const POLICY: &str = r#"schema = 1
[groups.beds]
members = ["00:1b:44/24"]
allow = [{ to = "198.51.100.10", service = ["udp/5000", "tcp/80"], reason = "CHG-4711" }]
"#;

/// The same with one more rule.
fn wider() -> String {
    POLICY.replace("allow = [", &format!("allow = [{{ to = \"{HOSTILE}\" }}, "))
}
