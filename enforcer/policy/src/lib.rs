//! The policy language: a document is parsed into values that are valid by construction.
//!
//! - [`read`](mod@read): TOML document to [`Policy`], with every problem found
//! - [`Action`]: what a rule does
//! - [`address`], [`service`](Service::parse), `place`, `words`: small parts of the language, to and from
//!   text
//! - [`Problem`], in `problem`: a problem and its place
//! - [`remark`]: allowed texts in reasons, owners and file names, whatever their source
//! - [`report`]: problems for people and for the API
//! - [`diff`](mod@diff): differences between two policies, in words
//! - [`live`]: live changes
//! - [`write`](mod@write): [`Policy`] to one document that [`read`](mod@read) accepts
//! - [`explain`]: how a described flow is decided, why, and which rules nearly decided
//! - [`Essential`]: essentials, which are decided before any rule
//! - [`End`]: when rules and modes end
//! - [`Host`], in `host`: the machine, as far as a policy depends on it
//! - [`image`]: the plain value that policy and data plane share
//! - [`shown`]: untrusted text, made safe to display
//! - [`compile`]: [`Policy`] and [`Host`] to the image that the kernel program reads; pure
//!
//! Nothing here reads a clock, a file or the kernel: whatever differs between machines is an argument.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image::Time;

mod action;
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

pub use action::Action;
pub use compile::{Compiled, CompiledRule, Holder, Section, check, compile, hops};
pub use diff::{Change, diff};
pub use end::End;
pub use essential::{Essential, Rates};
pub use host::{Host, HostInterface, OnLink, Router};
pub use problem::{Place, Problem, Severity};
pub use ranges::Ranges;
pub use read::read;
pub use symbols::Symbols;
pub use write::write;

/// A complete policy, from one document and the files of its sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Named devices, in the order of the document.
    pub devices: Vec<Device>,
    /// Groups, in the order of the document.
    pub groups: Vec<Group>,
    /// Tags, next hops and floods that are allowed on interfaces.
    pub interfaces: Vec<Interface>,
    /// Treatment of devices that are in no group.
    pub unknown: Unknown,
    /// Essentials, which are decided before any rule.
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
    /// Source addresses. With a MAC they are a binding: any other source address is spoofed.
    pub addresses: Vec<Range>,
    /// The only VLAN that the device may appear in.
    pub vlan: Option<u16>,
    /// The only interface that the device may appear on.
    pub interface: Option<String>,
    /// Place of the device's table.
    pub place: Place,
}

/// A condition by which a device belongs to a group.
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

/// A [`Selector`] and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The condition.
    pub selector: Selector,
    /// Its place.
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
    /// All frames are dropped except the essentials.
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

/// A set of devices with common rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The key under `[groups]`.
    pub name: String,
    /// The members.
    pub members: Vec<Member>,
    /// What happens to frames that would be dropped.
    pub mode: Mode,
    /// The verdict when no rule matches.
    pub default: DefaultVerdict,
    /// Allow rules, in the order of the document.
    pub allow: Vec<Rule>,
    /// Deny rules, in the order of the document. They win over allow rules.
    pub deny: Vec<Rule>,
    /// Accept rules, in the order of the document: who may open what towards the members, whose answers then pass. The
    /// remote end is who opens, and the services are the members'.
    pub accept: Vec<Rule>,
    /// Refuse rules, in the order of the document: what may not be sent to the members. They win over accept rules.
    pub refuse: Vec<Rule>,
    /// The verdict on frames towards the members that no rule is about, and that answer nothing.
    pub inbound: DefaultVerdict,
    /// When the mode ends, if it was set temporarily.
    pub timed: Option<Timed>,
    /// For the group of one device with live rules: the group that it was made from.
    pub device_of: Option<usize>,
    /// Place of the group's table.
    pub place: Place,
}

impl Group {
    /// The mode at this time.
    pub fn mode_at(&self, now: Time) -> Mode {
        Timed::mode_at(self.timed, self.mode, now)
    }
}

/// The end of a temporary mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// When the mode ends.
    pub until: End,
    /// The mode from then on.
    pub afterwards: Mode,
}

impl Timed {
    /// The mode at this time.
    fn mode_at(timed: Option<Self>, mode: Mode, now: Time) -> Mode {
        match timed {
            Some(timed) if timed.until.has_come(now, timed.is_held(mode)) => timed.afterwards,
            _ => mode,
        }
    }

    /// Whether the mode that follows is less strict: then the end must not come early.
    pub fn is_held(self, mode: Mode) -> bool {
        let strictness = |mode| match mode {
            Mode::Observe => 0,
            Mode::Enforce => 1,
            Mode::Quarantine => 2,
        };
        strictness(mode) > strictness(self.afterwards)
    }
}

/// The remote end of a rule.
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
    /// A named set; all rules that name it share its ranges.
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
/// A service key is `protocol << 16 | port`, with port 0 to 65535. A protocol without ports covers all of
/// its 65,536 keys.
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

    /// All keys of one IP protocol.
    pub fn protocol(protocol: u8) -> Self {
        Self::ports(protocol, 0, u16::MAX)
    }

    /// A range of destination ports of one protocol.
    pub fn ports(protocol: u8, first: u16, last: u16) -> Self {
        let base = u32::from(protocol) << 16;
        Self { first: base | u32::from(first), last: base | u32::from(last) }
    }

    /// Whether the service includes a key.
    pub fn contains(self, key: u32) -> bool {
        (self.first..=self.last).contains(&key)
    }
}

/// One rule of a group or an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable id, derived from the content: group or interface, action, remote end and services.
    pub id: String,
    /// The remote end.
    pub to: To,
    /// `to` as the operator wrote it.
    pub to_text: String,
    /// Protocols and ports; never empty.
    pub services: Vec<Service>,
    /// `service` as the operator wrote it, joined by `, `; `any` if absent.
    pub service_text: String,
    /// Why the rule exists: shown in every event that it causes.
    pub reason: Option<String>,
    /// Who is responsible for the rule.
    pub owner: Option<String>,
    /// When the rule ends.
    pub until: Option<End>,
    /// Whether the rule was made by command and is not in the policy file.
    pub live: bool,
    /// Place of the rule.
    pub place: Place,
}

/// Tags and next hops that are allowed on an interface, and what floods the devices behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Allowed VLAN ids of tagged frames.
    pub vlans: Vec<u16>,
    /// Whether frames must be addressed to the MAC of their next hop to pass.
    pub binds_next_hops: bool,
    /// Whether of broadcast and multicast only essentials leave by it, and what [`Interface::accept`] covers.
    pub floods_essentials_only: bool,
    /// Which other broadcast and multicast leaves by it, in the order of the document. The remote end is who sends, and the
    /// services are the receivers'.
    pub accept: Vec<Rule>,
    /// Place of the interface's table.
    pub place: Place,
}

/// Treatment of devices that are in no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The verdict for their frames.
    pub default: DefaultVerdict,
    /// What happens to frames that would be dropped.
    pub mode: Mode,
    /// When the mode ends, if it was set temporarily.
    pub timed: Option<Timed>,
}

impl Unknown {
    /// Stands for the group's name in commands and events.
    pub const NAME: &str = "unknown";

    /// The mode at this time.
    pub fn mode_at(&self, now: Time) -> Mode {
        Timed::mode_at(self.timed, self.mode, now)
    }
}

impl Default for Unknown {
    fn default() -> Self {
        Self { default: DefaultVerdict::Pass, mode: Mode::Enforce, timed: None }
    }
}
