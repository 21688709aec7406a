//! Checks the tables by which the kernel judges, because root can write to them.

use log::error;

use super::active::Active;
use super::core::Core;
use super::{Error, failure};

/// Checks between two comparisons of the image: comparing a large one takes milliseconds.
const LOOKS: u32 = 10;

impl Core {
    /// Compares the tables in the kernel with the active policy's image, and installs the image again if
    /// they differ.
    pub(super) async fn restore_image(&mut self) {
        // Not while a policy is unconfirmed, because the kernel may have reverted it alone; nor while a
        // policy is being replaced.
        let is_settled = self.engine.pending.is_none() && !self.turns.is_busy();
        if !is_settled || !self.watched.looks.is_multiple_of(LOOKS) {
            return;
        }
        // Unpinned tables cannot be compared; the missing pins are reported elsewhere.
        if !self.engine.dataplane.is_pinned() {
            return;
        }
        match self.engine.dataplane.judges_by(&self.engine.active.compiled.image) {
            Ok(true) => return,
            Ok(false) => {}
            Err(e) => {
                error!("what the kernel judges by cannot be read: {}", failure(&e.into()).error);
                return;
            }
        }
        let what = "somebody changed what the kernel judges by";
        let text = match self.publish_again().await {
            Ok(()) => format!("{what}; the policy in force is published again"),
            Err(e) => format!("{what}, and it cannot be put right: {}", failure(&e).error),
        };
        self.remember(text.clone());
        self.tamper("image", None, text);
    }

    /// Installs the image once more, as a new generation. Writes nothing to disk, so that a full disk does
    /// not prevent it.
    async fn publish_again(&mut self) -> Result<(), Error> {
        // No policy is unconfirmed here: a deadline in the kernel is not from this daemon.
        self.engine.dataplane.confirm();
        self.put_generation(Active::clone(&self.engine.active)).await?;
        self.say_active();
        Ok(())
    }
}
