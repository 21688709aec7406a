//! Capabilities: what the kernel asks of the daemon, and nothing else.
//!
//! A thread has capabilities, not a process: each thread gives its own up.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

/// What the daemon keeps, as far as it has it. CAP_PERFMON is in force only inside [`to_load`].
const NEEDED: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);
/// Capabilities of `nft`, whichever user runs the daemon.
const INHERITED: CapabilitySet = CapabilitySet::NET_ADMIN;

/// Whether this thread may load and attach programs, as far as its capabilities tell.
pub fn may_load() -> bool {
    let set = effective();
    set.contains(CapabilitySet::NET_ADMIN)
        && set.intersects(CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN))
}

/// What this thread lacks of what the daemon needs, by the kernel's names.
pub fn lacking() -> Vec<&'static str> {
    let (set, admin) = (effective(), CapabilitySet::SYS_ADMIN);
    let needed = [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::BPF.union(admin), "CAP_BPF"),
        (CapabilitySet::PERFMON.union(admin), "CAP_PERFMON"),
    ];
    needed.into_iter().filter(|(any, _)| !set.intersects(*any)).map(|(_, name)| name).collect()
}

/// What to do about a user namespace.
pub const OUTSIDE: &str = "run it on the host, or in a privileged container";

/// Whether this is a user namespace, as in an unprivileged container. Its root is not the kernel's:
/// loading a program asks for capabilities in the initial namespace (`bpf_capable` in
/// include/linux/capability.h).
pub fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !is_initial(&map))
}

/// Whether a map of user ids is that of the initial namespace: every id is itself
/// (user_namespaces(7)).
fn is_initial(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The capabilities in force; all of them where the kernel does not tell: it will refuse then.
fn effective() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::all(), |sets| sets.effective)
}

/// Runs `load` with CAP_PERFMON in force on this thread, as far as it is permitted: the verifier asks
/// it of a program that computes with pointers into the frame.
pub fn to_load<T>(load: impl FnOnce() -> T) -> T {
    let Ok(sets) = capabilities(None) else { return load() };
    let raised = CapabilitySets {
        effective: sets.effective | (sets.permitted & CapabilitySet::PERFMON),
        ..sets
    };
    // Where the kernel refuses, so it will the program, and that is what will be told.
    let was_raised = raised != sets && set_capabilities(None, raised).is_ok();
    let loaded = load();
    if was_raised && let Err(e) = set_capabilities(None, sets) {
        log::error!("CAP_PERFMON stays in force: {e}");
    }
    loaded
}

/// Lifts the limit of locked memory, by which Linux before 5.11 counts maps. Needs
/// CAP_SYS_RESOURCE; without it the limit stays as it is.
pub fn lift_memory_lock() {
    if let Err(e) = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }) {
        log::debug!("the limit of locked memory stays: {e}");
    }
}

/// Gives up, for this thread and what it starts, every capability but those that it needs.
///
/// # Errors
///
/// What the kernel refuses; everything up to there is given up.
pub fn drop_unneeded() -> io::Result<()> {
    let sets = capabilities(None)?;
    let mut keep = sets.permitted & NEEDED;
    if !keep.contains(CapabilitySet::BPF) {
        // It stands for CAP_BPF and CAP_PERFMON.
        keep |= sets.permitted & CapabilitySet::SYS_ADMIN;
    }
    // Changing these needs CAP_SETPCAP; a process without it keeps what it was given.
    if sets.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(keep).iter() {
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
        // Without these, a program that root starts gets all that is in the bounding set.
        let no_root = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
        set_capabilities_secure_bits(no_root)?;
    }
    clear_ambient_capability_set()?;
    let inherited = keep & INHERITED;
    let reduced = CapabilitySets {
        effective: keep.difference(CapabilitySet::PERFMON),
        permitted: keep,
        inheritable: inherited,
    };
    set_capabilities(None, reduced)?;
    for capability in inherited.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(set_no_new_privs(true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_user_ids() {
        assert!(is_initial("         0          0 4294967295\n"));
        // `unshare --map-root-user`, Podman as user 1000, LXC, and one that maps nothing.
        for map in [
            "         0          0          1\n",
            "         0       1000          1\n         1     100000      65536\n",
            "0 100000 65536",
            "0 1 4294967295",
            "",
        ] {
            assert!(!is_initial(map), "{map:?}");
        }
    }
}
