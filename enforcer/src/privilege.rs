//! Capabilities: the daemon keeps those that it needs, and drops the others.
//!
//! Capabilities belong to threads, not to processes: each thread drops its own.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

/// The capabilities that the daemon keeps, if it has them. CAP_PERFMON is effective only inside
/// [`to_load`].
const NEEDED: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);
/// Capabilities of `nft`, whichever user runs the daemon.
const INHERITED: CapabilitySet = CapabilitySet::NET_ADMIN;

/// Whether this thread may load and attach programs, judging by its capabilities.
pub fn may_load() -> bool {
    let set = effective();
    set.contains(CapabilitySet::NET_ADMIN)
        && set.intersects(CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN))
}

/// The needed capabilities that this thread lacks, by the kernel's names.
pub fn lacking() -> Vec<&'static str> {
    let (set, admin) = (effective(), CapabilitySet::SYS_ADMIN);
    let needed = [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::BPF.union(admin), "CAP_BPF"),
        (CapabilitySet::PERFMON.union(admin), "CAP_PERFMON"),
    ];
    needed.into_iter().filter(|(any, _)| !set.intersects(*any)).map(|(_, name)| name).collect()
}

/// Why nothing can be enforced from a user namespace.
pub const INSIDE: &str = "this is a user namespace (an unprivileged container), in which the kernel \
                          loads XDP programs for no user, root included";
/// What to do about a user namespace.
pub const OUTSIDE: &str = "run it on the host, or in a privileged container";

/// Whether this is a user namespace, as in an unprivileged container. Its root has no power over
/// the kernel: loading a program requires capabilities in the initial namespace (`bpf_capable` in
/// include/linux/capability.h).
pub fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !is_initial(&map))
}

/// Whether a user id map is that of the initial namespace: every id maps to itself
/// (user_namespaces(7)).
fn is_initial(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The effective capabilities; all of them if the kernel does not report them, because it will
/// refuse later.
fn effective() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::all(), |sets| sets.effective)
}

/// Runs `load` with CAP_PERFMON effective on this thread, if permitted: the verifier requires it for
/// a program that computes with pointers into the frame.
pub fn to_load<T>(load: impl FnOnce() -> T) -> T {
    let Ok(sets) = capabilities(None) else { return load() };
    let raised = CapabilitySets {
        effective: sets.effective | (sets.permitted & CapabilitySet::PERFMON),
        ..sets
    };
    // If the kernel refuses this, it will refuse the program too, and that error is reported.
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

/// Drops every capability that is not needed, for this thread and the programs that it starts.
///
/// # Errors
///
/// A step that the kernel refuses; earlier steps are done.
pub fn drop_unneeded() -> io::Result<()> {
    let sets = capabilities(None)?;
    let mut keep = sets.permitted & NEEDED;
    if !keep.contains(CapabilitySet::BPF) {
        // It implies CAP_BPF and CAP_PERFMON.
        keep |= sets.permitted & CapabilitySet::SYS_ADMIN;
    }
    // Changing these needs CAP_SETPCAP; a process without it keeps what it was given.
    if sets.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(keep).iter() {
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
        // Without these, a program started by root gets everything in the bounding set.
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
