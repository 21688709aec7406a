//! Interfaces, addresses and routes of the machine, from rtnetlink.

mod claims;
mod heard;
mod hops;
pub mod neighbours;
pub mod route;
pub mod survey;
pub mod tables;

use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage, LinkXdp, XdpAttached,
};
use rtnetlink::packet_route::tc::TcMessage;
use rtnetlink::{Handle, new_connection};

use self::survey::Routes;
use crate::dataplane::{Attached, Filter, Interface};
use crate::fault::Fault;
pub use crate::policy::OnLink;
use crate::policy::{Host, HostInterface, Mac};

/// Why the machine cannot be queried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] std::io::Error),
    /// A request failed.
    #[error("cannot read {what} over netlink")]
    Request {
        /// The request.
        what: &'static str,
        /// Why it failed.
        source: Box<rtnetlink::Error>,
    },
}

impl Fault for Error {}

/// An interface as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MAC, all zero if it has none.
    pub mac: Mac,
    /// The XDP program that is attached to it.
    pub attached: Attached,
    /// Its kind, if it is virtual: `veth`, `vlan`, `bond`.
    pub kind: Option<InfoKind>,
    /// Index of the interface whose port it is.
    pub controller: Option<u32>,
    /// Index of the interface that it is on top of.
    pub lower: Option<u32>,
    /// The id that it adds and removes, if it is a VLAN device.
    pub vlan: Option<u16>,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Most bytes of payload in a frame.
    pub mtu: u32,
    /// Identity of the switch chip whose port it is.
    pub switch: Option<Vec<u8>>,
    /// Its link type, if its frames have no Ethernet header: `none`, `ppp`.
    pub no_ethernet: Option<String>,
    /// Frames that it has received, by the driver's own statistics.
    pub received: u64,
    /// Its bridge settings, if it is a bridge.
    pub bridge: Option<Bridge>,
}

/// Settings of a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Reserved groups that it forwards nevertheless, by the last four bits of the MAC (`group_fwd_mask`).
    pub forwards: u16,
    /// Most MACs that it learns; 0 is any number (Linux 6.8).
    pub most_learned: u32,
}

impl Link {
    /// The interface in the data plane's type, with its current name.
    pub fn interface<'a>(&self, name: &'a str) -> Interface<'a> {
        Interface { name, index: self.index, attached: self.attached, mtu: self.mtu }
    }

    /// The names of the interfaces below, if the program does not see all frames on this one.
    ///
    /// A frame reaches such an interface from another one in `__netif_receive_skb_core` (net/core/dev.c),
    /// which has moved the VLAN tag out of the frame by then: generic XDP does not see it. Frames that a
    /// bridge forwards do not reach it at all. The native program of a bond (Linux 5.15) runs in the drivers
    /// of its ports, under their indices. A VRF becomes the interface of a packet only after XDP
    /// (drivers/net/vrf.c).
    pub fn hides_frames(&self, links: &[Self]) -> Option<Vec<String>> {
        use InfoKind::{Bond, Bridge, Hsr, IpVlan, IpVtap, MacVlan, MacVtap, Team, Vrf};
        let above = matches!(
            self.kind,
            Some(Bond | Bridge | Hsr | IpVlan | IpVtap | MacVlan | MacVtap | Team | Vrf)
        );
        let is_below =
            |link: &&Self| link.controller == Some(self.index) || self.lower == Some(link.index);
        above.then(|| links.iter().filter(is_below).map(|link| link.name.clone()).collect())
    }
}

/// The kernel's answers.
#[derive(Clone, Debug)]
pub struct Kernel {
    handle: Handle,
}

impl Kernel {
    /// Opens a netlink socket and drives it in a separate task.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = new_connection().map_err(Error::Socket)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Every interface.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let messages = self.handle.link().get().execute();
        let messages: Vec<_> = messages
            .try_collect()
            .await
            .map_err(|e| Error::Request { what: "interfaces", source: Box::new(e) })?;
        Ok(messages.iter().map(link).collect())
    }

    /// The filters on the transmit side of an interface.
    pub async fn filters(&self, index: u32) -> Result<Vec<Filter>, Error> {
        let request = self.handle.traffic_filter(index as i32).get().egress();
        let messages: Vec<_> = request
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::Request { what: "filters", source: Box::new(e) })?;
        let filter = |message: &TcMessage| Filter {
            priority: (message.header.info >> 16) as u16,
            handle: message.header.handle.into(),
        };
        Ok(messages.iter().map(filter).collect())
    }

    /// Every address of every interface.
    pub async fn addresses(&self) -> Result<Vec<OnLink>, Error> {
        let messages = self.handle.address().get().execute();
        let messages: Vec<_> = messages
            .try_collect()
            .await
            .map_err(|e| Error::Request { what: "addresses", source: Box::new(e) })?;
        let on_link = |message: &AddressMessage| {
            let (interface, length) = (message.header.index, message.header.prefix_len);
            Some(OnLink { interface, address: own_address(message)?, length })
        };
        Ok(messages.iter().filter_map(on_link).collect())
    }

    /// The host: the `protected` interfaces of all `links`, and the addresses and MACs that devices must
    /// not claim.
    pub async fn host(&self, protected: &[Link], links: &[Link], now: i64) -> Result<Host, Error> {
        let mut host = Host { now, ..Host::default() };
        host.interfaces = protected
            .iter()
            .map(|link| HostInterface {
                name: link.name.clone(),
                index: link.index,
                mac: link.mac,
                above: claims::above(link, links),
                ..HostInterface::default()
            })
            .collect();
        let addresses = self.addresses().await?;
        for found in &addresses {
            host.own.push(found.address);
            let interface = host.interfaces.iter_mut().find(|other| other.index == found.interface);
            if let Some(interface) = interface
                && !found.is_link_local()
            {
                interface.prefixes.push((found.address, found.length));
            }
        }
        host.macs = claims::macs(protected, links, &addresses);
        let Routes { default, gateways } = self.routes().await?;
        let neighbours = self.neighbours().await?;
        host.routers = claims::routers(protected, links, &default, &neighbours);
        for interface in &mut host.interfaces {
            let link = neighbours::at_and_above(interface.index, links);
            interface.on_link =
                addresses.iter().filter(|own| link.contains(&own.interface)).copied().collect();
            hops::learn(interface, &link, &gateways, &neighbours);
        }
        // The host must not depend on the order of the kernel's answer.
        host.own.sort_unstable();
        host.own.dedup();
        for interface in &mut host.interfaces {
            interface.prefixes.sort_unstable();
            interface.prefixes.dedup();
            interface.on_link.sort_unstable();
        }
        Ok(host)
    }
}

/// The link type of an interface of this machine, from sysfs, if it is not Ethernet (ARPHRD_…,
/// include/uapi/linux/if_arp.h). `None` if there is no such interface.
pub fn link_type_other_than_ethernet(interface: &str) -> Option<u16> {
    let path = std::path::Path::new("/sys/class/net").join(interface).join("type");
    let number: u16 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    other_than_ethernet(number.into()).map(|_| number)
}

/// The kernel's id of the current boot (random(4)), only letters and digits. `None` if neither the kernel
/// nor the unit provides it: systemd hides /proc/sys from a confined service, and its `%b` has the same
/// value.
pub fn boot_id() -> Option<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let text = kernel.or_else(|| std::env::var("ENFORCER_BOOT_ID").ok())?;
    let id: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    (!id.is_empty()).then_some(id)
}

/// On a point-to-point interface, `Local` is ours and `Address` the peer's.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let mut address = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(local) = attribute {
            address = Some(*local);
        } else if let AddressAttribute::Address(other) = attribute {
            address = address.or(Some(*other));
        }
    }
    address
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        loopback: flags.contains(LinkFlags::Loopback),
        no_ethernet: other_than_ethernet(message.header.link_layer_type),
        ..Link::default()
    };
    let mut elsewhere = false;
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Address(address) = attribute {
            if let Ok(mac) = <[u8; 6]>::try_from(address.as_slice()) {
                link.mac = Mac(mac);
            }
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        } else if let LinkAttribute::Stats64(statistics) = attribute {
            link.received = statistics.rx_packets;
        } else if let LinkAttribute::PhysSwitchId(id) = attribute {
            link.switch = id.id.get(..id.len).map(<[u8]>::to_vec);
        } else if let LinkAttribute::Xdp(xdp) = attribute {
            link.attached = attached(xdp);
        } else if let LinkAttribute::Link(lower) = attribute {
            link.lower = Some(*lower).filter(|lower| *lower != 0 && *lower != link.index);
        } else if let LinkAttribute::Controller(index) = attribute {
            link.controller = Some(*index).filter(|index| *index != 0);
        } else if let LinkAttribute::LinkNetNsId(_) = attribute {
            elsewhere = true;
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            link.kind = infos.iter().find_map(kind);
            link.vlan = infos.iter().find_map(vlan);
            link.bridge = infos.iter().find_map(bridge);
        }
    }
    // The other end of a pair is not below it.
    let is_pair = matches!(link.kind, Some(InfoKind::Veth));
    link.lower = link.lower.filter(|_| !elsewhere && !is_pair);
    link
}

/// The type of an interface (ARPHRD_…, include/uapi/linux/if_arp.h), if its frames have no Ethernet header.
/// Frames of the loopback have one.
fn other_than_ethernet(kind: LinkLayerType) -> Option<String> {
    let is_ethernet = matches!(kind, LinkLayerType::Ether | LinkLayerType::Loopback);
    (!is_ethernet).then(|| format!("{kind:?}").to_lowercase())
}

fn kind(info: &LinkInfo) -> Option<InfoKind> {
    if let LinkInfo::Kind(kind) = info { Some(kind.clone()) } else { None }
}

fn vlan(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(data)) = info else { return None };
    data.iter().find_map(|data| if let InfoVlan::Id(id) = data { Some(*id) } else { None })
}

fn bridge(info: &LinkInfo) -> Option<Bridge> {
    let LinkInfo::Data(InfoData::Bridge(data)) = info else { return None };
    let mut bridge = Bridge::default();
    for data in data {
        if let InfoBridge::GroupFwdMask(mask) = data {
            bridge.forwards = *mask;
        } else if let InfoBridge::FdbMaxLearned(most) = data {
            bridge.most_learned = *most;
        }
    }
    Some(bridge)
}

fn attached(xdp: &[LinkXdp]) -> Attached {
    let mut attached = Attached::default();
    for attribute in xdp {
        if let LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) = attribute {
            attached.native = true;
        } else if let LinkXdp::ProgId(id) = attribute {
            attached.program = Some(*id).filter(|id| *id != 0);
        }
    }
    attached
}

/// Whether bridged traffic passes the IP chains; never without the module br_netfilter.
pub fn bridge_calls_ip() -> bool {
    ["iptables", "ip6tables"]
        .iter()
        .any(|name| is_on(&format!("bridge/bridge-nf-call-{name}")).unwrap_or(false))
}

/// A switch below /proc/sys/net; `None` where the kernel has none.
pub fn is_on(name: &str) -> Option<bool> {
    Some(std::fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?.trim() != "0")
}
