//! The flows that others have opened towards devices, as the kernel has noted them.

use aya::Ebpf;
use enforcer_common::abi::map;
use enforcer_common::decide::answers::{self, FLOWS, LINES, counter, state};
use enforcer_common::flow::{Address, Flow};

use super::Error;
use super::memory::Memory;
use super::pins::Pins;

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

pub(super) fn open(ebpf: &Ebpf, pins: &Pins) -> Result<Memory, Error> {
    Memory::of(ebpf, map::ANSWERS, LINES as usize * size_of::<answers::Answers>(), pins)
}

pub(super) fn read(memory: &Memory, now: u64) -> Flows {
    let noted = (0..FLOWS).filter_map(|number| {
        let first = answers::key_line(number) as usize * WORDS;
        let words: [u64; 2 * WORDS] = std::array::from_fn(|word| memory.read(first + word));
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
    });
    Flows { noted: noted.collect(), full: counted(memory, counter::FULL) }
}

/// A counter of the table since it was made: see [`counter`].
pub(super) fn counted(memory: &Memory, which: usize) -> u64 {
    memory.read((LINES as usize - 1) * WORDS + which)
}
