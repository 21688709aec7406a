//! The ring buffer: reads records and passes them on.

use std::io;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use enforcer_common::abi::map;
use enforcer_common::event::Record;
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval};

use super::Error;
use super::pins::Pins;

/// How long a record may wait when the ring is nearly empty. The program wakes the reader only when
/// the ring fills up: waking it for each event costs 2 µs per drop.
const PERIOD: Duration = Duration::from_millis(20);

/// Reads the ring buffer.
pub struct Reader {
    ring: AsyncFd<RingBuf<MapData>>,
}

fn ring(pins: &Pins) -> Result<RingBuf<MapData>, Error> {
    let data = MapData::from_pin(pins.path(map::EVENTS)).map_err(Error::Map)?;
    let map = aya::maps::Map::from_map_data(data).map_err(Error::Map)?;
    RingBuf::try_from(map).map_err(Error::Map)
}

/// Takes the waiting records from the ring buffer. With two readers, each gets some of them.
pub(super) fn drain(pins: &Pins) -> Result<Vec<Record>, Error> {
    let mut ring = ring(pins)?;
    let mut records = Vec::new();
    while let Some(item) = ring.next() {
        records.extend(Record::from_bytes(&item));
    }
    Ok(records)
}

impl Reader {
    /// Opens the pinned ring buffer. Needs a tokio runtime.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let path = pins.path(map::EVENTS);
        let ring = ring(pins)?;
        // SAFETY: the ring owns its descriptor, always answers with it, and lives as long as the
        // registration that it moves into.
        let ring = unsafe { AsyncFd::register(ring) };
        let ring = ring.map_err(|e| Error::io("poll", &path, e.into()))?;
        Ok(Self { ring })
    }

    /// Hands every record to `handle`, for as long as the future is polled.
    pub async fn run(mut self, mut handle: impl FnMut(Record)) -> io::Error {
        let mut timer = interval(PERIOD);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                guard = self.ring.readable_mut() => match guard {
                    Ok(mut guard) => guard.clear_ready(),
                    Err(e) => return e,
                },
            }
            while let Some(item) = self.ring.get_mut().next() {
                match Record::from_bytes(&item) {
                    Some(record) => handle(record),
                    None => log::warn!(
                        "a record of {} bytes in the ring buffer cannot be read",
                        item.len()
                    ),
                }
            }
        }
    }
}
