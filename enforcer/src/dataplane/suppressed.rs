//! Refused frames without an event: the growth of the counters in each device's budget.

use std::collections::{BTreeMap, HashMap};
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::Map;
use enforcer_common::abi::{self, Budget, map};
use enforcer_common::event::{Held, held_by};
use enforcer_common::reason::{Reason, Verdict};

use super::error::Error;
use super::memory::Memory;

/// Refused frames of a device and a reason without an event, since the last reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuppressedCounts {
    /// The device's MAC; `None` for all devices that had no entry of their own.
    pub mac: Option<u64>,
    /// Index of the interface that received them, modulo 2^13; `None` with no MAC.
    pub interface: Option<u32>,
    /// Why they were refused.
    pub reason: Reason,
    /// Their verdict.
    pub verdict: Verdict,
    /// Whether they were going to the device.
    pub inwards: bool,
    /// Unreported by the budget.
    pub suppressed: u64,
    /// Lost because the ring was full.
    pub lost: u64,
}

/// [`abi::Unreported`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unreported {
    suppressed: u32,
    lost: u32,
}

/// Reads the counters, and keeps their last values.
pub(super) struct Counters {
    budgets: Map,
    /// Those that are not zero, by number of the entry and slot of the reason.
    last: HashMap<(usize, usize), Unreported>,
}

/// 64-bit words of an entry.
const WORDS: usize = size_of::<Budget>() / 8;
/// The first word with counters; there is one for each reason.
const FIRST: usize = offset_of!(Budget, by_reason) / 8;

impl Counters {
    /// Starts from the current counts.
    pub(super) fn new(budgets: Map) -> Result<Self, Error> {
        let mut counters = Self { budgets, last: HashMap::new() };
        counters.gained()?;
        Ok(counters)
    }

    /// The growth since the last reading. It belongs to the current holder of an entry, because the
    /// previous one was silent for [`enforcer_common::abi::ENTRY_TTL`], much longer than the
    /// interval between readings.
    ///
    /// The memory is mapped only while reading; otherwise it would count as the daemon's memory.
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
            let Held { device, verdict, inwards } = held_by(holder);
            let (mac, interface) = (device.map(|(mac, _)| mac), device.map(|(_, it)| it));
            Some(SuppressedCounts {
                mac,
                interface,
                reason: Reason::from_number(number)?,
                verdict,
                inwards,
                suppressed,
                lost,
            })
        };
        Ok(shares.into_iter().filter_map(share).collect())
    }
}

/// The growth of a counter since its last reading.
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
