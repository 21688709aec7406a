//! A policy image: the plain value in which policy and data plane meet.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use enforcer_common::decide::datagrams::{self, Datagram};
use enforcer_common::decide::hops::Hop;
use enforcer_common::decide::{FrameContext, Policy, decide, judge};
use enforcer_common::flow::Flow;
use enforcer_common::image::clock::Clocks;
use enforcer_common::image::{Corrupt, Layout, Line, Lines};
use enforcer_common::keyed::Keys;
use enforcer_common::packet::{Frame, Packet};

/// What a generation is made of. Copies share the lines: a live change costs what it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where everything begins.
    pub layout: Layout,
    /// The lines as they were compiled.
    compiled: Arc<Vec<Line>>,
    /// Those of them that were written since.
    written: BTreeMap<u32, Line>,
    /// The lines behind them.
    appended: Vec<Line>,
    /// Counters that the generation needs: one a rule, and some in reserve.
    pub rules: u32,
    /// Lines in reserve behind the lines.
    pub spare: u32,
    /// Who is where on the links whose next hops are bound. No part of the lines: it changes with every
    /// neighbour, and the kernel has it in a table of its own.
    pub hops: Arc<Hops>,
}

/// MACs, as numbers, of addresses on the links and of routers there.
pub type Hops = BTreeMap<Hop, u64>;

impl Image {
    /// An image of compiled lines.
    pub fn new(layout: Layout, lines: Vec<Line>, rules: u32, spare: u32) -> Self {
        let (written, appended) = (BTreeMap::new(), Vec::new());
        let hops = Arc::default();
        Self { layout, compiled: Arc::new(lines), written, appended, rules, spare, hops }
    }

    /// Lines in it, without the reserve.
    pub fn len(&self) -> usize {
        self.compiled.len() + self.appended.len()
    }

    /// Whether it has no line.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A line by its number.
    pub fn line(&self, number: u32) -> Option<&Line> {
        // Mostly nothing is written: the look-up is for the few images in which something is.
        let written = if self.written.is_empty() { None } else { self.written.get(&number) };
        let number = number as usize;
        written
            .or_else(|| self.compiled.get(number))
            .or_else(|| self.appended.get(number.checked_sub(self.compiled.len())?))
    }

    /// A 64-bit word by its number.
    pub fn word(&self, at: usize) -> Option<u64> {
        self.line(u32::try_from(at / 8).ok()?)?.0.get(at % 8).copied()
    }

    /// Writes a 64-bit word; `None` if there is no such line.
    pub fn write_word(&mut self, at: usize, word: u64) -> Option<()> {
        let number = u32::try_from(at / 8).ok()?;
        let mut line = *self.line(number)?;
        *line.0.get_mut(at % 8)? = word;
        match (at / 8).checked_sub(self.compiled.len()) {
            Some(behind) => *self.appended.get_mut(behind)? = line,
            None => drop(self.written.insert(number, line)),
        }
        Some(())
    }

    /// Makes of it what a patch makes of the image in force; `None` if the patch does not fit.
    pub fn patch(&mut self, patch: &Patch) -> Option<()> {
        let lines = u32::try_from(patch.lines.len()).ok()?;
        self.spare = self.spare.checked_sub(lines)?;
        self.appended.extend(&patch.lines);
        patch.entries.iter().try_for_each(|&(at, entry)| self.write_word(at, entry))
    }

    /// The lines in one piece.
    pub fn lines(&self) -> Cow<'_, [Line]> {
        if self.written.is_empty() && self.appended.is_empty() {
            return Cow::Borrowed(&self.compiled);
        }
        let mut lines = [self.compiled.as_slice(), &self.appended].concat();
        for (number, line) in &self.written {
            if let Some(place) = lines.get_mut(*number as usize) {
                *place = *line;
            }
        }
        Cow::Owned(lines)
    }

    /// The layout as the kernel program sees it: sixteen 32-bit numbers in host order.
    pub fn layout_bytes(&self) -> Vec<u8> {
        self.layout.to_line().0.iter().flat_map(|pair| pair.to_le_bytes()).collect()
    }
}

/// What makes one image of another while it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Number of the first new line.
    pub first: u32,
    /// Lines behind those that the image has.
    pub lines: Vec<Line>,
    /// Group entries to store once the lines are there: where, as the number of a 64-bit word in
    /// the image, and what.
    pub entries: Vec<(usize, u64)>,
}

/// Lines as the kernel sees them: host order, [`size_of::<Line>`] bytes each.
pub fn line_bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: `Line` is eight `u64` without padding, and the slice covers them exactly.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), size_of_val(lines)) }
}

/// What the clocks say, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Since 1970-01-01 UTC, the earliest time that it may be.
    pub earliest: i64,
    /// Since 1970-01-01 UTC, the latest time that it may be.
    pub latest: i64,
    /// Since boot, time asleep included.
    pub boot: i64,
}

impl Time {
    /// By a wall clock that is right, where nothing ends by the boot clock.
    pub const fn wall(now: i64) -> Self {
        Self { earliest: now, latest: now, boot: 0 }
    }
}

/// An image on the host, judged by the very code that judges in the kernel.
pub struct HostImage<'a> {
    image: &'a Image,
    time: Time,
    keys: Keys,
    /// Made when the first fragment is seen.
    datagrams: OnceCell<Box<[Datagram]>>,
}

impl<'a> HostImage<'a> {
    /// An image at a time, in seconds since 1970-01-01 UTC, with no fragment seen yet.
    pub fn new(image: &'a Image, now: i64) -> Self {
        Self::at(image, Time::wall(now))
    }

    /// The same by the clocks of a running system.
    pub fn at(image: &'a Image, time: Time) -> Self {
        Self { image, time, keys: Keys::OPEN, datagrams: OnceCell::new() }
    }

    /// The same with the keys of a running data plane: which datagrams share a place depends on
    /// them.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// Judges a frame that the interface with this index received.
    pub fn decide(&self, frame: &[u8], interface: u32) -> FrameContext {
        let mut case = FrameContext::NEW;
        decide(&Packet::from_slice(frame), interface, self, &mut case);
        case
    }

    /// The same of a frame of which only the first `known` bytes are; `None` if the decision looks
    /// at one behind them.
    pub fn decide_from(&self, frame: &[u8], known: usize, interface: u32) -> Option<FrameContext> {
        let mut case = FrameContext::NEW;
        let frame = Partly { whole: Packet::from_slice(frame), known, beyond: Cell::new(false) };
        decide(&frame, interface, self, &mut case);
        (!frame.beyond.get()).then_some(case)
    }

    /// Judges a flow without a frame.
    pub fn judge(&self, flow: Flow) -> FrameContext {
        let mut case = FrameContext::of(flow);
        judge(self, &mut case);
        case
    }
}

/// A frame of which the first bytes are known; notices when others are read.
struct Partly<'a> {
    whole: Packet<'a>,
    known: usize,
    beyond: Cell<bool>,
}

impl Frame for Partly<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let read = self.whole.read(offset);
        if read.is_some() && offset + N > self.known {
            self.beyond.set(true);
        }
        read
    }

    fn length(&self) -> u32 {
        self.whole.length()
    }
}

impl Lines for HostImage<'_> {
    fn line(&self, number: u32) -> Option<&Line> {
        self.image.line(number)
    }
}

impl Policy for HostImage<'_> {
    fn layout(&self) -> &Layout {
        &self.image.layout
    }

    fn clocks(&self) -> Result<Clocks, Corrupt> {
        let Time { earliest, latest, boot } = self.time;
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        Ok(Clocks::new(seconds(latest), seconds(earliest), seconds(boot)))
    }

    fn boot(&self) -> u64 {
        u64::try_from(self.time.boot).unwrap_or(0)
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn datagram(&self, number: u32) -> Option<&Datagram> {
        let none = || (0..datagrams::ENTRIES).map(|_| Datagram::default()).collect();
        self.datagrams.get_or_init(none).get(number as usize)
    }

    fn hop(&self, hop: &Hop) -> Option<u64> {
        self.image.hops.get(hop).copied()
    }
}
