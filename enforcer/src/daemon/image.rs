//! Watches the tables that the kernel judges by: root can write to them.

use log::error;

use super::active::Active;
use super::core::Core;
use super::{Error, failure};

/// Looks between two comparisons of the image: a large one takes milliseconds.
const LOOKS: u32 = 10;

impl Core {
    /// Compares what the kernel judges by with what should be in force, and puts that in force anew
    /// where they differ.
    pub(super) async fn restore_image(&mut self) {
        // What waits to be confirmed may have been taken back by the kernel alone; and what is being replaced
        // is not for long.
        let is_settled = self.pending.is_none() && !self.turns.is_busy();
        if !is_settled || !self.watched.looks.is_multiple_of(LOOKS) {
            return;
        }
        // What is not pinned cannot be compared; that it is not is told already.
        if !self.dataplane.is_pinned() {
            return;
        }
        match self.dataplane.judges_by(&self.active.compiled.image) {
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

    /// Puts the image in force once more, in a new generation. Nothing is written to disk: a full
    /// one must not stand in the way.
    async fn publish_again(&mut self) -> Result<(), Error> {
        // Nobody waits to be confirmed: a deadline in the kernel is not ours.
        self.dataplane.confirm();
        self.put_generation(Active::clone(&self.active)).await?;
        self.say_active();
        Ok(())
    }
}
