//! The policy: what an operator writes, as values that cannot be wrong.
//!
//! - [`read`](mod@read): TOML document to [`Policy`], with every problem found
//! - [`address`], [`service`](Service::parse), `place`, `words`: its small words, to and from text
//! - [`Problem`], in `problem`: what is wrong, and where
//! - [`remark`]: what may stand in reasons, owners and names of files, however they arrive
//! - [`report`]: problems for people and for the API
//! - [`diff`](mod@diff): what differs between two policies, in words
//! - [`live`]: changes made by command, beside the policy file
//! - [`write`](mod@write): [`Policy`] to one document that [`read`](mod@read) accepts
//! - [`explain`]: what becomes of a described flow, why, and what nearly decided
//! - [`Essential`]: what is decided before any rule
//! - [`End`]: when rules and modes end
//! - [`Host`], in `host`: what the machine looks like, as far as a policy needs it
//! - [`image`]: the plain value in which policy and data plane meet
//! - [`shown`]: text from outside, made safe to show
//! - [`compile`]: [`Policy`] and [`Host`] to the image that the kernel walks; pure
//!
//! Nothing here reads a clock, a file or a kernel: what differs between machines arrives as an
//! argument.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image::Time;

pub mod address;
pub mod compile;
pub mod diff;
mod end;
mod essential;
pub mod explain;
mod host;
pub mod image;
pub mod live;
mod place;
mod problem;
mod ranges;
pub mod read;
pub mod remark;
pub mod report;
mod service;
pub mod shown;
mod symbols;
mod words;
pub mod write;

pub use compile::{Compiled, CompiledRule, check, compile, hops};
pub use diff::{Change, diff};
pub use end::End;
pub use essential::{Essential, Rates};
pub use host::{Host, HostInterface, OnLink, Router};
pub use problem::{Place, Problem, Severity};
pub use ranges::Ranges;
pub use read::read;
pub use symbols::Symbols;
pub use write::write;

/// A whole policy, as read from one document and the files of its sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Named devices, in the order of the document.
    pub devices: Vec<Device>,
    /// Groups, in the order of the document.
    pub groups: Vec<Group>,
    /// What may arrive on an interface.
    pub interfaces: Vec<Interface>,
    /// Devices that are in no group.
    pub unknown: Unknown,
    /// What is decided before any rule.
    pub essential: Essential,
}

/// A MAC address, as six bytes in transmission order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// An inclusive range of addresses of one family, as numbers in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Range {
    /// IPv4, first to last.
    V4(u32, u32),
    /// IPv6, first to last.
    V6(u128, u128),
}

/// A device with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The key under `[devices]`.
    pub name: String,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// Source addresses. With a MAC: a binding, another source address is spoofing.
    pub addresses: Vec<Range>,
    /// The only VLAN it may appear in.
    pub vlan: Option<u16>,
    /// The only interface it may appear on.
    pub interface: Option<String>,
    /// Place of its table.
    pub place: Place,
}

/// What makes a device belong to a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// A named device: index into [`Policy::devices`].
    Device(usize),
    /// An exact MAC address.
    Mac(Mac),
    /// A MAC prefix and its length in bits, 1 to 47. Bits after the prefix are zero.
    MacPrefix(Mac, u8),
    /// Source addresses.
    Addresses(Range),
    /// A VLAN id, 1 to 4094, written `vlan:20`.
    Vlan(u16),
    /// An interface, written `interface:lan0`.
    Interface(String),
}

/// A [`Selector`] and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it selects.
    pub selector: Selector,
    /// Where it was written.
    pub place: Place,
}

/// What happens to the frames that a group's decision would drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are dropped.
    #[default]
    Enforce,
    /// They pass; the event says `would-drop`.
    Observe,
    /// All but the essentials is dropped.
    Quarantine,
}

/// The verdict when no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultVerdict {
    /// Not forwarded.
    #[default]
    Drop,
    /// Forwarded.
    Pass,
}

/// A set of devices with one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The key under `[groups]`.
    pub name: String,
    /// Who belongs to it.
    pub members: Vec<Member>,
    /// What happens to refused frames.
    pub mode: Mode,
    /// The verdict when no rule matches.
    pub default: DefaultVerdict,
    /// Allow rules, in the order of the document.
    pub allow: Vec<Rule>,
    /// Deny rules, in the order of the document. They win over allow rules.
    pub deny: Vec<Rule>,
    /// When the mode ends, if it was set for a time only.
    pub timed: Option<Timed>,
    /// The group that it was made from, for one device with live rules of its own.
    pub device_of: Option<usize>,
    /// Place of its table.
    pub place: Place,
}

impl Group {
    /// The mode at a time.
    pub fn mode_at(&self, now: Time) -> Mode {
        Timed::mode_at(self.timed, self.mode, now)
    }
}

/// The end of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// When.
    pub until: End,
    /// What holds from then on.
    pub afterwards: Mode,
}

impl Timed {
    /// What holds of `mode` and its end at a time.
    fn mode_at(timed: Option<Self>, mode: Mode, now: Time) -> Mode {
        match timed {
            Some(timed) if timed.until.has_come(now, timed.is_held(mode)) => timed.afterwards,
            _ => mode,
        }
    }

    /// Whether its end loosens what `mode` restricts: such an end must not come early.
    pub fn is_held(self, mode: Mode) -> bool {
        let strictness = |mode| match mode {
            Mode::Observe => 0,
            Mode::Enforce => 1,
            Mode::Quarantine => 2,
        };
        strictness(mode) > strictness(self.afterwards)
    }
}

/// The remote end that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Every address of both families.
    Any,
    /// The gateway's own addresses.
    Gateway,
    /// The on-link prefixes of the protected interfaces.
    Local,
    /// An address, a CIDR or a range.
    Range(Range),
    /// A named set; the ranges are shared by every rule that names it.
    Set(Arc<Set>),
}

/// A named list of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The key under `[sets]`.
    pub name: String,
    /// Its ranges.
    pub ranges: Ranges,
}

/// Protocols and destination ports, as an inclusive range of service keys.
///
/// A service key is `protocol << 16 | port`, the port being 0 to 65535. A protocol without ports
/// covers all 65,536 keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// First key.
    pub first: u32,
    /// Last key.
    pub last: u32,
}

impl Service {
    /// Every protocol and port.
    pub const ANY: Self = Self { first: 0, last: 0x00ff_ffff };

    /// All of one IP protocol.
    pub fn protocol(protocol: u8) -> Self {
        Self::ports(protocol, 0, u16::MAX)
    }

    /// A range of destination ports of one protocol.
    pub fn ports(protocol: u8, first: u16, last: u16) -> Self {
        let base = u32::from(protocol) << 16;
        Self { first: base | u32::from(first), last: base | u32::from(last) }
    }

    /// Whether it covers a service key.
    pub fn contains(self, key: u32) -> bool {
        (self.first..=self.last).contains(&key)
    }
}

/// One rule of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable id, from the content: group, allow or deny, `to` and services.
    pub id: String,
    /// The remote end.
    pub to: To,
    /// `to` as the operator wrote it.
    pub to_text: String,
    /// Protocols and ports; never empty.
    pub services: Vec<Service>,
    /// `service` as the operator wrote it, joined by `, `; `any` if absent.
    pub service_text: String,
    /// Why it is there: shown in every event that it causes.
    pub reason: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When it ends.
    pub until: Option<End>,
    /// Whether it was made by command and stands beside the policy file.
    pub live: bool,
    /// Where it was written.
    pub place: Place,
}

/// What may arrive on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// VLAN ids that may arrive tagged.
    pub vlans: Vec<u16>,
    /// Whether what passes must go to the MAC of its next hop.
    pub binds_next_hops: bool,
    /// Place of its table.
    pub place: Place,
}

/// Devices that are in no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The verdict for their frames.
    pub default: DefaultVerdict,
    /// What happens to refused frames.
    pub mode: Mode,
    /// When the mode ends, if it does.
    pub timed: Option<Timed>,
}

impl Unknown {
    /// The name in place of a group's, in commands and events.
    pub const NAME: &str = "unknown";

    /// The mode at a time.
    pub fn mode_at(&self, now: Time) -> Mode {
        Timed::mode_at(self.timed, self.mode, now)
    }
}

impl Default for Unknown {
    fn default() -> Self {
        Self { default: DefaultVerdict::Pass, mode: Mode::Enforce, timed: None }
    }
}
