//! Names of reasons, also of those that have no number.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use enforcer_common::reason::Reason;

/// The name of a reason in docs/reasons.md.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonName(Cow<'static, str>);

impl ReasonName {
    /// The name of a reason without a number, such as those of [`Lost`] and [`Tamper`] events.
    pub const fn of(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Reason> for ReasonName {
    fn from(reason: Reason) -> Self {
        Self::of(reason.name())
    }
}

impl fmt::Display for ReasonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ReasonName {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self(Cow::Owned(name.to_owned())))
    }
}

impl PartialEq<str> for ReasonName {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}
