//! Whose rule has a number.

use crate::{Action, Group, Interface, Policy, Rule};

/// The part of a policy that has a rule, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Index into [`Policy::groups`].
    Group(usize),
    /// Index into [`Policy::interfaces`], whose rules are all [`Action::Accept`].
    Interface(usize),
}

/// The part of a policy that has a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section<'p> {
    /// A group.
    Group(&'p Group),
    /// An interface.
    Interface(&'p Interface),
}

impl Section<'_> {
    /// `patient-monitors`, `interface lan2`: no group has a name with a space.
    pub fn name(self) -> String {
        match self {
            Self::Group(group) => group.name.clone(),
            Self::Interface(interface) => interface.title(),
        }
    }
}

impl Interface {
    /// `interface lan2`: stands where the rules of a group have its name.
    pub fn title(&self) -> String {
        title(&self.name)
    }
}

/// [`Interface::title`] of an interface with this name.
pub(crate) fn title(name: &str) -> String {
    format!("interface {name}")
}

/// The rule behind a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledRule {
    /// Whose rule it is.
    pub holder: Holder,
    /// What it does.
    pub action: Action,
    /// Index into the holder's rules with this action.
    pub index: usize,
}

impl CompiledRule {
    /// The rule itself, and whose it is.
    pub fn rule<'a>(&self, policy: &'a Policy) -> Option<(Section<'a>, &'a Rule)> {
        match self.holder {
            Holder::Group(index) => {
                let group = policy.groups.get(index)?;
                Some((Section::Group(group), group.rules(self.action).get(self.index)?))
            }
            Holder::Interface(index) => {
                let interface = policy.interfaces.get(index)?;
                Some((Section::Interface(interface), interface.accept.get(self.index)?))
            }
        }
    }
}
