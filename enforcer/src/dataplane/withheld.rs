//! Refused frames that have no event: the counters of each device's budget, and what they gained.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Map, MapData, PerCpuArray};
use aya::util::nr_cpus;
use enforcer_common::abi::{self, Budget, Withheld, map};
use enforcer_common::event::held_by;
use enforcer_common::reason::{Reason, Verdict};
use log::debug;

use super::error::Error;
use super::object;

/// Entries read by one call.
const BATCH: u32 = 64;

/// Refused frames of a device and a reason that had no event, since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Source MAC; `None` for all devices that had no entry of their own.
    pub mac: Option<u64>,
    /// Why they were refused.
    pub reason: Reason,
    /// What became of them.
    pub verdict: Verdict,
    /// Withheld by the budget.
    pub suppressed: u64,
    /// Lost because the ring was full.
    pub lost: u64,
}

/// Reads the counters, and knows what they were.
pub(super) struct Counters {
    budgets: PerCpuArray<MapData, Budget>,
    /// The same map; `None` once the kernel refused to read many entries by one call.
    many: Option<OwnedFd>,
    cpus: usize,
    /// Those that are not zero, by entry, CPU and slot of the reason.
    last: HashMap<(u32, usize, usize), Withheld>,
}

impl Counters {
    /// Begins with what was counted so far.
    pub(super) fn new(budgets: Map) -> Result<Self, Error> {
        let Map::PerCpuArray(data) = &budgets else { return Err(Error::Object(map::BUDGETS)) };
        let many = data.fd().as_fd().try_clone_to_owned().ok();
        let budgets = PerCpuArray::try_from(budgets).map_err(Error::Map)?;
        let cpus = nr_cpus().map_err(|(path, e)| Error::io("read", path.as_ref(), e))?;
        let mut counters = Self { budgets, many, cpus, last: HashMap::new() };
        counters.gained();
        Ok(counters)
    }

    /// What they gained since the last look. Whoever holds an entry is who gained it: the one before
    /// was silent for [`abi::HOLD`], many looks long.
    pub(super) fn gained(&mut self) -> Vec<Share> {
        let mut shares = BTreeMap::new();
        let mut read = vec![Budget::FREE; BATCH as usize * self.cpus];
        for first in (0..=abi::OTHERS).step_by(BATCH as usize) {
            let entries = BATCH.min(abi::OTHERS + 1 - first);
            let read = &mut read[..entries as usize * self.cpus];
            let read = self.read(first, read);
            for (entry, cpus) in (first..).zip(read.chunks(self.cpus)) {
                for (cpu, budget) in cpus.iter().enumerate() {
                    for (slot, now) in budget.withheld.iter().enumerate() {
                        if let Some(gained) = self.step((entry, cpu, slot), *now) {
                            let (suppressed, lost): &mut (u64, u64) =
                                shares.entry((budget.holder, slot)).or_default();
                            *suppressed += u64::from(gained.suppressed);
                            *lost += u64::from(gained.lost);
                        }
                    }
                }
            }
        }
        let share = |((holder, slot), (suppressed, lost)): ((u64, usize), (u64, u64))| {
            let number = u8::try_from(slot).ok()?.checked_add(Reason::FIRST_REFUSAL)?;
            let (mac, verdict) = held_by(holder);
            Some(Share { mac, reason: Reason::from_number(number)?, verdict, suppressed, lost })
        };
        shares.into_iter().filter_map(share).collect()
    }

    /// Reads entries from `first` on, as many as can be read.
    fn read<'a>(&mut self, first: u32, into: &'a mut [Budget]) -> &'a [Budget] {
        if let Some(map) = &self.many {
            match object::entries(map.as_fd(), first, self.cpus, into) {
                Ok(()) => return into,
                Err(e) => debug!("the budgets are read one by one: {e}"),
            }
            self.many = None;
        }
        let mut whole = 0;
        for (entry, cpus) in (first..).zip(into.chunks_mut(self.cpus)) {
            let Ok(values) = self.budgets.get(&entry, 0) else { break };
            cpus.copy_from_slice(&values);
            whole += cpus.len();
        }
        &into[..whole]
    }

    fn step(&mut self, at: (u32, usize, usize), now: Withheld) -> Option<Withheld> {
        if now == Withheld::default() && !self.last.contains_key(&at) {
            return None;
        }
        let before = self.last.insert(at, now).unwrap_or_default();
        let gained = Withheld {
            suppressed: now.suppressed.wrapping_sub(before.suppressed),
            lost: now.lost.wrapping_sub(before.lost),
        };
        (gained != Withheld::default()).then_some(gained)
    }
}
