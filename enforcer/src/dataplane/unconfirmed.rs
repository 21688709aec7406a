//! A generation that must be confirmed, and the previous one, which takes over otherwise.

use enforcer_common::abi;
use log::warn;

use super::generation::{self, Generation};
use super::loader::Loaded;
use super::{DEADLINE, Dataplane, Error};
use crate::image::Patch;

impl Dataplane {
    /// Puts a generation in force until `deadline` (boot clock, in nanoseconds): from then on the
    /// kernel itself returns to the previous generation, unless [`Dataplane::confirm`] comes first.
    pub fn activate_until(&mut self, loaded: Loaded, deadline: u64) -> Result<(), Error> {
        generation::keep(&self.pins, self.current.number)?;
        // Set the deadline first: if this process ends here, both slots have the old generation.
        self.control.publish(DEADLINE, deadline);
        match loaded.put(&self.pins, abi::SLOT_CURRENT) {
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

    /// Keeps the active generation; returns the previous one.
    pub fn confirm(&mut self) -> Option<Generation> {
        self.disarm();
        let mut old = self.previous.take();
        if let Some(old) = &mut old {
            self.spare = old.spare();
        }
        self.forget_others();
        old
    }

    /// Puts the previous generation in force again; returns the one that was not confirmed.
    pub fn return_to_previous(&mut self) -> Result<Option<Generation>, Error> {
        let Some(previous) = self.previous.take() else { return Ok(None) };
        if let Err(e) = generation::put_back(&self.pins, previous.number) {
            // The kernel still has its deadline.
            self.previous = Some(previous);
            return Err(e);
        }
        let mut refused = std::mem::replace(&mut self.current, previous);
        self.disarm();
        self.spare = refused.spare();
        self.forget_others();
        Ok(Some(refused))
    }

    pub(super) fn disarm(&mut self) {
        self.control.publish(DEADLINE, 0);
        if let Err(e) = generation::forget(&self.pins) {
            warn!("the previous generation stays in its slot: {e}");
        }
    }

    /// When the previous generation takes over again, boot clock, in nanoseconds.
    pub fn deadline(&self) -> Option<u64> {
        Some(self.control.read(DEADLINE)).filter(|deadline| *deadline != 0)
    }

    /// Replaces the previous generation, which takes over if the active one is not confirmed, if
    /// there is one. Returns the replaced one.
    pub fn put_previous(&mut self, loaded: Loaded) -> Result<Option<Generation>, Error> {
        if self.previous.is_none() {
            return Ok(None);
        }
        let next = loaded.put(&self.pins, abi::SLOT_PREVIOUS)?;
        let mut old = self.previous.replace(next);
        self.spare = old.as_mut().and_then(Generation::spare);
        self.forget_others();
        Ok(old)
    }

    /// Patches the image of the previous generation, if there is one.
    pub fn patch_previous(&mut self, patch: &Patch) -> Result<(), Error> {
        self.previous.as_ref().map_or(Ok(()), |previous| previous.patch(&self.pins, patch))
    }
}
