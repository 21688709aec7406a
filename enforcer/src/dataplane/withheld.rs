//! Refused frames that have no event: the counters of each device's budget, and what they gained.

use std::collections::{BTreeMap, HashMap};

use aya::maps::{MapData, PerCpuArray};
use enforcer_common::abi::{self, Budget, Withheld};
use enforcer_common::event::held_by;
use enforcer_common::reason::{Reason, Verdict};

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
    /// Those that are not zero, by entry, CPU and slot of the reason.
    last: HashMap<(u32, usize, usize), Withheld>,
}

impl Counters {
    /// Begins with what was counted so far.
    pub(super) fn new(budgets: PerCpuArray<MapData, Budget>) -> Self {
        let mut counters = Self { budgets, last: HashMap::new() };
        counters.gained();
        counters
    }

    /// What they gained since the last look. Whoever holds an entry is who gained it: the one before
    /// was silent for [`abi::HOLD`], many looks long.
    pub(super) fn gained(&mut self) -> Vec<Share> {
        let mut shares = BTreeMap::new();
        for entry in 0..=abi::OTHERS {
            let Ok(cpus) = self.budgets.get(&entry, 0) else { continue };
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
        let share = |((holder, slot), (suppressed, lost)): ((u64, usize), (u64, u64))| {
            let number = u8::try_from(slot).ok()?.checked_add(Reason::FIRST_REFUSAL)?;
            let (mac, verdict) = held_by(holder);
            Some(Share { mac, reason: Reason::from_number(number)?, verdict, suppressed, lost })
        };
        shares.into_iter().filter_map(share).collect()
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
