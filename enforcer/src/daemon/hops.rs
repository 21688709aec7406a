//! Neighbours on links with bound next hops: updated once a second, without a new generation.

use std::sync::Arc;

use super::active::Active;
use super::core::Core;
use super::unresolved::Unresolved;
use super::{Error, failure};
use crate::policy::{Host, hops};

impl Core {
    /// Copies the neighbour table into the kernel map.
    pub(super) fn follow_hops(&mut self, host: &Host) -> Result<(), Error> {
        let now = hops(&self.engine.active.policy, host);
        let mut all = now.clone();
        if let Some(pending) = &self.engine.pending {
            for (hop, mac) in hops(&pending.previous.policy, host) {
                all.entry(hop).or_insert(mac);
            }
        }
        self.engine.dataplane.set_hops(&all)?;
        if now != *self.engine.active.compiled.image.hops {
            let mut next = Active::clone(&self.engine.active);
            next.host.take_neighbours(host);
            next.compiled.image.hops = Arc::new(now);
            self.engine.active = Arc::new(next);
            self.reporter.announce(&self.engine.active);
        }
        Ok(())
    }

    /// Makes the kernel resolve those of the destinations that are on-link, because their MAC may be unknown.
    /// Those that answer are known at the next check.
    pub(super) async fn ask_unresolved(&self) {
        let Unresolved(unresolved) = self.reporter.take_unresolved();
        let mut asked = Vec::new();
        for (index, address) in unresolved {
            let interface = self.engine.active.host.interfaces.iter().find(|it| it.index == index);
            let on_link = interface.into_iter().flat_map(|known| &known.on_link);
            let own = on_link.into_iter().find(|own| own.holds(address));
            asked.extend(own.map(|own| (own.interface, address)));
        }
        if let Err(e) = self.kernel.ask(&asked).await {
            log::warn!("{}", failure(&e.into()).error);
        }
    }
}
