//! What the gateway has heard of who is where: facts of the kernel, as plain values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Mac;

/// What the gateway knows beside the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Who was heard behind protected interfaces.
    pub behind: Vec<Neighbour>,
    /// Who was heard behind others, and the name of that interface.
    pub elsewhere: Vec<(Neighbour, String)>,
    /// The gateway's own MACs, and the names of their interfaces.
    pub own: Vec<(Mac, String)>,
    /// How the gateway reaches an address that is no neighbour's.
    pub routes: BTreeMap<IpAddr, Route>,
}

/// A neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Its MAC.
    pub mac: Mac,
    /// Its address; `None` if only a bridge has heard of it.
    pub address: Option<IpAddr>,
    /// Index of the protected interface that its frames arrive on, if that is known.
    pub interface: Option<u32>,
    /// VLAN id that they are tagged with, 0 for none; `None` if that is not known.
    pub vlan: Option<u16>,
}

/// How the gateway reaches an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// By a router behind a protected interface: its address, and what is known of it.
    Router(IpAddr, Option<Neighbour>),
    /// By an interface of this name that is not protected.
    Elsewhere(String),
}

impl Heard {
    /// The neighbour with an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<&Neighbour> {
        self.behind.iter().find(|neighbour| neighbour.address == Some(address))
    }

    /// What is known of a MAC: an entry that knows most.
    pub(super) fn of(&self, mac: Mac) -> Option<&Neighbour> {
        let entries = self.behind.iter().filter(|neighbour| neighbour.mac == mac);
        entries.max_by_key(|entry| (entry.interface.is_some(), entry.vlan.is_some()))
    }

    /// Whose frames come from an address, as the gateway would send back to it: its own, or its
    /// router's, which is the second value then.
    pub(super) fn sender(&self, address: IpAddr) -> Option<(&Neighbour, Option<IpAddr>)> {
        match self.routes.get(&address) {
            Some(Route::Router(router, Some(neighbour))) => Some((neighbour, Some(*router))),
            Some(Route::Router(_, None) | Route::Elsewhere(_)) => None,
            None => self.at(address).map(|neighbour| (neighbour, None)),
        }
    }

    /// The interface that is not protected and that an address is behind.
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
