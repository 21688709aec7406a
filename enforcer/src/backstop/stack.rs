//! Which interfaces are on top of which, and which of them may be open.
//!
//! Traffic forwarded by a VLAN device or a bridge on top of a protected interface has *its* name and
//! index, so both sets follow the stack.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::Link;

/// A protected interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its current name, or the one in the settings.
    pub name: String,
    /// Whether the kernel says that our program runs on it.
    pub guarded: bool,
}

/// Names, and the interfaces directly below each: none, for a protected interface. Missing
/// interfaces stay in it, so that a bridge stays shut while one of its ports is missing.
pub type Stack = BTreeMap<String, BTreeSet<String>>;

/// Updates the saved stack to the current links.
pub fn follow(remembered: &Stack, roots: &[Root], links: &[Link]) -> Stack {
    let name_of = |index| links.iter().find(|link| link.index == index).map(|link| &link.name);
    let is_there = |name: &String| links.iter().any(|link| link.name == *name);
    let mut edges: BTreeSet<(String, String)> = BTreeSet::new();
    for link in links {
        if let Some(below) = link.lower.and_then(name_of) {
            edges.insert((link.name.clone(), below.clone()));
        }
        if let Some(master) = link.controller.and_then(name_of) {
            edges.insert((master.clone(), link.name.clone()));
        }
    }
    // If both ends exist, the kernel's state replaces the saved one.
    for (name, below) in remembered {
        let gone = |lower: &&String| !(is_there(name) && is_there(lower));
        edges.extend(below.iter().filter(gone).map(|lower| (name.clone(), lower.clone())));
    }
    let mut stack: Stack = roots.iter().map(|root| (root.name.clone(), BTreeSet::new())).collect();
    loop {
        let before = stack.values().map(BTreeSet::len).sum::<usize>() + stack.len();
        for (name, lower) in &edges {
            let root = roots.iter().any(|root| root.name == *name);
            if !root && stack.contains_key(lower) {
                stack.entry(name.clone()).or_default().insert(lower.clone());
            }
        }
        if stack.values().map(BTreeSet::len).sum::<usize>() + stack.len() == before {
            return stack;
        }
    }
}

/// Indices of the interfaces from which frames may be forwarded: guarded ones, and those whose
/// protected parts are all guarded.
pub fn armed(stack: &Stack, roots: &[Root], links: &[Link]) -> BTreeSet<u32> {
    let index_of = |name: &str| links.iter().find(|link| link.name == name).map(|link| link.index);
    let mut open: BTreeSet<&str> =
        roots.iter().filter(|root| root.guarded).map(|root| root.name.as_str()).collect();
    loop {
        let before = open.len();
        for (name, below) in stack {
            if !below.is_empty() && below.iter().all(|lower| open.contains(lower.as_str())) {
                open.insert(name);
            }
        }
        if open.len() == before {
            return open.into_iter().filter_map(index_of).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, index: u32, below: u32, master: u32) -> Link {
        Link {
            name: name.into(),
            index,
            lower: Some(below).filter(|below| *below != 0),
            controller: Some(master).filter(|master| *master != 0),
            ..Link::default()
        }
    }

    fn roots(names: &[(&str, bool)]) -> Vec<Root> {
        let root =
            |(name, guarded): &(&str, bool)| Root { name: (*name).into(), guarded: *guarded };
        names.iter().map(root).collect()
    }

    fn names(stack: &Stack) -> Vec<&str> {
        stack.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_vlan_on_a_bridge_of_two_ports_is_open_only_while_both_are() {
        let links = [
            link("lan0", 2, 0, 4),
            link("lan1", 3, 0, 4),
            link("br0", 4, 0, 0),
            link("br0.20", 5, 4, 0),
            link("wan0", 6, 0, 0),
        ];
        let both = roots(&[("lan0", true), ("lan1", true)]);
        let stack = follow(&Stack::new(), &both, &links);
        assert_eq!(names(&stack), ["br0", "br0.20", "lan0", "lan1"]);
        assert_eq!(armed(&stack, &both, &links), [2, 3, 4, 5].into());
        let one = roots(&[("lan0", true), ("lan1", false)]);
        assert_eq!(armed(&stack, &one, &links), [2].into());
    }

    #[test]
    fn a_bridge_stays_shut_while_a_port_is_gone_and_forgets_one_that_was_moved() {
        let links = [link("lan0", 2, 0, 4), link("lan1", 3, 0, 4), link("br0", 4, 0, 0)];
        let both = roots(&[("lan0", true), ("lan1", true)]);
        let stack = follow(&Stack::new(), &both, &links);
        // Deleted.
        let left = &links[1..];
        let one = roots(&[("lan0", false), ("lan1", true)]);
        let after = follow(&stack, &one, left);
        assert_eq!(after, stack);
        assert_eq!(armed(&after, &one, left), [3].into());
        // Recreated, not a port yet, then protected.
        let again = [link("lan0", 9, 0, 0), links[1].clone(), links[2].clone()];
        let after = follow(&after, &one, &again);
        assert_eq!(armed(&after, &one, &again), [3, 4].into(), "lan0 is no part of it");
        let again = [link("lan0", 9, 0, 4), links[1].clone(), links[2].clone()];
        let after = follow(&after, &one, &again);
        assert_eq!(armed(&after, &one, &again), [3].into());
        let after = follow(&after, &both, &again);
        assert_eq!(armed(&after, &both, &again), [3, 4, 9].into());
        // No longer protected at all.
        let none = roots(&[("lan9", false)]);
        assert_eq!(names(&follow(&after, &none, &again)), ["lan9"]);
    }

    #[test]
    fn a_vlan_that_is_protected_itself_needs_no_other_interface() {
        let links = [link("lan0", 2, 0, 0), link("lan0.20", 3, 2, 0)];
        let roots = roots(&[("lan0", false), ("lan0.20", true)]);
        let stack = follow(&Stack::new(), &roots, &links);
        assert_eq!(armed(&stack, &roots, &links), [3].into());
    }

    #[test]
    fn a_loop_ends() {
        let links = [link("a", 1, 2, 0), link("b", 2, 1, 1)];
        let roots = roots(&[("a", true)]);
        let stack = follow(&Stack::new(), &roots, &links);
        assert_eq!(names(&stack), ["a", "b"]);
        assert_eq!(armed(&stack, &roots, &links), [1, 2].into());
    }
}
