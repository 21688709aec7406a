//! Neighbours that are made to answer: the kernel asks them (ARP, neighbour solicitations), and their
//! answers are frames that arrive.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use super::{Error, Kernel, Link};

/// Neighbours of an interface that are asked at most.
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

impl Kernel {
    /// Has the kernel ask the neighbours on some interfaces whether they are there: those that it knows, and
    /// these addresses. Returns how many were asked.
    ///
    /// # Errors
    ///
    /// The neighbours cannot be read. One that cannot be asked is left out: that takes CAP_NET_ADMIN.
    pub async fn ask_neighbours(
        &self,
        interfaces: &BTreeSet<u32>,
        addresses: &[(u32, IpAddr)],
    ) -> Result<usize, Error> {
        let failed = |e| Error::Request { what: "neighbours", source: Box::new(e) };
        let mut known = Vec::new();
        let mut heard = Box::pin(self.handle.neighbours().get().execute());
        while let Some(message) = heard.try_next().await.map_err(failed)? {
            let neighbour = askable(&message);
            known.extend(neighbour.filter(|(index, ..)| interfaces.contains(index)));
        }
        known.truncate(MAX_ASKED);
        let mut asked = 0;
        for (index, address, mac) in &known {
            // What `ip neigh replace … nud probe` does: the entry stays, and the neighbour is asked at once.
            let request = self.handle.neighbours().add(*index, *address).replace();
            let request = request.link_layer_address(mac).state(NeighbourState::Probe);
            asked += usize::from(request.execute().await.is_ok());
        }
        let is_new = |(index, address): &&(u32, IpAddr)| {
            !known.iter().any(|(at, known, _)| at == index && known == address)
        };
        for (index, address) in addresses.iter().filter(is_new).take(MAX_ASKED) {
            // As if a packet waited for it.
            let request = self.handle.neighbours().add(*index, *address).replace();
            let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use);
            asked += usize::from(request.execute().await.is_ok());
        }
        Ok(asked)
    }
}

/// A neighbour that answered before and may be asked again: what was set by hand stays as it is.
fn askable(message: &NeighbourMessage) -> Option<(u32, IpAddr, Vec<u8>)> {
    use NeighbourState::{Delay, Probe, Reachable, Stale};
    matches!(message.header.state, Reachable | Stale | Delay | Probe).then_some(())?;
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
    Some((message.header.ifindex, address?, mac?))
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
}
