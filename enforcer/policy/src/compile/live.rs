//! Patches for live changes: a few lines at the end of an active image, and new group entries.

use enforcer_common::image::{ABSENT, GroupEntry, Line, beside, top};

use super::tree::{Builder, Limits};
use super::{Compiled, CompiledRule, Holder, descriptor, each_range, image_mode, no_rules};
use crate::image::{Image, Patch, Time};
use crate::{
    Action, DefaultVerdict, Group, Host, Mode, Policy, Problem, Range, Rule, Timed, Unknown,
};

/// Spare lines of an image, 64 bytes each.
pub const SPARE_LINES: u32 = 4096;
/// Spare counters of an image.
pub const SPARE_RULES: u32 = 512;

/// Patches a compiled policy. `None` if a new image is needed: the groups differ, or the spare lines or
/// counters are used up.
///
/// `new` must equal `old` except for live rules and modes.
pub fn patch(
    before: &Compiled,
    old: &Policy,
    new: &Policy,
    host: &Host,
) -> Option<(Compiled, Patch)> {
    if old.groups.len() != new.groups.len() {
        return None;
    }
    let answers = before.image.has_inbound_rules();
    if super::inbound_flags(new) & !before.image.layout.flags != 0 {
        return None;
    }
    let first = before.image.len() as u32;
    let mut builder = Builder::behind(first);
    let mut rules = before.rules.clone();
    let mut entries = Vec::new();
    let first_entry = before.image.layout.groups as usize * 8;
    if old.unknown != new.unknown {
        entries.push((first_entry, unknown(&mut builder, new.unknown, (host, answers)).0));
    }
    for (index, (was, group)) in old.groups.iter().zip(&new.groups).enumerate() {
        if was.name != group.name
            || was.device_of != group.device_of
            || was.members != group.members
        {
            return None;
        }
        if was == group {
            continue;
        }
        let at = first_entry + index + 1;
        let current = GroupEntry(before.image.word(at)?);
        let written = Written::found(&before.image, current.descriptor())?;
        let known = numbers_of(before, old, index);
        for (_, number) in &known {
            rules[*number as usize] = None;
        }
        let of = |rule: CompiledRule| {
            let id = rule.rule(new).map(|(_, rule)| rule.id.as_str());
            let kept = known.iter().find(|(known, _)| Some(*known) == id).map(|known| known.1);
            let number = kept.unwrap_or(rules.len() as u32);
            match rules.get_mut(number as usize) {
                Some(place) => *place = Some(rule),
                None => rules.push(Some(rule)),
            }
            number
        };
        let entry = entry(&mut builder, (index, group), written, (host, answers), of).ok()?;
        entries.push((at, entry.0));
    }
    let patch = Patch { first, lines: builder.lines, entries };
    let mut image = before.image.clone();
    image.patch(&patch)?;
    if rules.len() > image.rules as usize {
        return None;
    }
    let (slots, warnings) = (before.slots.clone(), before.warnings.clone());
    Some((Compiled { image, rules, slots, warnings }, patch))
}

/// The live rules of a group with their numbers.
fn numbers_of<'p>(compiled: &Compiled, policy: &'p Policy, group: usize) -> Vec<(&'p str, u32)> {
    (0u32..)
        .zip(&compiled.rules)
        .filter_map(|(number, rule)| {
            let rule = rule.filter(|rule| rule.holder == Holder::Group(group))?;
            let (_, rule) = rule.rule(policy)?;
            rule.live.then_some((rule.id.as_str(), number))
        })
        .collect()
}

/// A group's rules in the order of [`Action::ALL`].
pub(super) fn numbered(index: usize, group: &Group) -> impl Iterator<Item = (CompiledRule, &Rule)> {
    Action::ALL.into_iter().flat_map(move |action| {
        let rules = group.rules(action).iter().enumerate();
        let holder = Holder::Group(index);
        rules.map(move |(at, rule)| (CompiledRule { holder, action, index: at }, rule))
    })
}

/// Descriptors of the policy file's rules of a group, without their live rules.
#[derive(Clone, Copy, Default)]
pub(super) struct Written {
    /// Of its deny and allow rules.
    pub(super) rules: Option<Line>,
    /// Of its refuse and accept rules.
    pub(super) inbound: Option<Line>,
}

impl Written {
    /// Those behind a group's descriptor in an image. `None` if the image is not what was compiled.
    fn found(image: &Image, descriptor: u32) -> Option<Self> {
        if descriptor == ABSENT {
            return Some(Self::default());
        }
        let mut written = Self { rules: Some(*image.line(descriptor)?), inbound: None };
        if image.has_inbound_rules() {
            let inbound = image.line(descriptor + 1)?.word(beside::INBOUND)?;
            if inbound != 0 {
                written.inbound = Some(*image.line(inbound)?);
            }
        }
        Some(written)
    }
}

/// The entry of a group: the descriptors of its written rules, combined with its live rules and the end of
/// its mode. `answers` says whether the image has accept or refuse rules.
pub(super) fn entry(
    builder: &mut Builder,
    (index, group): (usize, &Group),
    written: Written,
    (host, answers): (&Host, bool),
    mut number: impl FnMut(CompiledRule) -> u32,
) -> Result<GroupEntry, Problem> {
    let (mut rules, mut inbound) = (Vec::new(), Vec::new());
    for (compiled, rule) in numbered(index, group).filter(|(_, rule)| rule.live) {
        let action = compiled.action;
        let live = if action.is_inbound() { &mut inbound } else { &mut rules };
        live.push((number(compiled), action.passes(), rule));
    }
    let mut with_live = |line: Option<Line>, live: &[(u32, bool, &Rule)]| {
        if live.is_empty() && line.is_none() {
            return Ok(None);
        }
        let mut line = line.unwrap_or_else(no_rules);
        let mut at = 0;
        if !live.is_empty() {
            builder.limits = Limits::LIVE;
            let descriptor = descriptor(builder, &group.place, live, host);
            builder.limits = Limits::WRITTEN;
            at = builder.append([descriptor?]);
        }
        line.set_word(top::LIVE, at);
        Ok(Some(line))
    };
    let descriptors = Written {
        rules: with_live(written.rules, &rules)?,
        inbound: with_live(written.inbound, &inbound)?,
    };
    let kinds = if group.accept.is_empty() { 0 } else { beside::ACCEPTS }
        | if group.refuse.is_empty() { 0 } else { beside::REFUSES };
    let beside = answers.then_some(kinds);
    let mode = group.mode_at(certainly(host));
    let entry = end(builder, descriptors, (mode, group.timed), group.default, (host, beside));
    Ok(if group.inbound == DefaultVerdict::Drop { entry.shut() } else { entry })
}

/// The entry of unknown devices.
pub(super) fn unknown(
    builder: &mut Builder,
    unknown: Unknown,
    (host, answers): (&Host, bool),
) -> GroupEntry {
    let modes = (unknown.mode_at(certainly(host)), unknown.timed);
    let beside = answers.then_some(0);
    end(builder, Written::default(), modes, unknown.default, (host, beside))
}

/// A time at which only what has certainly ended counts as ended; the kernel ends the rest.
fn certainly(host: &Host) -> Time {
    Time::wall(host.now)
}

/// The entry of a group, and the descriptor for its rules and the end of its mode. `beside` has the kinds of rules in the
/// line of [`beside`], if the image has such lines.
fn end(
    builder: &mut Builder,
    Written { rules, inbound }: Written,
    (mode, timed): (Mode, Option<Timed>),
    default: DefaultVerdict,
    (host, beside): (&Host, Option<u32>),
) -> GroupEntry {
    let timed = timed.filter(|timed| timed.until.wall().is_none_or(|until| until > host.now));
    let ends = timed.map(|timed| {
        let (clock, until) = timed.until.in_image(timed.is_held(mode));
        (clock, u32::try_from(until).unwrap_or(u32::MAX))
    });
    let descriptor = if rules.is_some() || inbound.is_some() || timed.is_some() {
        let inbound = inbound.map_or(0, |line| builder.append([line]));
        let mut line = rules.unwrap_or_else(no_rules);
        line.set_word(top::UNTIL, ends.map_or(0, |(_, until)| until));
        if let Some(kinds) = beside {
            let mut beside = Line::default();
            beside.set_word(beside::INBOUND, inbound);
            beside.set_word(beside::KINDS, kinds);
            builder.append([line, beside])
        } else {
            builder.append([line])
        }
    } else {
        ABSENT
    };
    let entry = GroupEntry::new(descriptor, image_mode(mode), default == DefaultVerdict::Pass);
    match (timed, ends) {
        (Some(timed), Some((clock, _))) => entry.until(image_mode(timed.afterwards), clock),
        _ => entry,
    }
}

/// The group's deny rules that overlap an allow rule.
pub fn denied_by<'g>(host: &Host, group: &'g Group, allow: &Rule) -> Vec<&'g Rule> {
    let mut wanted = Vec::new();
    each_range(&allow.to, host, |range| wanted.push(range));
    let denies = |deny: &&Rule| {
        let services = deny.services.iter().any(|service| {
            allow.services.iter().any(|s| s.first <= service.last && service.first <= s.last)
        });
        let mut meets = false;
        if services && !super::ended(deny, host) {
            each_range(&deny.to, host, |range| {
                meets = meets || wanted.iter().any(|wanted| overlap(*wanted, range));
            });
        }
        meets
    };
    group.deny.iter().filter(denies).collect()
}

fn overlap(one: Range, other: Range) -> bool {
    match (one, other) {
        (Range::V4(a, b), Range::V4(c, d)) => a <= d && c <= b,
        (Range::V6(a, b), Range::V6(c, d)) => a <= d && c <= b,
        _ => false,
    }
}
