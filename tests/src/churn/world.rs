//! Two policies that contradict each other, and the frames that each lets pass.
//!
//! Two devices change places in two groups. Each policy detects a device in the wrong group: there it
//! refuses frames that the device may always send, and allows frames that it never may. A frame that
//! one policy put into a group and the other one judged would be lost or would leak.

use enforcer::api::{Endpoint, LiveAction, LiveChange, Mode, PolicyBundle, Status};

use super::stream::DEVICES;
use crate::harness::topology::{DEV1_MAC, DEV2_MAC};

/// MAC and addresses of the third device.
pub(super) const DEV3: (&str, &str, &str) = ("00:1b:44:11:3a:b8", "10.20.0.13", "2001:db8:20::13");
/// Destinations of all frames: hosts that never answer.
pub(super) const TO: [&str; 2] = ["198.51.100.77", "2001:db8:5::77"];
/// The groups, in the order of the devices under the first policy.
const GROUPS: [&str; DEVICES] = ["red", "blue", "green"];
/// The group that can be observed by command.
const GREEN: usize = 2;

/// What a device sends; its number is the last digit of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Allowed by both policies.
    Always,
    /// Allowed by the first policy, denied by the second.
    First,
    /// The reverse.
    Second,
    /// Denied by both policies.
    Never,
    /// In no policy's rules: passes by a live change.
    Live,
}

impl Class {
    pub(super) const ALL: [Self; 5] =
        [Self::First, Self::Second, Self::Never, Self::Live, Self::Always];

    /// The UDP port of a device's frames of this class.
    pub(super) fn port(self, device: usize) -> u16 {
        5000 + 10 * device as u16 + self as u16
    }
}

/// A live change: in which group, for which device's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// [`Class::Live`] of the device passes.
    Allow(usize, usize),
    /// [`Class::First`] of the device does not.
    Deny(usize, usize),
    /// The third group is only observed.
    Observe,
}

impl Beside {
    /// All changes; some are about ports that no device in the group sends to.
    pub(super) const ALL: [Self; 9] = [
        Self::Allow(0, 0),
        Self::Allow(0, 1),
        Self::Allow(1, 0),
        Self::Allow(1, 1),
        Self::Allow(2, 2),
        Self::Deny(0, 0),
        Self::Deny(1, 0),
        Self::Deny(2, 2),
        Self::Observe,
    ];

    /// As a command.
    pub(super) fn change(self) -> LiveChange {
        let to = |device: usize, class: Class| Endpoint {
            to: "@far".into(),
            service: format!("udp/{}", class.port(device)),
        };
        let (group, action) = match self {
            Self::Allow(group, device) => (group, LiveAction::Allow(to(device, Class::Live))),
            Self::Deny(group, device) => (group, LiveAction::Deny(to(device, Class::First))),
            Self::Observe => (GREEN, LiveAction::Mode { mode: Mode::Observe }),
        };
        LiveChange::new(GROUPS[group], action)
    }

    /// Whether a change is this one.
    pub(super) fn is(self, change: &LiveChange) -> bool {
        let own = self.change();
        own.target == change.target && own.action == change.action
    }
}

/// The complete state in force: a policy and live changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The second policy, not the first.
    pub(super) second: bool,
    /// Every device loses everything.
    pub(super) cut: bool,
    /// Live changes in force.
    pub(super) beside: Vec<Beside>,
}

impl State {
    /// From the daemon's status.
    pub(super) fn of(status: &Status) -> Self {
        let known = |change: &LiveChange| {
            let known = Beside::ALL.into_iter().find(|beside| beside.is(change));
            known.unwrap_or_else(|| panic!("nobody made {change:?}"))
        };
        let beside = status.live.iter().map(known).collect();
        let file = status.policy.file.as_str();
        Self { second: file.ends_with("second"), cut: file.ends_with("cut"), beside }
    }

    /// The same with the other policy.
    pub(super) fn other(&self) -> Self {
        Self { second: !self.second, ..self.clone() }
    }

    /// The same with a change made, or revoked if it was made.
    pub(super) fn toggled(&self, change: Beside) -> Self {
        let mut state = self.clone();
        match state.beside.iter().position(|other| *other == change) {
            Some(at) => drop(state.beside.remove(at)),
            None => state.beside.push(change),
        }
        state
    }

    /// Whether two states are equal, in any order.
    pub(super) fn is(&self, other: &Self) -> bool {
        let same = |change| self.beside.contains(&change) == other.beside.contains(&change);
        self.second == other.second && self.cut == other.cut && Beside::ALL.into_iter().all(same)
    }

    /// The group of a device: the first two change places.
    fn group(&self, device: usize) -> usize {
        if self.second && device != GREEN { 1 - device } else { device }
    }

    /// Whether a frame passes: as much of the policy language as these policies need.
    pub(super) fn passes(&self, device: usize, class: Class) -> bool {
        let group = self.group(device);
        let has = |change| self.beside.contains(&change);
        if group == GREEN && has(Beside::Observe) {
            return true;
        }
        match class {
            _ if self.cut => false,
            Class::Always => true,
            Class::First => !self.second && !has(Beside::Deny(group, device)),
            Class::Second => self.second,
            Class::Never => false,
            Class::Live => has(Beside::Allow(group, device)),
        }
    }

    /// The policy as a document with a descriptive name.
    pub(super) fn bundle(&self) -> PolicyBundle {
        let file = if self.second { "/churn/second" } else { "/churn/first" };
        PolicyBundle { file: file.into(), text: self.document(), ..PolicyBundle::default() }
    }

    /// The policy as a document.
    pub(super) fn document(&self) -> String {
        let mut text = "schema = 1\n[sets]\n".to_owned();
        text.push_str(&format!("far = {TO:?}\n"));
        for (device, mac) in [DEV1_MAC, DEV2_MAC, DEV3.0].iter().enumerate() {
            text.push_str(&format!("[devices.device-{device}]\nmac = {mac:?}\n"));
        }
        for device in 0..DEVICES {
            text.push_str(&self.section(device));
        }
        text
    }

    /// The group of a device: right for it, and wrong for the device that it changes places with.
    fn section(&self, device: usize) -> String {
        let (yes, no) =
            if self.second { (Class::Second, Class::First) } else { (Class::First, Class::Second) };
        let mut allow = vec![Class::Always.port(device), yes.port(device)];
        let mut deny = vec![no.port(device), Class::Never.port(device)];
        if device != GREEN {
            allow.push(Class::Never.port(1 - device));
            deny.push(Class::Always.port(1 - device));
        }
        if self.cut {
            allow.clear();
            deny.extend([Class::Always.port(device), yes.port(device)]);
        }
        let rules = |ports: &[u16]| {
            let rule = |port| format!("{{ to = \"@far\", service = \"udp/{port}\" }}");
            ports.iter().map(rule).collect::<Vec<_>>().join(", ")
        };
        format!(
            "[groups.{}]\nmembers = [\"device-{device}\"]\nallow = [{}]\ndeny = [{}]\n",
            GROUPS[self.group(device)],
            rules(&allow),
            rules(&deny)
        )
    }
}
