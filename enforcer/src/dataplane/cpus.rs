//! Sizes of tables that depend on the number of CPUs.

use enforcer_common::abi;
use enforcer_common::decide::flow_cache;

/// Lines of the flow cache: the same number for each CPU up to the last one that is online. A CPU that is brought
/// online later has no cache.
pub(super) fn cache_lines(with_cache: bool) -> u32 {
    if with_cache { cpus("online").saturating_mul(flow_cache::LINES) } else { 1 }
}

/// Entries of [`map::BUDGETS`], [`abi::map::SEEN`] and [`abi::map::RUNS`], for all possible CPUs.
pub(super) fn of_all_cpus() -> [u32; 3] {
    let cpus = cpus("possible");
    [abi::BUDGETS_A_CPU, abi::SEEN, abi::RUNS_A_CPU].map(|entries| cpus.saturating_mul(entries))
}

/// CPUs up to the last one of a list of the kernel's.
fn cpus(list: &str) -> u32 {
    let path = format!("/sys/devices/system/cpu/{list}");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    let last = list.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last + 1)
}
