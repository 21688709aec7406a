//! Modes, verdicts, members and remote ends in the notation of a policy.

use std::fmt;

use super::{DefaultVerdict, Mode, Policy, Selector, To};

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Observe, Self::Quarantine];

    /// The notation in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
            Self::Quarantine => "quarantine",
        }
    }
}

impl DefaultVerdict {
    /// Every default verdict.
    pub const ALL: [Self; 2] = [Self::Drop, Self::Pass];

    /// The notation in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DefaultVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Canonical: equal remote ends are printed alike, however they were written.
impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Gateway => f.write_str("gateway"),
            Self::Local => f.write_str("local"),
            Self::Range(range) => write!(f, "{range}"),
            Self::Set(set) => write!(f, "@{}", set.name),
        }
    }
}

impl Selector {
    /// The member in the notation of a policy; `policy` is the one that it belongs to.
    pub fn text(&self, policy: &Policy) -> String {
        match self {
            Self::Device(index) => {
                policy.devices.get(*index).map_or_else(String::new, |device| device.name.clone())
            }
            Self::Mac(mac) => mac.to_string(),
            Self::MacPrefix(mac, length) => format!("{mac}/{length}"),
            Self::Addresses(range) => range.to_string(),
            Self::Vlan(id) => format!("vlan:{id}"),
            Self::Interface(name) => format!("interface:{name}"),
        }
    }
}
