//! Detects and repairs changes from outside the daemon: pins, programs, interfaces, the backstop.
//!
//! Changes with a notification from the kernel are handled at once. Others are polled: links for a
//! detachment every [`LINK_POLL`], everything else once a second.

use std::collections::BTreeSet;

use log::{error, info, warn};

use super::core::Core;
use super::notifications::Notice;
use super::{Error, failure};
use crate::backstop::Change;
use crate::backstop::stack::Root;
use crate::guard::plan::{self, Seen, Step};
use crate::host::Link;

/// Checks between two unprompted reads of the backstop's tables.
const TABLES: u32 = 10;

impl Core {
    /// Whether a link is no longer attached, according to its descriptor.
    fn is_detached(&self) -> bool {
        let mut there = self.guarded.iter().filter(|guarded| guarded.there);
        there.any(|guarded| {
            self.engine.dataplane.link_interface(guarded.index) == Some(0)
                || self.watched.noted.contains(&guarded.index)
                    && self.leaves_unjudged(guarded.index)
        })
    }

    /// Checks at once whatever the notice is about.
    pub(super) async fn hear(&mut self, notice: Notice) {
        self.watched.tables_changed |= notice == Notice::Tables;
        if notice == Notice::Interfaces {
            self.renew_proofs();
        }
        self.reconcile_or_log().await;
    }

    /// Checks only the links and, after an event, the runs of the programs.
    pub(super) async fn poll_links(&mut self) {
        if self.is_detached() || self.proofs_changed().await {
            self.reconcile_or_log().await;
        }
    }

    /// Reconciles, and logs an error.
    pub(super) async fn reconcile_or_log(&mut self) {
        if let Err(e) = self.reconcile().await {
            error!("{}", failure(&e).error);
        }
    }

    /// Checks everything: shuts unprotected interfaces, protects them, follows addresses, and opens again.
    async fn reconcile(&mut self) -> Result<(), Error> {
        self.restore_pins();
        self.restore_tables().await;
        self.restore_image().await;
        // First: an interface whose transmit side is missing is shut until it is back.
        self.follow_transmit().await;
        self.begin_proofs();
        let seen = self.seen(self.kernel.links().await?);
        self.tell_notices(&seen);
        self.prove(&seen.links);
        self.follow_stack(&seen.links).await;
        for step in plan::steps(&self.settings.interfaces, &self.guarded, self.settings.xdp, &seen)
        {
            self.take(step, &seen.links);
        }
        // The policy is compiled for indices and addresses: a new interface is opened only once it is
        // compiled for it.
        self.follow_host().await?;
        self.follow_transmit().await;
        let links = self.kernel.links().await?;
        self.follow_stack(&links).await;
        Ok(())
    }

    /// The kernel's view of the interfaces and our links.
    fn seen(&self, links: Vec<Link>) -> Seen {
        let attached_to = |index| Some((index, self.engine.dataplane.link_interface(index)?));
        let indices = links.iter().map(|link| link.index);
        let known = self.guarded.iter().map(|guarded| guarded.index);
        // One system call for each of our links.
        let indices: BTreeSet<u32> = indices.chain(known).collect();
        let attached_to = indices.into_iter().filter_map(attached_to).collect();
        Seen { programs: self.engine.dataplane.dispatchers(), attached_to, links }
    }

    /// Carries out one step of the plan.
    fn take(&mut self, step: Step, links: &[Link]) {
        match step {
            Step::Attach { link, why } => self.attach_again(&link, why, links),
            Step::Repair { link, remedy } => self.repair(&link, remedy),
            Step::Renumber(index) => {
                if let Err(e) = self.engine.dataplane.renumber(index) {
                    error!("{}", failure(&e.into()).error);
                }
            }
            Step::KeepTags(interface) => self.watch_tags(&interface),
        }
    }

    fn restore_pins(&mut self) {
        let (paths, failed) = match self.engine.dataplane.restore_pins() {
            Ok(paths) => (paths, None),
            Err((paths, e)) => (paths, Some(failure(&e.into()).error)),
        };
        let Some(first) = paths.first() else { return };
        let others =
            if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
        let what = format!("the pin {}{others} was removed", first.display());
        let text = match failed {
            None => format!("{what}; it is back, and nothing stopped being enforced"),
            Some(why) => format!(
                "{what} and cannot be put back ({why}): what is enforced ends with this process"
            ),
        };
        // While the file system is missing, report it once.
        if self.remember(text.clone()) || !text.contains("cannot") {
            self.tamper("unpinned", None, text);
        }
    }

    async fn restore_tables(&mut self) {
        let watched = &mut self.watched;
        watched.looks = watched.looks.wrapping_add(1);
        let Some(guard) = &mut watched.guard else { return };
        if !(watched.tables_changed || watched.looks.is_multiple_of(TABLES)) {
            return;
        }
        watched.tables_changed = false;
        match guard.check().await {
            Ok(Change::None) => {}
            Ok(Change::Restored) => {
                let text =
                    "somebody changed or removed the backstop's tables; they are whole again";
                self.remember(text.into());
                self.tamper("backstop", None, text.into());
            }
            Ok(Change::Installed | Change::Rebooted) => info!("the backstop is installed"),
            Ok(Change::Removed) => {
                warn!("the backstop was removed: nothing holds what gets past XDP")
            }
            Err(e) => {
                let text = failure(&e.into()).error;
                if self.remember(format!("the backstop cannot be looked after: {text}")) {
                    error!("the backstop cannot be looked after: {text}");
                }
            }
        }
    }

    /// Reports interfaces that disappeared, were renamed, or run in another mode.
    fn tell_notices(&mut self, seen: &Seen) {
        for plan::Notice { reason, interface, text } in plan::note(&mut self.guarded, seen) {
            if reason != "interface-gone" {
                self.remember(text.clone());
            }
            self.tamper(reason, Some(&interface), text);
        }
    }

    /// Compiles the policy again if addresses or interfaces changed.
    async fn follow_host(&mut self) -> Result<(), Error> {
        let host = self.host().await?;
        self.ask_unresolved().await;
        // An unconfirmed policy must not be replaced: until then, a new index stays shut.
        if self.is_for(&host) || self.engine.pending.is_some() || self.turns.is_busy() {
            return self.follow_hops(&host);
        }
        info!("addresses or interfaces changed: compiling the policy for them");
        self.recompile(host).await
    }

    /// Updates the backstop's sets from the kernel's list of interfaces.
    pub(super) async fn follow_stack(&mut self, links: &[Link]) {
        let roots = self.roots(links);
        let Some(guard) = &mut self.watched.guard else { return };
        match guard.follow(&roots, links).await {
            Ok(false) => {}
            Ok(true) => {
                let text = "somebody changed what the backstop holds open or shut; it is as it was";
                self.tamper("backstop", None, text.into());
            }
            Err(e) => {
                // The next check then compares with the kernel's tables, not with the intended ones.
                self.watched.tables_changed = true;
                error!("the backstop does not follow: {}", failure(&e.into()).error);
            }
        }
    }

    /// The interfaces that the backstop protects, under their present names, and whether our program runs
    /// there.
    fn roots(&self, links: &[Link]) -> Vec<Root> {
        let mut roots: Vec<Root> = Vec::new();
        for link in links {
            let known = self.guarded.iter().any(|guarded| guarded.index == link.index);
            if known || self.settings.interfaces.contains(&link.name) {
                let guarded = known && self.enforces(link);
                roots.push(Root { name: link.name.clone(), guarded });
            }
        }
        for name in &self.settings.interfaces {
            if !roots.iter().any(|root| root.name == *name) {
                roots.push(Root { name: name.clone(), guarded: false });
            }
        }
        roots
    }

    /// Reports tampering: a log line, an event, a counter.
    pub(super) fn tamper(&mut self, reason: &'static str, interface: Option<&str>, text: String) {
        warn!("{text}");
        *self.watched.tampered.entry(reason).or_default() += 1;
        self.reporter.tamper(reason, interface, text, &self.engine.active);
    }
}
