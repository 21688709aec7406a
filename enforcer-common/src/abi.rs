//! Names, sizes and version of what is shared through the kernel.

use crate::event::Record;
use crate::image::Layout;
use crate::reason::Reason;
use crate::shared::{Half, Word};

/// Changes whenever the layout of anything pinned changes. It is part of the pin directory's
/// name, so that two versions never meet.
pub const ABI_VERSION: u32 = 7;

/// Section-independent names of the programs in the object.
pub mod program {
    /// Attached to interfaces: finds the generation.
    pub const DISPATCH: &str = "dispatch";
    /// A generation: knows the verdict on frames of cached flows, and has the others judged.
    pub const CLASSIFY: &str = "classify";
    /// A generation: judges frames.
    pub const JUDGE: &str = "judge";
    /// Attached to the transmit side of interfaces: finds the generation.
    pub const SEND_DISPATCH: &str = "send_dispatch";
    /// A generation's part on the transmit side: judges what is sent to devices.
    pub const SEND: &str = "send";
}

/// Names of the maps in the object, and of their pins.
pub mod map {
    /// Program array: slot [`super::SLOT_CURRENT`] is the generation in force.
    pub const GENERATIONS: &str = "GENERATIONS";
    /// Array of one [`super::Control`].
    pub const CONTROL: &str = "CONTROL";
    /// Per-CPU array of [`super::ReasonCounter`], by reason.
    pub const REASONS: &str = "REASONS";
    /// Ring buffer of [`super::Record`].
    pub const EVENTS: &str = "EVENTS";
    /// Array of [`super::Budget`], [`super::BUDGETS_A_CPU`] for each possible CPU, by hash of the source
    /// MAC; see also [`super::OTHERS`] and [`super::INWARDS`]. Not a per-CPU array, because its entries are not
    /// aligned to cache lines.
    pub const BUDGETS: &str = "BUDGETS";
    /// Array of [`super::SeenSet`], [`super::SEEN`] for each possible CPU, by digest; like
    /// [`BUDGETS`].
    pub const SEEN: &str = "SEEN";
    /// Array of 64-bit counters, [`super::RUNS_A_CPU`] for each possible CPU: frames that the driver gave
    /// to the program, by interface; see [`super::run_entry`].
    pub const RUNS: &str = "RUNS";
    /// Array of datagrams, see [`crate::decide::datagrams`].
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Array of limits on essentials, see [`crate::decide::limits`].
    pub const METERS: &str = "METERS";
    /// Array of known addresses, see [`crate::decide::limits`].
    pub const ADDRESSES: &str = "ADDRESSES";
    /// Array of [`super::Sighting`].
    pub const SIGHTINGS: &str = "SIGHTINGS";
    /// Hash of MACs by [`crate::decide::hops::Hop`].
    pub const HOPS: &str = "HOPS";
    /// Program array of the transmit side: slot [`super::SLOT_CURRENT`] is the `send` program of the generation in
    /// force, if its policy has rules for frames towards devices.
    pub const SENDS: &str = "SENDS";
    /// Array of lines, see [`crate::decide::answers`].
    pub const ANSWERS: &str = "ANSWERS";
    /// Array of entries, see [`crate::decide::asked`].
    pub const ASKED: &str = "ASKED";
    /// Program array of one generation: slot [`super::STAGE_JUDGE`] is its `judge`.
    pub const STAGES: &str = "STAGES";
    /// Array of lines: the policy image of one generation.
    pub const IMAGE: &str = "IMAGE";
    /// Array of one [`super::Header`], of one generation.
    pub const HEADER: &str = "HEADER";
    /// Per-CPU array of [`super::RuleCounter`], by rule, of one generation.
    pub const RULES: &str = "RULES";
    /// Array of lines: the flow cache of each CPU, of one generation; see [`crate::decide::flow_cache`].
    pub const FLOW_CACHE: &str = "FLOW_CACHE";

    /// Log messages of the programs; aya-log-ebpf sets its name and size.
    pub const LOGS: &str = "AYA_LOGS";

    /// Maps that outlive a generation: pinned by name, reused by the next one.
    pub const LASTING: [&str; 16] = [
        GENERATIONS,
        SENDS,
        ANSWERS,
        ASKED,
        CONTROL,
        REASONS,
        EVENTS,
        BUDGETS,
        SEEN,
        RUNS,
        FRAGMENTS,
        METERS,
        ADDRESSES,
        SIGHTINGS,
        HOPS,
        LOGS,
    ];
}

/// Name of the read-only constant that holds the [`crate::keyed::Keys`].
pub const KEYS: &str = "KEYS";

/// Name of the read-only constant that says whether the flow cache is on.
pub const CACHES_FLOWS: &str = "CACHES_FLOWS";
/// Name of the constant with the sets of [`map::ANSWERS`].
pub const ANSWER_SETS: &str = "ANSWER_SETS";

/// Size of [`map::LOGS`] in bytes, as aya-log-ebpf 0.2 has it.
pub const LOG_BYTES: u32 = 128 << 10;

/// Slot of the generation in force.
pub const SLOT_CURRENT: u32 = 0;
/// Slot of the generation that takes over again if a new one is not confirmed in time.
pub const SLOT_PREVIOUS: u32 = 1;
/// Slot of the program that judges, among the stages of a generation.
pub const STAGE_JUDGE: u32 = 0;
/// Slots of the program array.
pub const SLOTS: u32 = 2;

/// Entries of a CPU's budget table for one device each; a power of two.
pub const BUDGETS: u32 = 1024;
/// The entry behind them, shared by all devices whose own entry is taken.
pub const OTHERS: u32 = BUDGETS;
/// The first entry for frames towards devices, behind those: [`BUDGETS_IN`] for one device each. What others send takes no
/// entry of what devices send.
pub const INWARDS: u32 = OTHERS + 1;
/// Entries for frames towards devices; a power of two.
pub const BUDGETS_IN: u32 = 128;
/// The entry behind them, as [`OTHERS`] for frames towards devices.
pub const OTHERS_IN: u32 = INWARDS + BUDGETS_IN;
/// Entries of one CPU.
pub const BUDGETS_A_CPU: u32 = OTHERS_IN + 1;
/// Entries of a CPU's table of refused flows, of [`SEEN_WAYS`] flows each; a power of two.
pub const SEEN: u32 = 4096;
/// Flows of an entry: together they fill a cache line.
pub const SEEN_WAYS: usize = 4;
/// Entries of a CPU's table of [`map::RUNS`]; a power of two, and whole cache lines.
pub const RUNS_A_CPU: u32 = 1024;

/// The entry of [`map::RUNS`] in which a CPU counts the frames of an interface. Two interfaces share one
/// if their indices are equal modulo [`RUNS_A_CPU`].
#[inline(always)]
pub const fn run_entry(interface: u32, cpu: u32) -> u32 {
    cpu.wrapping_mul(RUNS_A_CPU).wrapping_add(interface & (RUNS_A_CPU - 1))
}

/// Bytes of the ring buffer; a power of two.
pub const RING_BYTES: u32 = 4 << 20;
/// Entries of [`map::SIGHTINGS`]; a power of two.
pub const SIGHTINGS: u32 = 1 << 14;
/// Most entries of [`map::HOPS`].
pub const HOPS: u32 = 1 << 14;

/// Bytes in the ring at which the reader is woken. Below that its timer suffices: waking it for
/// each event costs 2 µs per drop.
pub const WAKE_BYTES: u64 = 64 << 10;

/// Events that a device may send at once, per CPU.
pub const BURST: u32 = 64;
/// Events a second that a device may send in the long run, per CPU.
pub const RATE: u32 = 20;
/// The part of [`BURST`] that is reserved for flows that have not been reported yet.
pub const NEW_FLOW_RESERVE: u32 = 32;
/// Milliseconds until a repeating flow is reported again.
pub const REPEAT_INTERVAL: u32 = 5_000;
/// Nanoseconds that a device keeps its entry after its last refused frame. This must exceed the
/// interval at which the counters are read: later counts belong to the next holder.
pub const ENTRY_TTL: u64 = 10_000_000_000;
/// Bytes of a frame that an event carries; a power of two.
pub const HEAD: usize = 128;

/// Frame metadata of a probe, see [`PROBE_MAGIC`]: bytes in front of the frame.
pub const PROBE_BYTES: usize = 32;
/// First eight bytes of a probe's metadata, in host order.
///
/// A test run with this in front of the frame gets the decision back in its place; nothing is
/// counted and no event is sent. A frame from a driver has no metadata.
pub const PROBE_MAGIC: u64 = 0x656e_666f_7263_6572;

/// Settings that user space passes to the programs while they run.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Control {
    /// Wall clock minus boot clock, in nanoseconds, two's complement: for the latest possible time.
    pub wall_offset: Word,
    /// If not zero: when [`SLOT_PREVIOUS`] takes over again, boot clock, in nanoseconds.
    pub deadline: Word,
    /// The secret of this boot, from which the [`crate::keyed::Keys`] are derived; zero before there is one.
    pub secret: [Word; 2],
    /// Zero.
    pub reserved: [Word; 3],
    /// Like [`Control::wall_offset`], for the earliest possible time: an end by this clock, see
    /// [`crate::image::clock::HELD`], comes only when it is certainly past.
    pub held_offset: Word,
}

const _: () = assert!(size_of::<Control>() == 64);

/// What a generation's program knows of its image.
///
/// A variable, not a constant: user space writes it while the program is in no slot and no frame is judged by it, so
/// that the same program serves another policy without being loaded again.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the parts of the image begin.
    pub layout: Layout,
    /// The generation's number.
    pub generation: u32,
    /// Zero.
    pub reserved: [u32; 3],
    /// A random number: what was judged by another image does not count.
    pub nonce: u64,
    /// Digest of the object from which the programs were loaded.
    pub object: u64,
    /// The kernel's tags of the programs: of `classify`, `judge`, and `send` or 0.
    pub tags: [u64; 3],
    /// Zero.
    pub rest: u64,
}

impl Header {
    /// Of a generation whose image has nothing in it: every frame is corrupt.
    pub const EMPTY: Self = Self {
        layout: Layout::EMPTY,
        generation: 0,
        reserved: [0; 3],
        nonce: 0,
        object: 0,
        tags: [0; 3],
        rest: 0,
    };
}

impl Default for Header {
    fn default() -> Self {
        Self::EMPTY
    }
}

const _: () = assert!(size_of::<Header>() == 128);

/// Counters of one reason on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReasonCounter {
    /// Frames with this outcome, including those that would have been dropped.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that passed only because their group is observed.
    pub would_drop: u64,
    /// Events suppressed by a budget.
    pub suppressed: u64,
    /// Events that the ring could not take.
    pub lost: u64,
}

const _: () = assert!(size_of::<ReasonCounter>() == 40);

/// Counters of one rule on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounter {
    /// Frames that it decided.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

const _: () = assert!(size_of::<RuleCounter>() == 16);

/// Frames of a device and a reason without an event, on one CPU. Both counters wrap.
#[repr(C)]
#[derive(Debug, Default, PartialEq)]
pub struct Unreported {
    /// The device's budget was spent, or the frames repeat a reported flow.
    pub suppressed: Half,
    /// The ring was full.
    pub lost: Half,
}

/// A device's event budget on one CPU, and what it suppressed. All zero while it has no holder.
///
/// Only that CPU writes to it. User space may read it at any time.
#[repr(C)]
#[derive(Debug, PartialEq)]
pub struct Budget {
    /// The holder of this entry: see [`crate::event::holder`].
    pub holder: Word,
    /// When the holder's last refused frame came, boot clock, in nanoseconds; 0 while the entry is
    /// free.
    pub used: Word,
    /// When tokens were last added, boot clock, in nanoseconds.
    pub refilled: Word,
    /// Events that the device may still send.
    pub tokens: Half,
    /// Events suppressed since its last one.
    pub suppressed: Half,
    /// Counters by the refusal's number minus [`Reason::FIRST_REFUSAL`]. They only grow, even when
    /// the holder changes.
    pub by_reason: [Unreported; Reason::REFUSALS],
}

impl Default for Budget {
    /// An entry without a holder.
    fn default() -> Self {
        Self {
            holder: Word::default(),
            used: Word::default(),
            refilled: Word::default(),
            tokens: Half::default(),
            suppressed: Half::default(),
            by_reason: core::array::from_fn(|_| Unreported::default()),
        }
    }
}

/// A refused flow that was reported on one CPU, and that no other one looks at.
#[repr(C)]
#[derive(Debug, Default, PartialEq)]
pub struct Seen {
    /// Its digest.
    pub digest: Word,
    /// When it was last reported, boot clock, in milliseconds; wraps.
    pub told: Half,
    /// Frames suppressed since then.
    pub repeats: Half,
}

/// A device that had a frame refused, whether or not an event was sent.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Sighting {
    /// See [`crate::event::holder`].
    pub holder: Word,
    /// When, boot clock, in nanoseconds; 0 for an entry that was never written.
    pub time: Word,
}

/// Flows whose digests select the same entry.
pub type SeenSet = [Seen; SEEN_WAYS];

const _: () = assert!(size_of::<SeenSet>() == 64);
const _: () = assert!(size_of::<Sighting>() == 16);
const _: () = assert!(size_of::<Budget>() == 32 + 8 * Reason::REFUSALS);
const _: () = assert!(size_of::<Record>() == 152 + HEAD);

#[cfg(feature = "user")]
mod user {
    use super::{Header, ReasonCounter, RuleCounter};
    use crate::decide::hops::Hop;

    // SAFETY: `repr(C)` and nothing but `u64`: any bits are a value.
    unsafe impl aya::Pod for ReasonCounter {}
    // SAFETY: as above.
    unsafe impl aya::Pod for RuleCounter {}
    // SAFETY: `repr(C)` and nothing but numbers, without padding: any bits are a value.
    unsafe impl aya::Pod for Header {}
    // SAFETY: `repr(C)` and nothing but numbers: any bits are a value.
    unsafe impl aya::Pod for Hop {}
}
