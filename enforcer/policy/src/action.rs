//! What a rule does, and the rules of a group by it.

use super::{Group, Rule};

/// What a rule of a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Drops.
    Deny,
    /// Passes.
    Allow,
    /// Lets others open something, and the answers pass.
    Accept,
}

impl Action {
    /// Every action, in the order in which a group's rules are numbered.
    pub const ALL: [Self; 3] = [Self::Deny, Self::Allow, Self::Accept];

    /// The key in a policy, and the name everywhere else.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Accept => "accept",
        }
    }

    /// The key of the remote end.
    pub const fn end(self) -> &'static str {
        match self {
            Self::Deny | Self::Allow => "to",
            Self::Accept => "from",
        }
    }

    /// Whether frames pass by such a rule.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Allow | Self::Accept)
    }
}

impl Group {
    /// The rules with this action.
    pub fn rules(&self, action: Action) -> &Vec<Rule> {
        match action {
            Action::Deny => &self.deny,
            Action::Allow => &self.allow,
            Action::Accept => &self.accept,
        }
    }

    /// Every rule, in the order in which they are numbered.
    pub fn every_rule(&self) -> impl Iterator<Item = &Rule> {
        self.deny.iter().chain(&self.allow).chain(&self.accept)
    }

    /// The same, to be changed.
    pub fn every_rule_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        self.deny.iter_mut().chain(&mut self.allow).chain(&mut self.accept)
    }
}
