//! The rules of a group or an interface, and their ids.

use std::collections::HashMap;
use std::fmt::Write as _;

use jiff::civil;
use jiff::tz;
use sha2::{Digest as _, Sha256};
use toml::de::{DeTable, DeValue};
use toml::value::{Datetime, Offset};

use super::super::address::{ParseError, quoted};
use super::super::remark::{YEARS, check_end};
use super::super::{Action, End, Place, Policy, Range, Rule, Service, To};
use super::Reader;
use super::fields::{Value, is_empty_list, nearest};

const KEYS: [&str; 5] = ["to", "service", "reason", "owner", "until"];
const INBOUND_KEYS: [&str; 5] = ["from", "service", "reason", "owner", "until"];

/// Fewest hexadecimal digits of a rule's id.
const ID_DIGITS: usize = 8;

/// Digest of the content from which a rule's id is derived.
pub(super) type Digest = [u8; 32];

/// Rules of one group or interface so far.
#[derive(Default)]
pub(super) struct Seen {
    /// In the order in which they are read: that of [`Action::ALL`].
    pub(super) digests: Vec<Digest>,
    /// Place of the first rule with this action, remote end and services.
    contents: HashMap<(Action, String), Place>,
}

impl Reader<'_> {
    pub(super) fn rules(
        &mut self,
        holder: &str,
        action: Action,
        table: &DeTable<'_>,
        seen: &mut Seen,
    ) -> Vec<Rule> {
        let mut rules = Vec::new();
        for value in self.reader.items(table, action.name()) {
            let DeValue::Table(table) = value.get_ref() else {
                let (name, end) = (action.name(), action.end());
                let example = format!("{name} = [{{ {end} = \"10.20.0.10\" }}]");
                self.reader.wrong_type(action.name(), value, "a list of tables", &example);
                continue;
            };
            let Some(rule) = self.rule(action, table, value.span().start) else { continue };
            let content = content(&rule);
            // An allow rule that equals a deny rule is left to the compiler, which considers their ends.
            if let Some(place) = seen.contents.get(&(action, content.clone())) {
                let message = format!("the same {} rule is written twice", action.name());
                let hint = format!("the first is at {place}");
                self.reader.error(value.span().start, message, hint);
                continue;
            }
            seen.contents.insert((action, content.clone()), rule.place.clone());
            let canonical = format!("{holder}\n{}\n{content}", action.name());
            seen.digests.push(Sha256::digest(canonical.as_bytes()).into());
            rules.push(rule);
        }
        rules
    }

    fn rule(&mut self, action: Action, table: &DeTable<'_>, offset: usize) -> Option<Rule> {
        let end = action.end();
        match action {
            Action::Accept => self.reader.known_keys(table, &INBOUND_KEYS, "an accept rule"),
            Action::Refuse => self.reader.known_keys(table, &INBOUND_KEYS, "a refuse rule"),
            Action::Deny | Action::Allow => self.reader.known_keys(table, &KEYS, "a rule"),
        }
        if table.get(end).is_none() {
            let hint = format!("write `{end} = \"10.20.0.10\"`, or `{end} = \"any\"`");
            self.reader.absent(offset, format!("the rule has no `{end}`"), hint);
        }
        let to = self.to(end, table);
        let services = self.services(table);
        let reason = self.reader.remark(table, "reason", "CHG-4711");
        let owner = self.reader.remark(table, "owner", "biomed");
        let until = match table.get("until") {
            Some(value) => self.until(value).map(End::Wall),
            None => None,
        };
        let ((to, to_text), (services, service_text)) = (to?, services?);
        let (id, place) = (String::new(), self.reader.lines.place(offset));
        Some(Rule {
            id,
            to,
            to_text,
            services,
            service_text,
            reason,
            owner,
            until,
            live: false,
            place,
        })
    }

    fn to(&mut self, end: &str, table: &DeTable<'_>) -> Option<(To, String)> {
        if let Some(value) = table.get(end).filter(|value| value.get_ref().is_array()) {
            let hint =
                format!("write a rule for each, or make it a set and write `{end} = \"@name\"`");
            let message = format!("`{end}` must be a string, not an array");
            self.reader.error(value.span().start, message, hint);
            return None;
        }
        let (text, offset) = self.reader.string(table, end, "10.20.0.10")?;
        let to = match text {
            "any" => To::Any,
            "gateway" => To::Gateway,
            "local" => To::Local,
            _ => match text.strip_prefix('@') {
                Some(name) => match self.sets.get(name) {
                    Some(set) => To::Set(set.clone()),
                    None => {
                        self.unknown_set(name, offset);
                        return None;
                    }
                },
                None => match Range::parse(text) {
                    Ok(range) => To::Range(range),
                    Err(mut error) => {
                        if self.sets.contains_key(text) {
                            error.hint = Some(format!("sets are written `@{text}`"));
                        } else if let Some(word) = nearest(text, ["any", "gateway", "local"]) {
                            error.hint = Some(format!("did you mean `{word}`?"));
                        }
                        self.complain(offset, error);
                        return None;
                    }
                },
            },
        };
        Some((to, text.to_owned()))
    }

    fn unknown_set(&mut self, name: &str, offset: usize) {
        let meant = if self.reader.problems.is_full() {
            None
        } else {
            nearest(name, self.sets.keys().map(String::as_str))
        };
        let hint = match meant {
            Some(meant) => format!("did you mean `@{meant}`?"),
            None => "declare it under `[sets]`".to_owned(),
        };
        self.reader.absent(offset, format!("there is no set {}", quoted(name)), hint);
    }

    fn services(&mut self, table: &DeTable<'_>) -> Option<(Vec<Service>, String)> {
        let Some(value) = table.get("service") else {
            return Some((vec![Service::ANY], "any".to_owned()));
        };
        let texts = self.reader.strings("service", value, "tcp/443")?;
        if is_empty_list(value) {
            let hint = "write `any`, or leave `service` out";
            self.reader.absent(value.span().start, "`service` is an empty list", hint);
        }
        let (mut services, mut text) = (Vec::with_capacity(texts.len()), String::new());
        let mut fine = !texts.is_empty();
        for (word, offset) in texts {
            match Service::parse(word) {
                Ok(service) => services.push(service),
                Err(error) => {
                    self.complain(offset, error);
                    fine = false;
                }
            }
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(word);
        }
        fine.then_some((services, text))
    }

    fn until(&mut self, value: &Value<'_>) -> Option<i64> {
        let offset = value.span().start;
        let DeValue::Datetime(written) = value.get_ref() else {
            self.reader.wrong_type(
                "until",
                value,
                "a date and time",
                "until = 2027-01-31T00:00:00Z",
            );
            return None;
        };
        if written.date.is_some_and(|date| !YEARS.contains(&date.year)) {
            let hint = format!("years are {} to {}", YEARS.start(), YEARS.end());
            self.reader.error(offset, format!("the rule cannot end at {written}"), hint);
            return None;
        }
        if written.offset.is_none() || written.date.is_none() {
            let hint = match (written.date, written.time) {
                (Some(date), Some(time)) => format!("write `{date}T{time}Z`, or `+01:00` for `Z`"),
                (Some(date), None) => format!("write `{date}T00:00:00Z`, or `+01:00` for `Z`"),
                _ => "write `until = 2027-01-31T00:00:00Z`".to_owned(),
            };
            self.reader.error(offset, "`until` needs a date, a time and an offset from UTC", hint);
            return None;
        }
        let end = seconds(written);
        if end.is_none() {
            let hint = "write `until = 2027-01-31T00:00:00Z`";
            self.reader.error(offset, format!("there is no {written}"), hint);
        }
        // Converted to UTC, the end may fall outside the allowed years: the written policy would be
        // refused.
        if let Some(ParseError { message, hint }) = end.and_then(|end| check_end(end).err()) {
            self.reader.error(offset, message, hint.unwrap_or_default());
            return None;
        }
        end
    }
}

/// Seconds since 1970-01-01 UTC. Fractions are dropped; a leap second counts as the following one.
fn seconds(written: &Datetime) -> Option<i64> {
    let (date, time) = (written.date?, written.time?);
    let minutes = match written.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i32::from(minutes),
    };
    let field = |number: u8| i8::try_from(number).ok();
    let second = time.second.unwrap_or(0);
    let civil = civil::DateTime::new(
        i16::try_from(date.year).ok()?,
        field(date.month)?,
        field(date.day)?,
        field(time.hour)?,
        field(time.minute)?,
        field(second.min(59))?,
        0,
    )
    .ok()?;
    let offset = tz::Offset::from_seconds(minutes * 60).ok()?;
    let end = offset.to_timestamp(civil).ok()?.as_second();
    Some(end + i64::from(second / 60))
}

/// The content by which rules are compared: remote end and services in canonical form.
pub(crate) fn content(rule: &Rule) -> String {
    let mut text = rule.to.to_string();
    for service in Service::normalise(&rule.services) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n{service}");
    }
    text
}

/// Assigns every rule its id. `digests` has theirs, in the order of [`Policy::every_rule`].
pub(super) fn assign(policy: &mut Policy, digests: &[Digest]) {
    for (rule, id) in policy.every_rule_mut().zip(ids(digests)) {
        rule.id = id;
    }
}

/// Prefixes of the digests that are long enough to tell them apart. Two with the same first eight digits
/// both get longer ids.
fn ids(digests: &[Digest]) -> Vec<String> {
    let mut ids: Vec<String> = vec![String::new(); digests.len()];
    let mut open: Vec<usize> = (0..digests.len()).collect();
    let mut digits = ID_DIGITS;
    while !open.is_empty() {
        let mut holders: HashMap<String, Vec<usize>> = HashMap::new();
        for at in open.drain(..) {
            let mut id = "r-".to_owned();
            for byte in digests.get(at).into_iter().flatten().take(digits / 2) {
                let _ = write!(id, "{byte:02x}");
            }
            holders.entry(id).or_default().push(at);
        }
        for (id, holders) in holders {
            let alone = holders.len() == 1 || digits >= 64;
            for at in holders {
                match alone {
                    true => ids[at].clone_from(&id),
                    false => open.push(at),
                }
            }
        }
        digits += 4;
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_collide_are_longer() {
        let digest = |last: u8| {
            let mut digest = [0xab; 32];
            digest[5] = last;
            digest
        };
        let other = [0x12; 32];
        assert_eq!(
            ids(&[digest(1), other, digest(2)]),
            ["r-ababababab01", "r-12121212", "r-ababababab02"]
        );
    }
}
