//! A generation that must be confirmed, and the one before, which decides again otherwise.

use enforcer_common::abi;
use log::warn;

use super::generation::{self, Generation, Loaded};
use super::{DEADLINE, Dataplane, Error};
use crate::image::Patch;

impl Dataplane {
    /// Puts a generation in force until `deadline` (boot clock, in nanoseconds): from then on the
    /// generation before decides again, by the kernel alone, unless [`Dataplane::confirm`] comes
    /// first.
    pub fn activate_until(&mut self, loaded: Loaded, deadline: u64) -> Result<(), Error> {
        generation::keep(&self.pins, self.current.number)?;
        // Armed first: should this process end here, the old generation decides in both slots.
        self.control.publish(DEADLINE, deadline);
        match loaded.put(&self.pins, self.kind, abi::SLOT_CURRENT) {
            Ok(next) => {
                self.previous = Some(std::mem::replace(&mut self.current, next));
                self.forget_others();
                Ok(())
            }
            Err(e) => {
                self.disarm();
                Err(e)
            }
        }
    }

    /// Keeps the generation in force for good; returns the one before.
    pub fn confirm(&mut self) -> Option<Generation> {
        self.disarm();
        let old = self.previous.take();
        self.forget_others();
        old
    }

    /// Puts the generation before in force again; returns the one that was not confirmed.
    pub fn return_to_previous(&mut self) -> Result<Option<Generation>, Error> {
        let Some(previous) = self.previous.take() else { return Ok(None) };
        if let Err(e) = generation::put_back(&self.pins, previous.number) {
            // The kernel goes on by its deadline.
            self.previous = Some(previous);
            return Err(e);
        }
        let refused = std::mem::replace(&mut self.current, previous);
        self.disarm();
        self.forget_others();
        Ok(Some(refused))
    }

    pub(super) fn disarm(&mut self) {
        self.control.publish(DEADLINE, 0);
        if let Err(e) = generation::forget(&self.pins) {
            warn!("the generation before stays in its slot: {e}");
        }
    }

    /// When the generation before decides again, boot clock, in nanoseconds.
    pub fn deadline(&self) -> Option<u64> {
        Some(self.control.read(DEADLINE)).filter(|deadline| *deadline != 0)
    }

    /// Puts a generation in the place of the one that decides again when the one in force is not
    /// confirmed, if there is one. Returns the generation that would have.
    pub fn put_previous(&mut self, loaded: Loaded) -> Result<Option<Generation>, Error> {
        if self.previous.is_none() {
            return Ok(None);
        }
        let next = loaded.put(&self.pins, self.kind, abi::SLOT_PREVIOUS)?;
        let old = self.previous.replace(next);
        self.forget_others();
        Ok(old)
    }

    /// The same for the image that decides again when the one in force is not confirmed, if there is
    /// one.
    pub fn patch_previous(&mut self, patch: &Patch) -> Result<(), Error> {
        self.previous.as_ref().map_or(Ok(()), |previous| previous.patch(&self.pins, patch))
    }
}
