//! Watches VLAN offloads, so that hardware does not remove tags.

use log::error;

use super::core::Core;
use super::failure;
use crate::dataplane::offload;

impl Core {
    /// Turns off offloads that were turned on since the last check, and reports it in the log and in the
    /// status.
    pub(super) fn watch_tags(&mut self, interface: &str) {
        match offload::keep_tags(interface) {
            Ok(on) if on.is_empty() => {}
            Ok(on) => {
                let on = on.join(" and ");
                let text = format!(
                    "{interface}: somebody switched on {on}, which hides VLAN tags from XDP; \
                     it is off again"
                );
                self.remember(text.clone());
                self.tamper("vlan-tags", Some(interface), text);
            }
            Err(e) => {
                let text = failure(&e.into()).error;
                if self.remember(text.clone()) {
                    error!("{text}: rules about VLANs do not hold there");
                }
            }
        }
    }

    /// Adds a warning to the status; `false` if it is already there.
    pub(super) fn remember(&mut self, text: String) -> bool {
        let new = !self.warnings.contains(&text);
        if new {
            self.warnings.push(text);
        }
        new
    }
}
