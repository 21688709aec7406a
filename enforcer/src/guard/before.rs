//! Links that were attached when a daemon last checked: the next start compares them with what it finds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::boot_id;

/// Links by interface index, within one boot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Before {
    boot: Option<String>,
    links: BTreeMap<u32, u32>,
}

impl Before {
    /// The saved links if they are from the present boot, else none: no link outlives a boot.
    pub(crate) fn of_this_boot(saved: Option<Self>) -> Self {
        Self::of_boot(saved, boot_id())
    }

    fn of_boot(saved: Option<Self>, boot: Option<String>) -> Self {
        let links = saved.filter(|saved| saved.boot.is_some() && saved.boot == boot);
        Self { boot, links: links.map(|saved| saved.links).unwrap_or_default() }
    }

    /// The id of the link that was attached to an interface.
    pub(crate) fn known(&self, index: u32) -> Option<u32> {
        self.links.get(&index).copied()
    }

    /// Replaces the links.
    pub(crate) fn set(&mut self, links: BTreeMap<u32, u32>) {
        self.links = links;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_another_boot_are_forgotten() {
        let mut before = Before::of_boot(None, Some("a".into()));
        assert_eq!(before.known(3), None);
        before.set(BTreeMap::from([(3, 3260)]));
        let again =
            |boot: Option<&str>| Before::of_boot(Some(before.clone()), boot.map(Into::into));
        assert_eq!(again(Some("a")).known(3), Some(3260));
        assert_eq!(again(Some("b")).known(3), None);
        // Without a boot id, earlier links are unknown.
        let nameless = Before { boot: None, ..before.clone() };
        assert_eq!(Before::of_boot(Some(nameless), None).known(3), None);
    }
}
