//! The flows that others have opened towards devices, as the kernel has noted them.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;

use aya::Ebpf;
use enforcer_common::abi::map;
use enforcer_common::decide::answers::{self, Size, counter, state};
use enforcer_common::flow::{Address, Flow};

use log::info;

use super::memory::Memory;
use super::pins::Pins;
use super::{Error, object};

/// Words of a line.
const WORDS: usize = 8;

/// A flow that was opened towards a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The flow in the device's view: the source is its end, and the identifier of an echo is in `echo`.
    pub flow: Flow,
    /// When the other end was seen last, boot clock, in seconds modulo 2^32.
    pub seen: u64,
    /// When it was noted, boot clock, in seconds.
    pub created: u64,
    /// Whether the device has answered.
    pub answered: bool,
    /// Frames and bytes towards the device, and from it.
    pub counts: [u64; 4],
}

/// All of them, and how many found no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// Those that are not over.
    pub noted: Vec<Noted>,
    /// Flows that found no room since the table was made.
    pub full: u64,
}

/// The kernel's table.
pub(super) struct Table {
    memory: Memory,
    size: Size,
}

impl Table {
    pub(super) fn open(ebpf: &Ebpf, pins: &Pins, size: Size) -> Result<Self, Error> {
        let bytes = size.lines() as usize * size_of::<answers::Answers>();
        Ok(Self { memory: Memory::of(ebpf, map::ANSWERS, bytes, pins)?, size })
    }

    /// The flows in it; `now` is the boot clock, in seconds.
    pub(super) fn read(&self, now: u64) -> Flows {
        let noted = (0..self.size.flows()).filter_map(|number| {
            let first = self.size.key_line(number) as usize * WORDS;
            noted(std::array::from_fn(|word| self.memory.read(first + word)), now)
        });
        Flows { noted: noted.collect(), full: self.counted(counter::FULL) }
    }

    /// A counter of the table since it was made: see [`counter`].
    pub(super) fn counted(&self, which: usize) -> u64 {
        self.memory.read((self.size.lines() as usize - 1) * WORDS + which)
    }
}

/// Removes the pin of a table of another size, so that the next program makes its own. The generation in force keeps the old
/// one until then.
pub(super) fn unpin_other_size(pins: &Pins, size: Size) -> Result<(), Error> {
    let path = pins.path(map::ANSWERS);
    let entries = match object::open(&path) {
        Ok(fd) => object::map(fd.as_fd()).map_err(|e| Error::io("look at", &path, e))?.entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("open", &path, e)),
    };
    if entries == size.lines() {
        return Ok(());
    }
    info!("the table of sessions is recreated with room for {}", size.flows());
    fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))
}

/// The flow in the lines of its key and state; `None` if it is over.
fn noted(words: [u64; 2 * WORDS], now: u64) -> Option<Noted> {
    let [
        digest,
        high,
        low,
        own_high,
        own_low,
        sender,
        kinds,
        ports,
        seen,
        _,
        _,
        rest @ ..,
        created,
    ] = words;
    let protocol = (kinds >> 8) as u8;
    if digest == 0 || answers::is_over(seen, protocol, now) {
        return None;
    }
    let (far, near) = ((ports >> 16) as u16, ports as u16);
    let is_echo = answers::has_echo(protocol);
    let flow = Flow {
        source_mac: sender & 0xffff_ffff_ffff,
        vlans: [(sender >> 48) as u16, 0],
        source: Address { high: own_high, low: own_low },
        destination: Address { high, low },
        interface: (kinds >> 32) as u32,
        protocol,
        family: kinds as u8,
        source_port: if is_echo { 0 } else { near },
        destination_port: if is_echo { 0 } else { far },
        echo: if is_echo { near } else { 0 },
        ..Flow::NEW
    };
    let answered = seen & state::ANSWERED != 0;
    Some(Noted { flow, seen: seen >> 32, created, answered, counts: rest })
}
