//! Facts about the machine. An unknown fact says why, and what would help.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::api::Status;
use crate::backstop::Tables;
use crate::backstop::forward::Chain;
use crate::config::{Backstop, Xdp};
use crate::dataplane::inspect::Pinned;
use crate::dataplane::offload::Feature;
use crate::host::{Link, OnLink};

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Why.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl Unseen {
    /// A fact that root could see.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: "run it as root".into() }
    }
}

/// A known fact, or why it is unknown.
pub type Known<T> = Result<T, Unseen>;

/// All facts.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The machine.
    pub machine: Machine,
    /// Its network.
    pub network: Network,
    /// The interfaces that are or should be protected.
    pub interfaces: Vec<Interface>,
    /// What enforces now.
    pub enforcement: Enforcement,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Major and minor number of the kernel.
    pub kernel: (u8, u8),
    /// `6.18.44`, as `uname -r` says.
    pub release: String,
    /// Capabilities that this process lacks for enforcing.
    pub lacking: Vec<&'static str>,
    /// Whether it runs in a user namespace, where capabilities do not count.
    pub contained: bool,
    /// Where pins go.
    pub pins: PathBuf,
    /// Whether that is on a BPF file system.
    pub bpffs: Known<bool>,
    /// Limit of locked memory, in bytes; `None`: unlimited.
    pub locked: Option<u64>,
    /// `kernel.unprivileged_bpf_disabled`; `None` if the kernel has no such setting.
    pub unprivileged: Option<u32>,
    /// Most neighbours that the kernel keeps, for IPv4 and IPv6 (`gc_thresh3`), if available.
    pub neighbours: Vec<(&'static str, u32)>,
    /// Seconds since 1970-01-01 UTC.
    pub now: i64,
    /// Whether the clock is synchronised, according to the kernel (adjtimex).
    pub synchronised: Known<bool>,
    /// Where the daemon keeps its state.
    pub state: PathBuf,
    /// The disk there.
    pub disk: Known<Disk>,
}

/// Where state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that are free.
    pub free: u64,
    /// Whether it is in memory and lost at a reboot.
    pub volatile: bool,
    /// Whether this process could write there.
    pub writable: bool,
}

/// The network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every address.
    pub addresses: Vec<OnLink>,
    /// Interfaces that default routes leave by.
    pub uplinks: BTreeSet<u32>,
    /// Whether IPv4 is forwarded (`net.ipv4.ip_forward`).
    pub forwards_v4: bool,
    /// Whether IPv6 is; `None` on a kernel without it.
    pub forwards_v6: Option<bool>,
    /// Whether bridged traffic passes the IP chains too (br_netfilter).
    pub bridge_calls_ip: bool,
    /// Programs whose tables in the kernel `nft` does not show: iptables-legacy.
    pub legacy: Vec<&'static str>,
}

/// An interface that is or should be protected.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The link from rtnetlink; `None` if it does not exist.
    pub link: Option<Link>,
    /// Its features, by the kernel's names; none without hardware.
    pub features: Known<BTreeMap<String, Feature>>,
    /// Its driver, if it has one.
    pub driver: Option<String>,
    /// Why native XDP would not run here although the driver supports it; see
    /// [`crate::dataplane::native_hindrance`].
    pub hindrance: Option<String>,
    /// Native features of its driver; `None` if the kernel does not report them (before 6.3).
    pub native: Option<Native>,
}

/// A driver's support for XDP programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Native {
    /// It can run them.
    pub basic: bool,
    /// It can give them frames that are spread over several buffers.
    pub fragments: bool,
}

/// What enforces now.
#[derive(Clone, Debug)]
pub struct Enforcement {
    /// The daemon's answer; `None` when none runs.
    pub daemon: Known<Option<Status>>,
    /// What is pinned; `None` when nothing is.
    pub pinned: Known<Option<Pinned>>,
    /// The backstop's tables.
    pub tables: Known<Tables>,
    /// The setting about them.
    pub backstop: Backstop,
    /// The setting about modes.
    pub xdp: Xdp,
    /// Flowtables, which bypass the packet filter.
    pub flowtables: Known<Vec<Flowtable>>,
    /// Chains of other tools that drop forwarded traffic.
    pub forward: Known<Vec<Chain>>,
}

/// A flowtable: flows that nftables forwards by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flowtable {
    /// Family, table and name, as for `nft delete flowtable`.
    pub name: String,
    /// The interfaces whose frames it takes.
    pub devices: BTreeSet<String>,
    /// Whether hardware forwards them.
    pub hardware: bool,
}

impl Flowtable {
    /// Reads the answer of `nft -j list flowtables` (libnftables-json(5)).
    pub fn read(listing: &serde_json::Value) -> Vec<Self> {
        let objects = listing.get("nftables").and_then(|list| list.as_array());
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let table = |object: &serde_json::Value| {
            let body = object.get("flowtable")?;
            let part = |field: &str| body.get(field).and_then(text);
            let [family, table, name] = ["family", "table", "name"].map(part);
            // A single element is not a list.
            let many = |field: &str| -> BTreeSet<String> {
                match body.get(field) {
                    Some(serde_json::Value::Array(list)) => list.iter().filter_map(text).collect(),
                    Some(one) => text(one).into_iter().collect(),
                    None => BTreeSet::new(),
                }
            };
            let hardware = many("flags").contains("offload");
            Some(Self { name: [family?, table?, name?].join(" "), devices: many("dev"), hardware })
        };
        objects.into_iter().flatten().filter_map(table).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_flowtables() {
        let listing = serde_json::json!({ "nftables": [
            { "metainfo": { "version": "1.0.6" } },
            { "flowtable": { "family": "inet", "name": "fast", "table": "filter", "handle": 3,
                "hook": "ingress", "prio": 0, "dev": ["lan0", "wan0"], "flags": "offload" } },
            { "flowtable": { "family": "ip", "name": "one", "table": "x", "handle": 4,
                "hook": "ingress", "prio": 0, "dev": "lan1" } },
        ] });
        let tables = Flowtable::read(&listing);
        assert_eq!(tables[0].name, "inet filter fast");
        assert_eq!(tables[0].devices, ["lan0".to_owned(), "wan0".to_owned()].into());
        assert_eq!((tables[0].hardware, tables[1].hardware), (true, false));
        assert_eq!(tables[1].devices, ["lan1".to_owned()].into());
    }
}
