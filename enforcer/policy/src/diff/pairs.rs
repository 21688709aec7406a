//! The named items of two policies, side by side.

use std::collections::HashMap;

/// A named item that is in one policy or in both.
#[derive(Clone, Copy)]
pub(super) enum Pair<'p, T> {
    Added(&'p T),
    Removed(&'p T),
    Both(&'p T, &'p T),
}

impl<'p, T> Pair<'p, T> {
    /// The item in the old policy, and in the new one.
    pub(super) fn sides(&self) -> (Option<&'p T>, Option<&'p T>) {
        match *self {
            Self::Added(after) => (None, Some(after)),
            Self::Removed(before) => (Some(before), None),
            Self::Both(before, after) => (Some(before), Some(after)),
        }
    }

    /// `+`, `-` or `~`.
    pub(super) fn sign(&self) -> char {
        match self {
            Self::Added(_) => '+',
            Self::Removed(_) => '-',
            Self::Both(..) => '~',
        }
    }
}

/// Removed items first, then those of the new policy, in the order of the documents.
pub(super) fn pairs<'p, T>(
    old: &'p [T],
    new: &'p [T],
    name: impl Fn(&T) -> &String,
) -> Vec<(&'p str, Pair<'p, T>)>
where
    T: 'p,
{
    fn index<T>(list: &[T], name: impl Fn(&T) -> &String) -> HashMap<&str, &T> {
        list.iter().map(|item| (name(item).as_str(), item)).collect()
    }
    let (before, after) = (index(old, &name), index(new, &name));
    let removed = old.iter().filter(|item| !after.contains_key(name(item).as_str()));
    let mut found: Vec<_> =
        removed.map(|item| (name(item).as_str(), Pair::Removed(item))).collect();
    found.extend(new.iter().map(|item| {
        let name = name(item).as_str();
        match before.get(name) {
            Some(before) => (name, Pair::Both(*before, item)),
            None => (name, Pair::Added(item)),
        }
    }));
    found
}
