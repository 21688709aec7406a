//! Refused frames that have no event: the counters of each device's budget, and what they gained.

use std::collections::{BTreeMap, HashMap};
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::Map;
use enforcer_common::abi::{self, Budget, map};
use enforcer_common::event::held_by;
use enforcer_common::reason::{Reason, Verdict};

use super::error::Error;
use super::memory::Memory;

/// Refused frames of a device and a reason that had no event, since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuppressedCounts {
    /// Source MAC; `None` for all devices that had no entry of their own.
    pub mac: Option<u64>,
    /// Index of the interface that received them, modulo 2^13; `None` with no MAC.
    pub interface: Option<u32>,
    /// Why they were refused.
    pub reason: Reason,
    /// What became of them.
    pub verdict: Verdict,
    /// Unreported by the budget.
    pub suppressed: u64,
    /// Lost because the ring was full.
    pub lost: u64,
}

/// [`abi::Unreported`], as it was at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unreported {
    suppressed: u32,
    lost: u32,
}

/// Reads the counters, and knows what they were.
pub(super) struct Counters {
    budgets: Map,
    /// Those that are not zero, by number of the entry and slot of the reason.
    last: HashMap<(usize, usize), Unreported>,
}

/// 64-bit words of an entry.
const WORDS: usize = size_of::<Budget>() / 8;
/// The first of those with counters: one a reason.
const FIRST: usize = offset_of!(Budget, by_reason) / 8;

impl Counters {
    /// Begins with what was counted so far.
    pub(super) fn new(budgets: Map) -> Result<Self, Error> {
        let mut counters = Self { budgets, last: HashMap::new() };
        counters.gained()?;
        Ok(counters)
    }

    /// What they gained since the last look. Whoever holds an entry is who gained it: the one before
    /// was silent for [`enforcer_common::abi::ENTRY_TTL`], many looks long.
    ///
    /// The memory is mapped for the look alone: it would count as the daemon's own all the time.
    pub(super) fn gained(&mut self) -> Result<Vec<SuppressedCounts>, Error> {
        let Map::Array(data) = &self.budgets else { return Err(Error::Object(map::BUDGETS)) };
        let entries = data.info().map_err(Error::Map)?.max_entries() as usize;
        let memory = Memory::map(data.fd().as_fd(), entries * size_of::<Budget>())
            .map_err(|e| Error::io("map the memory of", Path::new(map::BUDGETS), e))?;
        let mut shares = BTreeMap::new();
        for entry in 0..entries {
            let holder = memory.read(entry * WORDS + offset_of!(Budget, holder) / 8);
            for slot in 0..Reason::REFUSALS {
                let [s0, s1, s2, s3, l0, l1, l2, l3] =
                    memory.read(entry * WORDS + FIRST + slot).to_ne_bytes();
                let now = Unreported {
                    suppressed: u32::from_ne_bytes([s0, s1, s2, s3]),
                    lost: u32::from_ne_bytes([l0, l1, l2, l3]),
                };
                if let Some(gained) = step(&mut self.last, (entry, slot), now) {
                    let (suppressed, lost): &mut (u64, u64) =
                        shares.entry((holder, slot)).or_default();
                    *suppressed += u64::from(gained.suppressed);
                    *lost += u64::from(gained.lost);
                }
            }
        }
        let share = |((holder, slot), (suppressed, lost)): ((u64, usize), (u64, u64))| {
            let number = u8::try_from(slot).ok()?.checked_add(Reason::FIRST_REFUSAL)?;
            let (sender, verdict) = held_by(holder);
            let (mac, interface) = (sender.map(|(mac, _)| mac), sender.map(|(_, it)| it));
            Some(SuppressedCounts {
                mac,
                interface,
                reason: Reason::from_number(number)?,
                verdict,
                suppressed,
                lost,
            })
        };
        Ok(shares.into_iter().filter_map(share).collect())
    }
}

/// What a counter gained since it was looked at last.
fn step(
    last: &mut HashMap<(usize, usize), Unreported>,
    at: (usize, usize),
    now: Unreported,
) -> Option<Unreported> {
    if now == Unreported::default() && !last.contains_key(&at) {
        return None;
    }
    let before = last.insert(at, now).unwrap_or_default();
    let gained = Unreported {
        suppressed: now.suppressed.wrapping_sub(before.suppressed),
        lost: now.lost.wrapping_sub(before.lost),
    };
    (gained != Unreported::default()).then_some(gained)
}

const _: () = assert!(size_of::<abi::Unreported>() == 8 && size_of::<Budget>().is_multiple_of(8));
