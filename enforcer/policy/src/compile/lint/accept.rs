//! Warnings about accept rules, and about rules that have ended.

use super::{Lint, each_range};
use crate::{DefaultVerdict, Group, Interface, Rule, To};

impl Lint<'_> {
    pub(super) fn accept(&mut self, (group, rule): (&Group, &Rule), idle: bool) {
        if rule.to == To::Any {
            let message = "this accept rule takes `any`: every host that reaches the device can make it answer";
            self.warn(&rule.place, message, "name who opens sessions: `from = \"10.20.0.0/24\"`");
        }
        if idle && self.is_somebody(rule) {
            let hint = "the refuse and accept rules before it cover all of it: take it out";
            self.warn(&rule.place, "this accept rule never decides anything", hint);
        }
        if group.default == DefaultVerdict::Pass && group.inbound == DefaultVerdict::Pass {
            let message = "this accept rule changes no verdict: the default of its group is `pass`";
            self.warn(&rule.place, message, "leave it out, or set `default = \"drop\"`");
        }
    }

    /// Warns about an accept rule of an interface.
    pub(super) fn flooded(&mut self, (interface, rule): (&Interface, &Rule), idle: bool) {
        if self.has_ended(rule) {
            return;
        }
        if rule.to == To::Any {
            let message = format!(
                "this accept rule takes `any`: whatever host sends it, it reaches every device behind {}",
                interface.name
            );
            self.warn(&rule.place, message, "name who sends it: `from = \"10.30.0.10\"`");
        }
        if idle && self.is_somebody(rule) {
            let hint = "the accept rules before it cover all of it: take it out";
            self.warn(&rule.place, "this accept rule never decides anything", hint);
        }
        if !interface.floods_essentials_only {
            let message = format!(
                "this accept rule changes no verdict: all broadcast and multicast leaves by {}",
                interface.name
            );
            self.warn(&rule.place, message, "leave it out, or set `flooded = \"essential\"`");
        }
    }

    /// Warns about a rule that has ended.
    pub(super) fn has_ended(&mut self, rule: &Rule) -> bool {
        let ended = super::super::ended(rule, self.host);
        if ended {
            let message = format!("rule {} has ended and is left out", rule.id);
            self.warn(&rule.place, message, "remove it, or give it a later `until`");
        }
        ended
    }

    /// Whether a rule names any address: one that names those of a machine names none where it is not known.
    fn is_somebody(&self, rule: &Rule) -> bool {
        let mut is_empty = true;
        each_range(&rule.to, self.host, |_| is_empty = false);
        !is_empty
    }
}
