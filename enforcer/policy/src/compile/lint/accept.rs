//! Warnings about accept rules.

use super::{Lint, each_range};
use crate::{DefaultVerdict, Group, Rule, To};

impl Lint<'_> {
    pub(super) fn accept(&mut self, (group, rule): (&Group, &Rule), idle: bool) {
        if rule.to == To::Any {
            let message = "this accept rule takes `any`: every host that reaches the device can make it answer";
            self.warn(&rule.place, message, "name who opens sessions: `from = \"10.20.0.0/24\"`");
        }
        let mut is_empty = true;
        each_range(&rule.to, self.host, |_| is_empty = false);
        // The addresses of a machine that is not known here.
        if idle && !is_empty {
            let hint = "the refuse and accept rules before it cover all of it: take it out";
            self.warn(&rule.place, "this accept rule never decides anything", hint);
        }
        if group.default == DefaultVerdict::Pass && group.inbound == DefaultVerdict::Pass {
            let message = "this accept rule changes no verdict: the default of its group is `pass`";
            self.warn(&rule.place, message, "leave it out, or set `default = \"drop\"`");
        }
    }
}
