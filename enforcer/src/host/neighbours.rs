//! Makes neighbours answer: the kernel queries them (ARP, neighbour solicitations), and their answers
//! are frames that arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use super::{Error, Kernel, Link};

/// Most neighbours to query for an interface.
const MAX_ASKED: usize = 32;

/// The interface and those above it, on which its neighbours are known: VLAN devices, and the bridge whose
/// port it is.
pub fn at_and_above(index: u32, links: &[Link]) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([index]);
    loop {
        let controllers = links.iter().filter(|link| found.contains(&link.index));
        let controllers = controllers.filter_map(|link| link.controller);
        let uppers = links.iter().filter(|link| link.lower.is_some_and(|it| found.contains(&it)));
        let more: Vec<u32> = controllers.chain(uppers.map(|link| link.index)).collect();
        let before = found.len();
        found.extend(more);
        if found.len() == before {
            return found;
        }
    }
}

/// How a neighbour can be queried.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// It answered before with this MAC, and can be queried again.
    Known(Vec<u8>),
    /// It has not answered.
    Silent,
    /// It was set by hand and is left alone.
    Fixed,
}

impl Kernel {
    /// Makes the kernel query the neighbours on some interfaces: known ones and these addresses. Returns how
    /// many were queried.
    ///
    /// # Errors
    ///
    /// The neighbours cannot be read. Neighbours that cannot be queried are skipped: querying takes
    /// CAP_NET_ADMIN.
    pub async fn ask_neighbours(
        &self,
        interfaces: &BTreeSet<u32>,
        addresses: &[(u32, IpAddr)],
    ) -> Result<usize, Error> {
        let entries = self.entries().await?;
        let known = entries.iter().filter(|((index, _), entry)| {
            interfaces.contains(index) && matches!(entry, Entry::Known(_))
        });
        let known: BTreeSet<_> = known.map(|(key, _)| *key).take(MAX_ASKED).collect();
        let new = addresses.iter().filter(|key| !known.contains(key)).take(MAX_ASKED);
        let mut asked = 0;
        for key in known.iter().chain(new) {
            asked += usize::from(self.ask_one(*key, entries.get(key)).await);
        }
        Ok(asked)
    }

    /// Makes the kernel resolve some addresses on some interfaces; returns how many were queried.
    ///
    /// # Errors
    ///
    /// As for [`Kernel::ask_neighbours`].
    pub async fn ask(&self, addresses: &[(u32, IpAddr)]) -> Result<usize, Error> {
        if addresses.is_empty() {
            return Ok(0);
        }
        self.ask_neighbours(&BTreeSet::new(), addresses).await
    }

    /// Returns whether the kernel queries it.
    async fn ask_one(&self, (index, address): (u32, IpAddr), entry: Option<&Entry>) -> bool {
        let request = self.handle.neighbours().add(index, address).replace();
        let request = match entry {
            Some(Entry::Fixed) => return false,
            // Like `ip neigh replace … nud probe`: the entry stays, and the neighbour is queried at once.
            Some(Entry::Known(mac)) => request.link_layer_address(mac).state(NeighbourState::Probe),
            // As if a packet were waiting for it.
            Some(Entry::Silent) | None => {
                request.state(NeighbourState::None).flags(NeighbourFlags::Use)
            }
        };
        request.execute().await.is_ok()
    }

    /// The table of neighbours, by interface and address.
    async fn entries(&self) -> Result<BTreeMap<(u32, IpAddr), Entry>, Error> {
        let failed = |e| Error::Request { what: "neighbours", source: Box::new(e) };
        let mut found = BTreeMap::new();
        let mut heard = Box::pin(self.handle.neighbours().get().execute());
        while let Some(message) = heard.try_next().await.map_err(failed)? {
            found.extend(entry(&message));
        }
        Ok(found)
    }
}

/// An entry of the table of neighbours.
fn entry(message: &NeighbourMessage) -> Option<((u32, IpAddr), Entry)> {
    use NeighbourState::{Delay, Failed, Incomplete, None as Unset, Probe, Reachable, Stale};
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = Some(bytes.clone());
        } else if let NeighbourAttribute::Destination(destination) = attribute {
            if let NeighbourAddress::Inet(known) = destination {
                address = Some(IpAddr::V4(*known));
            } else if let NeighbourAddress::Inet6(known) = destination {
                address = Some(IpAddr::V6(*known));
            }
        }
    }
    let entry = match (message.header.state, mac) {
        (Reachable | Stale | Delay | Probe, Some(mac)) => Entry::Known(mac),
        (Unset | Incomplete | Failed, _) => Entry::Silent,
        _ => Entry::Fixed,
    };
    Some(((message.header.ifindex, address?), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_known_on_what_is_above() {
        let link = |index, controller, lower| Link { index, controller, lower, ..Link::default() };
        let links = [
            link(2, Some(9), None),
            link(3, None, Some(2)),
            link(9, None, None),
            link(10, None, Some(9)),
            link(11, None, None),
        ];
        assert_eq!(at_and_above(2, &links), BTreeSet::from([2, 3, 9, 10]));
        assert_eq!(at_and_above(11, &links), BTreeSet::from([11]));
    }

    #[test]
    fn what_was_set_by_hand_stays_as_it_is() {
        let of = |state, mac: Option<[u8; 6]>| {
            let mut message = NeighbourMessage::default();
            message.header.ifindex = 4;
            message.header.state = state;
            let destination = NeighbourAddress::Inet("10.0.0.9".parse().unwrap());
            message.attributes.push(NeighbourAttribute::Destination(destination));
            let mac = mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
            message.attributes.extend(mac);
            entry(&message).unwrap().1
        };
        let mac = [2, 0, 0, 0, 0, 9];
        let known = Entry::Known(mac.to_vec());
        assert_eq!(of(NeighbourState::Stale, Some(mac)), known);
        assert_eq!(of(NeighbourState::Failed, None), Entry::Silent);
        assert_eq!(of(NeighbourState::Permanent, Some(mac)), Entry::Fixed);
        assert_eq!(of(NeighbourState::Noarp, Some(mac)), Entry::Fixed);
    }
}
