//! What a rule does, and the rules of a group or a policy.

use super::{DefaultVerdict, Group, Policy, Rule, compile};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Drops what a device sends.
    Deny,
    /// Passes what a device sends.
    Allow,
    /// Drops what is sent to a device.
    Refuse,
    /// Lets others open something, and the answers pass.
    Accept,
}

impl Action {
    /// Every action, in the order in which a group's rules are numbered.
    pub const ALL: [Self; 4] = [Self::Deny, Self::Allow, Self::Refuse, Self::Accept];

    /// The key in a policy, and the name everywhere else.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Refuse => "refuse",
            Self::Accept => "accept",
        }
    }

    /// The key of the remote end.
    pub const fn end(self) -> &'static str {
        if self.is_inbound() { "from" } else { "to" }
    }

    /// Whether frames pass by such a rule.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Allow | Self::Accept)
    }

    /// Whether such a rule is about frames towards a device.
    pub const fn is_inbound(self) -> bool {
        matches!(self, Self::Refuse | Self::Accept)
    }
}

impl Group {
    /// The rules with this action.
    pub fn rules(&self, action: Action) -> &Vec<Rule> {
        match action {
            Action::Deny => &self.deny,
            Action::Allow => &self.allow,
            Action::Refuse => &self.refuse,
            Action::Accept => &self.accept,
        }
    }

    /// The same, to be changed.
    pub fn rules_mut(&mut self, action: Action) -> &mut Vec<Rule> {
        match action {
            Action::Deny => &mut self.deny,
            Action::Allow => &mut self.allow,
            Action::Refuse => &mut self.refuse,
            Action::Accept => &mut self.accept,
        }
    }

    /// Every rule, in the order in which they are numbered.
    pub fn every_rule(&self) -> impl Iterator<Item = &Rule> {
        Action::ALL.into_iter().flat_map(|action| self.rules(action))
    }

    /// The same, to be changed.
    pub fn every_rule_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        let Self { deny, allow, refuse, accept, .. } = self;
        deny.iter_mut().chain(allow).chain(refuse).chain(accept)
    }

    /// Whether a frame towards one of its devices may be refused.
    pub(crate) fn refuses_inbound(&self) -> bool {
        self.inbound == DefaultVerdict::Drop || !self.refuse.is_empty()
    }
}

impl Policy {
    /// Every rule, in the order in which they are numbered: those of the groups, then those of the interfaces.
    pub fn every_rule(&self) -> impl Iterator<Item = &Rule> {
        let groups = self.groups.iter().flat_map(Group::every_rule);
        groups.chain(self.interfaces.iter().flat_map(|interface| &interface.accept))
    }

    /// The same, to be changed.
    pub fn every_rule_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        let groups = self.groups.iter_mut().flat_map(Group::every_rule_mut);
        groups.chain(self.interfaces.iter_mut().flat_map(|interface| &mut interface.accept))
    }

    /// Whether frames towards devices may be refused.
    pub fn refuses_inbound(&self) -> bool {
        compile::refuses_inbound(self)
    }

    /// Whether anything in the policy is about frames towards devices.
    pub fn judges_inbound(&self) -> bool {
        self.refuses_inbound() || self.groups.iter().any(|group| !group.accept.is_empty())
    }
}
