//! Destinations whose MAC is not known yet.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Most neighbours that are probed in a second, so that a scan of an allowed prefix causes no flood.
const MOST_ASKED: usize = 16;

/// Destinations of frames that were dropped for their next hop, on links with bound next hops.
#[derive(Debug, Default)]
pub(super) struct Unresolved(pub(super) BTreeSet<(u32, IpAddr)>);

impl Unresolved {
    /// Adds a destination, by the interface that received the frame.
    pub(super) fn note(&mut self, interface: u32, address: IpAddr) {
        if self.0.len() < MOST_ASKED {
            self.0.insert((interface, address));
        }
    }
}
