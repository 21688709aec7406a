//! The table of next hops, which the program compares destination MACs with.

use aya::maps::{HashMap, Map, MapData, MapError};
use enforcer_common::abi::map;
use enforcer_common::decide::hops::Hop;

use super::Error;
use super::pins::Pins;
use crate::image::Hops;

/// The lasting table.
#[derive(Debug)]
pub(super) struct Table(HashMap<MapData, Hop, u64>);

impl Table {
    /// The pinned one.
    ///
    /// # Errors
    ///
    /// There is none, or it is not such a table.
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let data = MapData::from_pin(pins.path(map::HOPS)).map_err(Error::Map)?;
        let table = Map::from_map_data(data).map_err(Error::Map)?;
        HashMap::try_from(table).map(Self).map_err(Error::Map)
    }

    /// Adds the entries that an image needs.
    ///
    /// # Errors
    ///
    /// As [`Table::set`].
    pub(super) fn add(&mut self, hops: &Hops) -> Result<(), Error> {
        for (hop, mac) in hops {
            if self.0.get(hop, 0).ok() != Some(*mac) {
                self.0.insert(hop, mac, 0).map_err(Error::Map)?;
            }
        }
        Ok(())
    }

    /// Makes the table hold exactly these entries. Unchanged ones are not written.
    ///
    /// # Errors
    ///
    /// The kernel refuses an entry for lack of memory.
    pub(super) fn set(&mut self, hops: &Hops) -> Result<(), Error> {
        let stale: Vec<Hop> = self
            .0
            .keys()
            .filter_map(Result::ok)
            .filter(|known| !hops.contains_key(known))
            .collect();
        for hop in stale {
            match self.0.remove(&hop) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(e) => return Err(Error::Map(e)),
            }
        }
        self.add(hops)
    }
}
