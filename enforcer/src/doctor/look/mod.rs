//! Gathers facts and changes nothing: rtnetlink, /proc, ethtool's requests, nft, the daemon's socket.
//!
//! Not /sys: it shows the interfaces of the network namespace in which it was mounted.
//!
//! - `machine`: kernel, rights, clock, disk
//! - `netdev`: XDP features of drivers, over generic netlink

mod machine;
mod netdev;

use std::collections::BTreeMap;
use std::fs;
use std::io;

use super::chain;
use super::facts::{Enforcement, Facts, Flowtable, Interface, Known, Network, Unseen};
use crate::backstop;
use crate::config::Settings;
use crate::control::client::{self, Client};
use crate::dataplane::native_hindrance;
use crate::dataplane::{inspect, offload};
use crate::fault::Fault as _;
use crate::host::{self, Kernel, Link};

/// Gathers all facts. If the settings name no interface, the daemon's interfaces are used.
///
/// # Errors
///
/// The kernel does not list its interfaces: without them nothing can be judged.
pub async fn look(settings: &Settings) -> Result<Facts, host::Error> {
    let kernel = Kernel::open()?;
    let links = kernel.links().await?;
    let daemon = match Client::new(&settings.socket).status().await {
        Ok(status) => Ok(Some(status)),
        Err(client::Error::NotRunning { .. }) => Ok(None),
        Err(e) => {
            let remedy = e.hint().unwrap_or("run it as root".into());
            Err(Unseen { why: chain(&e), remedy })
        }
    };
    let mut names = settings.interfaces.clone();
    if let (true, Ok(Some(status))) = (names.is_empty(), &daemon) {
        names.extend(status.interfaces.iter().map(|row| row.name.clone()));
    }
    let interfaces = names.iter().map(|name| interface(name, &links)).collect();
    let neighbours = kernel.most_neighbours().await.unwrap_or_default();
    let network = Network {
        links,
        addresses: kernel.addresses().await?,
        uplinks: kernel.uplinks().await?,
        forwards_v4: host::is_on("ipv4/ip_forward").unwrap_or(false),
        forwards_v6: host::is_on("ipv6/conf/all/forwarding"),
        bridge_calls_ip: host::bridge_calls_ip(),
        legacy: legacy(),
    };
    let enforcement = Enforcement {
        daemon,
        pinned: inspect::pinned(&settings.bpffs).map_err(|e| Unseen::new(chain(&e))),
        tables: backstop::look().await.map_err(unseen),
        backstop: settings.backstop,
        xdp: settings.xdp,
        flowtables: flowtables().await,
        forward: backstop::forward::look().await.map_err(unseen),
    };
    Ok(Facts { machine: machine::look(settings, neighbours), network, interfaces, enforcement })
}

fn interface(name: &str, links: &[Link]) -> Interface {
    let link = links.iter().find(|link| link.name == name).cloned();
    let features = match offload::features(name) {
        // There is no hardware behind it.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(BTreeMap::new()),
        result => result.map_err(|e| Unseen::new(format!("features of {name}: {e}"))),
    };
    Interface {
        name: name.to_owned(),
        features,
        driver: offload::driver_info(name).ok().map(|info| info.driver),
        hindrance: link.as_ref().and_then(|link| native_hindrance(name, link.mtu)),
        native: link.as_ref().and_then(|link| netdev::native(link.index).ok()),
        link,
    }
}

/// Legacy packet filters with a table `filter`.
fn legacy() -> Vec<&'static str> {
    let kinds = [("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")];
    let has_filter = |file: &str| {
        let names = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        names.lines().any(|name| name == "filter")
    };
    kinds.iter().filter(|(file, _)| has_filter(file)).map(|(_, program)| *program).collect()
}

async fn flowtables() -> Known<Vec<Flowtable>> {
    Ok(Flowtable::read(&backstop::flowtables().await.map_err(unseen)?))
}

fn unseen(error: backstop::Error) -> Unseen {
    Unseen { why: chain(&error), remedy: error.hint().unwrap_or("run it as root".into()) }
}

/// The value of a system call that fails with -1.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
