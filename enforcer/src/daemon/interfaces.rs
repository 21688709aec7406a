//! Status of the protected interfaces and the backstop, according to the kernel.

use super::core::Core;
use super::failure;
use crate::api::InterfaceStatus;
use crate::backstop::{self, Tables};
use crate::config::Backstop;
use crate::guard::Guarded;
use crate::host::Link;
use crate::host::tables::{self, TooSmall};

impl Core {
    /// Every interface that is protected or should be.
    pub(super) async fn interfaces(&self) -> Vec<InterfaceStatus> {
        let links = match self.kernel.links().await {
            Ok(links) => links,
            Err(e) => {
                let note = failure(&e.into()).error;
                let names = self.settings.interfaces.iter();
                return names.map(|name| gone(name, &note, &Tables::new(), &[])).collect();
            }
        };
        let tables = self.tables().await;
        let chosen = self.chosen(&links);
        let mut rows = Vec::new();
        for name in &self.settings.interfaces {
            if !chosen.iter().any(|link| link.name == *name) {
                rows.push(gone(name, "there is no such interface", &tables, &links));
            }
        }
        rows.splice(..0, chosen.iter().map(|link| self.interface(link, &tables, &links)));
        let place = |row: &InterfaceStatus| {
            let mut names = self.settings.interfaces.iter();
            names.position(|name| *name == row.name).unwrap_or(usize::MAX)
        };
        rows.sort_by_key(place);
        rows
    }

    /// Tables that devices can fill until no room is left for others: those of the kernel, and of bridges
    /// with protected ports.
    pub(super) async fn small_tables(&self) -> Vec<String> {
        let links = self.kernel.links().await.unwrap_or_default();
        let chosen = self.chosen(&links);
        let is_above = |link: &&Link| chosen.iter().any(|port| port.controller == Some(link.index));
        let most = self.kernel.most_neighbours().await.unwrap_or_default();
        let bridges = links.iter().filter(is_above).filter_map(tables::of_bridge);
        let small = tables::of_neighbours(&most).into_iter().chain(bridges);
        small.map(|TooSmall { text, remedy }| format!("{text}: {remedy}")).collect()
    }

    /// The backstop's tables; none if they cannot be read or the settings turn the backstop off.
    pub(super) async fn tables(&self) -> Tables {
        if self.settings.backstop == Backstop::Off || self.watched.guard.is_none() {
            return Tables::new();
        }
        let looked = backstop::look().await;
        looked.inspect_err(|e| log::warn!("cannot ask nft: {e}")).unwrap_or_default()
    }

    /// `link` has its name in the policy, `links` have their present names.
    fn interface(&self, link: &Link, tables: &Tables, links: &[Link]) -> InterfaceStatus {
        let guarded = self.guarded.iter().find(|guarded| guarded.index == link.index);
        let present = links.iter().find(|other| other.index == link.index);
        let present = present.map_or(link.name.as_str(), |link| &link.name);
        let attached = self.engine.dataplane.guards(link.attached);
        let enforcing = self.enforces(link);
        let mode = match (link.attached.program, link.attached.native) {
            (None, _) => "none",
            (Some(_), true) => "native",
            (Some(_), false) => "generic",
        };
        let note = guarded.and_then(|guarded| guarded.note.clone());
        let doubt = guarded.and_then(Guarded::doubt);
        let note = match (attached, link.attached.program) {
            _ if link.no_ethernet.is_some() => {
                Some("its frames are not Ethernet: they cannot be judged".to_owned())
            }
            (false, None) => Some("no program is attached".to_owned()),
            (false, Some(id)) => Some(format!("another program (id {id}) is attached")),
            (true, _) if !self.is_compiled_for(link.index) => {
                Some("all is dropped: the policy is not compiled for it yet".to_owned())
            }
            (true, _) if self.leaves_unjudged(link.index) => {
                Some("transmit side not attached: what is sent to devices is not judged".to_owned())
            }
            (true, _) if !enforcing => doubt,
            (true, _) if self.needs_transmit() && !self.transmits(link.index) => {
                Some("transmit side not attached: answers do not pass".to_owned())
            }
            (true, _) if present != link.name => Some(format!("its name is {present} now")),
            (true, _) if mode == "generic" => {
                Some(note.unwrap_or_else(|| "generic mode: slower than native".to_owned()))
            }
            (true, _) => note.or(doubt),
        };
        let counters = guarded.map(|guarded| guarded.prover.counters()).unwrap_or_default();
        InterfaceStatus {
            name: link.name.clone(),
            index: link.index,
            mode: mode.into(),
            enforcing,
            backstop: backstop::state(tables, present, link.index, links).into(),
            proof: guarded.map_or("none", |guarded| guarded.prover.proof().name()).into(),
            received: counters.received,
            runs: self.engine.dataplane.runs(link.index),
            transmit: self.transmit_state(link.index),
            note,
        }
    }
}

fn gone(name: &str, note: &str, tables: &Tables, links: &[Link]) -> InterfaceStatus {
    InterfaceStatus {
        name: name.into(),
        index: 0,
        mode: "none".into(),
        enforcing: false,
        backstop: backstop::state(tables, name, 0, links).into(),
        proof: "none".into(),
        received: 0,
        runs: 0,
        transmit: None,
        note: Some(note.into()),
    }
}
