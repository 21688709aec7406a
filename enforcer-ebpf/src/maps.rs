//! What is shared with user space; names, sizes and layouts are in `enforcer_common::abi`.
//!
//! # Elements of one CPU
//!
//! The elements of per-CPU arrays, and the entries of `SEEN`, `RUNS`, `BUDGETS` and `FLOW_CACHE` whose numbers begin
//! with that of a CPU, belong to the CPU on which a program runs. No second run touches them before the first one ends:
//! the kernel runs them with bottom halves disabled, those of the transmit side too, so neither a task nor another
//! interface interrupts them, and none runs in an NMI. User space reads them by system call, which copies whole words, or as atomic words.
//!
//! Before Linux 6.3 (af2d0d09eabe) a test run is the exception: bottom halves are enabled, and a frame may interrupt
//! it. The frame's own run is whole. The test run may then give the answer to that frame. A probe writes to no element
//! but `FRAME_CONTEXT`, `HEADS` and, with no generation in force, two counters. No bytes in there can harm the kernel:
//! the verifier assumes nothing about map memory.

use core::cell::UnsafeCell;

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf};
use enforcer_common::abi::{
    self, Budget, Control, Header, ReasonCounter, RuleCounter, SeenSet, Sighting,
};
use enforcer_common::decide::answers::{Answers, Size};
use enforcer_common::decide::asked::{self, Question};
use enforcer_common::decide::datagrams::{self, Datagram};
use enforcer_common::decide::hops::Hop;
use enforcer_common::decide::limits::{self, Shared};
use enforcer_common::image::{self, Line};
use enforcer_common::keyed::Keys;
use enforcer_common::reason::Reason;
use enforcer_common::shared::Word;

/// `BPF_F_MMAPABLE`, Linux 5.5: user space fills the image through memory.
pub(crate) const MMAPABLE: u32 = 1 << 10;
/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;

#[map]
pub(crate) static GENERATIONS: ProgramArray = ProgramArray::pinned(abi::SLOTS, 0);
/// The transmit side has an array of its own, because an array takes programs of one type.
#[map]
pub(crate) static SENDS: ProgramArray = ProgramArray::pinned(abi::SLOTS, 0);
#[map]
pub(crate) static CONTROL: Array<Control> = Array::pinned(1, MMAPABLE);
#[map]
pub(crate) static REASONS: PerCpuArray<ReasonCounter> =
    PerCpuArray::pinned(Reason::COUNT as u32, 0);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::pinned(abi::RING_BYTES, 0);
/// Sized by the loader for all CPUs that there may be.
#[map]
pub(crate) static BUDGETS: Array<Budget> = Array::pinned(abi::BUDGETS_A_CPU, MMAPABLE);
/// Sized by the loader for all CPUs that there may be.
#[map]
pub(crate) static SEEN: Array<SeenSet> = Array::pinned(abi::SEEN, MMAPABLE);
/// Sized by the loader for all CPUs that there may be.
#[map]
pub(crate) static RUNS: Array<Word> = Array::pinned(abi::RUNS_A_CPU, MMAPABLE);
#[map]
pub(crate) static FRAGMENTS: Array<Datagram> = Array::pinned(datagrams::ENTRIES, MMAPABLE);
#[map]
pub(crate) static METERS: Array<Shared> = Array::pinned(limits::METERS, MMAPABLE);
#[map]
pub(crate) static ADDRESSES: Array<Shared> = Array::pinned(limits::SETS, MMAPABLE);
#[map]
pub(crate) static SIGHTINGS: Array<Sighting> = Array::pinned(abi::SIGHTINGS, MMAPABLE);
#[map]
pub(crate) static ANSWERS: Array<Answers> = Array::pinned(1, MMAPABLE);
/// Set by the loader, which also sizes the table.
#[unsafe(no_mangle)]
static ANSWER_SETS: u32 = Size::USUAL.sets();
#[map]
pub(crate) static ASKED: Array<Question> = Array::pinned(asked::ENTRIES, MMAPABLE);
/// Filled by user space alone, so that memory is for what is in it.
#[map]
pub(crate) static HOPS: HashMap<Hop, u64> = HashMap::pinned(abi::HOPS, NO_PREALLOC);
/// The stages of this generation.
#[map]
pub(crate) static STAGES: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// Sized by the loader for its policy.
#[map]
pub(crate) static IMAGE: Array<Line> = Array::with_max_entries(1, MMAPABLE);
/// Sized by the loader for its policy.
#[map]
pub(crate) static RULES: PerCpuArray<RuleCounter> = PerCpuArray::with_max_entries(1, 0);

/// Where everything in this generation's image begins, and its number.
#[unsafe(no_mangle)]
static HEADER: Variable<Header> = Variable(UnsafeCell::new(Header::EMPTY));
/// Set by the loader: what digests and slots depend on.
#[unsafe(no_mangle)]
pub(crate) static KEYS: Keys = Keys([0; 8]);

/// A variable that user space sets while no frame is judged by the program.
#[repr(transparent)]
struct Variable<T>(UnsafeCell<T>);

// SAFETY: nothing writes to it while a program runs, so that all CPUs may read it.
unsafe impl<T: Sync> Sync for Variable<T> {}

/// What this generation knows of its image.
#[inline(always)]
pub(crate) fn header() -> &'static Header {
    // SAFETY: user space writes to it only while the program is in no slot and no run of it is left.
    unsafe { &*HEADER.0.get() }
}

/// The generation's number.
#[inline(always)]
pub(crate) fn generation() -> u32 {
    image::constant(&header().generation)
}

/// The size of [`ANSWERS`].
#[inline(always)]
pub(crate) fn answers_size() -> Size {
    Size::of_sets(image::constant(&ANSWER_SETS))
}

/// The number of the CPU on which the program runs.
#[inline(always)]
pub(crate) fn cpu() -> u32 {
    // SAFETY: the helper has no arguments and cannot fail.
    unsafe { bpf_get_smp_processor_id() }
}
