//! Compares the interfaces with what should be protected, and plans the steps that restore protection. Uses
//! neither clock nor kernel.

use std::collections::{BTreeMap, BTreeSet};

use super::Guarded;
use crate::config::Xdp;
use crate::dataplane::Attached;
use crate::host::Link;

/// Failed checks between two repairs, once the earlier repairs have not helped.
const REPAIR_EVERY: u32 = 30;

/// State of the kernel at one check.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Every interface.
    pub(crate) links: Vec<Link>,
    /// Ids of our programs; a protected interface runs one of them.
    pub(crate) programs: BTreeSet<u32>,
    /// For each of our XDP links, by the index of its interface: the index where it is attached now, 0 if
    /// nowhere.
    pub(crate) attached_to: BTreeMap<u32, u32>,
}

impl Seen {
    /// Whether one of our programs is attached.
    pub(crate) fn is_ours(&self, attached: Attached) -> bool {
        attached.program.is_some_and(|program| self.programs.contains(&program))
    }

    fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Attach the program.
    Attach {
        /// The interface, under its name in the policy.
        link: Link,
        /// Why it is not protected.
        why: Missing,
    },
    /// The program is attached but the driver does not run it.
    Repair {
        /// The interface, as in [`Step::Attach`].
        link: Link,
        /// The repair to try; `None` while earlier repairs have not helped and the next one is not due.
        remedy: Option<Remedy>,
    },
    /// Our link is attached to this interface but is registered under another index: the interface was in
    /// another network namespace.
    Renumber(u32),
    /// Keep VLAN tags in the frames of the interface with this name.
    KeepTags(String),
}

/// Why an interface is not protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// This program is attached instead of ours.
    Replaced(u32),
    /// No program is attached.
    Detached,
    /// The interface is new.
    New,
}

impl Missing {
    /// Reason of the event.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Replaced(_) => "replaced",
            Self::Detached => "detached",
            Self::New => "interface-new",
        }
    }

    /// The cause in words.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Replaced(id) => format!("program {id} is in the place of ours"),
            Self::Detached => "the program was detached".to_owned(),
            Self::New => "the interface is new".to_owned(),
        }
    }
}

/// A repair that may make the driver run the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// A new program object in the same link.
    NewObject,
    /// Generic mode, in which the kernel itself runs the program.
    Generic,
}

/// A change of an interface that is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Reason of the event.
    pub(crate) reason: &'static str,
    /// Name of the interface.
    pub(crate) interface: String,
    /// What happened, beginning with the name.
    pub(crate) text: String,
}

/// The interfaces to protect, under their names in the policy: a renamed interface keeps the name that it
/// has in the settings.
pub(crate) fn chosen(names: &[String], guarded: &[Guarded], links: &[Link]) -> Vec<Link> {
    let mut chosen: Vec<Link> = Vec::new();
    for name in names {
        let named = links.iter().find(|link| link.name == *name).cloned();
        let renamed = || {
            let guarded = guarded.iter().find(|guarded| guarded.name == *name)?;
            let link = links.iter().find(|link| link.index == guarded.index)?;
            Some(Link { name: name.clone(), ..link.clone() })
        };
        chosen.extend(named.or_else(renamed));
    }
    for guarded in guarded {
        let link = links.iter().find(|link| link.index == guarded.index);
        if let Some(link) = link
            && !chosen.iter().any(|other| other.index == link.index)
        {
            chosen.push(link.clone());
        }
    }
    chosen
}

/// Records changes of protected interfaces, and returns those to report: interfaces that disappeared, were
/// renamed, or run in another mode.
pub(crate) fn note(guarded: &mut [Guarded], seen: &Seen) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut tell = |reason, interface: &str, text: String| {
        let text = format!("{interface} {text}");
        notices.push(Notice { reason, interface: interface.to_owned(), text });
    };
    for guarded in guarded {
        let Some(link) = seen.link(guarded.index) else {
            if std::mem::replace(&mut guarded.there, false) {
                let text = match seen.attached_to.get(&guarded.index) {
                    Some(index) if *index != 0 => {
                        "is in another network namespace; it is still enforced there"
                    }
                    _ => "is gone",
                };
                tell("interface-gone", &guarded.present, text.to_owned());
            }
            continue;
        };
        guarded.there = true;
        if link.name != guarded.present {
            let old = std::mem::replace(&mut guarded.present, link.name.clone());
            let text = format!("was renamed to {}; it stays protected", link.name);
            tell("interface-renamed", &old, text);
        }
        let native = link.attached.native;
        if seen.is_ours(link.attached)
            && guarded.native.replace(native).is_some_and(|was| was != native)
        {
            let mode = if native { "native" } else { "generic" };
            tell("xdp-mode", &link.name, format!("is in {mode} mode now"));
        }
    }
    notices
}

/// The steps that restore protection, in the order of the settings.
pub(crate) fn steps(names: &[String], guarded: &[Guarded], xdp: Xdp, seen: &Seen) -> Vec<Step> {
    let mut steps = Vec::new();
    for link in chosen(names, guarded, &seen.links) {
        let known = guarded.iter().find(|guarded| guarded.index == link.index);
        let present = seen.link(link.index).map(|present| present.name.clone());
        if link.no_ethernet.is_some() || !seen.is_ours(link.attached) {
            let why = match (known, link.attached.program) {
                (_, Some(id)) => Missing::Replaced(id),
                (Some(_), None) => Missing::Detached,
                (None, None) => Missing::New,
            };
            steps.push(Step::Attach { link, why });
        } else {
            let index = link.index;
            let failing = known.filter(|guarded| guarded.prover.fails());
            let remedy = failing.and_then(|guarded| {
                remedy(guarded.repairs, link.attached.native && xdp == Xdp::Auto)
            });
            if failing.is_some() {
                steps.push(Step::Repair { link, remedy });
            }
            if remedy.is_none() && !seen.attached_to.contains_key(&index) {
                steps.push(Step::Renumber(index));
            }
        }
        steps.extend(present.map(Step::KeepTags));
    }
    steps
}

/// First a new object, then generic mode if allowed, then a new object from time to time.
fn remedy(repairs: u32, may_fall_back: bool) -> Option<Remedy> {
    match repairs {
        0 => Some(Remedy::NewObject),
        1 if may_fall_back => Some(Remedy::Generic),
        _ if repairs.is_multiple_of(REPAIR_EVERY) => Some(Remedy::NewObject),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
