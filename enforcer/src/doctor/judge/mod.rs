//! Facts to findings. Pure: no clock, no files, no kernel.
//!
//! - `machine`: kernel, rights, clock, disk
//! - `interface`: problems of one interface
//! - `paths`: paths that bypass the protected interfaces
//! - `enforcement`: daemon, program, backstop

mod enforcement;
mod interface;
mod machine;
mod paths;
#[cfg(test)]
mod tests;

use super::Finding;
use super::facts::{Facts, Interface, Unseen};
use crate::host::Link;

/// Every finding about the machine, then those about each interface.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = machine::judge(facts);
    findings.extend(enforcement::machine(facts));
    findings.extend(paths::machine(facts));
    if facts.interfaces.is_empty() {
        findings.push(Finding::unknown(
            "interface",
            "no interface to protect is named",
            "enforcer doctor --interface lan0, or `interfaces` in enforcer.toml",
        ));
    }
    for interface in &facts.interfaces {
        let found = about(facts, interface);
        findings.extend(found.into_iter().map(|finding| finding.on(&interface.name)));
    }
    findings
}

fn about(facts: &Facts, interface: &Interface) -> Vec<Finding> {
    let Some(link) = &interface.link else {
        return vec![interface::missing(interface)];
    };
    let mut findings = interface::judge(facts, interface, link);
    findings.extend(paths::interface(facts, link));
    findings.extend(paths::bridge(facts, link));
    findings.extend(enforcement::interface(facts, link));
    findings
}

/// Whose the program on an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attached {
    None,
    Ours,
    Other(u32),
    /// The owner is unknown.
    Unknown(u32),
}

fn attached(facts: &Facts, link: &Link) -> Attached {
    let Some(id) = link.attached.program else { return Attached::None };
    if let Ok(Some(status)) = &facts.enforcement.daemon
        && let Some(row) = status.interfaces.iter().find(|row| row.index == link.index)
    {
        return if row.enforcing { Attached::Ours } else { Attached::Other(id) };
    }
    match &facts.enforcement.pinned {
        Ok(pinned) => {
            let ours = pinned.as_ref().and_then(|pinned| pinned.dispatchers.get(&link.index));
            if ours == Some(&id) { Attached::Ours } else { Attached::Other(id) }
        }
        Err(_) => Attached::Unknown(id),
    }
}

fn unknown(check: &'static str, unseen: &Unseen) -> Finding {
    Finding::unknown(check, &unseen.why, unseen.remedy.clone())
}
