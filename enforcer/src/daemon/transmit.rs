//! Keeps the program attached to the transmit side of interfaces, as long as the policy has accept rules.

use log::{debug, error, info};

use super::core::Core;
use super::failure;
use crate::dataplane::Hook;

impl Core {
    /// Whether frames towards devices must be judged: the policy in force, or the one that returns without a confirmation,
    /// has rules for them.
    pub(super) fn needs_transmit(&self) -> bool {
        let previous = self.engine.pending.as_ref().map(|pending| &pending.previous);
        let mut policies = previous.into_iter().chain([&self.engine.active]).map(|it| &it.policy);
        policies.any(|policy| policy.judges_inbound())
    }

    /// Whether what leaves by an interface was noted at the last look.
    pub(super) fn transmits(&self, index: u32) -> bool {
        self.engine.dataplane.transmits(index).is_some()
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
                    Ok(()) => debug!("{name}: nothing is noted on the transmit side any more"),
                    Err(e) => error!("{}", failure(&e.into()).error),
                }
                continue;
            }
            match self.engine.dataplane.transmit(&name, index) {
                Ok(_) if was_there => {
                    self.watched.noted.insert(index);
                    let text = format!(
                        "{name}: somebody removed the program on the transmit side; it is back, and what was \
                         opened meanwhile is noted with its next frame"
                    );
                    self.remember(text.clone());
                    self.tamper("transmit-detached", Some(&name), text);
                }
                Ok(_) => {
                    self.watched.noted.insert(index);
                    info!("{name}: what is asked of devices is noted on the transmit side");
                }
                Err(e) => {
                    let text = failure(&e.into()).error;
                    if self.remember(format!("{name}: answers do not pass: {text}")) {
                        error!("{name}: answers do not pass: {text}");
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
