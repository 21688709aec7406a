//! Keeps the program attached to the transmit side of interfaces, as long as the policy has rules for frames towards
//! devices.

use log::{debug, error, info};

use super::core::Core;
use super::failure;
use crate::dataplane::Hook;
use crate::policy::Policy;

impl Core {
    /// Whether frames towards devices must be judged: the policy in force, or the one that returns without a confirmation,
    /// has rules for them.
    pub(super) fn needs_transmit(&self) -> bool {
        self.policies().any(Policy::judges_inbound)
    }

    /// The policy in force, and the one that returns without a confirmation.
    fn policies(&self) -> impl Iterator<Item = &Policy> {
        let previous = self.engine.pending.as_ref().map(|pending| &pending.previous);
        previous.into_iter().chain([&self.engine.active]).map(|it| &it.policy)
    }

    /// Whether what leaves by an interface was judged at the last look.
    pub(super) fn transmits(&self, index: u32) -> bool {
        self.engine.dataplane.transmits(index).is_some()
    }

    /// Whether frames towards devices leave by an interface without being judged, although some may be refused.
    pub(super) fn leaves_unjudged(&self, index: u32) -> bool {
        self.policies().any(Policy::refuses_inbound) && !self.transmits(index)
    }

    /// The state of the transmit side of an interface for `status`; none if the policy has no need of it.
    pub(super) fn transmit_state(&self, index: u32) -> Option<String> {
        let state = if self.transmits(index) { "attached" } else { "missing" };
        self.needs_transmit().then(|| state.to_owned())
    }

    /// Whether the program notes what leaves by an interface, according to the kernel.
    async fn look_at_transmit(&mut self, index: u32) -> bool {
        match self.engine.dataplane.transmits(index) {
            Some(Hook::Link) => true,
            // The kernel says where it hangs; a filter may be of an earlier daemon.
            Some(Hook::Filter) | None => {
                let filters = self.kernel.filters(index).await;
                let there = filters.is_ok_and(|all| all.iter().any(|filter| filter.is_ours()));
                self.engine.dataplane.set_filter(index, there);
                there
            }
        }
    }

    /// Attaches the program to the transmit side of each protected interface if it is needed and missing, and takes it
    /// away if it is not needed.
    pub(super) async fn follow_transmit(&mut self) {
        let needed = self.needs_transmit();
        if !needed && !self.watched.transmits {
            return;
        }
        let interfaces: Vec<(String, u32)> = self
            .guarded
            .iter()
            .filter(|guarded| guarded.there)
            .map(|guarded| (guarded.present.clone(), guarded.index))
            .collect();
        for (name, index) in interfaces {
            let (there, was_there) =
                (self.look_at_transmit(index).await, self.watched.noted.contains(&index));
            // What an earlier daemon left gets this one's program.
            if there == needed && (was_there || !needed) {
                continue;
            }
            if !needed {
                match self.engine.dataplane.stop_transmitting(index) {
                    Ok(()) => debug!("{name}: nothing is judged on the transmit side any more"),
                    Err(e) => error!("{}", failure(&e.into()).error),
                }
                continue;
            }
            match self.engine.dataplane.transmit(&name, index) {
                Ok(_) if was_there => {
                    self.watched.noted.insert(index);
                    let text = format!(
                        "{name}: somebody removed the program on the transmit side; it is back. Meanwhile \
                         nothing that was sent to devices was judged"
                    );
                    self.remember(text.clone());
                    self.tamper("transmit-detached", Some(&name), text);
                }
                Ok(_) => {
                    self.watched.noted.insert(index);
                    info!("{name}: what is sent to devices is judged on the transmit side");
                }
                Err(e) => {
                    let text = failure(&e.into()).error;
                    // It is tried again with the next check of everything.
                    self.watched.noted.remove(&index);
                    let text = format!("{name}: what is sent to devices is not judged: {text}");
                    if self.remember(text.clone()) {
                        error!("{text}");
                    }
                }
            }
        }
        self.watched.transmits = needed;
        if !needed {
            self.watched.noted.clear();
        }
    }
}
