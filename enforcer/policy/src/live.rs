//! Live changes: made by command, in addition to the policy file, until they end or are revoked.
// tidy: long because the definition of a live change and its effect on a policy belong together

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::address::{ParseError, quoted};
use super::{
    Action, Device, End, Group, Mac, Member, Mode, Place, Policy, Range, Rule, Selector, Service,
    Set, Timed, To, Unknown,
};
use crate::image::Time;

mod check;

/// Most live changes at a time: changes for more than a day belong in the policy file.
pub const MAX_CHANGES: usize = 256;
/// Most ranges in the remote end of one change: live rules have separate trees, which must stay small.
const MAX_RANGES: usize = 256;

/// A live change, requested or in force.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LiveChange {
    /// Stable id, derived from the content: `l-` for rules, `m-` for modes.
    #[serde(default)]
    pub id: String,
    /// Group, device name, MAC address or IP address.
    pub target: String,
    /// What the change does.
    #[serde(flatten)]
    pub action: LiveAction,
    /// Why the change is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who is responsible for the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When the change ends, in seconds since 1970-01-01 UTC. For a change with a duration, an answer gives
    /// the expected end by the machine's clock, for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Requested duration in seconds, instead of `until`. It is counted by the boot clock, so that setting
    /// the wall clock does not affect it.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<u64>,
    /// End of a change with a duration, in seconds on the boot clock. Internal to the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// Seconds that are left of a change with a duration; only in answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// When the change was made, in seconds since 1970-01-01 UTC.
    #[serde(default)]
    pub since: i64,
    /// Who made the change.
    #[serde(default)]
    pub by: String,
}

/// What a [`LiveChange`] does.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum LiveAction {
    /// Adds an allow rule.
    Allow(Endpoint),
    /// Adds a deny rule.
    Deny(Endpoint),
    /// Adds an accept rule: the end is the one that may open something.
    Accept(Endpoint),
    /// Adds a refuse rule: the end is the one that may not send it.
    Refuse(Endpoint),
    /// Sets the mode of a group.
    Mode {
        /// The mode.
        mode: Mode,
    },
}

impl LiveAction {
    /// What the rule does and its remote end, if the change adds one.
    pub fn rule(&self) -> Option<(Action, &Endpoint)> {
        match self {
            Self::Allow(end) => Some((Action::Allow, end)),
            Self::Deny(end) => Some((Action::Deny, end)),
            Self::Accept(end) => Some((Action::Accept, end)),
            Self::Refuse(end) => Some((Action::Refuse, end)),
            Self::Mode { .. } => None,
        }
    }
}

/// The remote end of a live rule, as the operator wrote it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Endpoint {
    /// Same syntax as `to` in a policy.
    pub to: String,
    /// Same syntax as `service` in a policy.
    pub service: String,
}

impl fmt::Display for LiveChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let LiveAction::Mode { mode } = self.action {
            return write!(f, "mode {}: {mode}", self.target);
        }
        let Some((action, Endpoint { to, service })) = self.action.rule() else { return Ok(()) };
        write!(f, "{} {}: {service} {} {to}", action.name(), self.target, action.end())
    }
}

impl LiveChange {
    /// The end of the change, if it has one.
    pub fn end(&self) -> Option<End> {
        self.deadline.map(End::Boot).or(self.until.map(End::Wall))
    }

    /// Whether the change has certainly ended.
    pub fn has_ended(&self, now: Time) -> bool {
        self.end().is_some_and(|end| end.has_come(now, true))
    }

    /// Whether the change replaces `other`: the same rule, or the mode of the same group.
    pub fn replaces(&self, other: &Self) -> bool {
        match (&self.action, &other.action) {
            (LiveAction::Mode { .. }, LiveAction::Mode { .. }) => self.target == other.target,
            _ => self.id == other.id,
        }
    }
}

/// `58s`, `9m 58s`, `2h 5m`, `3d 1h`: the two largest units.
pub fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let parts = [(days, 'd'), (hours, 'h'), (minutes, 'm'), (rest, 's')];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2).filter(|(count, _)| *count > 0);
    let shown: Vec<String> = shown.map(|(count, unit)| format!("{count}{unit}")).collect();
    if shown.is_empty() { "0s".to_owned() } else { shown.join(" ") }
}

/// A policy including live changes.
///
/// Live rules follow the policy's own in each group. A change for one device moves the device into a
/// separate group, with the same name and everything that its group has.
///
/// # Errors
///
/// The first change that does not fit the policy: its index in `changes`, and why.
pub fn with_live(policy: &Policy, changes: &[LiveChange]) -> Result<Policy, (usize, ParseError)> {
    let mut policy = policy.clone();
    // Modes and groups first, because a device's own group copies its group as it is then.
    let mut order: Vec<(usize, &LiveChange)> = changes.iter().enumerate().collect();
    order.sort_by_key(|(_, change)| policy.groups.iter().all(|g| g.name != change.target));
    for (at, change) in order {
        apply(&mut policy, change).map_err(|error| (at, error))?;
    }
    Ok(policy)
}

fn apply(policy: &mut Policy, change: &LiveChange) -> Result<(), ParseError> {
    let named = policy.groups.iter().position(|group| group.name == change.target);
    if let LiveAction::Mode { mode } = change.action {
        let group = named.and_then(|index| policy.groups.get_mut(index));
        let (old, timed) = match group {
            Some(group) => (&mut group.mode, &mut group.timed),
            None if change.target == Unknown::NAME => {
                (&mut policy.unknown.mode, &mut policy.unknown.timed)
            }
            None => return Err(unknown_group(policy, &change.target)),
        };
        let afterwards = std::mem::replace(old, mode);
        *timed = change.end().map(|until| Timed { until, afterwards });
        return Ok(());
    }
    let rule = rule(policy, change)?;
    let index = match named {
        Some(index) => index,
        None => own_group(policy, &change.target)?,
    };
    let Some(group) = policy.groups.get_mut(index) else { return Ok(()) };
    if let Some((action, _)) = change.action.rule() {
        group.rules_mut(action).push(rule);
    }
    Ok(())
}

fn unknown_group(policy: &Policy, name: &str) -> ParseError {
    if policy.devices.iter().any(|device| device.name == name) {
        return ParseError::new(
            format!("{} is a device, and only a group has a mode", quoted(name)),
            "`enforcer devices` shows its group",
        );
    }
    ParseError::new(
        format!("there is no group {}", quoted(name)),
        "`enforcer status` lists the groups",
    )
}

/// The rule that a change adds.
fn rule(policy: &Policy, change: &LiveChange) -> Result<Rule, ParseError> {
    let Some((_, end)) = change.action.rule() else {
        return Err(ParseError::new("a mode is no rule", "see `enforcer mode --help`"));
    };
    let to = to(policy, &end.to)?;
    if let To::Set(set) = &to
        && set.ranges.len() > MAX_RANGES
    {
        return Err(ParseError::new(
            format!("{} has more than {MAX_RANGES} ranges", quoted(&end.to)),
            "write the rule into the policy file and apply it",
        ));
    }
    let words: Vec<&str> = end.service.split(',').map(str::trim).collect();
    let services = words.iter().map(|word| Service::parse(word)).collect::<Result<Vec<_>, _>>()?;
    Ok(Rule {
        id: change.id.clone(),
        to,
        to_text: end.to.clone(),
        services,
        service_text: words.join(", "),
        reason: change.reason.clone(),
        owner: change.owner.clone(),
        until: change.end(),
        live: true,
        place: Place { file: format!("live change by {}", change.by).into(), line: 0, column: 0 },
    })
}

fn to(policy: &Policy, text: &str) -> Result<To, ParseError> {
    Ok(match text {
        "any" => To::Any,
        "gateway" => To::Gateway,
        "local" => To::Local,
        _ => match text.strip_prefix('@') {
            Some(name) => To::Set(set(policy, name).ok_or_else(|| {
                ParseError::new(
                    format!("no rule of the policy uses a set {}", quoted(text)),
                    "name the addresses, or write the rule into the policy file",
                )
            })?),
            None => To::Range(Range::parse(text)?),
        },
    })
}

fn set(policy: &Policy, name: &str) -> Option<Arc<Set>> {
    policy.every_rule().find_map(|rule| {
        let To::Set(set) = &rule.to else { return None };
        (set.name == name).then(|| Arc::clone(set))
    })
}

/// The index of a device's own group, which is created if necessary.
fn own_group(policy: &mut Policy, target: &str) -> Result<usize, ParseError> {
    let selector = selector(policy, target)?;
    let is_it = |member: &Member| member.selector == selector;
    let own = |group: &Group| group.device_of.is_some() && group.members.iter().any(is_it);
    if let Some(index) = policy.groups.iter().position(own) {
        return Ok(index);
    }
    let parent = group_of(policy, &selector).ok_or_else(|| {
        ParseError::new(
            format!("{} is in no group", quoted(target)),
            "add it to a group of the policy file, and apply that",
        )
    })?;
    let place = policy.groups.get(parent).map(|group| group.place.clone());
    let device = device_of(policy, &selector);
    let mac = device.and_then(|device| device.mac);
    let addresses = device.filter(|device| device.mac.is_none()).map(|device| &device.addresses);
    let addresses = addresses.cloned().unwrap_or_default();
    let claims = |selector: &Selector| match selector {
        Selector::Mac(own) => mac == Some(*own),
        Selector::Addresses(range) => addresses.contains(range),
        Selector::Device(_)
        | Selector::MacPrefix(..)
        | Selector::Vlan(_)
        | Selector::Interface(_) => false,
    };
    let Some(group) = policy.groups.get_mut(parent) else { return Ok(parent) };
    let mut own = group.clone();
    // Remove the device from its former group, whichever member stands for it.
    group.members.retain(|member| member.selector != selector && !claims(&member.selector));
    own.device_of = Some(parent);
    own.members = place.map(|place| Member { selector, place }).into_iter().collect();
    policy.groups.push(own);
    Ok(policy.groups.len() - 1)
}

fn selector(policy: &Policy, target: &str) -> Result<Selector, ParseError> {
    let mac = Mac::parse(target);
    // Names take precedence: a name may consist of twelve digits.
    let named = |device: &Device| device.name == target;
    let owns = |device: &Device| mac.is_some() && device.mac == mac;
    let mut devices = policy.devices.iter();
    let index = devices.position(named).or_else(|| policy.devices.iter().position(owns));
    if let Some(index) = index {
        return Ok(Selector::Device(index));
    }
    if let Some(mac) = mac {
        return Ok(Selector::Mac(mac));
    }
    match target.parse().map(Range::single) {
        // A device that is known only by its addresses is the same device under each of them.
        Ok(range) => Ok(policy
            .devices
            .iter()
            .position(|device| device.mac.is_none() && device.addresses.contains(&range))
            .map_or(Selector::Addresses(range), Selector::Device)),
        Err(_) => Err(ParseError::new(
            format!("there is no group and no device {}", quoted(target)),
            "`enforcer status` lists the groups, `enforcer devices` the devices",
        )),
    }
}

fn device_of<'p>(policy: &'p Policy, selector: &Selector) -> Option<&'p Device> {
    let Selector::Device(index) = selector else { return None };
    policy.devices.get(*index)
}

/// The group by which a device's frames are judged, in the order of the decision.
fn group_of(policy: &Policy, selector: &Selector) -> Option<usize> {
    let listed = |wanted: &Selector| {
        policy.groups.iter().position(|group| group.members.iter().any(|m| m.selector == *wanted))
    };
    if let Some(index) = listed(selector) {
        return Some(index);
    }
    let device = device_of(policy, selector);
    let own = if let Selector::Mac(mac) = selector { Some(*mac) } else { None };
    let mac = own.or_else(|| device.and_then(|device| device.mac));
    if let Some(index) = mac.and_then(|mac| listed(&Selector::Mac(mac))) {
        return Some(index);
    }
    let own = if let Selector::Addresses(range) = selector { Some(*range) } else { None };
    let address = own.or_else(|| device.and_then(|device| device.addresses.first().copied()));
    let by_address = address.and_then(|range| narrowest_claim(policy, range));
    by_address.or_else(|| mac.and_then(|mac| prefix_claim(policy, mac)))
}

/// The group with the narrowest range that contains an address.
fn narrowest_claim(policy: &Policy, address: Range) -> Option<usize> {
    let mut best: Option<(u128, usize)> = None;
    for (index, group) in policy.groups.iter().enumerate() {
        for member in &group.members {
            let Selector::Addresses(range) = &member.selector else { continue };
            if let Some(size) = size_around(*range, address)
                && best.is_none_or(|(smallest, _)| size < smallest)
            {
                best = Some((size, index));
            }
        }
    }
    best.map(|(_, index)| index)
}

/// Number of addresses in `range`, minus one, if it contains `address`.
fn size_around(range: Range, address: Range) -> Option<u128> {
    match (range, address) {
        (Range::V4(first, last), Range::V4(low, high)) => {
            (first <= low && high <= last).then(|| u128::from(last - first))
        }
        (Range::V6(first, last), Range::V6(low, high)) => {
            (first <= low && high <= last).then(|| last - first)
        }
        _ => None,
    }
}

fn prefix_claim(policy: &Policy, mac: Mac) -> Option<usize> {
    let number = |mac: Mac| enforcer_common::wire::mac(mac.0);
    let mut best: Option<(u8, usize)> = None;
    for (index, group) in policy.groups.iter().enumerate() {
        for member in &group.members {
            let Selector::MacPrefix(prefix, length) = member.selector else { continue };
            let shift = 48 - u32::from(length);
            if number(prefix) >> shift == number(mac) >> shift
                && best.is_none_or(|(longest, _)| length > longest)
            {
                best = Some((length, index));
            }
        }
    }
    best.map(|(_, index)| index)
}

/// Sets a change's id: derived from its content, and different from that of every other change.
pub fn identify(change: &mut LiveChange, others: &[LiveChange]) {
    let content = |change: &LiveChange| match change.action.rule() {
        None => format!("mode\n{}", change.target),
        Some((action, end)) => {
            format!("{}\n{}\n{}\n{}", action.name(), change.target, end.to, end.service)
        }
    };
    let own = content(change);
    let digest = Sha256::digest(own.as_bytes());
    let letter = if matches!(change.action, LiveAction::Mode { .. }) { 'm' } else { 'l' };
    let mut id = format!("{letter}-");
    for (at, byte) in digest.iter().enumerate() {
        // Writing to a `String` cannot fail.
        let _ = write!(id, "{byte:02x}");
        let taken = |other: &LiveChange| other.id == id && content(other) != own;
        if at >= 3 && !others.iter().any(taken) {
            break;
        }
    }
    change.id = id;
}

#[cfg(test)]
mod tests;
