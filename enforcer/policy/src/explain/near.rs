//! Rules that nearly decided, each with what is missing.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use enforcer_common::decide::FrameContext;
use enforcer_common::reason::Reason;

use super::{NearMiss, address, line, smallest_service};
use crate::compile::host_prefixes;
use crate::image::Time;
use crate::write::time;
use crate::{
    Action, CompiledRule, End, Group, Holder, Host, Policy, Range, Rule, Service, Set, To,
};

/// Most rules that are shown.
const SHOWN: usize = 5;

/// Distance in addresses within which a rule for any service counts as near.
const CLOSE: u128 = 1 << 16;

/// The decision, and what made it.
pub(super) struct Near<'a> {
    pub(super) policy: &'a Policy,
    pub(super) host: &'a Host,
    pub(super) case: &'a FrameContext,
    /// Index of the deciding group, if the device is in one.
    pub(super) group: Option<usize>,
    /// The deciding rule.
    pub(super) rule: Option<CompiledRule>,
    pub(super) now: Time,
}

/// How near a rule is; the smallest value is the nearest.
type Rank = (u8, u128, Reverse<bool>);

/// How a rule relates to the flow.
#[derive(Clone, Copy)]
struct Match {
    /// Distance in addresses from the destination to the rule; `None` if the rule has no range of its
    /// family.
    distance: Option<u128>,
    /// The nearest range of the rule.
    nearest: Option<Range>,
    service: bool,
    ended: Option<End>,
}

/// ` on 2027-01-31T00:00:00Z`, for an end that is a date.
fn on(end: End) -> String {
    end.wall().map(|end| format!(" on {}", time(end))).unwrap_or_default()
}

impl Near<'_> {
    /// The nearest rules, nearest first; equally near ones in the policy's order.
    pub(super) fn misses(&self) -> Vec<NearMiss> {
        let flow = &self.case.flow;
        let Some(destination) = address(flow, flow.destination) else { return Vec::new() };
        let mut sets = Sets::default();
        let mut found: Vec<(Rank, &Rule, String)> = Vec::new();
        for (index, group) in self.policy.groups.iter().enumerate() {
            for action in [Action::Deny, Action::Allow] {
                let allow = action == Action::Allow;
                for (at, rule) in group.rules(action).iter().enumerate() {
                    let number = CompiledRule { holder: Holder::Group(index), action, index: at };
                    if self.rule == Some(number) {
                        continue;
                    }
                    let matched = self.matched(rule, allow, destination, &mut sets);
                    let near = if self.group == Some(index) {
                        self.own(rule, allow, &matched, destination)
                    } else {
                        self.foreign(group, allow, &matched)
                    };
                    found.extend(near.map(|(rank, why)| (rank, rule, why)));
                }
            }
        }
        found.extend(self.accepts(destination, &mut sets));
        found.sort_by_key(|(rank, ..)| *rank);
        let shown = found.into_iter().take(SHOWN).map(|(_, rule, why)| NearMiss {
            rule: rule.id.clone(),
            place: line(&rule.place),
            why,
        });
        shown.collect()
    }

    /// Accept rules by which a frame to this destination would pass if it were an answer.
    fn accepts(&self, destination: IpAddr, sets: &mut Sets) -> Vec<(Rank, &Rule, String)> {
        let is_refused = self.case.decision.reason == Reason::Default;
        let group = self.group.filter(|_| is_refused).and_then(|at| self.policy.groups.get(at));
        let rules = group.into_iter().flat_map(|group| &group.accept);
        let near = |rule: &'_ Rule| {
            let matched = self.matched(rule, true, destination, sets);
            if matched.distance != Some(0) || matched.ended.is_some() {
                return None;
            }
            let what = &rule.service_text;
            let why = format!("would let it pass as an answer, if {destination} had opened {what}");
            Some(((2, 0, Reverse(true)), why))
        };
        let mut near = near;
        rules.filter_map(|rule| near(rule).map(|(rank, why)| (rank, rule, why))).collect()
    }

    fn matched(&self, rule: &Rule, allow: bool, destination: IpAddr, sets: &mut Sets) -> Match {
        let (distance, nearest) = sets.distance(&rule.to, self.host, destination);
        let key = self.case.flow.service();
        let service =
            rule.services.iter().any(|service| (service.first..=service.last).contains(&key));
        let ended = rule.until.filter(|until| until.has_come(self.now, !allow));
        Match { distance, nearest, service, ended }
    }

    /// A rule of the deciding group.
    fn own(
        &self,
        rule: &Rule,
        allow: bool,
        matched: &Match,
        destination: IpAddr,
    ) -> Option<(Rank, String)> {
        let reason = self.case.decision.reason;
        let (verb, verbs) = if allow { ("allow", "allows") } else { ("deny", "denies") };
        let same = reason.passes() == allow;
        let by_rules = matches!(reason, Reason::Allow | Reason::Deny);
        let by_default = matches!(reason, Reason::Default | Reason::DefaultPass);
        if matched.service && matched.distance == Some(0) {
            if let Some(end) = matched.ended {
                let deny = match self.rule.and_then(|rule| rule.rule(self.policy)) {
                    Some((_, deny)) if allow && !same => format!(", and deny {} wins", deny.id),
                    _ => String::new(),
                };
                let rank = if same { 6 } else { 1 };
                let why = format!("would {verb} it, but ended{}{deny}", on(end));
                return Some(((rank, 0, Reverse(true)), why));
            }
            if same {
                return by_rules.then(|| ((5, 0, Reverse(true)), format!("would {verb} it too")));
            }
            let why = match self.rule.and_then(|number| number.rule(self.policy)) {
                Some((_, deny)) => format!("would allow it, but deny {} wins", deny.id),
                None => format!("would {verb} it, but rules are not asked: {}", reason.words()),
            };
            return Some(((0, 0, Reverse(true)), why));
        }
        // After a deny rule, another allow rule would not help.
        if same || !(by_default || reason == Reason::Allow) {
            return None;
        }
        let ended = matched.ended.map(|end| format!("; it also ended{}", on(end)));
        let ended = ended.unwrap_or_default();
        let this = smallest_service(&self.case.flow);
        let protocol = Service::protocol(self.case.flow.protocol);
        let kindred = rule
            .services
            .iter()
            .any(|service| service.first <= protocol.last && protocol.first <= service.last);
        match (matched.service, matched.distance) {
            (false, Some(0)) => {
                let these = services(rule);
                let why = format!("right destination, but it {verbs} {these}, not {this}{ended}");
                Some(((2, 0, Reverse(kindred)), why))
            }
            (true, Some(distance)) => {
                let any = rule.services.contains(&Service::ANY);
                if any && distance > CLOSE {
                    return None;
                }
                let why = outside(rule, matched, distance, destination);
                Some(((3, distance, Reverse(!any)), format!("right service, but {why}{ended}")))
            }
            (true, None) | (false, _) => None,
        }
    }

    /// A rule of another group.
    fn foreign(&self, group: &Group, allow: bool, matched: &Match) -> Option<(Rank, String)> {
        let reason = self.case.decision.reason;
        let refused = matches!(reason, Reason::Default | Reason::Unknown);
        let matches = matched.service && matched.distance == Some(0) && matched.ended.is_none();
        (allow && refused && matches).then(|| {
            let why = format!("would allow it, but is for the group {}", group.name);
            ((4, 0, Reverse(true)), why)
        })
    }
}

/// `192.0.2.9 is 1 address behind 192.0.2.0/29 of @feed`.
fn outside(rule: &Rule, matched: &Match, distance: u128, destination: IpAddr) -> String {
    let Some(nearest) = matched.nearest else {
        return format!("it is for {}", rule.to);
    };
    let of = match &rule.to {
        To::Set(_) | To::Gateway | To::Local => format!(" of {}", rule.to),
        To::Any | To::Range(_) => String::new(),
    };
    if distance > CLOSE {
        return match rule.to {
            To::Range(_) | To::Any => format!("it is for {nearest}"),
            To::Set(_) | To::Gateway | To::Local => {
                format!("it is for {}, which does not hold {destination}", rule.to)
            }
        };
    }
    let side = if after(nearest, destination) { "behind" } else { "before" };
    let addresses = if distance == 1 { "address" } else { "addresses" };
    format!("{destination} is {distance} {addresses} {side} {nearest}{of}")
}

/// The services of a rule, as many as fit into a line.
fn services(rule: &Rule) -> String {
    const SERVICES: usize = 6;
    let mut words: Vec<String> =
        rule.services.iter().take(SERVICES).map(Service::to_string).collect();
    let more = rule.services.len().saturating_sub(SERVICES);
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join(", ")
}

fn after(range: Range, address: IpAddr) -> bool {
    match (range, address) {
        (Range::V4(_, last), IpAddr::V4(address)) => address.to_bits() > last,
        (Range::V6(_, last), IpAddr::V6(address)) => address.to_bits() > last,
        (Range::V4(..), IpAddr::V6(_)) | (Range::V6(..), IpAddr::V4(_)) => false,
    }
}

/// The range nearest to an address, and its distance.
fn closest(ranges: impl Iterator<Item = Range>, address: IpAddr) -> (Option<u128>, Option<Range>) {
    let near = ranges.filter_map(|range| Some((distance(range, address)?, range)));
    near.min_by_key(|(distance, _)| *distance)
        .map_or((None, None), |(distance, range)| (Some(distance), Some(range)))
}

/// Distance in addresses from a range to an address; `None` for different families.
fn distance(range: Range, address: IpAddr) -> Option<u128> {
    let (first, last, address): (u128, u128, u128) = match (range, address) {
        (Range::V4(first, last), IpAddr::V4(address)) => {
            (first.into(), last.into(), address.to_bits().into())
        }
        (Range::V6(first, last), IpAddr::V6(address)) => (first, last, address.to_bits()),
        (Range::V4(..), IpAddr::V6(_)) | (Range::V6(..), IpAddr::V4(_)) => return None,
    };
    Some(first.saturating_sub(address).max(address.saturating_sub(last)))
}

/// Distances to sets, computed once: many rules may share a set of a million ranges.
#[derive(Default)]
pub(super) struct Sets(HashMap<*const Set, (Option<u128>, Option<Range>)>);

impl Sets {
    /// Whether a remote end holds an address.
    pub(super) fn holds(&mut self, to: &To, host: &Host, address: IpAddr) -> bool {
        self.distance(to, host, address).0 == Some(0)
    }

    /// How far an address is from a remote end, and from which of its ranges.
    fn distance(&mut self, to: &To, host: &Host, address: IpAddr) -> (Option<u128>, Option<Range>) {
        match to {
            To::Any => (Some(0), None),
            To::Gateway => closest(host.own.iter().map(|own| Range::single(*own)), address),
            To::Local => closest(host_prefixes(host), address),
            To::Range(range) => closest([*range].into_iter(), address),
            To::Set(set) => self.closest(set, address),
        }
    }

    fn closest(&mut self, set: &Arc<Set>, address: IpAddr) -> (Option<u128>, Option<Range>) {
        let known = self.0.entry(Arc::as_ptr(set));
        *known.or_insert_with(|| closest(set.ranges.iter(), address))
    }
}
