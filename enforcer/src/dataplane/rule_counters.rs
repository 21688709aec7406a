//! The counters of a generation's rules.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use enforcer_common::abi::RuleCounter;

use super::Error;

/// The table that a program counts in.
type Table = PerCpuArray<MapData, RuleCounter>;

/// The counters of a generation's rules, as long as anybody wants to know them: the program may serve another
/// generation meanwhile.
pub(super) struct RuleCounters {
    table: Arc<Mutex<Table>>,
    /// What they were when the program was given to another generation.
    last: Mutex<Option<Vec<RuleCounter>>>,
}

impl RuleCounters {
    /// Those of a table in the kernel.
    pub(super) fn new(table: Map) -> Result<Self, Error> {
        let table = PerCpuArray::try_from(table).map_err(Error::Map)?;
        Ok(Self { table: Arc::new(Mutex::new(table)), last: Mutex::default() })
    }

    /// A rule's counters, summed over all CPUs; zero for a rule that there is not.
    pub(super) fn get(&self, rule: u32) -> RuleCounter {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) => last.get(rule as usize).copied().unwrap_or_default(),
            None => read(&self.table.lock().unwrap_or_else(PoisonError::into_inner), rule)
                .unwrap_or_default(),
        }
    }

    /// Keeps the values and gives the table, set to zero, to the next generation.
    ///
    /// No program may be counting in it any more.
    ///
    /// # Errors
    ///
    /// The kernel refuses; values may then be missing in the table, and none here.
    pub(super) fn hand_on(&self) -> Result<Self, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values = Vec::new();
        for rule in 0..table.len() {
            values.push(read(&table, rule).map_err(Error::Map)?);
        }
        *last = Some(values.clone());
        let cpus = aya::util::nr_cpus().map_err(|(what, e)| Error::io(what, "/sys".as_ref(), e))?;
        for (rule, _) in (0u32..).zip(values).filter(|(_, value)| *value != RuleCounter::default())
        {
            let zero = PerCpuValues::try_from(vec![RuleCounter::default(); cpus]);
            let zero = zero.map_err(|e| Error::io("count the CPUs in", "/sys".as_ref(), e))?;
            table.set(rule, zero, 0).map_err(Error::Map)?;
        }
        Ok(Self { table: Arc::clone(&self.table), last: Mutex::default() })
    }
}

fn read(table: &Table, rule: u32) -> Result<RuleCounter, MapError> {
    let mut sum = RuleCounter::default();
    for value in table.get(&rule, 0)?.iter() {
        sum.frames = sum.frames.wrapping_add(value.frames);
        sum.bytes = sum.bytes.wrapping_add(value.bytes);
    }
    Ok(sum)
}
