//! Pins that are not needed any more, and pins that somebody removed.

use std::path::PathBuf;

use log::warn;

use super::{Dataplane, Error};

impl Dataplane {
    /// Removes the pins of generations that are not in force.
    pub(super) fn forget_others(&mut self) {
        let previous = self.previous.as_ref().map(|generation| generation.number);
        let needed = [Some(self.current.number), previous];
        for number in self.pins.generations() {
            if !needed.contains(&Some(number))
                && let Err(e) = self.pins.remove_generation(number)
            {
                warn!("generation {number} stays pinned: {e}");
            }
        }
        let needed = needed.into_iter().flatten().map(|number| self.pins.generation(number));
        self.kept.forget_generations(&self.pins, &needed.collect::<Vec<_>>());
        self.kept.refresh(&self.pins);
    }

    /// Whether all held objects are still pinned.
    pub fn is_pinned(&self) -> bool {
        self.kept.missing().is_empty()
    }

    /// Restores removed or replaced pins; returns their paths. Enforcement was not interrupted,
    /// because this process holds a descriptor of each object.
    ///
    /// # Errors
    ///
    /// The BPF file system is gone. Everything stays in force as long as this process lives.
    pub fn restore_pins(&mut self) -> Result<Vec<PathBuf>, (Vec<PathBuf>, Error)> {
        let missing = self.kept.missing();
        if missing.is_empty() {
            return Ok(missing);
        }
        match self.pin_again(&missing) {
            Ok(()) => Ok(missing),
            Err(e) => Err((missing, e)),
        }
    }

    fn pin_again(&mut self, missing: &[PathBuf]) -> Result<(), Error> {
        self.pins.remake()?;
        for path in missing {
            self.pins.make_parent(path)?;
            self.kept.restore(path)?;
        }
        Ok(())
    }
}
