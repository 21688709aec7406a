//! What the gateway knows about the location of devices: facts from the kernel, as plain values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Mac;

/// What the gateway knows, in addition to the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Neighbours seen behind protected interfaces.
    pub behind: Vec<Neighbour>,
    /// Neighbours seen behind other interfaces, with the interface's name.
    pub elsewhere: Vec<(Neighbour, String)>,
    /// The gateway's own MACs, with the names of their interfaces.
    pub own: Vec<(Mac, String)>,
    /// Routes to addresses that are not a neighbour's.
    pub routes: BTreeMap<IpAddr, Route>,
}

/// A neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Its MAC.
    pub mac: Mac,
    /// Its address; `None` if only a bridge has seen it.
    pub address: Option<IpAddr>,
    /// Index of the protected interface where its frames arrive, if known.
    pub interface: Option<u32>,
    /// VLAN id of its frames, 0 for untagged; `None` if not known.
    pub vlan: Option<u16>,
}

/// The gateway's route to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through a router behind a protected interface: its address, and the neighbour if known.
    Router(IpAddr, Option<Neighbour>),
    /// Through an unprotected interface with this name.
    Elsewhere(String),
}

impl Heard {
    /// The neighbour with this address.
    pub(super) fn at(&self, address: IpAddr) -> Option<&Neighbour> {
        self.behind.iter().find(|neighbour| neighbour.address == Some(address))
    }

    /// The most complete entry of a MAC.
    pub(super) fn of(&self, mac: Mac) -> Option<&Neighbour> {
        let entries = self.behind.iter().filter(|neighbour| neighbour.mac == mac);
        entries.max_by_key(|entry| (entry.interface.is_some(), entry.vlan.is_some()))
    }

    /// The neighbour whose MAC frames from this address have, by the gateway's route back: the host itself,
    /// or its router. For a router, the second value is its address.
    pub(super) fn sender(&self, address: IpAddr) -> Option<(&Neighbour, Option<IpAddr>)> {
        match self.routes.get(&address) {
            Some(Route::Router(router, Some(neighbour))) => Some((neighbour, Some(*router))),
            Some(Route::Router(_, None) | Route::Elsewhere(_)) => None,
            None => self.at(address).map(|neighbour| (neighbour, None)),
        }
    }

    /// Name of the unprotected interface through which an address is reached.
    pub(super) fn past(&self, address: IpAddr) -> Option<&str> {
        match self.routes.get(&address) {
            Some(Route::Elsewhere(name)) => return Some(name),
            Some(Route::Router(..)) => return None,
            None => {}
        }
        let other = self.elsewhere.iter().find(|(other, _)| other.address == Some(address))?;
        self.at(address).is_none().then_some(&other.1)
    }
}
