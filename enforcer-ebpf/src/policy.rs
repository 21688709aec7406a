//! The policy: what the decision asks for, from the maps.

use enforcer_common::decide::Policy;
use enforcer_common::decide::answers::{Answers, Size};
use enforcer_common::decide::asked::Question;
use enforcer_common::decide::datagrams::Datagram;
use enforcer_common::decide::hops::Hop;
use enforcer_common::decide::limits::{Meters, Shared};
use enforcer_common::decide::rules::{Endpoint, Found};
use enforcer_common::flow::Address;
use enforcer_common::image::clock::Clocks;
use enforcer_common::image::{Corrupt, Layout, Line, Lines, Word};
use enforcer_common::keyed::Keys;
use enforcer_common::shared;

use crate::clock::{boot_time, tick_time};
use crate::maps::{
    ADDRESSES, ANSWERS, ASKED, CONTROL, FRAGMENTS, HOPS, IMAGE, KEYS, METERS, answers_size, header,
};
use crate::once;

/// The policy, as this generation's maps hold it.
pub(crate) struct Maps;

impl Lines for Maps {
    #[inline(always)]
    fn line(&self, number: u32) -> Option<&Line> {
        IMAGE.get(number)
    }

    #[inline(always)]
    fn entry(&self, number: u32, slot: u32) -> Option<u64> {
        let line = IMAGE.get_ptr(number)?.cast::<shared::Word>();
        // SAFETY: a line is eight aligned words, which last as long as the run. User space stores whole words, and no
        // reference to this line as a `Line` exists: only `entry` reads lines of groups.
        Some(unsafe { &*line.add((slot & 7) as usize) }.get())
    }

    #[inline(always)]
    fn tree_64(&self, word: Word, key: u64) -> Result<Word, Corrupt> {
        u32::try_from(once::walk_tree(word.0, key)).map(Word).map_err(|_| Corrupt)
    }
}

impl Policy for Maps {
    #[inline(always)]
    fn layout(&self) -> &Layout {
        &header().layout
    }

    #[inline(always)]
    fn clocks(&self) -> Result<Clocks, Corrupt> {
        let control = CONTROL.get(0).ok_or(Corrupt)?;
        let (latest, earliest) = (control.wall_offset.get(), control.held_offset.get());
        let boot = boot_time();
        let seconds = |offset: u64| boot.wrapping_add(offset) / 1_000_000_000;
        Ok(Clocks::new(seconds(latest), seconds(earliest), seconds(0)))
    }

    #[inline(always)]
    fn boot(&self) -> u64 {
        boot_time() / 1_000_000_000
    }

    #[inline(always)]
    fn seconds(&self) -> u64 {
        tick_time() / 1_000_000_000
    }

    #[inline(always)]
    fn nonce(&self) -> u64 {
        let nonce = &raw const header().nonce;
        // SAFETY: a reference is valid for reads. Volatile, because user space sets it after the build.
        unsafe { nonce.read_volatile() }
    }

    #[inline(always)]
    fn answers_size(&self) -> Size {
        answers_size()
    }

    #[inline(always)]
    fn answers(&self, number: u32) -> Option<&Answers> {
        ANSWERS.get(number)
    }

    #[inline(always)]
    fn question(&self, number: u32) -> Option<&Question> {
        ASKED.get(number)
    }

    #[inline(always)]
    fn rule(&self, descriptor: u32, to: Endpoint) -> Result<Found, Corrupt> {
        let Endpoint { family, address, service } = to;
        let which = u64::from(descriptor) | u64::from(family) << 32;
        let found = once::find_rule(which, address.high, address.low, service);
        let word = Word(found as u32);
        if found == u64::MAX { Err(Corrupt) } else { Ok(Found { word, ends: found >> 32 != 0 }) }
    }

    #[inline(always)]
    fn keys(&self) -> &Keys {
        &KEYS
    }

    #[inline(always)]
    fn datagram(&self, number: u32) -> Option<&Datagram> {
        FRAGMENTS.get(number)
    }

    #[inline(always)]
    fn hop(&self, hop: &Hop) -> Option<u64> {
        // SAFETY: user space replaces entries whole, and one that was removed stays readable while the
        // program runs (RCU).
        unsafe { HOPS.get(hop) }.copied()
    }
}

impl Meters for Maps {
    #[inline(always)]
    fn meter(&self, number: u32) -> Option<&Shared> {
        METERS.get(number)
    }

    #[inline(always)]
    fn known(&self, number: u32) -> Option<&Shared> {
        ADDRESSES.get(number)
    }

    #[inline(always)]
    fn charge(&self, meter: u32, word: u32, cost: u64, now: u64, window: u64) -> bool {
        once::charge_limit(meter, word, cost, now, window) != 0
    }

    #[inline(always)]
    fn find(&self, sender: u64, address: Address, now: u64, note: bool) -> bool {
        once::find_address(sender, address.high, address.low, now, note.into()) != 0
    }
}
